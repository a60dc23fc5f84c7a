"""Pictures that are none, that are elsewhere, that are there twice, or that would fill the memory."""

import io
import os
import struct
import time
import zlib
from functools import partial

import numpy as np
import pytest
from benchmark_trees import put
from PIL import Image

from mmpretrain_mps.datasets import base, pictures
from mmpretrain_mps.datasets.picture_files import MAX_PIXELS, open_picture
from mmpretrain_mps.datasets.transforms import LoadRGBImage

PictureFolder = partial(pictures.PictureFolder, serialize_data=False)
PictureTable = partial(pictures.PictureTable, serialize_data=False)
EPS = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n'


def encoded(kind='JPEG', size=(32, 32), **options):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind, **options)
    return file.getvalue()


def png_header(width, height):
    """A PNG that says how large it is, and ends where its pixels start."""
    part = b'IHDR' + struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0)
    header = b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + part + struct.pack('>I', zlib.crc32(part))
    return header + struct.pack('>I', 1000) + b'IDAT'


@pytest.fixture
def tree(tmp_path):
    """A folder with three pictures of cat and dog to train on and two to test on."""
    for subset, count in (('train', 3), ('test', 2)):
        for name in ('cat', 'dog'):
            for number in range(count):
                put(str(tmp_path / 'tree' / subset / name / f'{number}.jpg'), encoded())
    return tmp_path / 'tree'


