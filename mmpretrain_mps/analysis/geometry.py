"""Plots of features before and after tuning: Gram matrices and maps."""

import functools

import matplotlib
import numpy as np
from matplotlib.colors import CenteredNorm, Normalize
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from ..benchmark.curves import colour_of
from .contents import Plot, Section
from .held_out import even_choice
from .style import MARKERS, SQUARE_INCHES, legend_below, panel

# More classes than this cannot be named in a panel.
MOST_CLASSES = 20
GRAM_PICTURES = 300
MAP_PICTURES = 600
PERPLEXITY = 30
MAP_INCHES = (4.8, 5.4)
# Where a name may stand beside its star: points away from it, to the right and up.
NAME_DISTANCES = (8, 16, 26, 38)
NAME_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


def gram_section(held_out):
    """Draw the Gram matrices before and after tuning, and their difference.

    Args:
        held_out (HeldOut): Features of pictures.

    Returns:
        Section: Of three plots.
    """
    chosen = fewer_classes(held_out, GRAM_PICTURES)
    before, after = chosen.zero_shot @ chosen.zero_shot.T, chosen.tuned @ chosen.tuned.T
    low, high = (function([function(before), function(after)]) for function in (np.min, np.max))
    change = after - before
    same = chosen.labels[:, None] == chosen.labels
    between = '' if same.all() else f', between classes {change[~same].mean():+.4f}'
    text = (
        f'Cosines between the features of {_described(chosen, held_out)}, sorted by class. Mean absolute change '
        f'{np.abs(change).mean():.4f}; mean change within a class {change[same].mean():+.4f}{between}.'
    )
    shared = dict(cmap='cividis', norm=functools.partial(Normalize, low, high))
    plots = [
        Plot(
            'gram-before',
            'Before tuning: the zero-shot branch. Same colours as after tuning.',
            functools.partial(_draw_gram, 'Gram matrix before', before, chosen, **shared),
        ),
        Plot(
            'gram-after',
            'After tuning: the tuned branch.',
            functools.partial(_draw_gram, 'Gram matrix after', after, chosen, **shared),
        ),
        Plot(
            'gram-difference',
            'After minus before: blocks on the diagonal are classes.',
            functools.partial(_draw_gram, 'After minus before', change, chosen, cmap='PuOr_r', norm=CenteredNorm),
        ),
    ]
    return Section('gram', 'Relations of pictures', [text, *plots])


def map_section(held_out, seed=0):
    """Draw maps of the features before and after tuning in the same projection.

    Args:
        held_out (HeldOut): Features of pictures.
        seed (int): Of t-SNE.

    Returns:
        Section: Two plots of each projection.
    """
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
        (
            'tsne',
            't-SNE',
            functools.partial(project_tsne, seed=seed),
            'neighbourhoods of both sets of features together; the sizes of gaps mean little',
        ),
    ):
        positions = project(points)
        limits = positions.min(0), positions.max(0)
        parts.append(f'{title}: {caption}.')
        for when, label, own in (
            ('before', 'before tuning', positions[:count]),
            ('after', 'after tuning', positions[count : 2 * count]),
        ):
            parts.append(
                Plot(
                    f'{stem}-{when}',
                    f'{title} {label}.',
                    functools.partial(_draw_map, f'{title} {label}', own, positions[2 * count :], chosen, limits),
                )
            )
    return Section('maps', 'Maps of features', parts)


def project_pca(points):
    """Project ``(N, D)`` on the two main directions; signs are fixed."""
    return PCA(n_components=2, svd_solver='full').fit_transform(points)


