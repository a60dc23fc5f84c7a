"""Pre-training parts and the tool that runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmpretrain_mps import mini_clip
from mmpretrain_mps.mini_clip import augmentation, pretraining

ROOT = Path(__file__).resolve().parents[2]


def test_loss_is_the_usual_one_when_each_picture_has_one_caption():
    generator = torch.Generator().manual_seed(0)
    image, text = F.normalize(torch.randn(2, 5, 8, generator=generator), dim=-1)
    logits = 7 * image @ text.T
    target = torch.arange(5)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    loss = pretraining.contrastive_loss(image, text, torch.tensor(7.0), torch.eye(5, dtype=torch.bool))
    assert torch.allclose(loss, expected)


def test_loss_shares_the_weight_among_several_positives():
    # One picture, two fitting captions of equal similarity: log 2 over the
    # captions and nothing over the single picture.
    image = torch.tensor([[1.0, 0.0]])
    text = torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    loss = pretraining.contrastive_loss(image, text, torch.tensor(3.0), torch.ones(1, 2, dtype=torch.bool))
    assert loss.item() == pytest.approx(np.log(2) / 2)


def test_learning_rate_rises_linearly_and_ends_at_zero():
    recipe = pretraining.Recipe(steps=1000, warmup=100, learning_rate=2.0)
    assert pretraining.learning_rate(49, recipe) == pytest.approx(1.0)
    assert pretraining.learning_rate(100, recipe) == pytest.approx(2.0)
    assert pretraining.learning_rate(550, recipe) == pytest.approx(1.0)
    assert pretraining.learning_rate(1000, recipe) == pytest.approx(0.0)


def test_no_gain_bias_or_embedding_is_decayed():
    config = pretraining.model_config(600)
    model = pretraining.build_model(config, seed=0)
    decayed, plain = pretraining.build_optimizer(model, pretraining.Recipe()).param_groups
    assert plain['weight_decay'] == 0
    plain_ids = {id(p) for p in plain['params']}
    assert id(model.token_embedding.weight) in plain_ids
    assert all(p.ndim > 1 for p in decayed['params'])
    assert len(decayed['params']) + len(plain['params']) == len(list(model.parameters()))


def test_building_a_model_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    pretraining.build_model(pretraining.model_config(600), seed=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize('drawn', [True, False])
def test_augmented_glyphs_repeat_with_the_seed_and_stay_in_range(drawn):
    masks = torch.zeros(6, 40, 40, dtype=torch.uint8)
    masks[:, 4:36, 16:24] = 255
    first, second = (augmentation.augment_glyphs(masks, drawn, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == (6, 3, 32, 32)
    assert first.min() >= -1 and first.max() <= 1


def test_stopped_and_resumed_run_ends_at_the_same_weights(tmp_path, batches):
    config = pretraining.model_config(mini_clip.tokenizer().vocab_size)
    weights = []

    def run(seed, **kwargs):
        model = pretraining.build_model(config, seed)
        progress = pretraining.train(
            model, mini_clip.tokenizer(), batches, batches.recipe, lambda *_: None, use_compile=False, **kwargs
        )
        weights.append(model.state_dict())
        return progress

    assert run(0).rejoined == []
    checkpoint = tmp_path / 'half.pt'
    assert run(0, checkpoint=checkpoint, stop=1).steps == 1
    # Another seed: the weights must come from the checkpoint.
    progress = run(9, checkpoint=checkpoint)
    assert progress.steps == 2
    assert progress.rejoined == [[1, 2]]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[2][name]), name


@pytest.fixture(scope='module')
def batches():
    pytest.importorskip('font_lato', reason='needs the extra pretrain')
    return pretraining.BatchMaker(
        pretraining.Recipe(steps=2, drawn_digits=6, font_digits=4, letters=4, symbols=4, shapes=8, drawn_per_digit=3)
    )


def test_batch_depends_on_the_step_only(batches):
    batches.step = 3
    first = batches.next()
    second = batches.next()
    batches.step = 3
    again = batches.next()
    assert first.captions == again.captions
    assert torch.equal(first.pictures, again.pictures)
    assert not torch.equal(first.pictures, second.pictures)


def test_every_picture_and_every_caption_of_a_batch_has_a_positive(batches):
    for step in range(5):
        batches.step = step
        batch = batches.next()
        assert batch.pictures.shape == (26, 3, 32, 32)
        assert batch.positives.shape == (26, len(batch.captions))
        assert batch.positives.any(0).all() and batch.positives.any(1).all()
        mini_clip.check_vocabulary(batch.captions)


def test_quick_run_writes_a_model_that_open_clip_loads(tmp_path):
    pytest.importorskip('font_lato', reason='needs the extra pretrain')
    pytest.importorskip('sklearn')
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'pretrain_mini_clip.py'), '--quick', '--out', str(tmp_path)],
        check=True,
        env=environment,
        cwd=tmp_path,
        timeout=300,
    )
    import open_clip

    open_clip.create_model(f'local-dir:{tmp_path}', require_pretrained=True)
    card = json.loads((tmp_path / 'card.json').read_text())
    assert card['images_seen'] == 6 * card['batch_size']
    assert card['zero_shot_percent']['digits']['digits_test_half']
