"""The pre-training of the pictogram CLIP on made-up drawings."""

import json
import runpy
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from tiny_emoji import CONCEPTS, make_packages

from mmpretrain_mps.mini_clip import byte_pairs, pretraining
from mmpretrain_mps.mini_clip.batches import Batch
from mmpretrain_mps.pictogram_clip import captions, drawings
from mmpretrain_mps.pictogram_clip.augmentation import augment
from mmpretrain_mps.pictogram_clip.batches import PictogramBatches, PictogramRecipe, caption
from mmpretrain_mps.pictograms import read_index
from mmpretrain_mps.pictograms.building import ICONS_FOLDER, Kinds, build
from mmpretrain_mps.pictograms.icon_families import kinds_of_words, plain_name
from mmpretrain_mps.pictograms.packages import Emoji

TOOL = str(Path(__file__).parents[2] / 'tools' / 'pretrain_pictogram_clip.py')
KINDS = Kinds(dict(left=CONCEPTS[:10], right=CONCEPTS[10:]), (), {'flag': dict(groups=['Flags'])})
SMALL = PictogramRecipe(steps=8, pictograms=6, icons_of_kinds=4, icons=2)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """What the build writes for a pre-training."""
    packages = tmp_path_factory.mktemp('packages')
    build(packages, packages / 'out', make_packages(packages), KINDS, packages / 'learnt')
    return packages / 'learnt'


@pytest.fixture(scope='module')
def read(folder):
    return drawings.read_all(folder)


@pytest.fixture
def run(folder, tmp_path, monkeypatch):
    """The tool, on few and small batches."""
    torch.set_num_threads(1)

    def run(name, *flags):
        out = tmp_path / name
        with mock.patch('sys.argv', [TOOL, str(folder), '--out', str(out), '--quick', '--threads', '1', *flags]):
            runpy.run_path(TOOL, run_name='__main__')
        return out

    return run


def test_icons_are_named_by_their_files_and_unwanted_ones_left_out(folder):
    index = read_index(folder / ICONS_FOLDER)
    assert {name: (entry['name'], entry['kind'], entry['group']) for name, entry in index['concepts'].items()} == {
        'drawn:thing-a': ('thing a', 'left', ''),
        'drawn:thing-b-filled': ('thing b', 'left', ''),
        'drawn:tea-pot-outline': ('tea pot', '', 'Things / Other'),
    }
    assert plain_name('basset-hound-head') == 'basset hound head' and plain_name('numeric-3-box') == plain_name('a-b-c-d-e') == ''


def test_a_keyword_tells_a_kind_if_all_of_several_concepts_agree():
    emoji = [
        Emoji(name, name, '', '', '', words)
        for name, words in (('crow', ['bird', 'black']), ('duck', ['bird', 'pond']), ('boat', ['black', 'sail']))
    ]
    assert kinds_of_words(emoji, dict(crow='birds', duck='birds', boat='boats')) == dict(
        bird='birds', crow='birds', duck='birds', boat='boats'
    )


def test_styles_that_are_tested_on_are_refused(folder, tmp_path):
    content = json.loads((folder / 'pictograms.json').read_text())
    content['sheets']['noto'] = content['sheets'].pop('learnt')
    (tmp_path / 'pictograms.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match='holds the styles noto, which are there to test on'):
        drawings.read_drawings(tmp_path)


def test_captions_fit_by_name_keyword_and_kind():
    def described(name, keywords, kind):
        return captions.Described(name, keywords, kind, True)

    shown = [described('duck', ['bird'], 'animal'), described('swan', ['bird'], 'animal'), described('fork', [], '')]
    batch = caption(torch.zeros(3, 3, 4, 4), shown, np.random.default_rng(0))
    assert batch.blocks == (3, 1, 1) and len(batch.captions) == 5
    assert batch.positives.int().tolist() == [[1, 0, 0, 1, 1], [0, 1, 0, 1, 1], [0, 0, 1, 0, 0]]
    assert 'duck' in batch.captions[0] and 'bird' in batch.captions[3] and 'animal' in batch.captions[4]


def test_a_picture_without_a_caption_in_a_block_adds_nothing_to_its_loss():
    image, text = torch.eye(3), torch.eye(3)[:, [0, 1, 2, 0]].T
    positives = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]], dtype=torch.bool)
    found = pretraining._loss_of_blocks(image, text, torch.tensor(2.0), Batch(image, list('abcd'), positives, (3, 1)))
    first = pretraining.contrastive_loss(image, text[:3], torch.tensor(2.0), positives[:, :3])
    assert found == pytest.approx(float(first + 0) / 2)  # one picture and one caption: nothing to tell apart


