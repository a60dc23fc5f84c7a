"""Fonts, glyphs, shapes and drawn digits."""

import numpy as np
import pytest

from mmpretrain_mps.mini_clip import concepts, handwriting, rendering


def test_heldout_families_are_no_training_families():
    # Read from the tables: the training fonts need an extra to be installed.
    families = [
        {family for _, rows in table.values() for family, *_ in rows} for table in (rendering._TRAINING, rendering._HELD_OUT)
    ]
    assert not families[0] & families[1]
    files = [
        {name for _, rows in table.values() for _, names, _ in rows for name in names}
        for table in (rendering._TRAINING, rendering._HELD_OUT)
    ]
    assert not files[0] & files[1]


def test_heldout_glyphs_depend_on_the_seed_only():
    names = concepts.DIGIT_NAMES[:3]
    np.random.seed(0)
    images, labels = rendering.render_heldout_glyphs(names, 2, seed=5)
    np.random.seed(1)
    again, labels_again = rendering.render_heldout_glyphs(names, 2, seed=5)
    other, _ = rendering.render_heldout_glyphs(names, 2, seed=6)
    assert np.array_equal(images, again)
    assert np.array_equal(labels, labels_again)
    assert not np.array_equal(images, other)


def test_heldout_glyphs_have_the_promised_form_and_count():
    images, labels = rendering.render_heldout_glyphs(['seven', 'capital letter q'], per_font=3)
    faces = rendering.font_faces('held_out')
    assert images.dtype == np.uint8
    assert images.shape == (2 * 3 * len(faces), 32, 32, 3)
    assert labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [3 * len(faces)] * 2
    assert (images.reshape(len(images), -1).max(1) > 128).all()


def test_concepts_of_the_held_out_fonts_are_those_that_can_be_rendered():
    assert rendering.heldout_concepts('digits') == concepts.DIGIT_NAMES
    assert len(rendering.heldout_concepts('letters')) == 52
    names = set(concepts.glyph_characters('symbols'))
    drawable = rendering.heldout_concepts('symbols')
    assert set(drawable) < names
    for name in sorted(names - set(drawable)):
        with pytest.raises(ValueError, match='no held-out font can draw'):
            rendering.render_heldout_glyphs([name], 1)
    _, labels = rendering.render_heldout_glyphs(drawable, per_font=1)
    assert set(labels) == set(range(len(drawable)))


def test_glyph_is_centred_with_the_longer_side_as_asked():
    face = rendering.font_faces('held_out')[0]
    ink = rendering.render_glyph(face, '1', size=40, fill=0.8) > 64
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    assert abs(len(rows) - 32) <= 1
    assert abs((columns[0] + columns[-1]) / 2 - 19.5) <= 1


def test_character_without_a_glyph_is_refused():
    face = next(f for f in rendering.font_faces('held_out') if f.family == 'Computer Modern')
    with pytest.raises(ValueError, match='cannot draw'):
        rendering.render_glyph(face, 'Ж')


@pytest.mark.parametrize(
    'names, per_font, message',
    [
        (['circle'], 1, 'not the name of a glyph'),
        (['zero'], 0, 'at least 1'),
    ],
)
def test_heldout_glyphs_refuse_bad_requests(names, per_font, message):
    with pytest.raises(ValueError, match=message):
        rendering.render_heldout_glyphs(names, per_font)


def test_unknown_font_split_is_refused():
    with pytest.raises(ValueError, match="'train', 'train_basic' or 'held_out'"):
        rendering.font_faces('test')


def test_basic_training_fonts_need_no_package_and_are_no_test_fonts():
    families = {face.family for face in rendering.font_faces('train_basic')}
    assert families == {'DejaVu Sans', 'DejaVu Sans Mono', 'STIX General'}


def test_missing_font_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(rendering, 'find_spec', lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'\[pretrain\]'):
        rendering.font_faces('train')


@pytest.mark.parametrize('name', concepts.SHAPE_NAMES)
def test_shape_is_drawn_and_repeats_with_its_seed(name):
    first, second = (rendering.render_shape(name, np.random.default_rng(3)) for _ in range(2))
    assert first.shape == (32, 32)
    assert np.array_equal(first, second)
    assert (first > 128).sum() > 20


def test_ring_has_a_hole_and_circle_has_none():
    rng = np.random.default_rng(0)
    assert rendering.render_shape('ring', rng)[16, 16] == 0
    assert rendering.render_shape('circle', rng)[16, 16] == 255


def test_unknown_shape_is_refused():
    with pytest.raises(ValueError, match='known: circle'):
        rendering.render_shape('blob', np.random.default_rng(0))


@pytest.mark.parametrize('digit', range(10))
def test_drawn_digit_stays_inside_and_repeats_with_its_seed(digit):
    for seed in range(20):
        picture = handwriting.draw_digit(digit, np.random.default_rng(seed))
        again = handwriting.draw_digit(digit, np.random.default_rng(seed))
        assert np.array_equal(picture, again)
        assert picture.max() == 255
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert border.max() == 0


def test_digit_outside_the_range_is_refused():
    with pytest.raises(ValueError, match='0 to 9'):
        handwriting.draw_digit(10, np.random.default_rng(0))


def test_smooth_strokes_pass_through_their_control_points():
    points = np.array([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0]])
    curve = handwriting._catmull_rom(points, 5)
    assert np.allclose(curve[[0, 2, 4]], points)
