"""mps-clip as somebody types it: real folders, files and figures, and one message for each mistake."""

import csv
import json
import subprocess
import sys
from unittest import mock

import pytest
import torch
from own_pictures import NAMES, write_pictures
from tiny_digits import ROOT, environment

from mmpretrain_mps import cli
from mmpretrain_mps.apis import FewShotClassifier
from mmpretrain_mps.benchmark import execution, own_pictures
from mmpretrain_mps.benchmark.cell_run import read_result, run_cell
from mmpretrain_mps.benchmark.study import read_study

MINI = ('--architecture', 'mps-mini', '--device', 'cpu', '--quiet')


@pytest.fixture(scope='module', autouse=True)
def unformatted():
    """mmengine formats the text of the whole config again and again, which takes longer than these runs."""
    with mock.patch('mmengine.config.config.FormatCode', lambda text, **_: (text, True)):
        yield


def mps_clip(*arguments):
    """Run a command in this process and return its status."""
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    return end.value.code


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp('pictures') / 'mine', 10)


@pytest.fixture(scope='module')
def model(pictures):
    file = pictures.parent / 'model.pth'
    assert (
        mps_clip(
            'train',
            pictures,
            '--out',
            file,
            '--method',
            'clip_adapter',
            '--shots',
            4,
            *MINI,
            '--cfg-options',
            'train_cfg.max_epochs=2',
        )
        == 0
    )
    return file


def rows_of(file):
    return list(csv.DictReader(file.read_text(encoding='utf-8').splitlines()))


def test_training_writes_one_file_and_says_what_to_do_next(pictures, tmp_path, capsys):
    out = tmp_path / 'new.pth'
    flags = ('train', pictures, '--out', out, '--method', 'linear_probe', *MINI)
    assert mps_clip(*flags) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '3 classes: one, three, two' and lines[-1] == f'next: mps-clip predict {out} FOLDER --out out.csv'
    assert [line.split()[0] for line in lines[1:5]] == ['accuracy', 'zero-shot', 'tuned', 'fused']
    assert torch.load(out, weights_only=True)['meta']['few_shot_classifier']['params']['method'] == 'linear_probe'
    assert mps_clip(*flags) == 2 and 'exists; name another file by --out' in capsys.readouterr().err


def test_it_tests_on_what_was_kept(pictures, model, tmp_path, capsys):
    assert mps_clip('test', model, pictures, '--out', tmp_path / 'figures.json', '--quiet') == 0
    figures = json.loads((tmp_path / 'figures.json').read_text())
    assert figures['pictures'] == 9  # 30 % of 30
    assert f'fused      {figures["accuracy/fused"]:7.2f}' in capsys.readouterr().out
    other = write_pictures(tmp_path / 'other', 2, start=40)
    assert mps_clip('test', model, other, '--quiet') == 0 and capsys.readouterr().out.startswith('6 pictures')


def test_a_table_of_predictions_is_sorted_and_names_broken_pictures(model, tmp_path, capsys):
    folder = write_pictures(tmp_path / 'new' / 'deep', 3, start=30)
    (folder / 'one' / 'broken.png').write_bytes(b'\x89PNG\r\n\x1a\n')
    (folder / 'notes.txt').write_text('no picture')
    out = tmp_path / 'out.csv'
    assert mps_clip('predict', model, tmp_path / 'new', '--out', out, '--topk', 2, '--batch-size', 4, '--quiet') == 0
    rows = rows_of(out)
    paths = [row['path'] for row in rows]
    assert paths == sorted(paths) and len(rows) == 10 and paths[0] == 'deep/one/000.png'
    broken = [row for row in rows if row['fault']]
    assert [row['path'] for row in broken] == ['deep/one/broken.png'] and not broken[0]['label']
    shares = [(float(row['probability']), float(row['probability_2'])) for row in rows if not row['fault']]
    assert all(1 >= first >= second >= 0 for first, second in shares)
    printed = capsys.readouterr()
    assert '9 pictures: ' in printed.out and 'cannot be read: deep/one/broken.png' in printed.err
    # In other batches, and one by one.
    assert mps_clip('predict', model, tmp_path / 'new', '--out', tmp_path / 'all.csv', '--quiet') == 0
    assert [row['label'] for row in rows_of(tmp_path / 'all.csv')] == [row['label'] for row in rows]
    assert not list(tmp_path.glob('*.partial'))


def test_zero_shot_prints_accuracy_or_a_table(pictures, tmp_path, capsys):
    assert mps_clip('zero-shot', pictures, *MINI) == 0
    # The log may come first: whether it is quiet depends on what ran before in this process.
    assert '30 pictures of 3 classes\naccuracy         %\nzero-shot' in capsys.readouterr().out
    out = tmp_path / 'out.csv'
    assert mps_clip('zero-shot', pictures, '--classes', *NAMES, 'four', '--out', out, *MINI) == 0
    assert len(rows_of(out)) == 30 and {row['label'] for row in rows_of(out)} <= {*NAMES, 'four'}


