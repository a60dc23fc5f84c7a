"""A small build from made-up packages, from the archives to the files."""

import numpy as np
import pytest
from tiny_emoji import CONCEPTS, make_packages, squares

from mmpretrain_mps.pictograms import read_index, read_sheet
from mmpretrain_mps.pictograms.building import Kinds, build, read_kinds
from mmpretrain_mps.pictograms.packages import read_listing

ONE_KIND = Kinds(dict(all=CONCEPTS), (), {})
KINDS = Kinds(dict(left=CONCEPTS[:10], right=CONCEPTS[10:]), ('right',), {'flag': dict(groups=['Flags'])})


def built(folder, change=lambda icons: None, kinds=KINDS, pretraining=None):
    folder.mkdir(exist_ok=True)
    return build(folder, folder / 'out', make_packages(folder, change), kinds, pretraining)


def test_kinds_are_divided_by_concept_and_things_by_artist(tmp_path):
    index = built(tmp_path)
    assert set(index['concepts']) == set(CONCEPTS) and index['left_out']['emoji'] == {'flag': ['a-flag']}
    for kind, concepts in KINDS.kinds.items():
        parts = index['kinds'][kind]
        # Three artists draw each: six concepts are 18 pictures, two are six.
        assert {part: len(members) for part, members in parts.items()} == dict(train=6, val=2, test=2)
        assert sorted(sum(parts.values(), [])) == concepts
    tested = {concept for parts in index['kinds'].values() for concept in parts['test']}
    assert {style: set(shown) for style, shown in index['shown'].items()} == dict.fromkeys(('old', 'strange', 'line'), tested)
    assert list(index['things']) == CONCEPTS[:10]
    for styles in index['things'].values():
        assert styles['val'] == ['old'] and sorted(styles['train'] + styles['test']) == ['first', 'second', 'third']
    assert len({styles['test'][0] for styles in index['things'].values()}) == 3


def test_the_same_packages_give_the_same_files(tmp_path):
    files = []
    for name in ('one', 'two'):
        built(tmp_path / name)
        files.append({path.name: path.read_bytes() for path in sorted((tmp_path / name / 'out').iterdir())})
    assert files[0] == files[1] and set(files[0]) == {
        'pictograms.json',
        *(f'{style}.webp' for style in ('first', 'second', 'third', 'old', 'strange', 'line')),
    }


def test_sheets_hold_the_drawings(tmp_path):
    index = built(tmp_path)
    assert read_index(tmp_path / 'out')['kinds'] == index['kinds']
    drawings = read_sheet(tmp_path / 'out', index['sheets']['first'], 64)
    assert set(drawings) == set(CONCEPTS)
    # 60 units are 64 pixels; a cell of 10 units lies where the icon has it, in opaque black.
    drawing = drawings['thing-a']
    assert drawing.shape == (64, 64, 4) and not drawing[..., :3].any()
    centres = drawing[5::11, 5::11, 3][:6, :6] > 128
    rows = [[f'M{x * 10} {y * 10}h' in squares('first thing-a') for x in range(6)] for y in range(6)]
    np.testing.assert_array_equal(centres, rows)


def test_what_is_empty_cut_off_or_missing_is_no_drawing(tmp_path):
    def change(icons):
        icons['first']['thing-a'] = ''
        icons['second']['thing-b'] = '<path d="M30 30h60v20h-60z"/>'
        icons['third']['thing-c'] = '<this is no svg'
        del icons['first']['thing-d'], icons['second']['thing-d']

    index = built(tmp_path, change, ONE_KIND)
    left_out = index['left_out']
    assert left_out['drawings']['first'] == {'empty, or not to be rendered': ['thing-a']}
    assert left_out['drawings']['second'] == {'cut off at the border': ['thing-b']}
    assert left_out['drawings']['third'] == {'empty, or not to be rendered': ['thing-c']}
    assert left_out['emoji']['drawn by less than two artists of the source'] == ['thing-d']
    assert not {'thing-a', 'thing-b', 'thing-c', 'thing-d'} & set(index['things'])
    assert 'thing-a' not in index['sheets']['first']['concepts'] and 'thing-d' not in index['concepts']


def test_doubles_are_told(tmp_path):
    def change(icons):
        icons['second']['thing-j'] = icons['second']['thing-a']  # another concept, drawn the same
        for concept in CONCEPTS[:5]:
            icons['old'][concept] = icons['first'][concept]  # older versions that are no others
        icons['learnt']['thing-k'] = icons['line']['thing-k']  # a picture of a pre-training that is tested on

    index = built(tmp_path, change, ONE_KIND, tmp_path / 'learnt')
    assert index['left_out']['emoji']['drawn like thing-a'] == ['thing-j'] and 'thing-j' not in index['concepts']
    tested = index['kinds']['all']['test']
    assert index['shown']['old'] == [concept for concept in tested if concept not in CONCEPTS[:5]] != tested
    assert index['shown']['line'] == tested and not set(CONCEPTS[:5]) & set(index['things'])
    other = read_index(tmp_path / 'learnt')
    assert other['left_out']['drawings']['learnt'] == {'looks like a drawing of the tests': ['thing-k']}
    assert list(other['sheets']) == ['learnt']
    assert set(other['sheets']['learnt']['concepts']) == set(CONCEPTS) - {'thing-k'}


def test_other_names_of_an_icon_are_found(tmp_path):
    def change(icons):
        icons['first']['ThingA-2'] = icons['first'].pop('thing-a')  # written otherwise, and numbered
        icons['second']['rat'] = icons['second'].pop('thing-a')  # Unicode's own name of U+1F400

    assert 'thing-a' in built(tmp_path, change)['things']


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(ValueError, match='kinds.yaml names thing-z, expected names of Unicode'):
        built(tmp_path, kinds=KINDS._replace(kinds=dict(left=['thing-z'])))
    with pytest.raises(ValueError, match='the kind "left" has 4 concepts, too few for 16 pictures'):
        built(tmp_path, kinds=KINDS._replace(kinds=dict(left=CONCEPTS[:4])))
    listing = make_packages(tmp_path)
    (tmp_path / 'old.tgz').write_bytes(b'another')
    with pytest.raises(ValueError, match='old.tgz has the SHA-256 .*, expected .*: fetch the version'):
        build(tmp_path, tmp_path / 'out', listing, KINDS)
    (tmp_path / 'old.tgz').unlink()
    with pytest.raises(FileNotFoundError, match='old.tgz does not exist; fetch it .*npm pack'):
        build(tmp_path, tmp_path / 'out', listing, KINDS)
    (tmp_path / 'kinds.yaml').write_text('{kinds: {bird: duck, boat: duck canoe}}')
    with pytest.raises(ValueError, match='kinds.yaml names duck more than once'):
        read_kinds(tmp_path / 'kinds.yaml')


def test_no_artist_is_in_pre_training_and_in_a_test_and_no_licence_is_share_alike():
    styles = read_listing()['styles'].values()
    artists = {role: {style['artist'] for style in styles if (style['role'] == 'pretraining') == role} for role in (True, False)}
    assert not artists[True] & artists[False]
    assert {style['licence'] for style in styles} == {'Apache-2.0', 'CC-BY-4.0', 'MIT'}
