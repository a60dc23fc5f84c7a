from mmpretrain_mps.benchmark.grid import Cell
from mmpretrain_mps.benchmark.progress import Progress, in_words


def cell(shots, seed):
    return Cell('mps_mini.py', '', shots, seed, {}, 'last', False)


def result(training):
    return dict(metrics={'accuracy/fused': 81.234}, seconds=dict(training=training, testing=1.0))


def test_the_time_left_grows_with_the_shots_of_what_is_left():
    lines = []
    cells = [cell(1, 1), cell(1, 2), cell(4, 1), cell(4, 2)]
    progress = Progress(cells, [None] * 4, 2, lines.append)
    assert progress.estimate() is None and lines == ['4 cells, 0 done before, 4 to run, 2 at a time']
    progress.ended(cells[0], result(20.0), 30.0)
    # Another one like it takes 30 s; four times the shots 10 s + 4 * 20 s each; two at a time.
    assert progress.estimate() == (30 + 90 + 90) / 2
    assert lines[-1] == '[1/4] mps_mini, 1 shots, seed 1: 81.23 %, 30 s; about 1 min 45 s left'
    progress.ended(cells[1], None, 5.0, 'exit status 1')
    assert lines[-1].startswith('[2/4] mps_mini, 1 shots, seed 2: FAILED (exit status 1), 5 s; about 1 min 30 s left')


def test_nothing_is_left_at_the_end():
    lines = []
    progress = Progress([cell(1, 1)], [None], 1, lines.append)
    progress.ended(cell(1, 1), result(1.0), 2.0)
    assert lines[-1] == '[1/1] mps_mini, 1 shots, seed 1: 81.23 %, 2 s'


def test_durations_read_as_people_write_them():
    assert [in_words(seconds) for seconds in (0.4, 59.4, 200, 7500)] == ['0 s', '59 s', '3 min 20 s', '2 h 5 min']
