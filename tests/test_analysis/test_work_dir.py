"""What a work directory says of its training, whatever is missing or broken in it."""

import json
import math
import os

import pytest
from reported import copy_of, write_records

from mmpretrain_mps.analysis.work_dir import read_work_dir

LOG = """2026/01/01 00:00:00 - mmengine - INFO -
------------------------------------------------------------
System environment:
    sys.platform: linux
    Python: 3.11.7 (main) [GCC 12]
    PyTorch compiling details: PyTorch built with:
  - GCC 12: a longer description
    GCC: gcc 12

Runtime environment:
    seed: 1
------------------------------------------------------------
"""


def step(number, epoch=None, **figures):
    """Return a record of training steps."""
    return dict(lr=0.1, step=number, iter=number, **({} if epoch is None else {'epoch': epoch}), **figures)


def test_a_course_is_counted_in_epochs_by_the_last_step_of_each(tmp_path):
    # Four steps per epoch; of the second epoch only the first two are logged.
    found = read_work_dir(
        write_records(tmp_path, step(4, 1, loss=2.0), step(6, 2, loss=1.0), {'accuracy/fused': 50.0, 'step': 1})
    )
    assert (found.unit, found.iterations_per_epoch) == ('epoch', 4)
    assert found.course('loss') == ([1.0, 1.5], [2.0, 1.0])
    assert found.course('accuracy/fused', validation=True) == ([1.0], [50.0])
    assert found.names() == ['lr', 'step', 'iter', 'epoch', 'loss'] and found.names(True) == ['accuracy/fused', 'step']


def test_an_epoch_next_to_nothing_is_no_epoch(tmp_path):
    found = read_work_dir(write_records(tmp_path, step(4, 1, loss=2.0), step(8, 1e-320, loss=1.0)))
    assert found.iterations_per_epoch == 4 and found.course('loss') == ([1.0], [2.0])


def test_a_training_without_epochs_is_counted_in_iterations(tmp_path):
    found = read_work_dir(write_records(tmp_path, step(10, loss=2.0), step(20, loss=1.0)))
    assert found.unit == 'iteration' and found.course('loss') == ([10, 20], [2.0, 1.0])


def test_a_figure_that_is_no_number_is_nan(tmp_path):
    found = read_work_dir(write_records(tmp_path, step(1, loss=math.nan), step(2, loss='none'), step(3, loss=None)))
    assert all(map(math.isnan, found.course('loss')[1])) and found.course('loss')[0] == [1, 2, 3]


def test_what_a_resumed_run_did_again_counts_once_and_as_it_was_done_last(tmp_path):
    write_records(
        tmp_path,
        step(1, loss=1.0),
        step(2, loss=2.0),
        {'accuracy/fused': 10.0, 'step': 1},
        step(3, loss=3.0),
        {'accuracy/fused': 20.0, 'step': 2},
        run='20260101_000000',
    )
    write_records(tmp_path, step(3, loss=30.0), {'accuracy/fused': 21.0, 'step': 2}, step(4, loss=40.0), run='20260102_000000')
    found = read_work_dir(tmp_path)
    assert found.course('loss') == ([1, 2, 3, 4], [1.0, 2.0, 30.0, 40.0])
    assert found.course('accuracy/fused', validation=True) == ([1, 2], [10.0, 21.0])


def test_validations_after_an_epoch_that_was_trained_again_do_not_stand(tmp_path):
    write_records(
        tmp_path,
        step(10, 1),
        {'accuracy/fused': 10.0, 'step': 1},
        step(20, 2),
        {'accuracy/fused': 20.0, 'step': 2},
        step(30, 3),
        {'accuracy/fused': 30.0, 'step': 3},
        run='20260101_000000',
    )
    write_records(tmp_path, step(15, 2), step(20, 2), run='20260102_000000')
    assert read_work_dir(tmp_path).course('accuracy/fused', validation=True) == ([1], [10.0])


def test_a_training_that_started_over_replaces_the_one_before(tmp_path):
    write_records(tmp_path, step(1, loss=1.0), step(2, loss=2.0), run='20260101_000000')
    write_records(tmp_path, step(1, loss=10.0), run='20260102_000000')
    assert read_work_dir(tmp_path).course('loss') == ([1], [10.0])


def test_broken_lines_of_the_log_are_left_out(tmp_path):
    write_records(tmp_path, step(1, loss=1.0))
    (file,) = tmp_path.glob('*/vis_data/scalars.json')
    with open(file, 'ab') as log:
        log.write(b'[1, 2]\n{"loss": 5.0}\n{"step": "x"}\n\xff\xfe\n{"step": 2, "lr": 0.1, "lo')
    found = read_work_dir(tmp_path)
    assert found.course('loss') == ([1], [1.0]) and 'records' not in found.missing
    file.write_text('{"step": 1, "lr')
    assert read_work_dir(tmp_path).missing['records'] == ('20260101_000000/vis_data/scalars.json has no complete line yet')


