"""Lines that say how far a grid is."""

import statistics
from collections import defaultdict


class Progress:
    """Counts cells and estimates the time left from those that this run has finished.

    Args:
        cells (Sequence[Cell]): All of the grid.
        results (Sequence[dict | None]): Those that were done before.
        jobs (int): Processes at a time.
        report (Callable[[str], None]): Gets the lines.
    """

    def __init__(self, cells, results, jobs, report):
        self.total, self.jobs, self.report = len(cells), jobs, report
        self.left = [cell for cell, result in zip(cells, results) if result is None]
        self.seconds = defaultdict(list)
        done = self.total - len(self.left)
        report(f'{self.total} cells, {done} done before, {len(self.left)} to run, {jobs} at a time')

    def ended(self, cell, result, seconds, reason=None):
        """Report a cell that ended.

        Args:
            cell (Cell): Of the grid.
            result (dict | None): None if it failed.
            seconds (float): How long it took.
            reason (str, optional): Why it failed.
        """
        self.left.remove(cell)
        if result is None:
            outcome = f'FAILED ({reason})'
        else:
            self.seconds[(cell.config, cell.method), cell.shots].append((seconds, min(seconds, result['seconds']['training'])))
            fused = result['metrics'].get('accuracy/fused')
            outcome = 'done' if fused is None else f'{fused:.2f} %'
        count = self.total - len(self.left)
        self.report(
            f'[{count:>{len(str(self.total))}}/{self.total}] {cell.name}: {outcome}, {in_words(seconds)}{self._time_left()}'
        )

    def alive(self, running, waiting):
        """Report that nothing ended for a while.

        Args:
            running (int): Cells that run.
            waiting (int): Cells that have not started.
        """
        self.report(f'{running} running, {waiting} waiting{self._time_left()}')

    def _time_left(self):
        estimate = self.estimate()
        return '' if not self.left or estimate is None else f'; about {in_words(estimate)} left'

    def estimate(self):
        """Estimate the time until all cells are done.

        Returns:
            float | None: Seconds; None before the first cell of this run is done.
        """
        if not self.seconds:
            return None
        return sum(map(self._expected, self.left)) / min(self.jobs, max(1, len(self.left)))

    def _expected(self, cell):
        """Return the expected seconds of a cell: as its like, else with the training in proportion to the shots."""
        group = cell.config, cell.method
        like = self.seconds.get((group, cell.shots))
        if like:
            return statistics.mean(seconds for seconds, _ in like)
        same_config = [key for key in self.seconds if key[0] == group] or list(self.seconds)
        nearest = min(same_config, key=lambda key: abs(key[1] - cell.shots))
        factor = max(1, cell.shots / max(1, nearest[1]))
        return statistics.mean(seconds + training * (factor - 1) for seconds, training in self.seconds[nearest])


def in_words(seconds):
    """Write a duration as people do.

    Args:
        seconds (float): Not negative.

    Returns:
        str: Like ``'42 s'``, ``'3 min 20 s'`` or ``'2 h 5 min'``.
    """
    seconds = round(seconds)
    if seconds < 60:
        return f'{seconds} s'
    minutes, rest = divmod(seconds, 60)
    return f'{minutes} min {rest} s' if minutes < 60 else f'{minutes // 60} h {minutes % 60} min'
