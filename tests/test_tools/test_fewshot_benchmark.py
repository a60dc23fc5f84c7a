"""The grid with its processes: kills, failures, files.

The grid itself runs in a process of its own only where it is killed, since each start imports everything anew.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from made_up_results import put_results
from tiny_digits import CONFIG_FOLDER, ROOT, environment, write_config

from mmpretrain_mps.benchmark import command, execution
from mmpretrain_mps.benchmark.execution import Shard

TOOL = str(ROOT / 'tools' / 'fewshot_benchmark.py')


def run(config, work_dir, **flags):
    """Run a grid from this process as the tool does; return its exit status and what it told."""
    lines = []
    defaults = dict(
        configs=[str(config)],
        datasets=[],
        methods=[],
        grid=None,
        shots=[1],
        seeds=[1],
        recipes=None,
        jobs=1,
        devices=['cpu'],
        executor='local',
        slurm=None,
        shard=Shard(),
        select='last',
        targets=False,
        resume=True,
        keep_checkpoints=False,
        cfg_options=None,
        runs_dir=None,
        dry_run=False,
        step_seconds=None,
    )
    arguments = argparse.Namespace(work_dir=str(work_dir), **{**defaults, **flags})
    return command.run(arguments, CONFIG_FOLDER, lines.append), '\n'.join(lines)


def results_of(folder):
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob('*/*/result.json')}


def wait_for(condition, what, process, seconds=120):
    deadline = time.time() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.time() < deadline, what
        time.sleep(0.02)


def alive_processes_of(session):
    """Return the processes of a session, without those that have ended."""
    alive = []
    for entry in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{entry}/stat') as file:
                state, _, _, its_session = file.read().rsplit(')', 1)[1].split()[:4]
        except OSError:
            continue
        if int(its_session) == session and state != 'Z':
            alive.append(int(entry))
    return alive


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir('/proc'), reason='looks at /proc')
def test_a_killed_grid_leaves_no_process_goes_on_and_gives_what_an_undisturbed_one_gives(tmp_path):
    config, work_dir = write_config(tmp_path, epochs=60), tmp_path / 'killed'
    grid = [
        sys.executable,
        TOOL,
        str(config),
        '--shots',
        '1',
        '--seeds',
        '1',
        '--jobs',
        '1',
        '--devices',
        'cpu',
        '--work-dir',
        str(work_dir),
    ]
    process = subprocess.Popen(
        grid, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(), start_new_session=True
    )
    wait_for(lambda: list(work_dir.glob('*/*/last_checkpoint')), 'no checkpoint', process)
    process.kill()
    process.communicate()
    deadline = time.time() + 30
    while alive_processes_of(process.pid) and time.time() < deadline:
        time.sleep(0.05)
    assert alive_processes_of(process.pid) == [] and results_of(work_dir) == {}

    status, _ = run(config, work_dir)
    assert status == 0
    (result,) = results_of(work_dir).values()
    assert result['resumed'] and not list(work_dir.glob('*/*/*.pth'))
    assert run(config, tmp_path / 'undisturbed')[0] == 0
    (undisturbed,) = results_of(tmp_path / 'undisturbed').values()
    assert not undisturbed['resumed'] and undisturbed['metrics'] == result['metrics']

    before = next(work_dir.glob('*/*/result.json')).stat().st_mtime_ns
    status, told = run(config, work_dir)
    assert status == 0 and '1 cells, 1 done before, 0 to run' in told
    assert next(work_dir.glob('*/*/result.json')).stat().st_mtime_ns == before


def test_a_grid_writes_tables_and_curves_and_keeps_config_and_log_of_each_run(tmp_path):
    config, work_dir = write_config(tmp_path, epochs=1), tmp_path / 'out'
    status, told = run(config, work_dir, shots=[1, 2], seeds=[3], jobs=2)
    assert status == 0
    assert '2 cells, 0 done before, 2 to run, 2 at a time' in told and '[1/2] tiny_digits' in told and ' left' in told
    for name in ('results.json', 'results.csv', 'results_summary.csv', 'results.md', 'results.tex', 'curves.png', 'curves.svg'):
        assert (work_dir / name).stat().st_size > 100
    result = next(result for result in results_of(work_dir).values() if result['shots'] == 2)
    assert (result['dataset'], result['seed'], result['epoch']) == ('Digits', 3, 1)
    assert (result['train_pictures'], result['test_pictures']) == (20, 899)
    assert result['versions']['torch'] and result['machine']['threads'] >= 1 and len(result['picks_id']) == 64
    folder = next(work_dir.glob('*/2shots_seed3-*'))
    assert 'num_shots = 2' in (folder / 'tiny_digits.py').read_text()
    assert 'Epoch(train) [1][2/2]' in (folder / 'log.txt').read_text()


@pytest.mark.slow
def test_failing_and_dying_cells_are_reported_and_the_others_are_done(tmp_path, monkeypatch):
    (tmp_path / 'dying.py').write_text(
        '\n'.join(
            [
                'import os, signal',
                'from mmengine.hooks import Hook',
                'from mmpretrain.registry import HOOKS',
                '@HOOKS.register_module()',
                'class Die(Hook):',
                '    def before_train(self, runner):',
                '        os.kill(os.getpid(), signal.SIGKILL)',
            ]
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = write_config(tmp_path, epochs=1, more="custom_imports = dict(imports=['mmpretrain_mps', 'dying'])")
    grid = tmp_path / 'grid.json'
    grid.write_text(
        json.dumps(
            dict(
                recipes={
                    'faulty': {'model.head.supervise': 'nothing'},
                    'dying': {'custom_hooks': [dict(type='Die')]},
                    'sound': {},
                }
            )
        )
    )
    status, told = run(config, tmp_path / 'out', grid=str(grid), jobs=3)
    assert status == 1
    assert [result['recipe'] for result in results_of(tmp_path / 'out').values()] == ['sound']
    assert 'FAILED: tiny_digits faulty, 1 shots, seed 1 (exit status 1; ValueError: supervise must be' in told
    assert "    ValueError: supervise must be 'fused' or 'tuned', but is 'nothing'" in told  # the end of its log
    assert 'FAILED: tiny_digits dying, 1 shots, seed 1 (ended by signal 9)' in told
    assert '2 of 3 cells are missing.' in told
    content = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert sorted(failure['cell'] for failure in content['failed']) == [
        'tiny_digits dying, 1 shots, seed 1',
        'tiny_digits faulty, 1 shots, seed 1',
    ]


@pytest.mark.slow
def test_what_is_damaged_in_the_folder_of_a_cell_is_made_again_or_known_before_it_runs(tmp_path):
    config = write_config(tmp_path, epochs=1)
    assert run(config, tmp_path / 'out', keep_checkpoints=True)[0] == 0
    (file,) = (tmp_path / 'out').glob('*/*/result.json')
    sound = file.read_text()
    # A result that says too little, is nested without end, or of which figures are not defined.
    for damage in (json.dumps(dict(format=json.loads(sound)['format'], hash=json.loads(sound)['hash'])), '[' * 10**5):
        file.write_text(damage)
        assert run(config, tmp_path / 'out')[0] == 0 and 'accuracy/fused' in json.loads(file.read_text())['metrics']
    content = json.loads(sound)
    file.write_text(json.dumps({**content, 'metrics': dict.fromkeys(content['metrics'], float('nan'))}))
    assert run(config, tmp_path / 'out')[0] == 0
    # No checkpoint that can be read, and no result.
    file.unlink()
    (file.parent / 'epoch_1.pth').write_bytes(b'x' * 100)
    assert run(config, tmp_path / 'out')[0] == 0 and file.is_file()
    file.unlink()
    file.mkdir()
    status, told = run(config, tmp_path / 'out')
    assert status == 1 and 'Traceback' not in told
    assert 'result.json is a folder, where the result is to be written' in told
    (tmp_path / 'file').write_text('')
    with pytest.raises(ValueError, match='the work folder .*file cannot be written to: File exists; name another --work-dir'):
        run(config, tmp_path / 'file')


@pytest.mark.slow
def test_validation_chooses_the_checkpoint_when_asked(tmp_path):
    config = write_config(tmp_path, epochs=3)
    status, told = run(config, tmp_path / 'out', shots=[2], select='val', keep_checkpoints=True)
    assert status == 0 and 'best epoch on the validation split' in told
    (result,) = results_of(tmp_path / 'out').values()
    (best,) = (tmp_path / 'out').glob('*/*/best_*.pth')
    assert best.stem.endswith(f'epoch_{result["epoch"]}') and result['select'] == 'val'


def test_the_tool_refuses_selection_on_test_in_one_line(tmp_path):
    command_line = [sys.executable, TOOL, write_config(tmp_path), '--select', 'test', '--work-dir', tmp_path / 'out']
    process = subprocess.run(command_line, capture_output=True, text=True, env=environment(), timeout=120)
    assert process.returncode == 2 and 'error: selection on the test split is refused' in process.stderr
    assert 'Traceback' not in process.stderr and not (tmp_path / 'out').exists()


@pytest.fixture
def interruptible():
    """Let SIGINT interrupt, also where the tests run in the background of a shell, which has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_stops_the_cells_writes_the_tables_and_two_grids_do_not_share_a_folder(tmp_path, interruptible):
    config, work_dir = write_config(tmp_path, epochs=100000), tmp_path / 'out'
    refusals, thread_may_interrupt = [], threading.Event()
    thread_may_interrupt.set()

    def interrupt():
        deadline = time.time() + 120
        while not any('Epoch(train)' in log.read_text() for log in work_dir.glob('*/*/log.txt')) and time.time() < deadline:
            if not thread_may_interrupt.is_set():
                return
            time.sleep(0.05)
        try:
            run(config, work_dir)
        except ValueError as error:
            refusals.append(str(error))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    status, told = run(config, work_dir, seeds=[1, 2])
    thread_may_interrupt.clear()  # should the run have ended by itself
    thread.join()
    assert status == 130 and '1 running cells were stopped, 1 were not started' in told
    assert '2 of 2 cells are missing' in told and (work_dir / 'results.json').is_file()
    assert refusals == [f'another grid runs in {work_dir}; wait for it or name another --work-dir']
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_shards_run_all_cells_once_and_the_one_that_comes_last_writes_the_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(execution, 'run_cells', put_results)
    monkeypatch.setattr(put_results, 'ran', [])
    grid = dict(config=write_config(tmp_path), work_dir=tmp_path / 'out', shots=[1, 2], seeds=[1, 2, 3])
    status, told = run(**grid, shard=Shard(2, 2))
    assert status == 0 and told.splitlines()[0] == 'shard 2 of 2'
    assert told.endswith('3 of 6 cells have no result yet: the shard that comes last goes on, or a call without --shard')
    assert not (tmp_path / 'out' / 'results.md').exists()
    status, told = run(**grid, shard=Shard(1, 2))
    assert status == 0 and 'written: ' in told
    assert sorted((cell.shots, cell.seed) for cell in put_results.ran) == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    tables = (tmp_path / 'out' / 'results.md').read_bytes()
    (tmp_path / 'out' / 'results.md').unlink()
    assert run(**grid)[0] == 0 and len(put_results.ran) == 6
    assert (tmp_path / 'out' / 'results.md').read_bytes() == tables and not list((tmp_path / 'out').rglob('*.lease'))