def test_an_empty_folder_has_a_reason_for_everything_that_is_not_there(tmp_path):
    found = read_work_dir(tmp_path)
    assert (found.config, found.checkpoint, found.records, found.test_metrics, found.domains, found.environment) == (
        None,
        None,
        [],
        {},
        {},
        {},
    )
    name = tmp_path.name
    assert found.missing == dict(
        config=f'there is no config (*.py) in {name}',
        checkpoint=f'there is no checkpoint (*.pth) in {name}; name one by --checkpoint',
        records=f'there is no log of scalars (*/vis_data/scalars.json) in {name}',
        environment=f'there is no log (*/*.log) in {name} that describes the machine',
    )
    assert found.iterations_per_epoch is None and found.names() == [] and found.course('loss') == ([], [])


def test_a_config_that_is_none_is_said_and_does_not_stop_the_rest(tmp_path):
    write_records(tmp_path, step(1, loss=1.0))
    (tmp_path / 'broken.py').write_text('model = dict(')
    found = read_work_dir(tmp_path)
    assert found.config is None and found.missing['config'].startswith('broken.py cannot be read as a config: ')
    assert found.course('loss') == ([1], [1.0])


def test_the_config_is_that_of_the_newest_training_not_of_a_test_that_was_run_later(tmp_path):
    for run, text in (('20260101_000000', 'seed = 1'), ('20260102_000000', 'seed = 2')):
        write_records(tmp_path, step(1), run=run)
        (tmp_path / run / 'vis_data' / 'config.py').write_text(text)
    (tmp_path / 'zz_test.py').write_text('seed = 3')
    assert read_work_dir(tmp_path).config.seed == 2


def test_without_a_log_the_config_in_the_folder_is_taken(tmp_path):
    (tmp_path / 'tiny.py').write_text("custom_imports = dict(imports=['no_such_module'])\nseed = 3")
    assert read_work_dir(tmp_path).config.seed == 3


def test_the_checkpoint_is_the_one_noted_also_after_the_folder_has_moved(tmp_path):
    for time, name in enumerate(('epoch_2.pth', 'epoch_10.pth', 'best.pth')):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time, time))
    assert read_work_dir(tmp_path).checkpoint.name == 'best.pth'  # the newest
    (tmp_path / 'last_checkpoint').write_text('/somewhere/else/epoch_2.pth\n')
    assert read_work_dir(tmp_path).checkpoint == tmp_path / 'epoch_2.pth'
    (tmp_path / 'last_checkpoint').write_text('/somewhere/else/deleted.pth')
    assert read_work_dir(tmp_path).checkpoint.name == 'best.pth'


def test_a_named_checkpoint_is_taken_and_must_exist(tmp_path):
    (tmp_path / 'epoch_1.pth').touch()
    (tmp_path / 'other.pth').touch()
    assert read_work_dir(tmp_path, tmp_path / 'epoch_1.pth').checkpoint == tmp_path / 'epoch_1.pth'
    with pytest.raises(FileNotFoundError, match=r'checkpoint nowhere\.pth does not exist \(looked from '):
        read_work_dir(tmp_path, 'nowhere.pth')


def test_the_figures_of_the_newest_test_count(tmp_path):
    for run, content in (
        ('20260101_000000', {'accuracy/fused': 1.0}),
        ('20260102_000000', {'accuracy/fused': 2.0, 'x': 'y'}),
        ('20260103_000000', {'loss': 3.0}),
    ):
        (tmp_path / run).mkdir()
        (tmp_path / run / f'{run}.json').write_text(json.dumps(content))
    (tmp_path / '20260104_000000').mkdir()
    (tmp_path / '20260104_000000' / 'cut.json').write_text('{"accuracy/fused": ')
    assert read_work_dir(tmp_path).test_metrics == {'accuracy/fused': 2.0}


@pytest.mark.parametrize('text', ['{"sets": 3}', '[1]', '{"sets": ['])
def test_a_file_that_is_no_test_on_several_sets_is_passed_over(tmp_path, text):
    (tmp_path / 'domain_generalization.json').write_text(text)
    assert read_work_dir(tmp_path).domains == {}
    (tmp_path / 'domain_generalization.json').write_text('{"sets": []}')
    assert read_work_dir(tmp_path).domains == {'sets': []}


def test_the_machine_is_read_from_the_log_without_what_fills_a_screen(tmp_path):
    for run, text in (('20260101_000000', LOG), ('20260102_000000', 'a log that was cut off')):
        (tmp_path / run).mkdir()
        (tmp_path / run / f'{run}.log').write_text(text)
    assert read_work_dir(tmp_path).environment == {'sys.platform': 'linux', 'Python': '3.11.7 (main) [GCC 12]', 'GCC': 'gcc 12'}


def test_a_real_work_directory_is_complete_wherever_it_lies(digits_work_dir, tmp_path):
    found = read_work_dir(copy_of(digits_work_dir, tmp_path / 'moved'))
    assert found.missing == {} and found.checkpoint == tmp_path / 'moved' / 'epoch_2.pth'
    assert found.config.train_cfg.max_epochs == 2 and found.unit == 'epoch'
    assert found.course('loss')[0] == [1.0, 2.0] and found.course('gw/bound', validation=True)[0] == [1, 2]
    assert set(found.test_metrics) >= {'accuracy/fused', 'separability/tuned/output/silhouette', 'blur/accuracy/tuned'}
    assert [entry['name'] for entry in found.domains['sets']] == ['source', 'blur']
    assert 'PyTorch' in found.environment and 'PyTorch compiling details' not in found.environment