def test_signs_and_arrows_are_not_mirrored():
    entry = dict(keywords=[], kind='', subgroup='', group='Objects')
    assert captions.describe(dict(entry, name='tea pot')).can_be_mirrored
    assert not captions.describe(dict(entry, name='left arrow')).can_be_mirrored
    assert captions.describe(dict(entry, name="Woman's hat", keywords=['Hat', "woman's hat"])).keywords == ['hat', 'objects']


def test_pictures_have_the_size_and_range_of_the_model(read):
    pixels = read['icons'].pixels
    generator = torch.Generator().manual_seed(0)
    plain = augment(pixels, torch.ones(len(pixels), dtype=torch.bool), 0.0, generator)
    changed = augment(pixels, torch.ones(len(pixels), dtype=torch.bool), 1.0, generator)
    for pictures in (plain, changed):
        assert pictures.shape == (len(pixels), 3, 48, 48) and pictures.abs().max() <= 1
    assert (plain == 1).float().mean() > 0.2  # white paper


def test_batches_depend_on_seed_and_step_alone(read):
    batches = PictogramBatches(SMALL, read)
    first, second = batches.next(), batches.next()
    again = PictogramBatches(SMALL, read, start=1).next()
    assert torch.equal(again.pictures, second.pictures) and again.captions == second.captions
    assert not torch.equal(first.pictures, second.pictures)
    other = PictogramBatches(SMALL._replace(seed=1), read).next()
    assert not torch.equal(other.pictures, first.pictures)
    assert batches.counts() == dict(pictograms=dict(learnt=20), icons=dict(drawn=3))


def test_processes_that_draw_ahead_change_nothing(read):
    def tokenize(texts):
        return torch.tensor([[len(text)] for text in texts])

    plain, ahead = PictogramBatches(SMALL, read), PictogramBatches(SMALL, read, workers=1, tokenize=tokenize)
    for _ in range(3):
        one, other = plain.next(), ahead.next()
        assert torch.equal(one.pictures, other.pictures) and torch.equal(one.positives, other.positives)
        assert one.captions == other.captions and torch.equal(other.tokens, tokenize(one.captions)) and one.tokens is None


def test_frequent_pairs_are_merged_first_up_to_a_limit():
    assert byte_pairs.learn_merges(dict(ab=1, cd=5), 1) == [('c', 'd</w>')]
    assert len(byte_pairs.learn_merges(['abc', 'abd'])) == 3


def test_a_run_that_was_cut_off_goes_on_to_the_same_bytes(run, tmp_path):
    whole = run('whole', '--no-compile')
    run('parts', '--no-compile', '--checkpoint', str(tmp_path / 'run.pt'), '--stop', '3')
    parts = run('parts', '--no-compile', '--checkpoint', str(tmp_path / 'run.pt'))
    for name in ('open_clip_model.safetensors', 'open_clip_config.json', 'vocabulary.json', 'bpe_merges.txt.gz'):
        assert (whole / name).read_bytes() == (parts / name).read_bytes(), name
    card = json.loads((parts / 'card.json').read_text())
    assert [part['from_step'] for part in card['recipes_of_earlier_parts']] == [0] and card['recipe']['from_step'] == 3
    assert card['images_seen'] == 6 * 24
    assert 'patch_dropout' not in json.loads((whole / 'open_clip_config.json').read_text())['model_cfg']['vision_cfg']