@pytest.mark.parametrize(
    'flags, message',
    [
        (dict(devices=['7']), "device '7' is not there: expected 'cpu'"),
        (dict(jobs=0), 'jobs is 0, expected 1 or more'),
        (dict(recipes=['official']), "recipes 'official' are looked up for named data sets"),
    ],
)
def test_flags_that_do_not_fit_are_refused_before_anything_runs(tmp_path, flags, message):
    with pytest.raises(ValueError, match=message):
        run(write_config(tmp_path), tmp_path / 'out', **flags)
    assert not (tmp_path / 'out').exists()


def test_a_dry_run_lists_the_cells_and_writes_nothing(tmp_path):
    config = write_config(tmp_path)
    before = sorted(tmp_path.rglob('*'))
    status, told = run(config, tmp_path / 'out', shots=[1, 2], seeds=[1, 2], dry_run=True)
    assert status == 0 and 'tiny_digits: shots 1 2; seeds 1 2 (4 runs)' in told
    assert sorted(tmp_path.rglob('*')) == before
    with pytest.raises(ValueError, match='--step-seconds is for the estimate of --dry-run'):
        run(config, tmp_path / 'out', step_seconds=1.0)


def test_the_dry_run_of_the_tool_ends_with_one_message_and_its_status(tmp_path):
    command_line = [
        sys.executable,
        TOOL,
        '--datasets',
        'DTD',
        '--dry-run',
        '--cfg-options',
        f'data_root={tmp_path}',
        f'pretrained={tmp_path / "no.pt"}',
        '--work-dir',
        tmp_path / 'out',
    ]
    process = subprocess.run(command_line, capture_output=True, text=True, env=environment(), timeout=120)
    assert process.returncode == 1 and not (tmp_path / 'out').exists()
    assert process.stdout.splitlines()[-1] == 'dry run: NOT ready, 2 missing, see above'


