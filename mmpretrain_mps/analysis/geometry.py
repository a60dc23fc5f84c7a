"""Plots of features before and after tuning: Gram matrices and maps."""

import itertools
from functools import partial

import matplotlib
import numpy as np
from matplotlib.colors import CenteredNorm, Normalize
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from ..benchmark.curves import colour_of
from .contents import Plot, Section
from .held_out import HeldOut, even_choice
from .style import MARKERS, draw_matrix, legend_below, panel

GRAM_BEFORE = 'Before tuning: the zero-shot branch. Same colours as after tuning.'
GRAM_AFTER = 'After tuning: the tuned branch.'
GRAM_DIFFERENCE = 'After minus before: blocks on the diagonal are classes.'
GAPS = 'the sizes of gaps mean little'
# More classes than this cannot be named in a panel.
MOST_CLASSES = 20
GRAM_PICTURES = 300
MAP_PICTURES = 600
PERPLEXITY = 30
MAP_INCHES = (4.8, 5.4)
# Where a name may stand beside its star: points away from it, to the right and up.
NAME_DISTANCES = (8, 16, 26, 38)
NAME_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


def gram_section(held_out: HeldOut) -> Section:
    """Draw the Gram matrices before and after tuning, and their difference."""
    chosen = fewer_classes(held_out, GRAM_PICTURES)
    before, after = chosen.zero_shot @ chosen.zero_shot.T, chosen.tuned @ chosen.tuned.T
    low, high = min(before.min(), after.min()), max(before.max(), after.max())
    change = after - before
    same = chosen.labels[:, None] == chosen.labels
    between = '' if same.all() else f', between classes {change[~same].mean():+.4f}'
    text = (
        f'Cosines between the features of {_described(chosen, held_out)}, sorted by class. Mean absolute change '
        f'{np.abs(change).mean():.4f}; mean change within a class {change[same].mean():+.4f}{between}.'
    )
    draw = partial(_draw_gram, chosen, cmap='cividis', norm=Normalize(low, high))
    draw_change = partial(_draw_gram, chosen, cmap='PuOr_r', norm=CenteredNorm())
    plots = [
        Plot('gram-before', GRAM_BEFORE, partial(draw, 'Gram matrix before', before)),
        Plot('gram-after', GRAM_AFTER, partial(draw, 'Gram matrix after', after)),
        Plot('gram-difference', GRAM_DIFFERENCE, partial(draw_change, 'After minus before', change)),
    ]
    return Section('gram', 'Relations of pictures', [text, *plots])


def map_section(held_out: HeldOut, seed: int = 0) -> Section:
    """Draw maps of the features before and after tuning in the same projection; the seed is that of t-SNE."""
    chosen = fewer_classes(held_out, MAP_PICTURES)
    # Texts lie apart from all pictures. A shift that all of them share changes all logits of a picture alike, hence
    # no prediction: it is taken out for the map.
    pictures = np.concatenate([chosen.zero_shot, chosen.tuned])
    present = np.unique(chosen.labels)
    texts = chosen.texts[present]
    points = np.concatenate([pictures, texts - texts.mean(0) + pictures.mean(0)])
    text = (
        f'{_described(chosen, held_out)}, and the texts of their classes (stars). Before and after '
        'share one projection and one scale. Texts are shifted together to the middle of the pictures, which changes no '
        'prediction.'
    )
    count, parts = len(chosen.labels), [text]
    for stem, title, project, caption in (
        ('pca', 'PCA', project_pca, 'two main directions of both sets of features together'),
        ('tsne', 't-SNE', partial(project_tsne, seed=seed), 'neighbourhoods of both sets of features together; ' + GAPS),
    ):
        positions = project(points)
        limits, stars = (positions.min(0), positions.max(0)), positions[2 * count :]
        parts.append(f'{title}: {caption}.')
        for when, own in (('before', positions[:count]), ('after', positions[count : 2 * count])):
            name = f'{title} {when} tuning'
            parts.append(Plot(f'{stem}-{when}', f'{name}.', partial(_draw_map, name, own, stars, chosen, limits)))
    return Section('maps', 'Maps of features', parts)


def project_pca(points: np.ndarray) -> np.ndarray:
    """Project ``(N, D)`` on the two main directions; signs are fixed."""
    return PCA(n_components=2, svd_solver='full').fit_transform(points)


