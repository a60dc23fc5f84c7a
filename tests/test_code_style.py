"""The linter and the type checker have nothing to say; pyproject.toml has their settings."""
import importlib.util
import subprocess
import sys

import pytest
from tiny_run import ROOT


@pytest.mark.parametrize('tool, arguments', [('ruff', ['check', '.']), ('mypy', [])])
def test_it_has_nothing_to_say(tool, arguments, tmp_path):
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f'{tool} is not installed')
    cache = ['--cache-dir', str(tmp_path)]
    found = subprocess.run([sys.executable, '-m', tool, *arguments, *cache], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