@pytest.mark.slow
def test_grids_share_runs_and_have_the_published_figures_in_their_tables(tmp_path):
    config, runs = write_config(tmp_path, epochs=1), tmp_path / 'runs'
    with open(config, 'a') as file:
        file.write(
            "test_cfg = dict(type='DomainGeneralizationLoop', "
            "targets=dict(blur=dict(type='CorruptedDigits', corruption='blur')))\n"
        )
    (tmp_path / 'base.json').write_text(json.dumps(dict(definitions=dict(full={}))))
    published = dict(source='a table', recipes=dict(full=dict(Digits={1: 50.0}, blur={1: 40.0})))
    grid = tmp_path / 'grid.py'
    grid.write_text(f"_base_ = 'base.json'\nrecipes = ['full']\npublished = {published}")
    assert run(config, tmp_path / 'one', grid=str(grid), runs_dir=str(runs))[0] == 0
    status, told = run(config, tmp_path / 'two', grid=str(grid), runs_dir=str(runs))
    assert status == 0 and '1 cells, 1 done before, 0 to run' in told
    (result,) = results_of(runs).values()
    for folder in ('one', 'two'):
        text = (tmp_path / folder / 'results.md').read_text()
        assert f'50.00 ({result["metrics"]["accuracy/fused"] - 50:+.2f})' in text and 'quote a table' in text
        assert 'blur' not in text  # a target that was not tested
        assert results_of(tmp_path / folder) == {}


