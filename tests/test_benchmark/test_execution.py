"""Shares of a grid, and flags that say where it runs."""

import argparse
import sys

import pytest

from mmpretrain_mps.benchmark import execution, slurm
from mmpretrain_mps.benchmark.execution import Execution, Shard, execution_of


def parse(*flags):
    parser = argparse.ArgumentParser()
    execution.add_flags(parser)
    parser.add_argument('--keep-checkpoints', action='store_true')
    return parser.parse_args(flags)


@pytest.mark.parametrize('cells, count', [(7, 3), (6, 3), (2, 5), (0, 2), (4, 1)])
def test_each_cell_is_in_exactly_one_shard_and_shards_are_of_one_size(cells, count):
    shards = [Shard(index, count).of(list(range(cells))) for index in range(1, count + 1)]
    assert sorted(cell for shard in shards for cell in shard) == list(range(cells))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_the_second_of_three_shards_has_every_third_cell_from_the_second_on():
    assert parse('--shard', '2/3').shard.of('abcdefgh') == 'beh' and parse().shard.of('abc') == 'abc'
    assert (Shard(2, 3).name, Shard().name) == ('2-of-3', '')


@pytest.mark.parametrize('text', ['0/3', '4/3', '1', '1/0', '-1/2', 'a/b', '1/2/3', '²/3'])
def test_what_is_no_shard_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        parse(f'--shard={text}')
    assert f'{text!r} is no shard, expected I/N with I from 1 to N, such as 2/4' in capsys.readouterr().err


def test_tables_wait_for_the_results_of_other_shards_and_for_nothing_else():
    told = []
    assert not Execution(Shard(1, 2)).is_complete([{}, None, {}], told.append)
    assert told == ['1 of 3 cells have no result yet: the shard that comes last goes on, or a call without --shard']
    assert Execution(Shard(1, 2)).is_complete([{}, {}], told.append) and Execution().is_complete([{}, None], told.append)


@pytest.fixture
def on_a_cluster(tmp_path, monkeypatch):
    for name in slurm.PROGRAMS:
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--slurm', 'time=10'], '--slurm is for --executor slurm'),
        (['--executor', 'slurm', '--devices', '0'], '--devices is for --executor local; .* by --slurm gpus=1'),
        (['--executor', 'slurm', '--jobs', '0', '--slurm', 'time=1'], 'jobs is 0, expected 1 or more'),
        (['--executor', 'slurm', '--slurm', 'mem=4G'], '--slurm has no time; expected the longest time that one run may take'),
        (['--executor', 'slurm', '--slurm', 'time=1', 'array=0-3'], '--slurm array=0-3: expected a long option of sbatch'),
        (['--executor', 'slurm', '--slurm', 'time=1', 'x mem=4G'], '--slurm x mem=4G: expected a long option'),
    ],
)
def test_flags_that_do_not_go_together_are_refused(on_a_cluster, flags, message):
    with pytest.raises(ValueError, match=message):
        execution_of(parse(*flags))


def test_jobs_of_slurm_are_as_many_as_it_lets_run_unless_told(on_a_cluster):
    flags = ['--executor', 'slurm', '--slurm', 'time=1:00:00', 'gpus=1']
    assert execution_of(parse(*flags))[:4] == (Shard(), (), None, dict(time='1:00:00', gpus='1'))
    assert execution_of(parse(*flags, '--jobs', '3', '--shard', '2/2'))[:3] == (Shard(2, 2), (), 3)


def test_what_slurm_needs_and_is_not_there_is_named(on_a_cluster, monkeypatch):
    arguments = parse('--executor', 'slurm', '--slurm', 'time=1')
    (on_a_cluster / 'sbatch').unlink()
    with pytest.raises(ValueError, match='--executor slurm needs sbatch of Slurm, not found in PATH'):
        execution_of(arguments)
    monkeypatch.setitem(sys.modules, 'submitit', None)
    with pytest.raises(ImportError, match=r"needs the package submitit.*pip install -e '.\[slurm\]'"):
        execution_of(arguments)
