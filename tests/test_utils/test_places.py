"""Configs are found inside an installed package as well as beside it."""

from pathlib import Path

import pytest

from mmpretrain_mps.utils import places


def test_the_package_comes_first_then_the_checkout(tmp_path, monkeypatch):
    inside, beside = tmp_path / 'package' / '.mim' / 'configs', tmp_path / 'configs'
    monkeypatch.setattr(places, 'CONFIG_FOLDERS', (inside, beside))
    beside.mkdir()  # somebody else's
    with pytest.raises(FileNotFoundError, match='a.py was found in none of .*mim/configs, .*configs; install the package'):
        places.find_config('a.py')
    (beside / '_base_').mkdir()
    (beside / 'a.py').write_text('')
    assert places.find_config('a.py') == beside / 'a.py'
    inside.parent.mkdir(parents=True)
    inside.symlink_to(beside)  # as a checkout that is installed in place has it
    assert places.config_folder() == beside
    inside.unlink()
    (inside / '_base_').mkdir(parents=True)
    assert places.config_folder() == inside


def test_a_config_is_named_by_its_path_or_among_those_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = 'mps_mini_16shot_digits.py'
    assert places.existing_config(name) == places.existing_config(f'configs/{name}') == places.config_folder() / name
    (tmp_path / name).write_text('')  # one's own comes first
    assert places.existing_config(name) == Path(name)
    assert places.existing_config(tmp_path / name) == tmp_path / name
    for missing in ('no_such.py', '../configs/' + name):
        with pytest.raises(FileNotFoundError, match=r'grid file .* does not exist \(looked from .*, and among the configs'):
            places.existing_config(missing, 'grid file')
    with pytest.raises(FileNotFoundError, match='no_such.py does not exist$'):
        places.existing_config(tmp_path / 'no_such.py')
    assert places.find_tool('train.py').is_file()
