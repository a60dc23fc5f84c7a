"""`pre-commit run --all-files` has nothing to say: linter, formatter, types, figures of the texts."""

import importlib.util
import shutil
import subprocess
import sys

import pytest
from tiny_run import ROOT


def test_every_hook_passes(tmp_path):
    if importlib.util.find_spec('pre_commit') is None or shutil.which('git') is None:
        pytest.skip('needs git and pre-commit')
    listed = subprocess.run(['git', 'ls-files', '-z', '-co', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip('not a clone: hooks look at the files that git knows')
    # Hooks correct files, so that they are given a copy.
    copy = tmp_path / 'copy'
    for name in listed.stdout.split('\0'):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    for command in (['git', 'init', '-q'], ['git', 'add', '-A']):
        subprocess.run(command, cwd=copy, check=True)
    run = [sys.executable, '-m', 'pre_commit', 'run', '--all-files', '--show-diff-on-failure']
    found = subprocess.run(run, cwd=copy, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count('Passed') == 4


def test_files_that_take_long_are_there():
    listed = (ROOT / 'tests' / 'long_files.txt').read_text().splitlines()
    assert listed == sorted(set(listed))
    assert [name for name in listed if not (ROOT / 'tests' / name).is_file()] == []
