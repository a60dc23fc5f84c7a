"""The pictograms that the package carries, and how they are read."""

import json
import shutil

import numpy as np
import pytest

from mmpretrain_mps import pictograms
from mmpretrain_mps.pictograms.packages import read_listing


@pytest.fixture
def copy(tmp_path):
    """A folder with a copy of the index and of one sheet."""
    for name in ('pictograms.json', 'emojione-monotone.webp'):
        shutil.copy(pictograms.folder() / name, tmp_path)
    return tmp_path


def test_all_files_together_are_small_and_described():
    sheets = pictograms.index()['sheets']
    listing = read_listing()['styles']
    assert set(sheets) == {style for style, content in listing.items() if content['role'] != 'pretraining'}
    notice = (pictograms.folder() / 'NOTICE.md').read_text(encoding='utf-8')
    for style, sheet in sheets.items():
        assert {key: sheet[key] for key in ('role', 'artist', 'licence')} == {
            key: listing[style][key] for key in ('role', 'artist', 'licence')
        }
        line = next(line for line in notice.splitlines() if line.startswith(f'| `{sheet["file"]}`'))
        assert sheet['licence'].replace('CC-BY-', 'CC BY ') in line
    assert sum(path.stat().st_size for path in pictograms.folder().iterdir() if path.is_file()) < 12e6


def test_no_drawing_is_empty_and_all_belong_to_a_kind():
    index = pictograms.index()
    for style, sheet in index['sheets'].items():
        drawn = pictograms.drawings(style)
        assert list(drawn) == sheet['concepts'] and set(drawn) <= set(index['concepts'])
        assert min(drawing[..., 3].mean() for drawing in drawn.values()) > 0.02 * 255
    assert all(entry['kind'] in index['kinds'] and entry['name'] for entry in index['concepts'].values())


def test_no_concept_of_a_kind_is_in_two_subsets():
    kinds = pictograms.index()['kinds']
    concepts = [concept for parts in kinds.values() for subset in parts.values() for concept in subset]
    assert len(kinds) >= 40 and len(concepts) == len(set(concepts)) == len(pictograms.index()['concepts'])


@pytest.mark.parametrize(
    'damage, message',
    [
        (lambda content: content[:-100], 'emojione-monotone.webp has the SHA-256 .*, expected .*install the package again'),
        (None, 'emojione-monotone.webp cannot be read'),
    ],
)
def test_a_damaged_sheet_is_refused(copy, damage, message):
    sheet = pictograms.read_index(copy)['sheets']['emojione-monotone']
    assert len(pictograms.read_sheet(copy, sheet, 64)) == len(sheet['concepts'])
    path = copy / sheet['file']
    content = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(content))
    with pytest.raises(ValueError, match=message):
        pictograms.read_sheet(copy, sheet, 64)


def test_a_damaged_index_is_refused(copy):
    path = copy / 'pictograms.json'
    content = json.loads(path.read_text(encoding='utf-8'))
    del content['things']
    path.write_text(json.dumps(content), encoding='utf-8')
    with pytest.raises(ValueError, match='pictograms.json lacks things: install the package again'):
        pictograms.read_index(copy)
    path.write_text('{', encoding='utf-8')
    with pytest.raises(ValueError, match='pictograms.json cannot be read'):
        pictograms.read_index(copy)


def test_an_unknown_style_is_refused():
    with pytest.raises(ValueError, match="style is 'apple', expected one of .*twemoji"):
        pictograms.drawings('apple')


def test_drawings_are_shared_and_cannot_be_written_to():
    drawing = next(iter(pictograms.drawings('noto').values()))
    with pytest.raises(ValueError, match='read-only'):
        drawing[0, 0] = 0
    assert drawing.dtype == np.uint8
