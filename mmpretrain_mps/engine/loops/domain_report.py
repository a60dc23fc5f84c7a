"""The table of a test on several data sets: accuracy, calibration, sensitivity to alpha."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...evaluation.alpha_sweep import SELECTION_WARNING
from ..file_backend import AtomicLocalBackend

FILE_STEM = 'domain_generalization'
# Name of the target that shows the classes which a training on base classes did not see.
NEW_CLASSES = 'new'
HARMONIC_MEAN = 'harmonic_mean'
BRANCHES = {'zero_shot': 'zero-shot', 'tuned': 'tuned', 'fused': 'fused'}
UNITS = (
    'Accuracy and expected calibration error (ECE) in percent. ECE: {bins} bins of equal width over the confidence, '
    'which is the largest softmax probability; |accuracy - mean confidence| of each bin, weighted by its pictures.'
)


class SetResult(NamedTuple):
    """The results on one data set, in percent but for the others."""

    name: str
    dataset: str
    pictures: int
    classes: int
    head: str
    """Where the prototypes came from: ``'source'``, ``'cut'`` or ``'encoded'``."""
    accuracy: dict[str, float]
    ece: dict[str, float]
    alpha_sweep: dict[str, float]
    others: dict[str, float] = {}
    """Figures of further metrics, in their own units."""


class DomainReport:
    """Collects the results of all sets and writes them; the first one is the source.

    Args:
        skipped (dict[str, str]): Targets that were missing or could not be predicted, with the reason.
        checkpoint (str, optional): The tested file.
        alpha (float, optional): Share of the tuned branch in the fused predictions.
        num_bins (int): Bins of the calibration error.
    """

    def __init__(self, skipped: dict[str, str], checkpoint: str | None = None, alpha: float | None = None, num_bins: int = 15):
        self.skipped, self.checkpoint, self.alpha = skipped, checkpoint, alpha
        self.units = UNITS.format(bins=num_bins)
        self.sets: list[SetResult] = []

    def add(self, result: SetResult) -> None:
        """Add the results of one set.

        Args:
            result (SetResult): Of the source first.
        """
        self.sets.append(result)

    def means(self) -> dict[str, float]:
        """Average over sets, each with the same weight.

        Returns:
            dict[str, float]: ``mean_of_targets/...`` and ``mean_of_all/...``; empty without targets. With new classes
            also ``harmonic_mean/accuracy/...`` of the accuracies on base and on new classes.
        """
        if len(self.sets) < 2:
            return {}
        new, base = self._new_classes(), self.sets[0]
        harmonic = (
            {}
            if new is None
            else {
                f'{HARMONIC_MEAN}/accuracy/{branch}': harmonic_mean(base.accuracy[branch], new.accuracy[branch])
                for branch in BRANCHES
            }
        )
        return harmonic | {
            f'{group}/{metric}/{branch}': _mean([getattr(result, metric)[branch] for result in results])
            for group, results in (('mean_of_targets', self.sets[1:]), ('mean_of_all', self.sets))
            for metric in ('accuracy', 'ece')
            for branch in BRANCHES
        }

    def json(self) -> str:
        """Return everything as JSON text."""
        content = dict(
            checkpoint=self.checkpoint,
            alpha=self.alpha,
            units=self.units,
            source=self.sets[0].name,
            sets=[_without(result._asdict(), 'alpha_sweep') for result in self.sets],
            means=self.means(),
            skipped=self.skipped,
            alpha_sweep=dict(use=SELECTION_WARNING, accuracy={result.name: result.alpha_sweep for result in self.sets}),
        )
        return json.dumps(_finite(content), indent=2, ensure_ascii=False) + '\n'

    def csv(self) -> str:
        """Return one line per set, and the means, as CSV text."""
        columns = [f'{metric}_{branch}' for metric in ('accuracy', 'ece') for branch in BRANCHES]
        lines: list[list[Any]] = [['set', 'role', 'dataset', 'pictures', 'classes', 'head', *columns]]
        for role, result in zip(self._roles(), self.sets):
            figures = [getattr(result, metric)[branch] for metric in ('accuracy', 'ece') for branch in BRANCHES]
            lines.append([result.name, role, result.dataset, result.pictures, result.classes, result.head, *figures])
        means = self.means()
        for group in ('mean_of_targets', 'mean_of_all') if means else ():
            figures = [means[f'{group}/{metric}/{branch}'] for metric in ('accuracy', 'ece') for branch in BRANCHES]
            lines.append([group, 'mean', '', '', '', '', *figures])
        return _csv_text(lines)

    def alpha_csv(self) -> str:
        """Return the alpha sweep as CSV text; every line says what it must not be used for."""
        lines: list[list[Any]] = [['use', 'set', 'alpha', 'accuracy']]
        lines += [
            [SELECTION_WARNING, result.name, alpha, accuracy]
            for result in self.sets
            for alpha, accuracy in result.alpha_sweep.items()
        ]
        return _csv_text(lines)

    def markdown(self) -> str:
        """Return the tables as Markdown text: rows are predictions, columns are sets, as papers have it."""
        parts = [
            self.units,
            self._table('accuracy', 'Accuracy'),
            self._table('ece', 'ECE'),
            f'Not for selection ({SELECTION_WARNING}):',
            self._alpha_table(),
        ]
        if any(result.others for result in self.sets):
            parts.append(self._others_table())
        if self.skipped:
            parts.append('\n'.join(['Skipped:', '', *(f'- {name}: {reason}' for name, reason in self.skipped.items())]))
        return '\n\n'.join(parts) + '\n'

    def write(self, folder: str | Path) -> None:
        """Write all files, each in one step.

        Args:
            folder (str | Path): The work folder.
        """
        files, folder = AtomicLocalBackend(), Path(folder)
        files.put_text(self.json(), folder / f'{FILE_STEM}.json')
        files.put_text(self.csv(), folder / f'{FILE_STEM}.csv')
        files.put_text(self.alpha_csv(), folder / f'{FILE_STEM}_alpha_sweep.csv')
        files.put_text(self.markdown(), folder / f'{FILE_STEM}.md')

    def _new_classes(self):
        return next((result for result in self.sets[1:] if result.name == NEW_CLASSES), None)

    def _roles(self):
        return ['source', *['target'] * (len(self.sets) - 1)]

    def _table(self, metric, title):
        names = {**BRANCHES, 'fused': 'fused' if self.alpha is None else f'fused (alpha {self.alpha:g})'}
        rows = []
        for branch, label in names.items():
            values = [getattr(result, metric)[branch] for result in self.sets]
            rows.append([label, *values, *_two_means(values)])
        headings = self._headings()
        new = self._new_classes()
        if new is not None and metric == 'accuracy':
            headings.append('harmonic mean of base and new')
            for branch, row in zip(names, rows):
                row.append(harmonic_mean(self.sets[0].accuracy[branch], new.accuracy[branch]))
        return markdown_table([title, *headings], rows)

    def _alpha_table(self):
        rows = []
        for alpha in self.sets[0].alpha_sweep:
            values = [result.alpha_sweep[alpha] for result in self.sets]
            rows.append([f'alpha {alpha}', *values, *_two_means(values)])
        return markdown_table(['Accuracy', *self._headings()], rows)

    def _others_table(self):
        names = dict.fromkeys(name for result in self.sets for name in result.others)
        # Distances of Gram matrices are small: digits that count, not two behind the point.
        rows = [
            [name, *(f'{result.others[name]:.4g}' if name in result.others else '-' for result in self.sets)] for name in names
        ]
        return markdown_table(['Other figures', *self._set_headings()], rows)

    def _headings(self):
        return self._set_headings() + (['mean of targets', 'mean of all'] if len(self.sets) > 1 else [])

    def _set_headings(self):
        return [f'{self.sets[0].dataset} (source)', *(result.name for result in self.sets[1:])]


def harmonic_mean(first: float, second: float) -> float:
    """Return the harmonic mean of two accuracies, by which papers rank methods from base to new classes.

    Args:
        first (float): Not negative.
        second (float): Not negative.

    Returns:
        float: 0 if both are 0.
    """
    return 2 * first * second / (first + second) if first + second else 0.0


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Lay out a Markdown table whose columns line up, so that it reads well in a terminal too.

    Args:
        headings (Sequence[str]): One per column.
        rows (Sequence[Sequence]): Texts as they are, numbers with two decimals.

    Returns:
        str: The lines.
    """
    texts = [[cell if isinstance(cell, str) else f'{cell:.2f}' for cell in row] for row in rows]
    widths = [max(3, *(len(row[column]) for row in (headings, *texts))) for column in range(len(headings))]
    lines = [
        _line(headings, widths),
        '|'
        + '|'.join('-' * (width + 2) if column == 0 else '-' * (width + 1) + ':' for column, width in enumerate(widths))
        + '|',
    ]
    return '\n'.join(lines + [_line(row, widths) for row in texts])


def _line(cells, widths):
    padded = [cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(cells, widths))]
    return f'| {" | ".join(padded)} |'


def _two_means(values):
    return [_mean(values[1:]), _mean(values)] if len(values) > 1 else []


def _mean(values):
    return sum(values) / len(values)


def _without(dictionary, key):
    return {name: value for name, value in dictionary.items() if name != key}


def _finite(value):
    """Replace what JSON cannot express: a figure that is no number becomes null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv_text(lines):
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(lines)
    return text.getvalue()
