"""Plots of predictions on pictures that were not trained on: alpha, confusion, calibration."""

from functools import partial

import numpy as np
import torch
from sklearn.metrics import confusion_matrix

from ..evaluation.alpha_sweep import SELECTION_WARNING, AlphaSweep
from ..evaluation.calibration_error import expected_calibration_error
from .contents import Plot, Section, Table
from .geometry import MOST_CLASSES, shorten
from .held_out import HeldOut
from .style import BRANCHES, Line, branch_line, draw_lines, draw_matrix

BINS = 15
FEWEST_IN_BIN = 5
WORST_PAIRS = 8
NUMBERS_UP_TO = 12
_ALPHA = {'convex': 'share', 'additive': 'weight'}


def prediction_section(held_out: HeldOut, alpha: float, fusion: str = 'convex') -> Section:
    """Draw accuracy over alpha, the confusion matrix and the reliability, and list the classes that are confused the most.

    The model predicts with the share or weight ``alpha`` of the tuned branch, see :func:`fuse_logits`.
    """
    matrix = confusion_matrix(held_out.labels, held_out.logits['fused'].argmax(1), labels=np.arange(len(held_out.class_names)))
    about_alpha = (
        f'Accuracy for every {_ALPHA[fusion]} of the tuned branch; the model predicts with {alpha:g}. '
        f'{SELECTION_WARNING.capitalize()}.'
    )
    about_reliability = (
        f'Accuracy of predictions of equal confidence, in {BINS} bins; those of fewer than {FEWEST_IN_BIN} pictures are left out. '
        'Above the diagonal the model is more often right than it says, below less often. ECE: mean gap, weighted by the number of '
        'pictures.'
    )
    about_confusion = 'Rows are true classes, columns predicted ones (fused), in percent of the row.'
    if len(matrix) > MOST_CLASSES:
        about_confusion += f' Shown are the {MOST_CLASSES} of {len(matrix)} classes that are involved in most mistakes.'
    parts = [
        Plot('alpha', about_alpha, partial(_draw_alpha, alpha_sweep(held_out, fusion), alpha, fusion)),
        Plot('reliability', about_reliability, partial(_draw_reliability, held_out)),
        Plot('confusion', about_confusion, partial(_draw_confusion, matrix, held_out)),
    ]
    return Section('predictions', 'Predictions', [*parts, _worst_pairs(matrix, held_out)])


def alpha_sweep(held_out: HeldOut, fusion: str = 'convex') -> dict[float, float]:
    """Return alpha -> accuracy in percent, by :class:`AlphaSweep`."""
    metric = AlphaSweep()
    columns = map(torch.from_numpy, (held_out.labels, held_out.logits['tuned'], held_out.logits['zero_shot']))
    samples = [
        dict(gt_label=label[None], tuned_logits=tuned, zero_shot_logits=zero_shot, fusion=fusion)
        for label, tuned, zero_shot in zip(*columns)
    ]
    metric.process(None, samples)
    return {float(share): accuracy for share, accuracy in metric.compute_metrics(metric.results).items()}


def reliability(confidences: np.ndarray, correct: np.ndarray, bins: int = BINS) -> tuple[np.ndarray, ...]:
    """Compute mean confidence and accuracy in percent of the bins that hold :data:`FEWEST_IN_BIN` pictures or more.

    Confidences ``(N,)`` are 0 to 1; bins are of equal width, each with its upper end.
    """
    number = np.ceil(confidences * bins).clip(1, bins).astype(int) - 1
    counts = np.bincount(number, minlength=bins)
    filled = counts >= FEWEST_IN_BIN
    sums = (np.bincount(number, weights=values, minlength=bins) for values in (confidences, correct))
    return tuple(100 * total[filled] / counts[filled] for total in sums)


def _draw_alpha(sweep, alpha, fusion):
    lines = [Line('', list(sweep), list(sweep.values()), colour=0)]
    figure = draw_lines('Accuracy over alpha', f'alpha: {_ALPHA[fusion]} of the tuned branch', 'accuracy (%)', lines)
    (axis,) = figure.axes
    axis.axvline(alpha, color=axis.xaxis.label.get_color(), linestyle=':', linewidth=1.2)
    looks = dict(xytext=(4, 0), textcoords='offset points', bbox=dict(facecolor=axis.get_facecolor(), edgecolor='none', pad=1))
    axis.annotate(f'alpha {alpha:g}', (alpha, 0.02), xycoords=('data', 'axes fraction'), **looks)
    return figure


def _draw_reliability(held_out):
    lines = []
    for branch, label in BRANCHES.items():
        scores = held_out.probabilities(branch)
        correct = scores.argmax(1) == held_out.labels
        error = 100 * expected_calibration_error(*map(torch.from_numpy, (scores.max(1), correct)), BINS)
        points = reliability(scores.max(1), correct)
        lines.append(branch_line(branch, *points, f'{label}, ECE {error:.1f}'))
    figure = draw_lines('Reliability', 'confidence (%)', 'accuracy (%)', lines)
    (axis,) = figure.axes
    axis.axline((0, 0), slope=1, color=axis.xaxis.label.get_color(), linewidth=0.8, linestyle=':')
    axis.set_xlim(0, 102)
    axis.set_ylim(0, 102)
    return figure


def _draw_confusion(matrix, held_out):
    mistakes = matrix - np.diag(np.diag(matrix))
    involved = mistakes.sum(0) + mistakes.sum(1)
    classes = np.sort(np.argsort(-involved, kind='stable')[:MOST_CLASSES])
    shares = 100 * matrix[np.ix_(classes, classes)] / matrix[classes].sum(1, keepdims=True).clip(1)
    names = [shorten(held_out.class_names[label]) for label in classes]
    looks = dict(labels=('predicted', 'true'), cmap='cividis', vmin=0, vmax=100)
    figure, axis = draw_matrix('Confusion', shares, range(len(names)), names, **looks)
    if len(names) <= NUMBERS_UP_TO:
        for (row, column), share in np.ndenumerate(shares):
            if share:
                colour = '#000000' if share > 50 else '#ffffff'
                axis.text(column, row, f'{share:.0f}', ha='center', va='center', fontsize=9, color=colour)
    return figure


def _worst_pairs(matrix, held_out):
    pairs = [(int(matrix[row, column]), row, column) for row, column in zip(*np.nonzero(matrix)) if row != column]
    pairs.sort(key=lambda pair: (-pair[0], *pair[1:]))
    names, totals = held_out.class_names, matrix.sum(1)
    rows = [
        [names[row], names[column], str(count), f'{100 * count / totals[row]:.1f} %']
        for count, row, column in pairs[:WORST_PAIRS]
    ]
    headings = ['true', 'predicted', 'pictures', 'of the class']
    return Table('Classes that are taken for others the most', headings, rows)
