"""Gram matrices and maps of features: what is drawn is what is computed."""

import numpy as np
import pytest
from reported import drawn, make_held_out

from mmpretrain_mps.analysis.contents import plots_of
from mmpretrain_mps.analysis.geometry import (
    GRAM_PICTURES,
    MOST_CLASSES,
    fewer_classes,
    gram_section,
    map_section,
    project_pca,
    project_tsne,
    shorten,
)
from mmpretrain_mps.analysis.style import render

RIGHT, UP = [1.0, 0.0], [0.0, 1.0]
# Two classes at right angles; tuning has moved the second onto the first.
TURNED = make_held_out([0, 0, 1, 1], [RIGHT, RIGHT, UP, UP], [RIGHT, RIGHT, RIGHT, RIGHT])


def random_held_out(count=30, classes=3, dimensions=4, seed=0, **more):
    rng = np.random.default_rng(seed)
    before, after, texts = (
        rng.normal(size=(count, dimensions)),
        rng.normal(size=(count, dimensions)),
        rng.normal(size=(classes, dimensions)),
    )
    unit = [features / np.linalg.norm(features, axis=1, keepdims=True) for features in (before, after, texts)]
    return make_held_out(np.sort(np.arange(count) % classes), *unit, **more)


def plots(section):
    return {plot.name: plot for plot in plots_of([section])}


def shown_map(plot):
    """Return the positions of the pictures and of the texts."""
    (axis,) = drawn(plot).axes
    pictures, texts = [], []
    for points in axis.collections:
        (texts if points.get_zorder() == 3 else pictures).append(points.get_offsets())
    return np.concatenate(pictures), np.concatenate(texts)


def test_changes_within_and_between_classes_are_those_computed_by_hand():
    # Within a class cosines stay 1; between classes they go from 0 to 1, in half of the 16 pairs.
    text = gram_section(TURNED).parts[0]
    assert 'of 4 of 4 pictures of 2 classes, sorted by class' in text
    assert 'Mean absolute change 0.5000; mean change within a class +0.0000, between classes +1.0000.' in text


def test_matrices_before_and_after_share_their_colours_and_the_difference_has_its_middle_at_zero():
    before, after, difference = (drawn(plot).axes[0] for plot in plots_of([gram_section(TURNED)]))
    same = np.kron(np.eye(2), np.ones((2, 2)))
    assert np.array_equal(before.images[0].get_array(), same)
    assert np.array_equal(after.images[0].get_array(), np.ones((4, 4)))
    assert np.array_equal(difference.images[0].get_array(), 1 - same)
    assert before.images[0].get_clim() == after.images[0].get_clim() == (0, 1)
    low, high = difference.images[0].get_clim()
    assert low == -high
    assert [label.get_text() for label in before.get_yticklabels()] == ['class 0', 'class 1']
    assert list(before.get_yticks()) == [0.5, 2.5]  # the middles of the classes


def test_a_panel_shows_some_of_many_classes_and_equally_many_pictures_of_each():
    many = random_held_out(count=1000, classes=50)
    chosen = fewer_classes(many, GRAM_PICTURES)
    labels, counts = np.unique(chosen.labels, return_counts=True)
    assert len(labels) == MOST_CLASSES and {0, 49} <= set(labels) and set(counts) == {15}
    assert f'{20 * 15} of 1000 pictures of 20 of 50 classes' in gram_section(many).parts[0]
    few = random_held_out()
    assert np.array_equal(fewer_classes(few, 100).tuned, few.tuned)


def test_before_and_after_are_in_one_projection_and_one_scale():
    section = plots(map_section(random_held_out()))
    assert list(section) == ['pca-before', 'pca-after', 'tsne-before', 'tsne-after']
    for stem in ('pca', 'tsne'):
        before, after = (drawn(section[f'{stem}-{when}']).axes[0] for when in ('before', 'after'))
        assert before.get_xlim() == after.get_xlim() and before.get_ylim() == after.get_ylim()
        assert np.array_equal(shown_map(section[f'{stem}-before'])[1], shown_map(section[f'{stem}-after'])[1])
    # What has not moved lies where it was.
    still = random_held_out()
    section = plots(map_section(still._replace(tuned=still.zero_shot)))
    assert np.allclose(*(shown_map(section[f'pca-{when}'])[0] for when in ('before', 'after')))


def test_texts_lie_in_the_middle_of_the_pictures_wherever_they_lay():
    held_out = random_held_out()
    near, far = (plots(map_section(held_out._replace(texts=held_out.texts + shift))) for shift in (0, 100))
    for name in ('pca-before', 'pca-after'):
        assert np.allclose(shown_map(near[name])[0], shown_map(far[name])[0])
        assert np.allclose(shown_map(near[name])[1], shown_map(far[name])[1])
    pictures = np.concatenate([shown_map(near['pca-before'])[0], shown_map(near['pca-after'])[0]])
    assert np.allclose(pictures.mean(0), shown_map(near['pca-before'])[1].mean(0))


def test_main_directions_are_found():
    # Spread of 3 along (0, 1), of 1 along (1, 0): the first coordinate is the second entry, up to its sign.
    points = np.array([[0.0, 3.0], [0.0, -3.0], [1.0, 0.0], [-1.0, 0.0]])
    assert np.allclose(np.abs(project_pca(points)), [[3, 0], [3, 0], [0, 1], [0, 1]])
    assert np.array_equal(project_pca(points), project_pca(points))


def test_neighbourhoods_are_embedded_always_alike_and_of_few_points_too():
    points = np.random.default_rng(0).normal(size=(12, 4))
    assert np.array_equal(project_tsne(points, seed=1), project_tsne(points, seed=1))
    assert project_tsne(points[:3]).shape == (3, 2)


@pytest.mark.filterwarnings('error')
def test_two_pictures_of_one_class_are_enough_for_every_plot():
    held_out = make_held_out([0, 0], [RIGHT, UP], [RIGHT, RIGHT])
    for section in (gram_section(held_out), map_section(held_out)):
        for plot in plots_of([section]):
            assert render(plot, 'light', 'png').startswith(b'\x89PNG')
    # Cosines go from 0 to 1 in two of the four pairs; there are no two classes to tell of.
    assert gram_section(held_out).parts[0].endswith('Mean absolute change 0.5000; mean change within a class +0.5000.')


def test_names_stand_as_they_are_beside_their_texts_and_in_the_legend():
    names = ('<b>&"', '$1_$ to $2', 'a name of many words')
    (axis,) = drawn(plots(map_section(random_held_out(class_names=names)))['pca-after']).axes
    (legend,) = axis.figure.legends
    shown = ['<b>&"', '$1_$ to $2', 'a name…y words']
    assert [text.get_text() for text in legend.get_texts()] == shown
    assert [text.get_text() for text in axis.texts] == shown
    assert not any(text.get_parse_math() for text in [*legend.get_texts(), *axis.texts])


@pytest.mark.parametrize(
    'name, shown',
    [
        ('fourteen signs', 'fourteen signs'),
        ('capital letter A', 'capita…etter A'),
        ('capital letter B', 'capita…etter B'),
        ('', ''),
    ],
)
def test_long_names_are_cut_so_that_both_ends_tell_them_apart(name, shown):
    assert shorten(name) == shown and len(shorten(name)) <= 14
