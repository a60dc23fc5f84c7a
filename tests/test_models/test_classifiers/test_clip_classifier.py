"""The house: a method of a few lines has everything that methods share."""

from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample
from tiny_clip import NAMES

from mmpretrain_mps.models import CLIPClassifier
from mmpretrain_mps.models.classifiers.clip_classifier import cls_features
from mmpretrain_mps.models.classifiers.test_features import NO_FEATURES

PICTURES = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(4))
SAMPLES = [DataSample(gt_label=torch.tensor([i % 3])) for i in range(6)]


class Batch(NamedTuple):
    labels: torch.Tensor
    features: torch.Tensor


class ShiftClassifier(CLIPClassifier):
    """Adds a learned vector to every text, and with ``per_class`` one to each."""

    method = 'shift'

    def __init__(self, architecture, pretrained, per_class=False, class_names=None, templates=None, **kwargs):
        super().__init__(architecture, pretrained, head=dict(alpha=1.0), templates=templates, **kwargs)
        self.per_class = per_class
        self.shift = torch.nn.Parameter(torch.zeros(self.backbone.embed_dims))
        self.register_class_buffer('name_lengths', torch.zeros(0, dtype=torch.int32))
        if per_class:
            self.register_class_parameter('own_shift', torch.zeros(0, self.backbone.embed_dims))
        if class_names is not None:
            self.set_classes(class_names, templates)

    def describe_method(self):
        return dict(per_class=self.per_class, shape=(self.backbone.embed_dims,))

    def encode_class_texts(self, clip, class_names, templates):
        lengths = torch.tensor([len(name) for name in class_names], dtype=torch.int32)
        return {**super().encode_class_texts(clip, class_names, templates), 'name_lengths': lengths}

    def reset_class_parameters(self):
        self.own_shift.data.fill_(0.5)

    def class_features(self):
        self.encoded = getattr(self, 'encoded', 0) + 1
        own = self.own_shift if self.per_class else 0
        return F.normalize(self.text_prototypes + self.shift + own, dim=-1)

    def frozen_features(self, images):
        self._check_size(images)
        return Batch(images.new_zeros(len(images)), self.backbone(images).cls)

    def picture_batch(self, views, labels):
        frozen = self.frozen_of(views)
        return Batch(labels.repeat(len(frozen.features) // len(labels)), F.normalize(frozen.features, dim=-1))

    def losses(self, batch):
        logits = self.cosine_logits(batch.features, self.class_features())
        return self.head.loss(self.head.branches(logits, None), batch.labels)

    def branch_logits(self, images, data_samples=None, wanted=NO_FEATURES, zero_shot=False):
        features = self.zero_shot_features(images, data_samples)
        logits = self.cosine_logits(features, self.cached_class_features())
        own = self.cosine_logits(features, self.unit_prototypes()) if zero_shot else None
        return self.head.branches(logits, own), cls_features(features, features)


@pytest.fixture
def build(tiny_clip):
    return lambda **options: ShiftClassifier(tiny_clip, None, **{'class_names': NAMES, **options})


def test_views_count_as_pictures_and_frozen_features_take_their_place(build):
    model = build()
    losses = model([PICTURES, PICTURES.flip(-1)], SAMPLES, mode='loss')
    frozen = model.frozen_features(torch.cat([PICTURES, PICTURES.flip(-1)]))
    assert torch.equal(model(frozen, SAMPLES, mode='loss')['loss_ce'], losses['loss_ce'])
    both = [model([view], SAMPLES, mode='loss')['loss_ce'] for view in (PICTURES, PICTURES.flip(-1))]
    torch.testing.assert_close(losses['loss_ce'], sum(both) / 2)
    losses['loss_ce'].backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {'shift'}


def test_texts_are_made_again_for_a_prediction_only_if_something_changed(build):
    model = build().eval()
    first = model(PICTURES)
    assert torch.equal(model(PICTURES), first) and model.encoded == 1
    with torch.no_grad():
        model.shift += 1
    assert not torch.equal(model(PICTURES), first) and model.encoded == 2
    with model.with_class_subset([1, 2]):
        assert model(PICTURES).shape == (6, 2) and model.encoded == 3
    model.load_state_dict(build().state_dict())
    assert torch.equal(model(PICTURES), first)
    model.shift.data.copy_(torch.ones(model.backbone.embed_dims))  # as EMAHook does, unseen by the count of versions
    assert not torch.equal(model.eval()(PICTURES), first)


def test_texts_of_one_subset_are_never_taken_for_those_of_another(build):
    model = build().eval()
    whole = model(PICTURES)
    for labels in ([0, 1], [1, 2], [2, 0], [1, 0]):  # tensors of one size, which the allocator puts into one place
        with model.with_class_subset(labels):
            torch.testing.assert_close(model(PICTURES), whole[:, labels])


def test_a_checkpoint_holds_what_is_trained_and_made_of_classes_and_refuses_what_it_does_not_fit(build):
    model = build(per_class=True)
    state = model.state_dict()
    assert set(state) == {'shift', 'own_shift', 'name_lengths', 'text_prototypes', '_extra_state'}
    empty = build(per_class=True, class_names=None)
    empty.load_state_dict(state)
    assert empty.class_names == tuple(NAMES) and empty.name_lengths.tolist() == [len(name) for name in NAMES]
    assert torch.equal(empty.own_shift, torch.full((3, model.backbone.embed_dims), 0.5))
    with pytest.raises(ValueError, match='tuned with per_class=True, but this model has False'):
        build().load_state_dict(state)
    with pytest.raises(ValueError, match="class 0 is 'cat' in the checkpoint, but 'river' in this model"):
        build(per_class=True, class_names=['river', *NAMES[1:]]).load_state_dict(state)


def test_what_is_learned_of_each_class_does_not_serve_others(build):
    model = build(per_class=True)
    assert not model.predicts_any_classes and build().predicts_any_classes
    (texts,) = model.encode_classes([(('river', 'lake'), ('a {}.',))])
    with pytest.raises(ValueError, match='ShiftClassifier predicts the classes that it was trained on.*2 were given'):
        with model.with_classes(texts, ('river', 'lake')):
            pass
    with pytest.raises(ValueError, match='3 classes.*ShiftClassifier|class 0 is'):
        model.set_classes(['river', 'lake', 'sea'])
    parameter, before = model.own_shift, model(PICTURES)
    with torch.no_grad():
        parameter[0] += 1
    with model.with_class_subset([0, 2]):
        assert model(PICTURES).shape == (6, 2) and model.own_shift is parameter and len(parameter) == 2
    assert len(parameter) == 3 and not torch.equal(model(PICTURES), before)


def test_texts_that_lack_what_the_method_needs_are_refused(build):
    model = build()
    with pytest.raises(ValueError, match="needs name_lengths of every class, but got \\['text_prototypes'\\]"):
        model.take_classes(dict(text_prototypes=model.text_prototypes), NAMES)
    with pytest.raises(ValueError, match='3 rows of text_prototypes were given for 2 class names'):
        model.take_classes(dict(text_prototypes=model.text_prototypes, name_lengths=model.name_lengths), NAMES[:2])
