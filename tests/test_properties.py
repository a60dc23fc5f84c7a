"""What holds for all inputs, tried on many that are drawn by chance, the same in every run."""

import random
import string
from collections import Counter

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import HistoryBuffer
from tiny_clip import save_tiny_clip

from mmpretrain_mps.datasets import FewShotSampler, index_file
from mmpretrain_mps.datasets.index_file import IndexFile
from mmpretrain_mps.datasets.sampling import few_shot_picks
from mmpretrain_mps.models.losses import GramAlignLoss, HierarchicalSculptLoss, gram_distance
from mmpretrain_mps.models.text.prototypes import encode_prototypes
from mmpretrain_mps.utils.checkpoint import history_from_plain, read_checkpoint, to_plain

seeds = pytest.mark.parametrize('seed', range(25))
LETTERS = string.ascii_letters + string.digits + ' _-äöß鹭\U0001f431\'"\\,;{}[]'


def drawn(seed, *shape):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def rotation(seed, size):
    return torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(seed)))[0]


class TestLosses:
    @seeds
    def test_alignment_is_a_distance_of_angles(self, seed):
        """Zero for equal angles, symmetric, blind to rotations, to the order of pictures and of tokens."""
        chance = random.Random(seed)
        views, pictures, tokens, width = (chance.randint(1, 4) for _ in range(4))
        width += 1
        p = chance.choice([1, 1.5, 2, 3])
        first, second = (drawn(2 * seed + part, views, pictures, tokens, width) for part in range(2))
        distance = gram_distance(first, second, p)
        assert distance >= 0 and torch.isclose(distance, gram_distance(second, first, p))
        assert gram_distance(first, first, p) == 0
        turned = first @ rotation(seed, width)
        assert gram_distance(turned, first, p) < 1e-5
        torch.testing.assert_close(gram_distance(turned, second @ rotation(seed + 99, width), p), distance, rtol=1e-3, atol=1e-6)
        order = torch.randperm(tokens, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(gram_distance(first[:, :, order], second[:, :, order], p), distance)
        # Entries of both matrices are cosines, which differ by 2 at most.
        assert distance <= views * 2.001**p

    @seeds
    def test_the_weight_of_a_loss_is_a_factor_and_zero_switches_it_off(self, seed):
        tuned, frozen = drawn(seed, 2, 3, 4, 5), drawn(seed + 50, 2, 3, 4, 5)
        weight = random.Random(seed).uniform(0.1, 3)
        once, scaled = (GramAlignLoss(loss_weight=factor)(tuned, frozen) for factor in (1.0, weight))
        for name in once:
            torch.testing.assert_close(scaled[name], weight * once[name])
        assert GramAlignLoss(loss_weight=0)(tuned, frozen) == {}

    @seeds
    def test_sculpting_is_blind_to_the_numbers_of_classes_and_to_the_order_of_pictures(self, seed):
        chance = random.Random(seed)
        classes, pictures = chance.randint(2, 6), chance.randint(2, 7)
        output, text = drawn(seed, 2, pictures, 5), drawn(seed + 50, classes, 5)
        labels = torch.tensor([chance.randrange(classes) for _ in range(pictures)])
        loss = HierarchicalSculptLoss(layer_weights=(1.0,), temperature=chance.choice([0.05, 0.1, 1.0]))
        (value,) = loss(output, (), labels, text).values()
        assert torch.isfinite(value) and value >= 0
        names = torch.randperm(classes, generator=torch.Generator().manual_seed(seed))
        renamed = torch.empty_like(text)
        renamed[names] = text
        torch.testing.assert_close(*loss(output, (), names[labels], renamed).values(), value)
        order = torch.randperm(pictures, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(*loss(output[:, order], (), labels[order], text).values(), value, rtol=1e-4, atol=1e-6)
        # Texts count by their direction alone.
        torch.testing.assert_close(*loss(output, (), labels, 3 * text).values(), value)


class TestPicks:
    @seeds
    def test_each_label_gets_its_shots_or_all_that_it_has_and_no_picture_twice(self, seed):
        chance = random.Random(seed)
        labels = [chance.randrange(chance.randint(1, 9)) for _ in range(chance.randint(1, 60))]
        val_labels = [chance.choice(labels) for _ in range(chance.randint(0, 30))]
        shots = chance.choice([1, 2, 3, 16, 1000])
        before = random.getstate()
        picks = few_shot_picks(labels, shots, seed, val_labels)
        assert random.getstate() == before and picks == few_shot_picks(labels, shots, seed, val_labels)
        for found, pool, asked in ((picks.train, labels, shots), (picks.val, val_labels, min(shots, 4))):
            assert len(set(found)) == len(found)
            assert Counter(pool[pick] for pick in found) == {label: min(asked, there) for label, there in Counter(pool).items()}
        # Labels are names: other numbers give the same pictures.
        assert (
            few_shot_picks([7 * label + 3 for label in labels], shots, seed, [7 * label + 3 for label in val_labels])[:2]
            == picks[:2]
        )

    @seeds
    def test_processes_together_show_the_batches_of_one(self, seed, monkeypatch):
        chance = random.Random(seed)
        pictures, ranks, batch = chance.randint(1, 40), chance.randint(1, 5), chance.randint(1, 7)

        def order_of(rank, world):
            monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world))
            sampler = FewShotSampler(range(pictures), seed=seed, round_up=False)
            sampler.set_epoch(2)
            sampler.deal_batches(batch)
            return list(sampler)

        whole = order_of(0, 1)
        shares = [order_of(rank, ranks) for rank in range(ranks)]
        assert sorted(whole) == list(range(pictures)) == sorted(sum(shares, []))
        steps = -(-pictures // (batch * ranks))
        for step in range(steps):
            common = sum((share[step * batch : (step + 1) * batch] for share in shares), [])
            if step < steps - 1:  # of the last one, the shares are smaller
                assert sorted(common) == sorted(whole[step * batch * ranks : (step + 1) * batch * ranks])


@seeds
def test_an_index_file_gives_back_what_was_written(tmp_path, seed):
    chance = random.Random(seed)

    def word():
        return ''.join(chance.choice(LETTERS) for _ in range(chance.randint(1, 12))).strip() or 'x'

    classes = tuple(dict.fromkeys(f'{word()} {number}' for number in range(chance.randint(1, 5))))
    paths = dict.fromkeys(f'{word().replace("/", "_")}/{number}.jpg' for number in range(chance.randint(0, 20)))
    rows = tuple((path, chance.randrange(len(classes))) for path in paths)
    index = IndexFile(word(), 'train', chance.randint(1, 16), seed, 'a' * 64, classes, rows)
    path = str(tmp_path / 'index.json')
    index_file.write(path, index)
    found = index_file.read(path)
    assert found._replace(path=None, classes=tuple(found.classes)) == index._replace(path=None)


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    name = save_tiny_clip(tmp_path_factory.mktemp('properties') / 'clip')
    return open_clip.create_model(name).eval(), open_clip.get_tokenizer(name)


@seeds
def test_the_prototype_of_a_class_depends_on_its_own_texts_alone(clip, seed):
    chance = random.Random(seed)
    names = [
        f'{chance.choice(["red", "big", "old"])} {chance.choice(["cat", "house", "tree"])} {number}'
        for number in range(chance.randint(2, 9))
    ]
    templates = [f'{chance.choice(["a", "one", "my"])} {{}} {number}.' for number in range(chance.randint(1, 4))]
    normalize = chance.random() < 0.5
    prototypes = encode_prototypes(*clip, names, templates, normalize, batch_size=chance.randint(1, 20))
    assert prototypes.shape == (len(names), 8) and torch.isfinite(prototypes).all()
    if normalize:  # means of unit vectors
        assert prototypes.norm(dim=1).max() <= 1.0001
    order = chance.sample(range(len(names)), len(names))
    again = encode_prototypes(*clip, [names[label] for label in order], chance.sample(templates, len(templates)), normalize)
    torch.testing.assert_close(again, prototypes[order], rtol=1e-4, atol=1e-6)


def plain(chance, depth=0):
    """Draw a value of the kinds that checkpoints are made of."""
    kinds = [
        lambda: None,
        lambda: chance.random() < 0.5,
        lambda: chance.randint(-(2**40), 2**40),
        chance.random,
        lambda: ''.join(chance.choice(LETTERS) for _ in range(5)),
        lambda: torch.randn(chance.randint(0, 3), 2),
        lambda: torch.tensor(chance.randint(0, 9)),
        lambda: torch.ones(2, dtype=torch.bfloat16),
    ]
    if depth < 3:
        kinds += [
            lambda: [plain(chance, depth + 1) for _ in range(chance.randint(0, 3))],
            lambda: tuple(plain(chance, depth + 1) for _ in range(chance.randint(0, 3))),
            lambda: {chance.choice(['a', 'b', 3, 'ä']): plain(chance, depth + 1) for _ in range(3)},
        ]
    return chance.choice(kinds)()


def equal(first, second):
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return isinstance(second, dict) and list(first) == list(second) and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return type(first) is type(second) and len(first) == len(second) and all(map(equal, first, second))
    return type(first) is type(second) and first == second


@seeds
def test_a_checkpoint_gives_back_what_was_written_and_no_changed_byte_goes_unnoticed(tmp_path, seed):
    chance = random.Random(seed)
    torch.manual_seed(seed)
    content = dict(
        meta=dict(epoch=seed),
        value=plain(chance),
        weights=torch.randn(20, 3),
        scalar=np.float64(0.5),
        history=HistoryBuffer([1.0, 2.0], [1, 3], 10),
    )
    path = tmp_path / 'x.pth'
    torch.save(to_plain(content), path)
    found = read_checkpoint(path)
    assert equal(found['value'], content['value']) and torch.equal(found['weights'], content['weights'])
    assert found['scalar'] == 0.5 and history_from_plain(found['history']).data[0].tolist() == [1.0, 2.0]
    whole = path.read_bytes()
    for _ in range(20):
        changed = bytearray(whole)
        changed[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        try:
            again = read_checkpoint(path)
        except ValueError:
            continue
        assert all(equal(again[key], found[key]) for key in found)  # a byte between the parts
