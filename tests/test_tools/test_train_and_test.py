"""tools/train.py and tools/test.py, and mmpretrain's own, as a user starts them."""
import json
import os
import pickle
from pathlib import Path

import mmpretrain
import pytest
import torch
from tiny_run import ROOT, run_python, write_config

TRAIN, TEST = ROOT / 'tools' / 'train.py', ROOT / 'tools' / 'test.py'
STOCK = Path(mmpretrain.__file__).parent / '.mim' / 'tools'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with the tiny config and one finished run of it."""
    folder = tmp_path_factory.mktemp('tools')
    write_config(folder)
    succeed(run_python(TRAIN, folder / 'tiny.py', '--work-dir', folder / 'whole'))
    return folder


def succeed(process):
    assert process.returncode == 0, process.stderr[-3000:]
    return process


def read(folder, name='epoch_4.pth'):
    return torch.load(folder / name, weights_only=True)


def assert_same_weights(first, second):
    first, second = read(first)['state_dict'], read(second)['state_dict']
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(folder):
    command = (folder / 'tiny.py', '--work-dir', folder / 'killed')
    killed = run_python(TRAIN, *command, '--cfg-options', 'model.kill_at=(2,3)')
    assert killed.returncode == -9
    assert sorted(path.name for path in (folder / 'killed').glob('*.pth')) == ['epoch_2.pth']
    output = succeed(run_python(TRAIN, *command, '--resume')).stdout
    assert 'resumed epoch: 2, iter: 10' in output and 'Epoch(train) [2]' not in output
    assert_same_weights(folder / 'whole', folder / 'killed')


def test_mmpretrains_own_tools_train_resume_and_test(folder):
    command = (folder / 'tiny.py', '--work-dir', folder / 'stock')
    assert run_python(STOCK / 'train.py', *command, '--cfg-options', 'model.kill_at=(3,0)').returncode == -9
    succeed(run_python(STOCK / 'train.py', *command, '--resume'))
    assert_same_weights(folder / 'whole', folder / 'stock')
    tested = succeed(run_python(STOCK / 'test.py', folder / 'tiny.py', folder / 'stock' / 'epoch_4.pth', '--work-dir',
                                folder / 'stock', '--out', folder / 'stock.json', '--out-item', 'metrics'))
    assert json.loads((folder / 'stock.json').read_text())['accuracy/fused'] > 50, tested.stdout


def test_testing_ends_with_a_table_and_writes_metrics(folder):
    tested = succeed(run_python(TEST, folder / 'tiny.py', folder / 'whole' / 'epoch_4.pth', '--work-dir', folder / 'test',
                                '--out', folder / 'metrics.json', '--out-item', 'metrics'))
    metrics = json.loads((folder / 'metrics.json').read_text())
    rows = dict(line.split() for line in tested.stdout.strip().split('\n')[-3:])
    assert list(rows) == ['zero-shot', 'tuned', 'fused']
    assert float(rows['fused']) == pytest.approx(metrics['accuracy/fused'], abs=0.01)


def test_predictions_are_written_as_mmpretrain_writes_them(folder):
    succeed(run_python(TEST, folder / 'tiny.py', folder / 'whole' / 'epoch_4.pth', '--work-dir', folder / 'test', '--out',
                       folder / 'pred.pkl', '--amp'))
    predictions = pickle.loads((folder / 'pred.pkl').read_bytes())
    assert len(predictions) == 20 and predictions[0]['pred_score'].shape == (3, )


def test_flags_reach_the_run(folder):
    trained = succeed(run_python(
        TRAIN, folder / 'tiny.py', '--work-dir', folder / 'flags', '--amp', '--no-validate', '--auto-scale-lr',
        '--no-persistent-workers', '--cfg-options', 'seed=5', 'train_cfg.max_epochs=1', 'train_dataloader.num_workers=1'))
    assert 'Epoch(val)' not in trained.stdout
    assert 'lr based on batch size of 8 and the current batch size is 4' in trained.stdout.replace('LR is set', 'lr')
    checkpoint = read(folder / 'flags', 'epoch_1.pth')
    assert (checkpoint['meta']['seed'], checkpoint['meta']['origin']['seed']) == (5, 5)
    assert "type='DeviceAmpOptimWrapper'" in checkpoint['meta']['cfg']
    assert checkpoint['state_dict']['tuned.weight'].dtype == torch.float32
    assert checkpoint['optimizer']['param_groups'][0]['initial_lr'] == pytest.approx(0.05)


def test_without_workers_the_default_of_persistent_workers_is_harmless(folder):
    config = folder / 'no_default.py'
    config.write_text((folder / 'tiny.py').read_text().replace('persistent_workers=False, ', ''))
    succeed(run_python(TRAIN, config, '--work-dir', folder / 'no_default', '--cfg-options', 'train_cfg.max_epochs=1'))


@pytest.mark.parametrize('command, message', [
    ((TRAIN, 'nowhere.py'), 'config nowhere.py does not exist'),
    ((TEST, '{folder}/tiny.py', 'nowhere.pth'), 'checkpoint nowhere.pth does not exist'),
    ((TRAIN, '{folder}/tiny.py', '--resume', 'nowhere.pth'), 'checkpoint nowhere.pth does not exist'),
    ((TRAIN, '{folder}/tiny.py', '--cfg-options', 'sed=3'), "'sed' (did you mean 'seed'"),
    ((TRAIN, '{folder}/tiny.py', '--launcher', 'pytorch'), '--launcher pytorch needs RANK'),
    ((TEST, '{folder}/tiny.py', '{folder}/foreign.pth'), 'foreign.pth is refused: it is not plain data'),
    ((TEST, '{folder}/tiny.py', '{folder}/whole/epoch_4.pth', '--cfg-options', 'test_dataloader.dataset.classes=a,b,c'),
     "class 0 is 'a' in data set Tiny, but 'one' in the model"),
    ((TEST, '{folder}/tiny.py', '{folder}/whole/epoch_4.pth', '--cfg-options', 'split_id=other'),
     'trained on another split of the data set'),
])
def test_refused_input_ends_in_one_message_and_status_2(folder, command, message):
    torch.save(Path('an object'), folder / 'foreign.pth')
    process = run_python(*(str(part).format(folder=folder) for part in command), RANK='')
    assert process.returncode == 2
    last = [line for line in process.stderr.strip().split('\n') if line.startswith('error: ')]
    assert len(last) == 1 and message in last[0]
    assert 'Traceback' not in process.stderr


def test_faults_of_the_program_keep_their_traceback(folder):
    process = run_python(TRAIN, folder / 'tiny.py', '--work-dir', folder / 'fault', '--cfg-options', 'model.nonsense=1')
    assert process.returncode == 1 and 'Traceback' in process.stderr and 'nonsense' in process.stderr


def test_an_item_without_a_file_is_a_wrong_command(folder):
    process = run_python(TEST, folder / 'tiny.py', 'x.pth', '--out-item', 'pred')
    assert process.returncode == 2 and '--out-item needs --out FILE' in process.stderr


def test_stock_test_refuses_a_foreign_pickle_with_our_message(folder):
    torch.save(Path('an object'), folder / 'foreign.pth')
    process = run_python(STOCK / 'test.py', folder / 'tiny.py', folder / 'foreign.pth', '--work-dir', folder / 'stock')
    assert process.returncode == 1
    assert process.stderr.strip().split('\n')[-1].startswith(f'ValueError: checkpoint {folder}{os.sep}foreign.pth is refused')