def test_a_model_is_exported_for_other_programs(model, pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = tmp_path / 'zero_shot.pth'
    FewShotClassifier('mps-mini', 'embedded', 'zero_shot', device='cpu').fit(class_names=list(NAMES)).save(plain)
    flags = ('export', plain, '--format', 'open_clip', '--device', 'cpu', '--quiet', '--pictures', pictures)
    assert mps_clip(*flags) == 0
    names = ['zero_shot.safetensors', 'zero_shot-classes.safetensors', 'zero_shot-clip.json', 'zero_shot.json']
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in printed] == names and all((tmp_path / name).is_file() for name in names)
    assert printed[0].endswith(' MB)') and json.loads((tmp_path / 'zero_shot.json').read_text())['labels'] == list(NAMES)
    assert mps_clip(*flags) == 2 and 'zero_shot.safetensors exists; name another file by --out' in capsys.readouterr().err
    assert mps_clip(*flags, '--overwrite', '--out', 'zero_shot.safetensors') == 0
    assert mps_clip('export', model, '--format', 'open_clip', '--quiet') == 2
    assert 'clip_adapter cannot be written as a plain CLIP: its adapter' in capsys.readouterr().err
    assert not (tmp_path / 'model.safetensors').exists()


def run_here(folder, cells, devices=('cpu',), jobs=1, resume=True, keep_checkpoints=False, report=None, share=''):
    """Run cells in this process: what starts others is tested elsewhere, and takes longer than these trainings."""
    for cell in cells:
        if read_result(folder, cell) is None:
            run_cell(folder, cell)
    return []


