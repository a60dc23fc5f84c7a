"""tools/train.py and tools/test.py, and mmpretrain's own, as a user starts them."""

import json
import pickle
from pathlib import Path

import mmpretrain
import pytest
import torch
from tiny_run import ROOT, call, run_python, write_config

from mmpretrain_mps.utils.errors import user_errors

TRAIN, TEST = ROOT / 'tools' / 'train.py', ROOT / 'tools' / 'test.py'
STOCK = Path(mmpretrain.__file__).parent / '.mim' / 'tools'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with the tiny config, one finished run of it, and a file that has to be unpickled."""
    folder = tmp_path_factory.mktemp('tools')
    write_config(folder)
    assert call(TRAIN, folder / 'tiny.py', '--work-dir', folder / 'whole') == 0
    torch.save(Path('an object'), folder / 'foreign.pth')
    return folder


def read(folder, name='epoch_4.pth'):
    return torch.load(folder / name, weights_only=True)


def assert_same_weights(first, second):
    first, second = read(first)['state_dict'], read(second)['state_dict']
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(folder, capsys):
    command = (folder / 'tiny.py', '--work-dir', folder / 'killed')
    killed = run_python(TRAIN, *command, '--cfg-options', 'model.kill_at=(2,3)')
    assert killed.returncode == -9
    assert sorted(path.name for path in (folder / 'killed').glob('*.pth')) == ['epoch_1.pth', 'epoch_2.pth']
    assert call(TRAIN, *command, '--resume') == 0
    output = capsys.readouterr().out
    assert 'resumed epoch: 2, iter: 10' in output and 'Epoch(train) [2]' not in output
    assert_same_weights(folder / 'whole', folder / 'killed')


def test_mmpretrains_own_tools_train_resume_and_test(folder):
    command = (folder / 'tiny.py', '--work-dir', folder / 'stock')
    assert run_python(STOCK / 'train.py', *command, '--cfg-options', 'model.kill_at=(3,0)').returncode == -9
    assert sorted(path.name for path in (folder / 'stock').glob('*.pth')) == ['epoch_2.pth', 'epoch_3.pth']
    assert call(STOCK / 'train.py', *command, '--resume') == 0
    assert_same_weights(folder / 'whole', folder / 'stock')
    call(
        STOCK / 'test.py',
        folder / 'tiny.py',
        folder / 'stock' / 'epoch_4.pth',
        '--work-dir',
        folder / 'stock',
        '--out',
        folder / 'stock.json',
        '--out-item',
        'metrics',
    )
    assert json.loads((folder / 'stock.json').read_text())['accuracy/fused'] > 50


def test_mmpretrains_own_test_refuses_a_foreign_pickle_with_our_message(folder):
    with pytest.raises(ValueError, match=r'foreign\.pth is refused: it is not plain data'):
        call(STOCK / 'test.py', folder / 'tiny.py', folder / 'foreign.pth', '--work-dir', folder / 'stock')


def test_testing_ends_with_a_table_and_writes_metrics(folder, capsys):
    assert (
        call(
            TEST,
            folder / 'tiny.py',
            folder / 'whole' / 'epoch_4.pth',
            '--work-dir',
            folder / 'test',
            '--out',
            folder / 'metrics.json',
            '--out-item',
            'metrics',
        )
        == 0
    )
    metrics = json.loads((folder / 'metrics.json').read_text())
    rows = dict(line.split() for line in capsys.readouterr().out.strip().split('\n')[-3:])
    assert list(rows) == ['zero-shot', 'tuned', 'fused']
    assert float(rows['fused']) == pytest.approx(metrics['accuracy/fused'], abs=0.01)


def test_predictions_are_written_as_mmpretrain_writes_them(folder):
    assert (
        call(
            TEST,
            folder / 'tiny.py',
            folder / 'whole' / 'epoch_4.pth',
            '--work-dir',
            folder / 'test',
            '--out',
            folder / 'pred.pkl',
            '--amp',
        )
        == 0
    )
    predictions = pickle.loads((folder / 'pred.pkl').read_bytes())
    assert len(predictions) == 20 and predictions[0]['pred_score'].shape == (3,)


def test_flags_reach_the_run(folder, capsys):
    assert (
        call(
            TRAIN,
            folder / 'tiny.py',
            '--work-dir',
            folder / 'flags',
            '--amp',
            '--no-validate',
            '--auto-scale-lr',
            '--no-persistent-workers',
            '--cfg-options',
            'seed=5',
            'train_cfg.max_epochs=1',
            'train_dataloader.num_workers=1',
        )
        == 0
    )
    output = capsys.readouterr().out
    assert 'Epoch(val)' not in output
    assert 'based on batch size of 8 and the current batch size is 4' in output
    checkpoint = read(folder / 'flags', 'epoch_1.pth')
    assert (checkpoint['meta']['seed'], checkpoint['meta']['origin']['seed']) == (5, 5)
    assert "type='DeviceAmpOptimWrapper'" in checkpoint['meta']['cfg']
    assert checkpoint['state_dict']['tuned.weight'].dtype == torch.float32
    assert checkpoint['optimizer']['param_groups'][0]['initial_lr'] == pytest.approx(0.05)


def test_mixed_precision_on_the_cpu_computes_in_bfloat16(folder):
    short = ('--cfg-options', 'train_cfg.max_epochs=1')
    assert call(TRAIN, folder / 'tiny.py', '--work-dir', folder / 'amp', '--amp', *short) == 0
    assert call(TRAIN, folder / 'tiny.py', '--work-dir', folder / 'full', *short) == 0
    amp, full = (read(folder / name, 'epoch_1.pth')['state_dict']['tuned.weight'] for name in ('amp', 'full'))
    assert torch.allclose(amp, full, atol=0.05) and not torch.equal(amp, full)


def test_without_workers_the_default_of_persistent_workers_is_harmless(folder):
    config = folder / 'no_default.py'
    config.write_text((folder / 'tiny.py').read_text().replace('persistent_workers=False, ', ''))
    assert call(TRAIN, config, '--work-dir', folder / 'no_default', '--cfg-options', 'train_cfg.max_epochs=1') == 0


@pytest.mark.parametrize(
    'command, message',
    [
        ((TRAIN, 'nowhere.py'), 'config nowhere.py does not exist'),
        ((TEST, '{tiny}', 'nowhere.pth'), 'checkpoint nowhere.pth does not exist'),
        ((TRAIN, '{tiny}', '--resume', 'nowhere.pth'), 'checkpoint nowhere.pth does not exist'),
        ((TRAIN, '{tiny}', '--cfg-options', 'sed=3'), "'sed' (did you mean 'seed'"),
        ((TRAIN, '{tiny}', '--launcher', 'pytorch'), '--launcher pytorch needs RANK'),
        ((TRAIN, '{tiny}', '--auto-scale-lr', '--cfg-options', 'auto_scale_lr=None'), 'base_batch_size'),
        ((TEST, '{tiny}', '{folder}/foreign.pth'), 'foreign.pth is refused: it is not plain data'),
        (
            (TEST, '{tiny}', '{last}', '--cfg-options', 'model.class_names=a,b,c'),
            "class 0 is 'one' in data set Tiny, but 'a' in the model",
        ),
        ((TEST, '{tiny}', '{last}', '--cfg-options', 'split_id=other'), 'trained on another split of the data set'),
    ],
)
def test_refused_input_ends_in_one_message_and_status_2(folder, capsys, monkeypatch, command, message):
    monkeypatch.chdir(folder)  # the default work folder
    monkeypatch.delenv('RANK', raising=False)
    names = dict(folder=folder, tiny=folder / 'tiny.py', last=folder / 'whole' / 'epoch_4.pth')
    assert call(*(str(part).format(**names) for part in command)) == 2
    output = capsys.readouterr().err
    last = [line for line in output.split('\n') if line.startswith('error: ')]
    assert len(last) == 1 and message in last[0]
    assert 'Traceback' not in output


def test_a_key_that_a_part_does_not_take_is_named(folder, capsys):
    assert call(TRAIN, folder / 'tiny.py', '--work-dir', folder / 'fault', '--cfg-options', 'model.nonsense=1') == 2
    error = capsys.readouterr().err
    assert "'nonsense'" in error and 'Traceback' not in error


def test_faults_of_the_program_pass_through(folder):
    with pytest.raises(ZeroDivisionError):
        with user_errors():
            1 / 0  # noqa: B018


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--out-item', 'pred'], '--out-item needs --out FILE'),
        (['--out', 'x.json'], '--out x.json: expected a name that ends in .pkl or .pickle'),
        (['--out', 'x.pkl', '--out-item', 'metrics'], 'expected a name that ends in .json or .yml or .yaml'),
    ],
)
def test_an_output_that_cannot_be_written_is_a_wrong_command(folder, capsys, flags, message):
    assert call(TEST, folder / 'tiny.py', 'x.pth', *flags) == 2
    assert message in capsys.readouterr().err
