"""Files from elsewhere start nothing but parts of this project, mmengine and mmpretrain, unless the user says so."""

import argparse
import os
import time

import pytest
from payloads import plain_yaml, python
from tiny_digits import CONFIG_FOLDER

from mmpretrain_mps.benchmark.grid import read_grid_file
from mmpretrain_mps.utils import trust
from mmpretrain_mps.utils.config_files import read_config_file, read_config_text, read_data
from mmpretrain_mps.utils.trust import add_trust_flag, check_names


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder on the search path of modules, with a module that leaves the mark; nothing is trusted."""
    monkeypatch.delenv(trust.VARIABLE, raising=False)
    python(tmp_path / 'evil_module.py', tmp_path / 'mark')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / 'mark').exists()


@pytest.mark.parametrize(
    'content, place',
    [
        (dict(custom_hooks=[dict(type='os.system', command='touch mark')]), "custom_hooks.0.type is 'os.system'"),
        (dict(model=dict(type='evil_module')), "model.type is 'evil_module'"),
        (dict(model=dict(type='evil_module.Model')), "model.type is 'evil_module.Model'"),
        (
            dict(model=dict(head=dict(type='mmengine.utils.import_modules_from_strings', imports='evil_module'))),
            "model.head.type is 'mmengine.utils.import_modules_from_strings'",
        ),
        (dict(model=dict(type='mmpretrain.evil.X')), "model.type is 'mmpretrain.evil.X'"),
        (dict(custom_imports=dict(imports=['mmpretrain_mps', 'evil_module'])), "custom_imports.imports.1 imports 'evil_module'"),
        (dict(custom_imports=dict(imports='evil_module')), "custom_imports.imports imports 'evil_module'"),
        (dict(default_scope='evil_module'), "default_scope is 'evil_module'"),
        (dict(model=dict(type='MPSCLIPClassifier', _scope_='evil_module')), "model._scope_ is 'evil_module'"),
        (dict(optim_wrapper=dict(constructor='evil_module')), "optim_wrapper.constructor is 'evil_module'"),
        (dict(hook=dict(ema_type='evil_module')), "hook.ema_type is 'evil_module'"),
        ({'cfg_options': {'model.type': 'evil_module.M'}}, "cfg_options.model.type is 'evil_module.M'"),
        ({'recipes': {'x': {'custom_imports.imports': ['evil_module']}}}, "imports 'evil_module'"),
    ],
)
def test_names_of_code_from_elsewhere_are_refused_wherever_they_stand(tmp_path, content, place, monkeypatch):
    with pytest.raises(ValueError, match='If you trust it, say so with --trust') as caught:
        check_names(content, 'file.yaml')
    assert str(caught.value).startswith('file.yaml: ') and place in str(caught.value)
    with pytest.raises(ValueError, match='If you trust it'):
        read_config_file(plain_yaml(tmp_path / 'config.yaml', content))
    with pytest.raises(ValueError, match='If you trust it'):
        read_config_file(plain_yaml(tmp_path / 'config.json', content))
    monkeypatch.setenv(trust.VARIABLE, '1')
    check_names(content, 'file.yaml')


def test_parts_of_the_three_projects_are_no_strangers():
    check_names(
        dict(
            default_scope='mmpretrain',
            custom_imports=dict(imports=['mmpretrain_mps'], allow_failed_imports=False),
            model=dict(type='MPSCLIPClassifier', head=dict(type='mmpretrain.LinearClsHead'), out_type='cls_token'),
            optim_wrapper=dict(
                type='OptimWrapper', constructor='TrainableOptimWrapperConstructor', optimizer=dict(type='SGD', lr=1)
            ),
            pipeline=[dict(type='LoadRGBImage'), dict(type='torchvision/RandomCrop'), dict(type='mmengine.EMAHook')],
            loader=dict(collate_fn=dict(type='default_collate')),
        ),
        'x',
    )
    for path in CONFIG_FOLDER.glob('**/*.yaml'):
        if 'studies' not in path.parts:
            read_grid_file(path)


def test_programs_that_data_names_are_not_run(tmp_path, monkeypatch):
    python(tmp_path / 'evil.py', tmp_path / 'mark')
    for content in (
        dict(configs=['evil.py']),
        dict(methods=['evil.py']),
        dict(_base_='evil.py'),
        dict(_base_=['../' + tmp_path.name + '/evil.py']),
    ):
        with pytest.raises(ValueError, match='names .*evil.py, which is a program and would be run'):
            read_grid_file(plain_yaml(tmp_path / 'grid.yaml', content))
    plain_yaml(tmp_path / 'base.yaml', dict(_base_='evil.py'))
    with pytest.raises(ValueError, match='base.yaml names .*evil.py'):
        read_config_file(plain_yaml(tmp_path / 'config.json', dict(_base_='base.yaml')))
    os.symlink(tmp_path / 'evil.py', tmp_path / 'mps_mini.py')
    with pytest.raises(ValueError, match='would be run'):
        read_data(plain_yaml(tmp_path / 'grid.yaml', dict(_base_='mps_mini.py')))
    with pytest.raises(ValueError, match="_base_ is 'evil_module::x.py'; expected a file, or a config of one of"):
        read_data(plain_yaml(tmp_path / 'grid.yaml', dict(_base_='evil_module::x.py')))


def test_configs_of_this_project_may_be_built_on(tmp_path):
    config = CONFIG_FOLDER / 'mps_mini_16shot_digits.py'
    path = plain_yaml(tmp_path / 'mine.json', dict(_base_=str(config), num_shots=4, model=dict(head=dict(alpha=0.25))))
    found = read_config_file(path)
    assert found.model.head.alpha == 0.25 and found.model.type == 'MPSCLIPClassifier' and found.num_shots == 4
    with pytest.raises(ValueError, match='mine.json: .* stand in several of the files that it builds on'):
        read_config_file(plain_yaml(path, dict(_base_=[str(config), str(config)])))


def test_a_tag_of_python_is_no_data(tmp_path):
    for name in ('grid.yaml', 'config.yml'):
        (tmp_path / name).write_text(f'cfg_options: !!python/object/apply:os.mkdir ["{tmp_path / "mark"}"]\n')
        with pytest.raises(ValueError, match='is no YAML of plain data'):
            read_config_file(tmp_path / name)
        with pytest.raises(ValueError, match='is no YAML of plain data'):
            read_grid_file(tmp_path / name)


def test_values_of_bases_are_filled_in_and_other_placeholders_refused(tmp_path):
    plain_yaml(tmp_path / 'base.json', dict(a=dict(b=[1, 2]), c='x'))
    (tmp_path / 'new.yaml').write_text('_base_: base.json\nd: {{_base_.a.b}}\ne: ["{{ _base_.c }}"]\n')
    assert read_data(tmp_path / 'new.yaml') == dict(a=dict(b=[1, 2]), c='x', d=[1, 2], e=['x'])
    (tmp_path / 'new.yaml').write_text('_base_: base.json\nd: {{_base_.none}}\n')
    with pytest.raises(ValueError, match="nothing that it builds on has 'none'"):
        read_data(tmp_path / 'new.yaml')
    for placeholder in ('{{$HOME:x}}', '{{ fileDirname }}'):
        (tmp_path / 'new.yaml').write_text(f'd: "{placeholder}"\n')
        with pytest.raises(ValueError, match='files that are data may hold'):
            read_data(tmp_path / 'new.yaml')


def test_programs_that_build_on_themselves_end_at_once(tmp_path):
    (tmp_path / 'a.py').write_text("_base_ = ['b.py']\n")
    (tmp_path / 'b.py').write_text("_base_ = './a.py'\n")
    start = time.monotonic()
    with pytest.raises(ValueError, match='config .*a.py cannot be read: it builds on itself'):
        read_config_file(tmp_path / 'a.py')
    assert time.monotonic() - start < 2


def test_names_that_no_system_takes_are_files_that_do_not_exist(tmp_path):
    plain_yaml(tmp_path / 'a.yaml', dict(_base_='x' * 3000))
    with pytest.raises(FileNotFoundError, match='builds on .*x, which does not exist'):
        read_data(tmp_path / 'a.yaml')
    with pytest.raises(FileNotFoundError, match='does not exist'):
        read_config_file('x' * 3000)


def test_files_that_build_on_themselves_end(tmp_path):
    plain_yaml(tmp_path / 'a.yaml', dict(_base_='b.yaml'))
    plain_yaml(tmp_path / 'b.yaml', dict(_base_='a.yaml'))
    with pytest.raises(ValueError, match=r'builds on itself \(a.yaml -> b.yaml -> a.yaml\)'):
        read_data(tmp_path / 'a.yaml')


@pytest.mark.parametrize(
    'text, value',
    [
        (
            "a = dict(b=[1, (2., -3)], c={'x-y': None}, d=dict())\ne = 'text'\nf = inf\n",
            dict(a=dict(b=[1, (2.0, -3)], c={'x-y': None}, d={}), e='text', f=float('inf')),
        ),
        ('', {}),
    ],
)
def test_the_text_of_a_config_is_read(text, value):
    assert read_config_text(text, 'x') == value


@pytest.mark.parametrize(
    'text',
    [
        "a = __import__('os').mkdir('mark')",
        'import evil_module',
        'a = open("mark", "w")',
        'a = [x for x in (1, )]',
        'a = dict(**{"b": 1})',
        "a = dict([('b', 1)])",
        "a = f'{1}'",
        'def f(): pass',
        'a.b = 1',
        'a = b',
        "_base_ = 'x.py'; x()",
        'a = ' + '[' * 5000,
        'a = ' + '-' * 100000 + '1',
        'a = (',
        '\0',
        'a = -dict()',
        'a = {[1]: 2}',
    ],
)
def test_the_text_of_a_program_is_refused_and_not_run(text):
    with pytest.raises(ValueError, match='is no config as mmengine writes it, and is not run'):
        read_config_text(text, 'config.py')


def test_what_mmengine_writes_is_read_back():
    for name in ('mps_mini_16shot_digits', 'mps_vitb16_16shot_imagenet_crossdata', 'mps_mini_4shot_letters'):
        config = read_config_file(CONFIG_FOLDER / f'{name}.py')
        assert read_config_text(config.pretty_text, name) == config.to_dict()


@pytest.mark.parametrize(
    'text, message',
    [
        ('a = (', 'SyntaxError'),
        ("_base_ = 'none.py'", 'FileNotFoundError'),
        ('a = 1 / 0', 'ZeroDivisionError'),
        (b'a = "\xe4"', 'UnicodeDecodeError|SyntaxError'),
    ],
)
def test_a_program_that_fails_is_one_message(tmp_path, text, message):
    (tmp_path / 'config.py').write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=f'config .*config.py cannot be read: ({message})'):
        read_config_file(tmp_path / 'config.py')


def test_the_flag_holds_for_the_process_and_those_that_it_starts(monkeypatch):
    parser = argparse.ArgumentParser()
    add_trust_flag(parser)
    monkeypatch.setenv(trust.VARIABLE, '0')
    parser.parse_args([])
    assert not trust.is_trusting()
    parser.parse_args(['--trust'])
    assert trust.is_trusting() and os.environ[trust.VARIABLE] == '1'