@pytest.mark.slow
def test_methods_are_compared_on_ones_own_pictures(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(execution, 'run_cells', run_here)
    flags = (
        'compare',
        pictures,
        '--methods',
        'linear_probe',
        'tip_adapter',
        '--seeds',
        2,
        '--candidates',
        1,
        '--shots',
        2,
        '--work-dir',
        tmp_path / 'work',
        *MINI,
    )
    assert mps_clip(*flags) == 0
    printed = capsys.readouterr().out
    assert '| method' in printed and 'Take ' in printed and 'on 9 test pictures' in printed
    assert (tmp_path / 'work' / 'compare.md').read_text().strip() in printed
    study = json.loads((tmp_path / 'work' / 'study.json').read_text())
    assert {cell['recipe'] for cell in study['cells']} == {'linear_probe', 'tip_adapter'} and len(study['cells']) == 4
    assert {cell['test_pictures'] for cell in study['cells']} == {9} and {cell['train_pictures'] for cell in study['cells']} == {
        6
    }
    table = rows_of(tmp_path / 'work' / 'pictures.csv')
    counts = {subset: sum(row['split'] == subset for row in table) for subset in ('train', 'val', 'test')}
    assert counts == dict(train=15, val=6, test=9)


def test_all_methods_have_the_same_budget(pictures, tmp_path):
    arguments = cli.parse_arguments(['compare', str(pictures), '--candidates', '3'])
    with (
        mock.patch('mmpretrain_mps.models.loading.clip_loader.reachable', lambda host: False),
        mock.patch('mmpretrain_mps.models.loading.auxiliary.reachable', lambda host: False, create=True),
    ):
        path, left_out = own_pictures.write_study(
            tmp_path, str(pictures), dict(architecture='mps-mini', pretrained='embedded'), arguments
        )
    study = read_study(path)
    assert {method.name for method in study.methods} | {line.split()[0] for line in left_out} == {
        'amu_tuning',
        'clip_adapter',
        'clip_lora',
        'coop',
        'ivlp',
        'linear_probe',
        'mps',
        'promptsrc',
        'tac',
        'tcp',
        'textrefiner',
        'tip_adapter',
        'tip_adapter_f',
    }
    assert study.budget == 3 and study.report['shots'] == [5]
    chosen = {method.name: method.candidates for method in study.methods}
    assert [candidate['model.beta'] for candidate in chosen['tip_adapter']] == [5.5, 1.375, 22.0]
    assert next(method for method in study.methods if method.name == 'tac').options == {'model.num_clusters': 3}


def test_zero_shot_is_in_every_comparison_and_needs_no_training(pictures, tmp_path):
    clip = dict(architecture='mps-mini', pretrained='embedded')
    flags = ['compare', str(pictures), '--methods', 'zero_shot']
    path, _ = own_pictures.write_study(tmp_path, str(pictures), clip, cli.parse_arguments([*flags, 'linear_probe']))
    assert [method.name for method in read_study(path).methods] == ['linear_probe']
    with pytest.raises(ValueError, match='zero_shot alone, which is in every comparison; expected at least one method'):
        own_pictures.write_study(tmp_path, str(pictures), clip, cli.parse_arguments(flags))


def study_of(folder, figures, seconds, zero_shot=70.0):
    """Write what a study leaves behind, with these accuracies by method and seed."""
    cells = [
        dict(
            format='mmpretrain_mps-benchmark-1',
            hash='x',
            config='c.py',
            recipe=name,
            shots=4,
            seed=seed,
            dataset='Mine',
            metrics={'accuracy/fused': value, 'accuracy/zero_shot': zero_shot},
            seconds=dict(training=seconds[name], testing=1.0),
            test_pictures=200,
        )
        for name, values in figures.items()
        for seed, value in enumerate(values)
    ]
    column = dict(metric='accuracy/fused', title='accuracy', better='higher', zero_shot='accuracy/zero_shot', digits=2)
    content = dict(
        format='mmpretrain_mps-study-1',
        study='s',
        baseline=next(iter(figures)),
        selected='',
        trade_off=[],
        columns=[column],
        choices={name: dict(label=name, chosen={}, options={}, candidates=[]) for name in figures},
        summary=[dict(method=name, shots=4, metric='accuracy/fused', mean=0.0) for name in figures],
        claims=[],
        cells=cells,
    )
    (folder / 'study.json').write_text(json.dumps(content))


def test_the_verdict_tells_noise_from_a_lead(tmp_path):
    # b - a: -1, 1, -1: mean -1/3, half width 4.303 * 1.155 / sqrt(3) = 2.87. c - a: -10 each time.
    study_of(tmp_path, dict(a=[90.0, 92.0, 94.0], b=[89.0, 93.0, 93.0], c=[80.0, 82.0, 84.0]), dict(a=60.0, b=5.0, c=1.0))
    table, words = own_pictures.verdict(tmp_path)
    rows = {line.split('|')[1].strip(): [cell.strip() for cell in line.split('|')[2:-1]] for line in table.splitlines()[2:]}
    assert list(rows) == ['a', 'b', 'c', 'zero_shot']
    assert rows['a'] == ['92.00 ± 2.00', '-', 'best', '60 s']
    assert rows['b'][1:3] == ['-0.33 ± 2.87', 'cannot be told'] and rows['c'][1:3] == ['-10.00 ± 0.00', 'worse']
    assert words.splitlines()[:3] == [
        'Take a: 92.00 % on average over 3 draws of the training pictures.',
        'Whether it is better than b cannot be told from noise.',
        'Of these, b takes the least time, and is as good a choice.',
    ]
    assert 'Tested on 200 pictures: one more that is right is 0.50 points' in words
    study_of(tmp_path, dict(a=[90.0, 92.0, 94.0], c=[80.0, 82.0, 84.0]), dict(a=60.0, c=1.0), zero_shot=99.0)
    assert own_pictures.verdict(tmp_path)[1].startswith('Take zero_shot: 99.00 %')
    study_of(tmp_path, dict(a=[90.0, 92.0, 94.0], c=[80.0, 82.0, 84.0]), dict(a=60.0, c=1.0))
    assert 'It is better than all others, beyond what the draws' in own_pictures.verdict(tmp_path)[1]


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('train', '{empty}', *MINI), 'there is no class folder'),
        (('train', '{nowhere}', *MINI), 'nowhere'),
        (('train', '{pictures}', '--method', 'coup', *MINI), "there is no method 'coup'"),
        (('train', '{pictures}', *MINI, '--cfg-options', 'train_cfg.max_epochs=many'), 'expected a number'),
        (('train', '{pictures}', '--shots', '0', *MINI), 'shots is 0, expected a whole number from 1 on'),
        (('predict', '{model}', '{empty}'), 'holds no pictures'),
        (('predict', '{nowhere}', '{pictures}'), 'nowhere does not exist'),
        (('predict', '{model}', '{pictures}', '--topk', '4'), '--topk is 4, expected a number from 1 to 3'),
        (('export', '{model}', '--out', 'model.pt2'), 'model.pt2 does not end in .onnx, as files of the format onnx do'),
        (('compare', '{one}', *MINI), 'expected two or more, with different names'),
        (('zero-shot', '{pictures}', '--out', 'x.csv', *MINI), '--out is for the table of --classes'),
        (('zero-shot', '{pictures}', '--classes', 'tabby', *MINI), "no meaning for 'tabby'"),
    ],
)
def test_each_mistake_is_one_message_and_status_2(pictures, model, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    write_pictures(tmp_path / 'single', 3, names=['one'])
    names = dict(empty=tmp_path / 'empty', nowhere=tmp_path / 'nowhere', pictures=pictures, model=model, one=tmp_path / 'single')
    assert mps_clip(*(part.format(**names) for part in arguments)) == 2
    error = capsys.readouterr().err
    assert message in error and 'Traceback' not in error


def test_it_is_a_module_too():
    done = subprocess.run(
        [sys.executable, '-m', 'mmpretrain_mps', '--help'],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=240,
    )
    assert done.returncode == 0 and 'mps-clip train PICTURES' in done.stdout