def project_tsne(points: np.ndarray, seed: int = 0) -> np.ndarray:
    """Embed ``(N, D)`` in two dimensions, always the same way for one seed."""
    # Must be smaller than the number of points.
    perplexity = min(PERPLEXITY, max(1, (len(points) - 1) // 3))
    return TSNE(n_components=2, init='pca', perplexity=perplexity, random_state=seed).fit_transform(points)


def fewer_classes(held_out: HeldOut, limit: int) -> HeldOut:
    """Choose so many pictures that a panel can show, of :data:`MOST_CLASSES` classes at most, evenly spread over the labels."""
    present = np.unique(held_out.labels)
    if len(present) > MOST_CLASSES:
        present = present[np.linspace(0, len(present) - 1, MOST_CLASSES).round().astype(int)]
    own = np.flatnonzero(np.isin(held_out.labels, present))
    return held_out.rows(even_choice(own, held_out.labels[own], limit))


def _described(chosen, held_out):
    classes = len(np.unique(chosen.labels))
    all_classes = len(np.unique(held_out.labels))
    some = f' of {all_classes}' if classes < all_classes else ''
    return f'{len(chosen.labels)} of {held_out.total} pictures of {classes}{some} classes'


def _draw_gram(chosen, title, matrix, **looks):
    classes, starts = np.unique(chosen.labels, return_index=True)
    ends = np.append(starts[1:], len(chosen.labels))
    names = [shorten(chosen.class_names[label]) for label in classes]
    figure, axis = draw_matrix(title, matrix, (starts + ends - 1) / 2, names, interpolation='nearest', **looks)
    for start in starts[1:]:
        for line in (axis.axhline, axis.axvline):
            line(start - 0.5, color='#ffffff', linewidth=0.4, alpha=0.6)
    return figure


def _draw_map(title, positions, texts, chosen, limits):
    figure, axis = panel(title, size=MAP_INCHES)
    axis.grid(False)
    classes = np.unique(chosen.labels)
    for index, label in enumerate(classes):
        looks = dict(color=colour_of(index), marker=MARKERS[index % len(MARKERS)], label=shorten(chosen.class_names[label]))
        axis.scatter(*positions[chosen.labels == label].T, s=14, alpha=0.85, linewidths=0, rasterized=True, **looks)
    for index, position in enumerate(texts):
        looks = dict(color=colour_of(index), marker='*', edgecolors=axis.get_facecolor())
        axis.scatter(*position, s=150, linewidths=1, zorder=3, **looks)
    low, high = limits
    room = 0.05 * (high - low)
    axis.set_xlim(low[0] - room[0], high[0] + room[0])
    axis.set_ylim(low[1] - room[1], high[1] + room[1])
    axis.set_xticks([])
    axis.set_yticks([])
    _name_texts(axis, texts, [shorten(chosen.class_names[label]) for label in classes])
    legend_below(figure, axis, columns=4, markerscale=1.6, handlelength=1)
    return figure


def _name_texts(axis, texts, names):
    """Write the class beside each star, where no other star or name is."""
    axis.figure.draw_without_rendering()  # places depend on the layout
    size = matplotlib.rcParams['legend.fontsize']
    unit = axis.figure.dpi / 72
    pixels, inside = axis.transData.transform(texts), axis.get_window_extent()
    taken = [Bbox.from_bounds(x - 5 * unit, y - 5 * unit, 10 * unit, 10 * unit) for x, y in pixels]
    shared = dict(textcoords='axes fraction', fontsize=size, ha='center', va='center', zorder=4)
    shared['arrowprops'] = dict(arrowstyle='-', linewidth=0.6, shrinkA=0, shrinkB=3, color=colour_of(-1))
    shared['path_effects'] = [withStroke(linewidth=2.5, foreground=axis.get_facecolor())]
    for name, star, (x, y) in zip(names, texts, pixels):
        width, height = 0.6 * size * len(name) * unit, 1.1 * size * unit
        boxes = []
        for far, (right, up) in itertools.product(NAME_DISTANCES, NAME_DIRECTIONS):
            left, bottom = x + far * right * unit - (1 - right) * width / 2, y + far * up * unit - (1 - up) * height / 2
            boxes.append(Bbox.from_bounds(left, bottom, width, height))
        free = [box for box in boxes if not box.count_overlaps(taken) and _is_within(box, inside)]
        box = (free or boxes)[0]
        taken.append(box)
        place = axis.transAxes.inverted().transform((box.x0 + width / 2, box.y0 + height / 2))
        axis.annotate(name, star, place, **shared)


def _is_within(box, outer):
    return outer.x0 < box.x0 and box.x1 < outer.x1 and outer.y0 < box.y0 and box.y1 < outer.y1


def shorten(name: str, length: int = 14) -> str:
    """Cut a class name to what a tick or a legend can hold, in the middle: many names differ at one end alone."""
    if len(name) <= length:
        return name
    start = (length - 1) // 2
    return f'{name[:start]}…{name[start + 1 - length :]}'
