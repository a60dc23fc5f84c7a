"""The sections about a training: of a whole work directory, and of one that lacks whatever it can lack."""

import shutil

import pytest
import torch
from reported import CLASS_NAMES, copy_of, texts_of, write_records

from mmpretrain_mps.analysis import run
from mmpretrain_mps.analysis.contents import Listing, Missing, Table, plots_of
from mmpretrain_mps.analysis.run import run_sections
from mmpretrain_mps.analysis.work_dir import read_work_dir

SECTIONS = [
    'accuracy',
    'training',
    'gromov-wasserstein',
    'gram',
    'maps',
    'predictions',
    'drift',
    'separability',
    'checkpoint',
    'config',
    'environment',
]


def sections(folder, **options):
    found = run_sections(read_work_dir(folder), **{'max_pictures': 20, **options})
    assert [section.name for section in found] == SECTIONS
    return {section.name: section for section in found}


def tables(section):
    return [part for part in section.parts if isinstance(part, Table)]


@pytest.fixture(scope='module')
def whole(digits_work_dir):
    return sections(digits_work_dir)


@pytest.fixture
def no_model(monkeypatch):
    """Nothing may be loaded or computed."""

    def never(*_):
        raise AssertionError('no model was to be run')

    for name in ('load_model', 'extract', 'gram_section', 'map_section', 'prediction_section', 'drift_section'):
        monkeypatch.setattr(run, name, never)


def test_a_whole_work_directory_lacks_nothing_but_the_set_that_its_test_skipped(whole):
    notices = [part.text for section in whole.values() for part in section.parts if isinstance(part, Missing)]
    assert notices == texts_of(whole['accuracy']) and len(notices) == 1
    assert {name: len(plots_of([section])) for name, section in whole.items() if plots_of([section])} == dict(
        training=5, **{'gromov-wasserstein': 2}, gram=3, maps=4, predictions=3, drift=1, separability=3
    )
    assert notices[0].startswith('textures was skipped in the test: ') and 'does not exist' in notices[0]


def test_figures_of_the_test_and_those_of_this_report_stand_side_by_side(whole, digits_work_dir):
    tested, computed = tables(whole['accuracy'])
    found = read_work_dir(digits_work_dir)
    figures = [f'{found.test_metrics[f"accuracy/{branch}"]:.2f}' for branch in ('fused', 'tuned', 'zero_shot')]
    assert tested.rows[0][:6] == ['source', '899', '10', *figures] and tested.rows[1][0] == 'blur'
    assert [row[0] for row in tested.rows[2:]] == ['mean of targets', 'mean of all']
    assert all(len(row) == len(tested.headings) for row in tested.rows)
    assert 'epoch_2.pth, in percent, on the test split of Digits: 20 pictures of 899, equally many of each class' in (
        computed.caption
    )
    assert [row[0] for row in computed.rows] == ['fused', 'tuned', 'zero-shot']


def test_the_checkpoint_says_what_it_was_trained_on(whole, digits_work_dir):
    rows = dict(tables(whole['checkpoint'])[0].rows)
    assert (rows['file'], rows['epoch'], rows['trained on: dataset_name'], rows['trained on: num_shots']) == (
        'epoch_2.pth',
        '2',
        'Digits',
        '1',
    )
    assert rows['class names'] == ', '.join(CLASS_NAMES) and rows['base: architecture'].startswith('local-dir:')
    state = torch.load(digits_work_dir / 'epoch_2.pth', weights_only=True)['state_dict']
    assert rows['numbers in its state'] == f'{sum(value.numel() for value in state.values()):,}'


def test_config_and_both_environments_are_shown(whole):
    (listing,) = whole['config'].parts
    assert isinstance(listing, Listing) and 'GromovWassersteinDistance' in listing.text
    of_training, here = tables(whole['environment'])
    assert dict(of_training.rows)['PyTorch'] and dict(here.rows)['torch'] == torch.__version__.partition('+')[0]


@pytest.mark.usefixtures('no_model')
def test_without_the_model_what_is_logged_is_shown(digits_work_dir):
    found = sections(digits_work_dir, with_model=False)
    for name in ('gram', 'maps', 'predictions', 'drift'):
        assert texts_of(found[name]) == ['Not shown: the model was not to be run.']
    assert texts_of(found['accuracy'])[-1] == 'Nothing was computed for this report: the model was not to be run.'
    assert len(plots_of(found.values())) == 10 and len(tables(found['checkpoint'])) == 1


@pytest.mark.usefixtures('no_model')
def test_without_a_checkpoint_everything_else_is_shown(digits_work_dir, tmp_path):
    found = sections(copy_of(digits_work_dir, tmp_path, '*/*', '*.py'))
    reason = f'there is no checkpoint (*.pth) in {tmp_path.name}; name one by --checkpoint'
    assert texts_of(found['gram']) == [f'Not shown: {reason}']
    assert texts_of(found['checkpoint']) == [f'No checkpoint: {reason}.']
    # Without the table of all sets, the figures of the test stand as they were logged.
    assert tables(found['accuracy'])[0].caption.startswith('Newest test in this folder: accuracy in percent')
    assert len(plots_of(found.values())) == 10