@pytest.mark.slow
def test_methods_are_rows_of_one_table_on_the_same_pictures(tmp_path):
    config = write_config(tmp_path, epochs=1)
    status, told = run(config, tmp_path / 'out', methods=['clip_adapter', 'linear_probe', 'zero_shot'], shots=[1, 2])
    assert status == 0 and '5 cells, 0 done before, 5 to run' in told
    results = {(result['method'], result['shots']): result for result in results_of(tmp_path / 'out').values()}
    assert sorted(results) == [
        ('clip_adapter', 1),
        ('clip_adapter', 2),
        ('linear_probe', 1),
        ('linear_probe', 2),
        ('zero_shot', 0),
    ]
    for shots in (1, 2):
        picks = {results[name, shots]['picks_id'] for name in ('clip_adapter', 'linear_probe')}
        assert len(picks) == 1 and None not in picks
    assert (results['zero_shot', 0]['train_pictures'], results['zero_shot', 0]['epoch']) == (0, 0)
    # 50 epochs of one shot, 100 of two: the recipe follows the shots.
    assert [results['clip_adapter', shots]['epoch'] for shots in (1, 2)] == [50, 100]
    assert [results['clip_adapter', shots]['pictures_seen'] for shots in (1, 2)] == [500, 2000]
    summary = json.loads((tmp_path / 'out' / 'results.json').read_text())['summary']
    rows = {(row['method'], row['shots']) for row in summary if row['branch'] == 'fused'}
    assert rows == {(name, shots) for name in ('clip_adapter', 'linear_probe') for shots in (1, 2)}
    zero_shot = {row['mean'] for row in summary if row['branch'] == 'zero_shot'}
    assert zero_shot == {results['zero_shot', 0]['metrics']['accuracy/fused']}
    table = (tmp_path / 'out' / 'results.md').read_text()
    assert table.index('| clip_adapter |') < table.index('| linear_probe |') and '| zero_shot ' not in table.split('\n## ')[2]


def test_an_unknown_method_ends_in_one_line_before_anything_runs(tmp_path):
    with pytest.raises(ValueError, match="there is no method 'coup': expected one of amu_tuning"):
        run(write_config(tmp_path), tmp_path / 'out', methods=['coup'])
    assert not (tmp_path / 'out').exists()
