"""Configs are found inside an installed package as well as beside it."""

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