@pytest.mark.usefixtures('no_model')
def test_of_a_log_alone_everything_that_is_missing_is_named(tmp_path):
    found = sections(write_records(tmp_path, dict(step=1, iter=1, lr=0.1, loss=1.0)))
    name = tmp_path.name
    assert texts_of(found['accuracy'])[0].startswith('No test has been run in this folder')
    assert texts_of(found['maps']) == [
        f'Not shown: there is no config (*.py) in {name}; there is no checkpoint (*.pth) in {name}; name one by --checkpoint'
    ]
    assert texts_of(found['config']) == [f'No config: there is no config (*.py) in {name}.']
    assert texts_of(found['separability'])[0].startswith('Neither a test nor a validation has logged figures sep')
    assert texts_of(found['environment']) == [
        f"Nothing is known of the training's machine: there is no log (*/*.log) in {name} that describes the machine."
    ]
    assert [plot.name for plot in plots_of(found.values())] == ['losses', 'learning-rate']


@pytest.mark.parametrize(
    'name, change',
    [('broken', lambda path: path.write_bytes(path.read_bytes()[:500])), ('list', lambda path: torch.save([1], path))],
)
def test_a_checkpoint_that_cannot_be_read_stops_nothing_else(digits_work_dir, tmp_path, name, change):
    folder = copy_of(digits_work_dir, tmp_path, '*/*', 'epoch_2.pth')
    change(folder / 'epoch_2.pth')
    found = sections(folder)
    (reason,) = texts_of(found['checkpoint'])
    assert 'epoch_2.pth' in reason and texts_of(found['gram']) == [f'Not shown: {reason}']
    assert len(plots_of(found.values())) == 10


def test_a_checkpoint_of_another_split_shows_how_weights_moved_but_no_pictures(digits_work_dir, tmp_path):
    folder = copy_of(digits_work_dir, tmp_path, '*/*', 'epoch_2.pth')
    content = torch.load(folder / 'epoch_2.pth', weights_only=True)
    content['meta']['origin']['split_id'] = 'f' * 64
    torch.save(content, folder / 'epoch_2.pth')
    found = sections(folder)
    assert 'Digits is split otherwise than it was for the training' in texts_of(found['predictions'])[0]
    assert [plot.name for plot in plots_of([found['drift']])] == ['weight-drift']


@pytest.mark.usefixtures('no_model')
def test_a_description_that_cannot_be_read_is_told_in_its_place(digits_work_dir, tmp_path):
    folder = copy_of(digits_work_dir, tmp_path, 'epoch_2.pth')
    content = torch.load(folder / 'epoch_2.pth', weights_only=True)
    content['state_dict']['_extra_state'] = torch.zeros(3, dtype=torch.uint8)
    torch.save(content, folder / 'epoch_2.pth')
    rows = dict(tables(sections(folder, with_model=False)['checkpoint'])[0].rows)
    assert rows['description'].startswith('the description in this checkpoint is not readable')


def test_errors_that_are_not_understood_are_not_hidden(digits_work_dir, monkeypatch):
    def fail(*_):
        return 1 / 0

    monkeypatch.setattr(run, 'load_model', fail)
    with pytest.raises(ZeroDivisionError):
        sections(digits_work_dir)


@pytest.mark.usefixtures('no_model')
def test_a_config_that_has_been_broken_since_is_told_once_and_the_rest_is_shown(digits_work_dir, tmp_path):
    folder = copy_of(digits_work_dir, tmp_path, '*/*', 'epoch_2.pth')
    for file in folder.glob('*/vis_data/config.py'):
        file.write_text('model = dict(')
    found = sections(folder)
    assert texts_of(found['config'])[0].startswith('No config: config.py cannot be read as a config: ')
    assert len(plots_of(found.values())) == 10


def test_the_validation_split_can_be_looked_at(digits_work_dir, tmp_path):
    folder = copy_of(digits_work_dir, tmp_path)
    shutil.rmtree(next(folder.glob('*/*.json')).parent)  # the test
    (folder / 'domain_generalization.json').unlink()
    found = sections(folder, split='val')
    assert 'on the val split of Digits: 20 pictures of 355' in tables(found['accuracy'])[0].caption
    assert texts_of(found['accuracy'])[0].startswith('No test has been run in this folder')
    without = read_work_dir(folder)
    without.config.val_dataloader = None
    shown = {section.name: section for section in run_sections(without, 'val', 20)}
    assert texts_of(shown['gram']) == ['Not shown: the config has no val_dataloader']
