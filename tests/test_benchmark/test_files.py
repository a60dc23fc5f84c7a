"""Files that describe what to run: what is no mapping is refused with the file, what was found, what was expected."""

import pytest

from mmpretrain_mps.benchmark.files import read_mapping
from mmpretrain_mps.utils.errors import user_message

KEYS = ('shots', 'seeds')
EXPECTED = 'expected a mapping with some of shots, seeds'


def read(tmp_path, name='grid.yaml', **files):
    """Read a file beside others, of which each is given as ``name_ending=text``."""
    for file, text in files.items():
        (tmp_path / '.'.join(file.rsplit('_', 1))).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_mapping(tmp_path / name, 'grid file', KEYS)


def test_what_a_file_holds_is_read_with_what_it_builds_on(tmp_path, monkeypatch):
    monkeypatch.setenv('MMPRETRAIN_MPS_TRUST', '1')  # one of them is a program
    files = dict(grid_yaml='_base_: [base.json, ./more.py]\n', base_json='{"shots": [1]}', more_py='seeds = [2]')
    assert read(tmp_path, **files) == dict(shots=[1], seeds=[2])
    new = '_base_: base.json\nseeds: {{_base_.shots}}'
    assert read(tmp_path, 'new.yaml', new_yaml=new) == dict(shots=[1], seeds=[1])
    assert read(tmp_path, 'empty.py', empty_py='') == {}


@pytest.mark.parametrize(
    'text, message',
    [
        ('shots: [', 'grid.yaml is no YAML: while parsing a flow node'),
        ('- shots', f'grid.yaml holds a list; {EXPECTED}'),
        ('', f'grid.yaml holds nothing; {EXPECTED}'),
        ('shots', f"grid.yaml holds 'shots'; {EXPECTED}"),
        ('1: 2', f'grid.yaml holds 1; {EXPECTED}'),
        ('shot: 1', "grid.yaml holds 'shot'; expected shots, seeds"),
        (b'shots: \xff', 'grid.yaml is no UTF-8 text'),
        ('_base_: 3', 'grid.yaml: _base_ is 3; expected the path of a file, or a list of them'),
        ('_base_: list.yaml', f'list.yaml holds a list; {EXPECTED}'),
        ('_base_: [bad.json]', 'bad.json is no JSON: Expecting'),
        ('_base_: none.yaml', 'none.yaml, which does not exist'),
        (None, 'grid.yaml does not exist'),
    ],
)
def test_what_is_no_mapping_is_refused_in_one_message(tmp_path, text, message):
    files = dict(list_yaml='- shots', bad_json='{', **({} if text is None else dict(grid_yaml=text)))
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        read(tmp_path, **files)
    # Which the tools show without a traceback.
    assert message in user_message(caught.value) and str(tmp_path) in str(caught.value)


def test_a_file_of_another_form_is_refused(tmp_path):
    with pytest.raises(ValueError, match="grid.toml ends with '.toml'; expected one of .yaml, .yml, .json, .py"):
        read(tmp_path, 'grid.toml', grid_toml='shots = [1]')