def size_of(tree, subset='train', **arguments):
    return len(PictureFolder(data_root=str(tree), subset=subset, **arguments))


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A program called gs that leaves a mark when it is started."""
    mark = tmp_path / 'started'
    for name in ('gs', 'gswin32c', 'gswin64c'):
        program = tmp_path / 'bin' / name
        put(str(program), f'#!/bin/sh\ntouch {mark}\n')
        program.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path / "bin"}{os.pathsep}{os.environ["PATH"]}')
    return mark


@pytest.mark.parametrize('name', ['bad.jpg', 'bad.png', 'bad.tif'])
def test_postscript_under_another_name_starts_no_program(tree, ghostscript, name):
    Image.open(io.BytesIO(EPS))  # Pillow itself takes it for a picture
    path = put(str(tree / 'train' / 'cat' / name), EPS)
    with pytest.raises(ValueError, match=rf'{name} \(content of no picture\)'):
        size_of(tree)
    assert size_of(tree, skip_invalid=True) == 6
    with pytest.raises(ValueError, match='cannot be read as a picture: UnidentifiedImageError'):
        LoadRGBImage()(dict(img_path=path))
    with pytest.raises(ValueError, match='cannot be read as a picture'):
        LoadRGBImage()(dict(img=EPS))
    assert not ghostscript.exists()


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP', 'GIF', 'TIFF', 'WEBP', 'JPEG2000', 'TGA', 'PPM', 'MPO'])
def test_the_formats_that_people_keep_are_read(kind):
    assert LoadRGBImage()(dict(img=encoded(kind)))['img'].shape == (32, 32, 3)


def test_large_pictures_are_refused_before_they_are_decoded(tree):
    path = put(str(tree / 'train' / 'cat' / 'bomb.png'), png_header(11000, 11000))
    start = time.monotonic()
    with pytest.raises(ValueError, match=r'bomb.png \(11000 x 11000 pixels are more than max_pixels=100000000'):
        size_of(tree)
    assert size_of(tree, skip_invalid=True) == 6
    with pytest.raises(ValueError, match='11000 x 11000 pixels are more than max_pixels=100000000'):
        LoadRGBImage()(dict(img_path=path))
    put(path, png_header(30000, 30000))  # beyond Pillow's own limit
    with pytest.raises(ValueError, match=r'could be decompression bomb.*max_pixels=100000000'):
        size_of(tree)
    assert time.monotonic() - start < 5


def test_the_limit_is_an_option(tree):
    with pytest.raises(ValueError, match='6 of 6 files are no pictures: .*32 x 32 pixels are more than max_pixels=1023'):
        size_of(tree, max_pixels=1023)
    assert size_of(tree, max_pixels=1024) == 6
    with pytest.raises(ValueError, match='more than max_pixels=1023'):
        LoadRGBImage(max_pixels=1023)(dict(img=encoded()))
    with open_picture(png_header(12000, 12000), max_pixels=150_000_000) as image:
        assert image.size == (12000, 12000)
    for limit in (0, -1, 1.5, True, '9', 2 * Image.MAX_IMAGE_PIXELS + 1):
        with pytest.raises(ValueError, match='expected a number of pixels from 1 to'):
            LoadRGBImage(max_pixels=limit)
    assert MAX_PIXELS == 100_000_000


@pytest.mark.parametrize('subset', ['train', 'test'])
@pytest.mark.parametrize('content', [encoded()[:-300], encoded('PNG')[:-30], encoded('TIFF')[:2000]])
def test_what_breaks_off_is_known_before_the_training_wherever_it_is(tree, subset, content):
    put(str(tree / subset / 'dog' / 'broken.png'), content)
    with pytest.raises(ValueError, match=rf'{subset}/dog/broken.png \(\w*Error: .*leave them out with skip_invalid=True'):
        size_of(tree, subset='train')
    assert size_of(tree, skip_invalid=True) == 6
    assert size_of(tree, 'test', skip_invalid=True) == 4
    # Headers alone are whole: who does not want to decode has to do without this.
    assert size_of(tree, subset, pictures_decoded=False) == dict(train=7, test=5)[subset]


def test_a_file_that_was_mended_is_looked_at_again(tree):
    path = put(str(tree / 'train' / 'dog' / 'broken.jpg'), encoded()[:-300])
    assert size_of(tree, skip_invalid=True) == 6
    put(path, encoded())
    assert size_of(tree) == 7


def test_pipes_sockets_and_devices_are_no_pictures_and_nobody_waits_for_them(tree):
    os.mkfifo(tree / 'train' / 'cat' / 'pipe.jpg')
    os.symlink('/dev/zero', tree / 'train' / 'cat' / 'zero.jpg')
    start = time.monotonic()
    with pytest.raises(ValueError, match=r'pipe.jpg \(a named pipe\), train/cat/zero.jpg \(a device\)'):
        size_of(tree)
    for name in ('pipe.jpg', 'zero.jpg'):
        with pytest.raises(ValueError, match='expected a file'):
            LoadRGBImage()(dict(img_path=str(tree / 'train' / 'cat' / name)))
    with pytest.raises(ValueError, match='is a folder, expected a file'):
        LoadRGBImage()(dict(img_path=str(tree)))
    os.mkfifo(tree / 'classes.yaml')
    with pytest.raises(ValueError, match='classes.yaml is a named pipe, expected a file'):
        size_of(tree, skip_invalid=True)
    assert time.monotonic() - start < 5


def test_links_that_lead_out_of_the_folder_are_followed_only_when_asked(tree, tmp_path):
    put(str(tmp_path / 'elsewhere' / 'a.jpg'), encoded())
    os.symlink(tmp_path / 'elsewhere' / 'a.jpg', tree / 'train' / 'cat' / 'link.jpg')
    with pytest.raises(ValueError, match=r'1 pictures lie outside of .*: train/cat/link.jpg; .* leads to .*elsewhere/a.jpg'):
        size_of(tree)
    assert size_of(tree, allow_outside=True) == 7
    (tree / 'train' / 'cat' / 'link.jpg').unlink()
    os.symlink(tmp_path / 'elsewhere', tree / 'train' / 'cat' / 'folder')
    with pytest.raises(ValueError, match='train/cat/folder/a.jpg leads to .*allow_outside=True'):
        size_of(tree)
    assert size_of(tree, allow_outside=True) == 7


def test_the_root_itself_may_be_a_link(tree, tmp_path):
    os.symlink(tree, tmp_path / 'root')
    assert size_of(tmp_path / 'root') == 6


@pytest.mark.parametrize('link', [os.link, os.symlink])
def test_one_picture_to_train_and_to_test_on_is_refused_by_whatever_name(tree, link):
    link(tree / 'train' / 'cat' / '0.jpg', tree / 'test' / 'cat' / 'other.jpg')
    with pytest.raises(ValueError, match='1 files go by several names: test/cat/other.jpg = train/cat/0.jpg; expected'):
        size_of(tree)
    assert size_of(tree, 'test', allow_duplicates=True) == 5


def test_folders_linked_into_each_other_do_not_give_pictures_two_labels(tree):
    os.symlink(tree / 'train' / 'cat', tree / 'train' / 'dog' / 'cats')
    with pytest.raises(ValueError, match='3 files go by several names: train/cat/0.jpg = train/dog/cats/0.jpg'):
        size_of(tree)


@pytest.mark.parametrize('path', ['../elsewhere/o.jpg', 'cat/../../elsewhere/o.jpg', '{outside}', '..'])
def test_a_table_leads_out_of_the_folder_only_when_asked(tmp_path, path):
    for place in ('tree/cat/0.jpg', 'tree/cat/1.jpg', 'elsewhere/o.jpg'):
        put(str(tmp_path / place), encoded())
    path = path.format(outside=tmp_path / 'elsewhere' / 'o.jpg')
    table = put(
        str(tmp_path / 'tree' / 'pictures.csv'), f'path,label,split\ncat/0.jpg,cat,train\n{path},cat,train\ncat/1.jpg,cat,test\n'
    )
    with pytest.raises(ValueError, match='pictures.csv, line 3 has the path .*, expected one below the image folder'):
        PictureTable(data_root=str(tmp_path / 'tree'), table=table)
    if path != '..':
        assert len(PictureTable(data_root=str(tmp_path / 'tree'), table=table, allow_outside=True)) == 2


@pytest.mark.parametrize('other', ['./cat/0.jpg', 'cat//0.jpg', 'cat/./0.jpg', 'dog/../cat/0.jpg'])
def test_a_test_picture_does_not_hide_among_the_training_pictures_of_a_table(tmp_path, other):
    put(str(tmp_path / 'cat' / '0.jpg'), encoded())
    put(str(tmp_path / 'pictures.csv'), f'path,label,split\ncat/0.jpg,cat,train\n{other},cat,test\n')
    with pytest.raises(ValueError, match='row 0 of "test" repeats .cat/0.jpg. of row 0 of "train"'):
        PictureTable(data_root=str(tmp_path))


@pytest.mark.parametrize(
    'names, told',
    [
        ('cat: cat, dog: cat', "the classes 0, 1 are all called 'cat'"),
        ('cat: Tabby  Cat, dog: tabby cat', "the classes 0, 1 are all called 'Tabby  Cat'"),
        ('cat: cat, dog: dog', ''),
    ],
)
def test_two_classes_of_one_name_are_pointed_out(tree, monkeypatch, names, told):
    put(str(tree / 'classes.yaml'), f'classes: {{{names}}}')
    messages = []
    monkeypatch.setattr(base, 'print_log', lambda text, *_: messages.append(text))
    size_of(tree)
    assert told in ' '.join(messages) and len(messages) == bool(told)


@pytest.mark.parametrize('name', ['a\nb', 'a\0b', 'a\udcff'])
def test_names_that_no_log_can_hold_are_refused(tree, name):
    with pytest.raises(ValueError, match='the name of class 0 is .*, expected text in UTF-8 without control characters'):
        size_of(tree, class_names=[name, 'dog'])
