import open_clip
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample
from tiny_clip import NAMES

from mmpretrain_mps.models import ZeroShotClassifier
from mmpretrain_mps.models.classifiers.test_features import TestFeatures

PICTURES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(4))


@pytest.fixture
def model(tiny_clip):
    return ZeroShotClassifier(tiny_clip, None, class_names=NAMES, templates=['a {}.', 'the {}.']).eval()


def test_logits_are_those_of_open_clip(model, tiny_clip):
    clip, tokenize = open_clip.create_model(tiny_clip, force_quick_gelu=True), open_clip.get_tokenizer(tiny_clip)
    with torch.no_grad():
        texts = torch.stack(
            [F.normalize(clip.encode_text(tokenize([f'a {name}.', f'the {name}.'])), dim=-1).mean(0) for name in NAMES]
        )
        expected = clip.logit_scale.exp() * F.normalize(clip.encode_image(PICTURES), dim=-1) @ F.normalize(texts, dim=-1).T
    torch.testing.assert_close(model(PICTURES), expected, rtol=1e-4, atol=1e-4)
    samples = model(PICTURES, [DataSample() for _ in PICTURES], mode='predict')
    for sample, row in zip(samples, expected):
        assert sample.pred_label.item() == row.argmax().item()
        torch.testing.assert_close(sample.zero_shot_logits, sample.tuned_logits)


def test_nothing_is_trained_and_a_checkpoint_holds_only_the_classes(model):
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert set(model.state_dict()) == {'text_prototypes', '_extra_state'}
    with pytest.raises(ValueError, match='nothing to train'):
        model([PICTURES], [DataSample(gt_label=torch.tensor([0])) for _ in PICTURES], mode='loss')


def test_other_classes_and_some_of_its_own(model):
    before = model(PICTURES)
    (texts,) = model.encode_classes([(('river', 'lake'), ('a {}.',))])
    with model.with_classes(texts, ('river', 'lake')):
        assert model(PICTURES).shape == (4, 2) and model.class_names == ('river', 'lake')
    with model.with_class_subset([2, 0]):
        torch.testing.assert_close(model(PICTURES), before[:, [2, 0]])
        assert model.class_names == (NAMES[2], NAMES[0])
    assert torch.equal(model(PICTURES), before)


def test_metrics_of_layers_are_refused(model):
    with pytest.raises(ValueError, match='ZeroShotClassifier tunes no copy of a layer'):
        model.branch_logits(PICTURES, wanted=TestFeatures.of('layers'))
