"""Runs go on from the newest checkpoint that is whole, and only as the same runs."""

import os
import random
import shutil
import zipfile

import pytest
import torch
from tiny_run import ROOT, call, write_config

from mmpretrain_mps.engine import resuming
from mmpretrain_mps.engine.resuming import changes_between, find_checkpoint
from mmpretrain_mps.utils.checkpoint import read_checkpoint

TRAIN, TEST = ROOT / 'tools' / 'train.py', ROOT / 'tools' / 'test.py'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A tiny config and a run of three epochs, with its two last checkpoints."""
    folder = tmp_path_factory.mktemp('resuming')
    write_config(folder)
    assert call(TRAIN, folder / 'tiny.py', '--work-dir', folder / 'run', '--cfg-options', 'train_cfg.max_epochs=3') == 0
    assert call(TRAIN, folder / 'tiny.py', '--work-dir', folder / 'whole') == 0
    return folder


@pytest.fixture
def run(folder, tmp_path):
    """A copy of the run, to be damaged."""
    shutil.copytree(folder / 'run', tmp_path / 'run')
    (tmp_path / 'run' / 'last_checkpoint').write_text(str(tmp_path / 'run' / 'epoch_3.pth'))
    return tmp_path / 'run'


def weights(path):
    return torch.load(path, weights_only=True)['state_dict']


def equal(first, second):
    first, second = weights(first), weights(second)
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


def change(path, **changes):
    content = torch.load(path, weights_only=True)
    for name, value in changes.items():
        keys = name.split('__')
        node = content
        for key in keys[:-1]:
            node = node[key.replace('_dot_', '.')]
        key = keys[-1].replace('_dot_', '.')
        if value is None:
            del node[key]
        else:
            node[key] = value
    torch.save(content, path)
    return path


def refused(capsys, *arguments):
    assert call(*arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.split('\n') if line.startswith('error: ')]
    return line


class TestWhichCheckpoint:
    def test_the_last_one_is_taken_with_and_without_its_note_and_in_a_folder_that_moved(self, run):
        wanted = str(run / 'epoch_3.pth')
        assert find_checkpoint(run) == wanted
        for note in (None, '', 'epoch_3.pth', '/elsewhere/run/epoch_3.pth\r\n', '\udcff', 'a\0b', 'epoch_2.pth', '/dev/zero'):
            (run / 'last_checkpoint').unlink(missing_ok=True)
            if note is not None:
                (run / 'last_checkpoint').write_bytes(note.encode('utf-8', 'surrogateescape'))
            assert find_checkpoint(run) == wanted
        (run / 'last_checkpoint').unlink()
        (run / 'last_checkpoint').mkdir()
        assert find_checkpoint(run) == wanted

    def test_a_note_that_leads_nowhere_is_pointed_out(self, run, told):
        (run / 'epoch_3.pth').unlink()
        assert find_checkpoint(run) == str(run / 'epoch_2.pth')
        assert "epoch_3.pth', which is not there. The checkpoints beside it are looked through" in told[0]

    def test_a_damaged_one_is_passed_over(self, run, monkeypatch):
        told = []
        monkeypatch.setattr(resuming, 'print_log', lambda text, *_: told.append(text))
        content = (run / 'epoch_3.pth').read_bytes()
        for damage in (
            content[: len(content) // 2],
            b'',
            b'garbage' * 100,
            content[:-1],
            content[:5000] + b'x' * 100 + content[5100:],
        ):
            (run / 'epoch_3.pth').write_bytes(damage)
            assert find_checkpoint(run) == str(run / 'epoch_2.pth')
        assert len(told) == 5 and all(
            text.startswith(f'checkpoint {run / "epoch_3.pth"} ')
            and text.endswith(f'. Going on from {run / "epoch_2.pth"} instead')
            for text in told
        )

    def test_without_any_that_is_whole_nothing_is_overwritten(self, run):
        for path in run.glob('*.pth'):
            path.write_bytes(b'')
        with pytest.raises(ValueError, match='holds checkpoints, but none that can be read; move them away'):
            find_checkpoint(run)

    def test_steps_count_whatever_the_name(self, run):
        shutil.copy(run / 'epoch_3.pth', run / 'iter_16.pth')
        change(run / 'iter_16.pth', meta__iter=16)
        assert find_checkpoint(run) == str(run / 'iter_16.pth')
        change(run / 'iter_16.pth', meta__iter=14)
        assert find_checkpoint(run) == str(run / 'epoch_3.pth')

    def test_no_folder_and_no_checkpoint_are_a_fresh_start(self, tmp_path):
        assert find_checkpoint(tmp_path / 'nowhere') is None and find_checkpoint(tmp_path) is None

    def test_the_training_goes_on_from_the_one_before(self, folder, run, capsys):
        (run / 'epoch_3.pth').write_bytes(b'')
        assert call(TRAIN, folder / 'tiny.py', '--work-dir', run, '--resume', '--allow-changes') == 0
        assert 'resumed epoch: 2, iter: 10' in capsys.readouterr().out
        assert (run / 'epoch_4.pth').is_file()


def test_one_flipped_bit_is_enough_to_refuse_a_file(run):
    path = run / 'epoch_3.pth'
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        parts = [part for part in archive.infolist() if part.file_size]
    generator = random.Random(0)
    for part in parts:
        # Behind its header: 30 bytes, its name, and what aligns it.
        header = content[part.header_offset : part.header_offset + 30]
        start = part.header_offset + 30 + int.from_bytes(header[26:28], 'little') + int.from_bytes(header[28:30], 'little')
        place, bit = start + generator.randrange(part.file_size), 1 << generator.randrange(8)
        path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        with pytest.raises(ValueError, match='is damaged|cannot be read|is refused'):
            read_checkpoint(path)
    path.write_bytes(content)
    read_checkpoint(path)


NOT_A_NUMBER = torch.full((3, 8), float('nan'))


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(state_dict__tuned_dot_weight=None), 'lacks 1 of the 4 weights of the model, among them tuned.weight'),
        (dict(state_dict__tuned_dot_weight=torch.zeros(3, 3)), 'tuned.weight has the shape (3, 3), expected (3, 8)'),
        (dict(state_dict__tuned_dot_weight=torch.zeros(3, 8, dtype=torch.int8)), 'tuned.weight holds torch.int8, expected'),
        (dict(state_dict__tuned_dot_weight=torch.zeros(3, 8, dtype=torch.complex64)), 'tuned.weight holds torch.complex64'),
        (dict(state_dict__tuned_dot_weight=NOT_A_NUMBER), 'tuned.weight holds values that are no finite numbers'),
        (dict(state_dict__tuned_dot_weight=torch.zeros(1).expand(3, 8)), 'tuned.weight claims more numbers than it holds'),
        (dict(state_dict__tuned_dot_weight='text'), 'tuned.weight is a str, expected a tensor'),
        (dict(state_dict=5), 'has no state_dict with weights; found a int'),
        (dict(state_dict={}), 'found empty'),
        (dict(state_dict=None), 'found missing'),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_whoever_loads_them(folder, run, capsys, changes, message, tmp_path):
    path = change(run / 'epoch_3.pth', **changes)
    assert message in refused(capsys, TEST, folder / 'tiny.py', path, '--work-dir', tmp_path / 't')
    assert message in refused(capsys, TRAIN, folder / 'tiny.py', '--resume', path, '--work-dir', tmp_path / 'w')
    assert message in refused(
        capsys, TRAIN, folder / 'tiny.py', '--work-dir', tmp_path / 'w', '--cfg-options', f'load_from={path}'
    )


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(optimizer=None), 'cannot be resumed: its optimizer is missing'),
        (dict(param_schedulers=None), 'its param_schedulers is missing'),
        (dict(meta=None), 'its meta is missing'),
        (dict(message_hub=5), 'its message_hub is a int'),
        (dict(optimizer='x'), 'its optimizer is a str'),
        (dict(meta__epoch=float('nan')), 'its epoch is nan, expected a whole number'),
        (dict(meta__epoch=-1), 'its epoch is -1'),
        (dict(meta__epoch=10**12), 'epochs, more than train_cfg.max_epochs=4'),
        (dict(meta__epoch='3'), "its epoch is '3'"),
        (dict(meta__iter=None), 'its iter is None'),
        (dict(meta__seed='x'), "its seed is 'x'"),
        (dict(meta__iter=7), 'after 3 epochs of 5 steps, 7 steps cannot have been taken'),
        (dict(message_hub__log_scalars=3), 'log_scalars of its message_hub is a int'),
        (dict(optimizer__param_groups=[]), 'its optimizer has groups of [] weights'),
        (dict(optimizer__state={0: dict(momentum_buffer=torch.zeros(2, 2))}), 'momentum_buffer of weight 0 has the shape (2, 2)'),
        (dict(optimizer__state={0: dict(momentum_buffer=NOT_A_NUMBER)}), 'momentum_buffer of weight 0 holds values that are no'),
        (dict(param_schedulers=['x']), 'one of its param_schedulers is a str'),
    ],
)
def test_what_a_training_needs_to_go_on_is_asked_for(folder, run, capsys, changes, message):
    path = change(run / 'epoch_3.pth', **changes)
    assert message in refused(capsys, TRAIN, folder / 'tiny.py', '--resume', path, '--work-dir', run, '--allow-changes')


class TestOtherConfigs:
    @pytest.mark.parametrize(
        'option, message',
        [
            ('optim_wrapper.optimizer.lr=0.5', 'optim_wrapper.optimizer.lr: 0.1 -> 0.5'),
            ('optim_wrapper.type=DeviceAmpOptimWrapper', "optim_wrapper.type: 'OptimWrapper' -> 'DeviceAmpOptimWrapper'"),
            (
                'train_cfg.max_epochs=8',
                'param_scheduler.1.T_max: 3 -> 8; param_scheduler.1.end: 3 -> 8; train_cfg.max_epochs: 3 -> 8',
            ),
            ('train_dataloader.dataset.length=40', 'train_dataloader.dataset.length: absent -> 40'),
        ],
    )
    def test_a_training_does_not_go_on_as_another_one(self, folder, run, capsys, option, message):
        command = (TRAIN, folder / 'tiny.py', '--work-dir', run, '--resume')
        # Stretched by the flag, as the run itself was.
        options = ('--cfg-options', 'train_cfg.max_epochs=3', option) if 'max_epochs' not in option else ('--cfg-options', option)
        before = (run / 'tiny.py').read_text()
        error = refused(capsys, *command, *options)
        assert f'the training was started under another config: {message}' in error and '--allow-changes' in error
        assert (run / 'tiny.py').read_text() == before  # that of the training, not that of the run that was refused

    def test_changes_can_be_allowed_and_are_listed(self, folder, run, capsys):
        assert (
            call(
                TRAIN,
                folder / 'tiny.py',
                '--work-dir',
                run,
                '--resume',
                '--allow-changes',
                '--cfg-options',
                'train_cfg.max_epochs=4',
            )
            == 0
        )
        output = capsys.readouterr().out
        assert 'the config has changed since the training was started: train_cfg.max_epochs: 3 -> 4' in output
        assert 'learning rates and their schedule go on as the checkpoint has them' in output

    def test_where_things_lie_and_how_often_they_are_looked_at_may_change(self, folder, run, capsys):
        assert (
            call(
                TRAIN,
                folder / 'tiny.py',
                '--work-dir',
                run,
                '--resume',
                '--no-validate',
                '--cfg-options',
                'train_cfg.max_epochs=3',
                'default_hooks.checkpoint.interval=2',
                'log_level=WARNING',
            )
            == 0
        )
        assert 'nothing is left to do' in capsys.readouterr().out

    def test_changes_are_found_by_their_place(self):
        before = dict(
            model=dict(a=[1, dict(b=2)], pretrained='x'),
            train_cfg=dict(max_epochs=3, val_interval=1),
            work_dir='a',
            train_dataloader=dict(batch_size=4, dataset=dict(data_root='/a', seed=1)),
            test_cfg=None,
        )
        now = dict(
            model=dict(a=[1, dict(b=3)], pretrained='y'),
            train_cfg=dict(max_epochs=3, val_interval=2),
            work_dir='b',
            train_dataloader=dict(batch_size=8, dataset=dict(data_root='/b', seed=1)),
            test_cfg=dict(c=1),
        )
        assert [(str(change), change.of_method) for change in changes_between(before, now)] == [
            ('model.a.1.b: 2 -> 3', True),
            ('train_cfg.val_interval: 1 -> 2', False),
            ("test_cfg: absent -> {'c': 1}", False),
        ]
        assert not changes_between(before, before)


def test_a_fresh_start_keeps_the_weights_that_it_was_to_start_from(folder, tmp_path, capsys):
    assert (
        call(
            TRAIN,
            folder / 'tiny.py',
            '--work-dir',
            tmp_path / 'w',
            '--resume',
            '--cfg-options',
            f'load_from={folder / "run" / "epoch_3.pth"}',
            'train_cfg.max_epochs=1',
        )
        == 0
    )
    output = capsys.readouterr().out
    assert '--resume finds no checkpoint' in output and f'from the weights of {folder / "run" / "epoch_3.pth"}' in output
    assert f'Load checkpoint from {folder / "run" / "epoch_3.pth"}' in output and 'resumed epoch' not in output


@pytest.mark.parametrize('at', [(0, 4), (1, 2), (3, 4)])
@pytest.mark.parametrize('options', [(), ('model.dropout=0.5',)])
def test_a_training_goes_on_exactly_from_the_middle_of_an_epoch(folder, tmp_path, monkeypatch, at, options):
    """Checkpoints by iteration: what mmengine would start anew, with a wrong count of iterations."""
    options = ('--cfg-options', 'default_hooks.checkpoint.by_epoch=False', 'default_hooks.checkpoint.interval=3', *options)
    name = 'dropout' if len(options) > 3 else 'plain'
    if not (folder / name).is_dir():
        assert call(TRAIN, folder / 'tiny.py', '--work-dir', folder / name, *options) == 0

    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    monkeypatch.setattr(os, 'kill', kill)
    command = (TRAIN, folder / 'tiny.py', '--work-dir', tmp_path / 'killed')
    with pytest.raises(Killed):
        call(*command, *options, f'model.kill_at={at}')
    monkeypatch.undo()
    assert call(*command, '--resume', *options) == 0
    last = find_checkpoint(tmp_path / 'killed')
    assert last.endswith('iter_20.pth') and equal(folder / name / 'iter_20.pth', last)
    first, second = (torch.load(path, weights_only=True) for path in (folder / name / 'iter_20.pth', last))
    for number, entry in first['optimizer']['state'].items():
        assert torch.equal(entry['momentum_buffer'], second['optimizer']['state'][number]['momentum_buffer'])
    assert first['optimizer']['param_groups'] == second['optimizer']['param_groups']
    if name == 'plain':
        assert equal(folder / 'whole' / 'epoch_4.pth', last)
