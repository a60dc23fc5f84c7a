"""The page of licences names everything that is shipped or asked for."""

import re
import runpy
from email.message import Message
from unittest import mock

import pytest
from packaging.requirements import Requirement
from tiny_digits import ROOT

TOOL = runpy.run_path(str(ROOT / 'tools' / 'list_licences.py'))
PAGE = (ROOT / 'docs' / 'licences.md').read_text()
PACKAGE = ROOT / 'mmpretrain_mps'


@pytest.fixture(scope='module')
def setup():
    """What setup.py says, without setting anything up."""
    with mock.patch('setuptools.setup') as called:
        runpy.run_path(str(ROOT / 'setup.py'))
    return called.call_args.kwargs


def test_every_direct_dependency_is_listed_with_its_licence(setup):
    asked = {*setup['install_requires'], *(need for needs in setup['extras_require'].values() for need in needs), 'mmcv-lite'}
    rows = {row[0]: row[2] for row in re.findall(r'^\| ([\w-]+) +\| +(\S+) \| +(.+?) \|', PAGE, re.MULTILINE)}
    names = {TOOL['plain'](Requirement(need).name) for need in asked} - {'mmcv'}
    assert names <= set(rows)
    assert [name for name in names if rows[name] in ('does not say', 'not installed where this was made')] == []


def test_all_data_in_the_package_are_listed_with_a_file_that_is_there(setup):
    said = {name.strip(): file for names, _, _, file in TOOL['SHIPPED'] for name in names.split(',')}
    data = {
        path.relative_to(PACKAGE).as_posix()
        for folder in ('mini_clip', 'checkpoints', 'pictograms', 'pictogram_clip')
        for path in (PACKAGE / folder).iterdir()
        if path.is_file() and path.suffix not in ('.py', '.md')
    }
    assert data and data <= set(said) and all(f'`{names}`' in PAGE for names, *_ in TOOL['SHIPPED'])
    licences = {'LICENSE', *(file.removeprefix('mmpretrain_mps/') for file in setup['license_files'])}
    assert set(said.values()) <= licences
    assert all((ROOT / file).is_file() for file in setup['license_files'])


@pytest.mark.parametrize(
    'fields, licence',
    [
        ([('License-Expression', 'MIT'), ('License', 'x')], 'MIT'),
        ([('License', 'BSD')], 'BSD'),
        ([('License', 'Copyright\nand the rest'), ('Classifier', 'License :: OSI Approved :: BSD License')], 'BSD License'),
        ([('License', 'UNKNOWN')], 'does not say'),
    ],
)
def test_a_licence_is_what_the_package_says_in_the_clearest_place(fields, licence):
    about = Message()
    for name, value in fields:
        about[name] = value
    with mock.patch('importlib.metadata.distribution', lambda name: mock.Mock(metadata=about, version='1.0')):
        assert TOOL['described']('any') == ('1.0', licence)
    assert TOOL['described']('no-such-package') == ('-', 'not installed where this was made')


def test_a_licence_that_only_a_file_states_is_told_by_its_text():
    about = Message()
    about['License-File'] = 'LICENSE'
    files = {'licenses/LICENSE': 'Copyright\n\nPermission is hereby granted, free\nof charge, to any person'}
    distribution = mock.Mock(metadata=about, version='1.0', read_text=files.get)
    with mock.patch('importlib.metadata.distribution', lambda name: distribution):
        assert TOOL['described']('any') == ('1.0', 'MIT')
        files['licenses/LICENSE'] = 'Do as you like'
        assert TOOL['described']('any') == ('1.0', 'does not say')


def test_what_packages_need_is_followed_with_their_extras():
    needs = dict(
        ours=['a', 'b[more]; extra == "x"'], a=['c; python_version < "3"'], b=['d; extra == "more"', 'e; extra == "other"']
    )
    with (
        mock.patch('importlib.metadata.requires', lambda name: needs.get(name)),
        mock.patch('importlib.metadata.metadata', lambda name: mock.Mock(get_all=lambda field: ['x'])),
        mock.patch('importlib.metadata.distribution', lambda name: mock.Mock()),
    ):
        assert TOOL['packages_of']('ours') == {'ours', 'a', 'b', 'd'}
