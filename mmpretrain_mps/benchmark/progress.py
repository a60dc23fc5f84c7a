"""Lines that say how far a grid is."""

import statistics
from collections import defaultdict
from collections.abc import Sequence

from .cell_process import Report
from .grid import Cell


class Progress:
    """Counts all cells of a grid, some of them done before, and estimates the time left from those that this run finishes."""

    def __init__(self, cells: Sequence[Cell], results: Sequence[dict | None], jobs: int, report: Report):
        self.total, self.jobs, self.report = len(cells), jobs, report
        self.left = [cell for cell, result in zip(cells, results) if result is None]
        # Of cells that are alike: seconds in all, and those that grow with the shots.
        self.seconds = defaultdict(list)
        done = self.total - len(self.left)
        report(f'{self.total} cells, {done} done before, {len(self.left)} to run, {jobs} at a time')

    def ended(self, cell: Cell, result: dict | None, seconds: float, reason: str | None = None) -> None:
        """Report a cell that ended after so many seconds, or failed for a reason, without a result."""
        self.left.remove(cell)
        if result is None:
            outcome = f'FAILED ({reason})'
        else:
            self.seconds[_kind(cell), cell.shots].append((seconds, min(seconds, result['seconds']['training'])))
            fused = result['metrics'].get('accuracy/fused')
            outcome = 'done' if fused is None else f'{fused:.2f} %'
        count = f'{self.total - len(self.left):>{len(str(self.total))}}/{self.total}'
        self.report(f'[{count}] {cell.name}: {outcome}, {in_words(seconds)}{self._time_left()}')

    def alive(self, running: int, waiting: int) -> None:
        """Report that nothing ended for a while: how many cells run, and how many have not started."""
        self.report(f'{running} running, {waiting} waiting{self._time_left()}')

    def estimate(self) -> float | None:
        """Estimate the seconds until all cells are done; None before the first cell of this run is done."""
        return sum(map(self._expected, self.left)) / min(self.jobs, max(1, len(self.left))) if self.seconds else None

    def _time_left(self):
        return f'; about {in_words(self.estimate())} left' if self.left and self.seconds else ''

    def _expected(self, cell):
        """Return the expected seconds of a cell: as its like, else with the training in proportion to the shots."""
        kind = _kind(cell)
        same_kind = [key for key in self.seconds if key[0] == kind] or list(self.seconds)
        nearest = min(same_kind, key=lambda key: abs(key[1] - cell.shots))
        alike = nearest == (kind, cell.shots)
        factor = 1 if alike else max(1, cell.shots / max(1, nearest[1]))
        return statistics.mean(seconds + training * (factor - 1) for seconds, training in self.seconds[nearest])


def _kind(cell):
    return cell.config, cell.method


def in_words(seconds: float) -> str:
    """Write a duration as people do, like ``'42 s'``, ``'3 min 20 s'`` or ``'2 h 5 min'``."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f'{rest} s'
    return f'{minutes} min {rest} s' if minutes < 60 else f'{minutes // 60} h {minutes % 60} min'