def project_tsne(points, seed=0):
    """Embed ``(N, D)`` in two dimensions, always the same way for one seed."""
    # Must be smaller than the number of points.
    perplexity = min(PERPLEXITY, max(1, (len(points) - 1) // 3))
    return TSNE(n_components=2, init='pca', perplexity=perplexity, random_state=seed).fit_transform(points)


def fewer_classes(held_out, limit):
    """Choose what a panel can show: some pictures of some classes.

    Args:
        held_out (HeldOut): Features of pictures.
        limit (int): Most pictures.

    Returns:
        HeldOut: At most :data:`MOST_CLASSES` classes, evenly spread over the labels.
    """
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


def _draw_gram(title, matrix, chosen, cmap, norm):
    figure, axis = panel(title, size=SQUARE_INCHES)
    axis.grid(False)
    shown = axis.imshow(matrix, cmap=cmap, norm=norm(), interpolation='nearest')
    classes, starts = np.unique(chosen.labels, return_index=True)
    ends = np.append(starts[1:], len(chosen.labels))
    for start in starts[1:]:
        axis.axhline(start - 0.5, color='#ffffff', linewidth=0.4, alpha=0.6)
        axis.axvline(start - 0.5, color='#ffffff', linewidth=0.4, alpha=0.6)
    names = [shorten(chosen.class_names[label]) for label in classes]
    axis.set_xticks((starts + ends - 1) / 2, names, rotation=90)
    axis.set_yticks((starts + ends - 1) / 2, names)
    axis.tick_params(length=0, labelsize=10)
    figure.colorbar(shown, ax=axis, shrink=0.8, pad=0.02)
    return figure


def _draw_map(title, positions, texts, chosen, limits):
    figure, axis = panel(title, size=MAP_INCHES)
    axis.grid(False)
    classes = np.unique(chosen.labels)
    for index, label in enumerate(classes):
        own = positions[chosen.labels == label]
        axis.scatter(
            *own.T,
            s=14,
            color=colour_of(index),
            marker=MARKERS[index % len(MARKERS)],
            alpha=0.85,
            linewidths=0,
            label=shorten(chosen.class_names[label]),
            rasterized=True,
        )
    for index, position in enumerate(texts):
        axis.scatter(
            *position, s=150, color=colour_of(index), marker='*', edgecolors=axis.get_facecolor(), linewidths=1, zorder=3
        )
    (left, bottom), (right, top) = limits
    axis.set_xlim(left - 0.05 * (right - left), right + 0.05 * (right - left))
    axis.set_ylim(bottom - 0.05 * (top - bottom), top + 0.05 * (top - bottom))
    axis.set_xticks([])
    axis.set_yticks([])
    _name_texts(axis, texts, classes, chosen)
    legend_below(figure, axis, columns=4, markerscale=1.6, handlelength=1)
    return figure


def _name_texts(axis, texts, classes, chosen):
    """Write the class beside each star, where no other star or name is."""
    axis.figure.draw_without_rendering()  # places depend on the layout
    size = matplotlib.rcParams['legend.fontsize']
    pixels = axis.transData.transform(texts)
    unit = axis.figure.dpi / 72
    taken = [Bbox.from_bounds(x - 5 * unit, y - 5 * unit, 10 * unit, 10 * unit) for x, y in pixels]
    for label, (x, y) in zip(classes, pixels):
        name = shorten(chosen.class_names[label])
        width, height = 0.6 * size * len(name) * unit, 1.1 * size * unit
        boxes = [
            Bbox.from_bounds(
                x + far * right * unit - (1 - right) * width / 2, y + far * up * unit - (1 - up) * height / 2, width, height
            )
            for far in NAME_DISTANCES
            for right, up in NAME_DIRECTIONS
        ]
        inside = axis.get_window_extent()
        free = [
            box
            for box in boxes
            if not box.count_overlaps(taken)
            and inside.fully_containsx(box.x0)
            and inside.fully_containsx(box.x1)
            and inside.fully_containsy(box.y0)
            and inside.fully_containsy(box.y1)
        ]
        box = (free or boxes)[0]
        taken.append(box)
        place = axis.transAxes.inverted().transform((box.x0 + width / 2, box.y0 + height / 2))
        axis.annotate(
            name,
            texts[np.flatnonzero(classes == label)[0]],
            place,
            textcoords='axes fraction',
            fontsize=size,
            ha='center',
            va='center',
            zorder=4,
            arrowprops=dict(arrowstyle='-', linewidth=0.6, shrinkA=0, shrinkB=3, color=colour_of(-1)),
            path_effects=[withStroke(linewidth=2.5, foreground=axis.get_facecolor())],
        )


def shorten(name, length=14):
    """Cut a class name to what a tick or a legend can hold, in the middle: many names differ at one end alone."""
    if len(name) <= length:
        return name
    start = (length - 1) // 2
    return f'{name[:start]}…{name[start + 1 - length :]}'
