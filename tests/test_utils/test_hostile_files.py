"""Wherever a file, a folder or an address can be given, code in it is not run."""

import json
import os
import time
from pathlib import Path

import pytest
import torch
from payloads import pickles, plain_yaml, python, serving, torchscript
from tiny_clip import save_tiny_clip
from tiny_run import ROOT, call, write_config

from mmpretrain_mps.analysis.work_dir import read_work_dir
from mmpretrain_mps.apis import MPSInferencer
from mmpretrain_mps.datasets.folder_listing import list_class_folders
from mmpretrain_mps.engine.resuming import find_checkpoint
from mmpretrain_mps.models.caches.prototype_cache import cached_prototypes
from mmpretrain_mps.models.loading.clip_loader import load_clip
from mmpretrain_mps.models.loading.names import TORCHSCRIPT
from mmpretrain_mps.utils import trust
from mmpretrain_mps.utils.checkpoint import read_checkpoint
from mmpretrain_mps.utils.errors import user_message
from mmpretrain_mps.utils.fetching import local_checkpoint
from mmpretrain_mps.utils.places import config_folder

TOOLS = ROOT / 'tools'
TRAIN, TEST, GRID = TOOLS / 'train.py', TOOLS / 'test.py', TOOLS / 'fewshot_benchmark.py'
FORMS = ('zip.pth', 'legacy.pth', 'raw.pth')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A tiny config, a finished run of it, and the payloads."""
    folder = tmp_path_factory.mktemp('hostile')
    write_config(folder)
    assert call(TRAIN, folder / 'tiny.py', '--work-dir', folder / 'run', '--cfg-options', 'train_cfg.max_epochs=2') == 0
    pickles(folder, folder / 'mark')
    torchscript(folder / 'evil.pt', folder / 'mark')
    python(folder / 'evil.py', folder / 'mark')
    return folder


@pytest.fixture(autouse=True)
def unmarked(folder, monkeypatch):
    """Nothing is trusted, and nothing runs."""
    monkeypatch.delenv(trust.VARIABLE, raising=False)
    monkeypatch.chdir(folder)
    yield
    assert not (folder / 'mark').exists()


@pytest.fixture(params=[False, True], ids=['', 'forced'])
def default(request, monkeypatch):
    """What reads checkpoints is tried as it is, and where the environment asks torch for its old, unsafe default."""
    if request.param:
        monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')


def refused(capsys, script, *arguments):
    """Run a tool and return the one line that it refuses its input with."""
    assert call(script, *arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.split('\n') if line.startswith('error: ')]
    return line


@pytest.mark.parametrize('form', FORMS)
def test_checkpoints(folder, capsys, form, tmp_path, default):
    path = folder / form
    expected = 'is refused: it is not plain data|cannot be read'
    for command in (
        (TEST, 'tiny.py', path),
        (TRAIN, 'tiny.py', '--resume', path),
        (TRAIN, 'tiny.py', '--cfg-options', f'load_from={path}'),
    ):
        assert any(part in refused(capsys, *command, '--work-dir', tmp_path / 'w') for part in expected.split('|'))
    with pytest.raises(ValueError, match=expected):
        read_checkpoint(path)


@pytest.mark.parametrize('form', ['zip.pth', 'raw.pth'])
def test_checkpoints_by_address(folder, capsys, form, tmp_path, default):
    with serving(folder) as address:
        for command in (
            (TEST, 'tiny.py', f'{address}/{form}'),
            (TRAIN, 'tiny.py', '--resume', f'{address}/{form}'),
            (TRAIN, 'tiny.py', '--cfg-options', f'load_from={address}/{form}'),
        ):
            line = refused(capsys, *command, '--work-dir', tmp_path / 'w')
            assert 'is refused: it is not plain data' in line or 'cannot be read' in line
        with pytest.raises(ValueError, match='is refused|cannot be read'):
            MPSInferencer('tiny.py', f'{address}/{form}')


def test_a_folder_that_looks_like_an_address(folder, capsys, tmp_path):
    for scheme in ('http:', 'DIR:', 'open-mmlab:'):
        (tmp_path / scheme).mkdir()
        (tmp_path / scheme / 'evil.pth').write_bytes((folder / 'zip.pth').read_bytes())
        assert 'is refused' in refused(capsys, TEST, 'tiny.py', f'{tmp_path}/{scheme}//evil.pth', '--work-dir', tmp_path / 'w')
        os.chdir(tmp_path)
        assert 'is refused' in refused(capsys, TEST, folder / 'tiny.py', f'{scheme}//evil.pth', '--work-dir', tmp_path / 'w')
    os.chdir(folder)
    for name in ('s3://bucket/x.pth', 'open-mmlab://resnet50', 'modelzoo://x', 'ftp://x/y.pth', 'file:///x.pth'):
        assert 'expected a file, or an address of http or https' in refused(capsys, TEST, 'tiny.py', name)


@pytest.mark.parametrize('form', FORMS)
def test_a_work_folder_to_resume_in(folder, capsys, form, tmp_path):
    (tmp_path / 'epoch_3.pth').write_bytes((folder / form).read_bytes())
    for note in (None, 'epoch_3.pth', str(tmp_path / 'epoch_3.pth'), str(folder / form)):
        if note:
            (tmp_path / 'last_checkpoint').write_text(note)
        assert 'none that can be read' in refused(capsys, TRAIN, 'tiny.py', '--work-dir', tmp_path, '--resume')
    # A whole checkpoint behind it is gone on from.
    os.link(folder / 'run' / 'epoch_2.pth', tmp_path / 'epoch_2.pth')
    assert find_checkpoint(tmp_path) == str(tmp_path / 'epoch_2.pth')


def test_the_config_in_a_checkpoint(folder, tmp_path, default):
    content = torch.load(folder / 'run' / 'epoch_2.pth', weights_only=True)
    for key in ('config', 'cfg'):
        content['meta'][key] = f'import os\nos.mkdir({str(folder / "mark")!r})\n'
    torch.save(content, tmp_path / 'plain.pth')
    assert (
        call(
            TRAIN,
            'tiny.py',
            '--work-dir',
            tmp_path / 'w',
            '--resume',
            tmp_path / 'plain.pth',
            '--cfg-options',
            'train_cfg.max_epochs=3',
        )
        == 0
    )
    assert (tmp_path / 'w' / 'epoch_3.pth').is_file()


def test_weights_that_a_part_of_the_config_starts_from(folder, capsys, tmp_path):
    with serving(folder) as address:
        for path in (folder / 'zip.pth', f'{address}/zip.pth'):
            option = f"model.init_cfg={{'type': 'Pretrained', 'checkpoint': '{path}'}}"
            assert 'is refused' in refused(capsys, TRAIN, 'tiny.py', '--work-dir', tmp_path / 'w', '--cfg-options', option)


@pytest.mark.parametrize('form', ['zip.pth', 'evil.pt', 'evil.bin', 'evil.npy'])
def test_pretrained_weights(folder, form, monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    path = folder / form
    if not path.exists():
        path.write_bytes((folder / 'zip.pth').read_bytes())
    with pytest.raises(ValueError) as caught:
        load_clip('ViT-B-32', str(path))
    # What torch advises would undo the protection.
    assert user_message(caught.value) and 'weights_only' not in str(caught.value)


def test_torchscript_is_run_only_when_asked_for(folder, tmp_path):
    mark = tmp_path / 'ran'
    path = torchscript(tmp_path / 'other.pt', mark)
    with pytest.raises(ValueError, match='a program that runs when it is read, and none that OpenAI published; .*torchscript:'):
        load_clip('ViT-B-32', str(path))
    assert not mark.exists()
    with pytest.raises(ValueError, match='could not be loaded'):
        load_clip('ViT-B-32', f'{TORCHSCRIPT}{path}')
    assert mark.exists()  # so the payload is one


@pytest.mark.parametrize('form', ['zip.pth', 'raw.pth'])
def test_the_weights_of_a_model_folder(folder, form, tmp_path):
    name = save_tiny_clip(tmp_path / 'clip')
    (tmp_path / 'clip' / 'open_clip_model.safetensors').unlink()
    (tmp_path / 'clip' / 'open_clip_pytorch_model.bin').write_bytes((folder / form).read_bytes())
    with pytest.raises(ValueError):
        load_clip(name, None)


CONTENTS = [
    dict(custom_hooks=[dict(type='os.system', command='mkdir mark')]),
    dict(custom_imports=dict(imports=['evil'])),
    dict(model=dict(type='evil')),
    dict(default_scope='evil'),
    dict(_base_='evil.py'),
]


@pytest.mark.parametrize(
    'content, name', [(content, f'config.{ending}') for content, ending in zip(CONTENTS, ('yaml', 'json', 'yml', 'json', 'yaml'))]
)
def test_configs_that_are_data(folder, capsys, content, name, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    plain_yaml(folder / name, content)
    assert 'If you trust it' in refused(capsys, TRAIN, name, '--work-dir', folder / 'w')
    assert 'If you trust it' in refused(capsys, TEST, name, folder / 'run' / 'epoch_2.pth')
    with pytest.raises(ValueError, match='If you trust it'):
        MPSInferencer(name, 'run/epoch_2.pth')


@pytest.mark.parametrize(
    'content',
    [
        dict(configs=['evil.py']),
        dict(methods=['evil.py']),
        dict(_base_='evil.py'),
        dict(cfg_options=dict(custom_hooks=[dict(type='os.system', command='mkdir mark')])),
        dict(recipes=dict(x={'custom_imports.imports': ['evil']})),
    ],
)
def test_grids(folder, capsys, content, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    plain_yaml(folder / 'grid.yaml', content)
    assert 'If you trust it' in refused(capsys, GRID, '--grid', 'grid.yaml', '--dry-run')


def test_a_name_leads_to_no_program_outside_the_configs_of_the_package(folder, capsys, monkeypatch):
    outside = os.path.relpath(folder / 'evil.py', config_folder())
    (folder / 'elsewhere').mkdir(exist_ok=True)
    monkeypatch.chdir(folder / 'elsewhere')
    for content in (dict(configs=[outside]), dict(_base_=outside)):
        plain_yaml(folder / 'elsewhere' / 'grid.yaml', content)
        assert 'does not exist' in refused(capsys, GRID, '--grid', 'grid.yaml', '--dry-run')
    assert 'does not exist' in refused(capsys, TRAIN, outside)


def test_studies(folder, capsys):
    study = dict(
        config='evil.py',
        baseline='a',
        selection=dict(shots=1, seeds=[1], metric='m'),
        report=dict(shots=[1], seeds=[2]),
        methods=dict(a=dict(candidates=[{}])),
        columns=[dict(metric='m', title='m')],
    )
    plain_yaml(folder / 'study.yaml', study)
    assert 'If you trust it' in refused(capsys, TOOLS / 'compare_methods.py', 'study.yaml')
    (folder / 'tagged.yaml').write_text('title: !!python/object/apply:os.mkdir [mark]\n')
    for command in (
        (TOOLS / 'compare_methods.py', 'tagged.yaml'),
        (GRID, '--grid', 'tagged.yaml', '--dry-run'),
        (TRAIN, 'tagged.yaml'),
    ):
        assert 'is no YAML of plain data' in refused(capsys, *command)


@pytest.mark.parametrize('script', ['report.py', 'plots.py'])
@pytest.mark.parametrize('flags', [(), ('--no-model',)])
def test_work_folders_that_are_looked_at(folder, tmp_path, script, flags, capsys, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    python(tmp_path / 'x.py', folder / 'mark')
    (tmp_path / 'epoch_1.pth').write_bytes((folder / 'zip.pth').read_bytes())
    call(TOOLS / 'analysis' / script, tmp_path, *flags)
    assert 'is not run' in read_work_dir(tmp_path).missing['config']
    # Text that mmengine could have written, of a model that is none.
    (tmp_path / 'x.py').write_text("custom_imports = dict(imports=['evil'])\nmodel = dict(type='evil')\n")
    call(TOOLS / 'analysis' / script, tmp_path, *flags)
    assert read_work_dir(tmp_path).config.model.type == 'evil'


def test_parity_reads_no_pickles(folder, capsys):
    assert call(TOOLS / 'check_parity.py', folder / 'zip.pth') not in (0, None)
    capsys.readouterr()


def test_pipes_and_devices_are_not_waited_for(folder, capsys, tmp_path):
    for name in ('pipe.pth', 'pipe.yaml', 'pipe.py', 'last_checkpoint'):
        os.mkfifo(tmp_path / name)
    start = time.monotonic()
    assert 'is a named pipe' in refused(capsys, TEST, 'tiny.py', tmp_path / 'pipe.pth')
    assert 'is a named pipe' in refused(capsys, TRAIN, 'tiny.py', '--resume', tmp_path / 'pipe.pth', '--work-dir', folder / 'w')
    assert 'does not exist' in refused(capsys, TRAIN, tmp_path / 'pipe.yaml')
    assert 'is a device' in refused(capsys, TEST, 'tiny.py', '/dev/zero')
    assert find_checkpoint(tmp_path) is None
    assert read_work_dir(tmp_path).config is None
    assert time.monotonic() - start < 60
    capsys.readouterr()


@pytest.mark.parametrize('form', FORMS)
def test_caches(folder, capsys, tmp_path, monkeypatch, form):
    """Whoever writes to a cache gives files any name: those of prototypes, checkpoints, listings of folders."""
    monkeypatch.setenv('MMPRETRAIN_MPS_CACHE', str(tmp_path))
    evil = (folder / form).read_bytes()
    clip = load_clip(save_tiny_clip(tmp_path / 'clip'), None)
    first = cached_prototypes(clip.model, clip.make_tokenizer(), ['cat', 'dog'], ['{}'])
    (kept,) = (tmp_path / 'prototypes').iterdir()
    kept.write_bytes(evil)
    assert torch.equal(cached_prototypes(clip.model, clip.make_tokenizer(), ['cat', 'dog'], ['{}']), first)
    with serving(folder / 'run') as address:
        fetched = Path(local_checkpoint(f'{address}/epoch_2.pth'))
        fetched.write_bytes(evil)
    # The server is gone, so that what is in the cache is taken, and looked at.
    assert any(part in refused(capsys, TEST, 'tiny.py', f'{address}/epoch_2.pth') for part in ('is refused', 'cannot be read'))
    (tmp_path / 'pictures' / 'a').mkdir(parents=True)
    (tmp_path / 'pictures' / 'a' / '0.jpg').write_bytes(b'')
    listing = list_class_folders(str(tmp_path / 'pictures'), str(tmp_path / 'listings'))
    for file in (tmp_path / 'listings').iterdir():
        file.write_bytes(evil)
    assert list_class_folders(str(tmp_path / 'pictures'), str(tmp_path / 'listings')) == listing


@pytest.mark.parametrize('name', ['results.json', 'study.json', 'result.json', 'domain_generalization.json', 'scalars.json'])
@pytest.mark.parametrize('form', ['tag', 'type', 'pickle'])
def test_results_that_are_shown(folder, tmp_path, name, form, capsys):
    content = dict(
        tag=b'!!python/object/apply:os.mkdir [mark]',
        pickle=(folder / 'raw.pth').read_bytes(),
        type=json.dumps(
            dict(
                format='mmpretrain_mps-study-1',
                type='os.mkdir',
                cells=[dict(type='os.mkdir')],
                custom_imports=dict(imports=['evil']),
            )
        ).encode(),
    )[form]
    for place in (tmp_path, tmp_path / 'cell' / 'run', tmp_path / 'run' / 'vis_data'):
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    for script in ('report.py', 'plots.py'):
        assert call(TOOLS / 'analysis' / script, tmp_path, '--no-model') in (0, 2)
    capsys.readouterr()


def test_lists_of_pictures(folder, tmp_path):
    """A split, a table, names and picks that hold YAML tags, or are pickles."""
    from mmpretrain_mps.datasets import index_file
    from mmpretrain_mps.datasets.picture_lists import read_class_file, read_table
    from mmpretrain_mps.datasets.split_readers import load_json_split

    readers = dict(
        json=(load_json_split, index_file.read),
        csv=(lambda path: read_table(path, str(tmp_path)),),
        yaml=(lambda path: read_class_file(path, ['a'], 'here'),),
    )
    for content in (
        b'!!python/object/apply:os.mkdir [mark]',
        (folder / 'raw.pth').read_bytes(),
        (folder / 'zip.pth').read_bytes(),
    ):
        for ending, functions in readers.items():
            (tmp_path / f'x.{ending}').write_bytes(content)
            for read in functions:
                with pytest.raises(ValueError):
                    read(str(tmp_path / f'x.{ending}'))
