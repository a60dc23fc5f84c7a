"""When a prediction is captured and replayed; graphs themselves need a GPU: tests/gpu/test_cuda_graphs_on_a_gpu.py."""

import copy

import pytest
import torch
from tiny_clip import NAMES, save_tiny_clip, shake
from torch.utils._pytree import tree_map

from mmpretrain_mps.engine.sharding import ShardedDataParallel
from mmpretrain_mps.models import MPSCLIPClassifier
from mmpretrain_mps.models.backbones import cuda_graph
from mmpretrain_mps.models.backbones.cuda_graph import MOST_GRAPHS, GraphedForward
from mmpretrain_mps.models.computation.precision import float32_products


class Replayed:
    """Stands for a CUDA graph: replaying it fills the outputs of its capture."""

    def __init__(self, function, outputs):
        self.function, self.outputs = function, outputs

    def replay(self):
        tree_map(lambda old, new: old if old is None else old.copy_(new), self.outputs, self.function())


@pytest.fixture
def captures(monkeypatch):
    """What was captured; pictures on the CPU count as if they were on a GPU."""
    found = []

    def capture(function):
        outputs = function()
        found.append(Replayed(function, tree_map(lambda leaf: None if leaf is None else torch.zeros_like(leaf), outputs)))
        return found[-1], found[-1].outputs

    monkeypatch.setattr(cuda_graph, '_is_on_gpu', lambda images: True)
    monkeypatch.setattr(cuda_graph, 'capture', capture)
    return found


@pytest.fixture(scope='module')
def architecture(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp('clip'))


@pytest.fixture
def models(architecture):
    """The same model with and without graphs."""
    return [shake(MPSCLIPClassifier(architecture, None, class_names=NAMES, cuda_graph=graph)).eval() for graph in (True, False)]


def pictures(count, seed=0):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def logits(model, *args):
    return model(pictures(*args), mode='tensor')


def test_batches_of_one_size_share_a_graph_and_give_the_models_numbers(captures, models):
    found = [logits(models[0], 3, seed) for seed in range(3)]
    assert len(captures) == 1
    for seed, ours in enumerate(found):  # the later replays left the earlier results alone
        assert torch.equal(ours, logits(models[1], 3, seed))
    logits(models[0], 2)
    assert len(captures) == 2


@pytest.mark.parametrize('change', ['in place', 'other memory', 'loaded'])
def test_changed_weights_are_captured_anew(captures, models, change):
    logits(models[0], 3)
    for model in models:
        weight = model.backbone.zero_shot.conv1.weight
        with torch.no_grad():
            if change == 'in place':
                weight.mul_(1.5)
            elif change == 'other memory':
                weight.data = 1.5 * weight
            else:
                model.backbone.load_state_dict({name: 1.5 * value for name, value in model.backbone.state_dict().items()})
    assert torch.equal(logits(models[0], 3), logits(models[1], 3)) and len(captures) == 2


def test_another_precision_is_captured_apart(captures, models):
    for precision in ('strict', 'tf32'):
        with float32_products(precision):
            logits(models[0], 3)
    with torch.inference_mode():
        models[0](pictures(3), mode='tensor')
    assert len(captures) == 3


def test_only_the_latest_graphs_are_kept(captures, models):
    for count in (*range(1, MOST_GRAPHS + 2), 1):
        logits(models[0], count)
    assert len(models[0].backbone.forward._captured) == MOST_GRAPHS
    assert len(captures) == MOST_GRAPHS + 2  # that of one picture went first, and was made again


def test_training_gradients_frozen_features_and_the_cpu_go_without(captures, models, monkeypatch):
    model = models[0]
    model(pictures(2), mode='tensor')  # with gradients
    with torch.no_grad():
        model.backbone(model.backbone.frozen_features(pictures(2)))
        model.train()(pictures(2), mode='tensor')
        monkeypatch.undo()
        model.eval()(pictures(2), mode='tensor')
    assert not captures


def test_a_copy_captures_its_own_weights(captures, models):
    logits(models[0], 3)
    twin = copy.deepcopy(models[0])
    with torch.no_grad():
        twin.backbone.tuned.proj.mul_(-1)
    assert twin.backbone.forward.module is twin.backbone
    assert not torch.equal(logits(twin, 3), logits(models[0], 3))


def test_other_classes_need_no_other_graph(captures, models):
    for model in models:
        model.set_classes(['a', 'b', 'c', 'd'])
    assert torch.equal(logits(models[0], 3), logits(models[1], 3))
    for model in models:
        model.set_classes(NAMES)
    assert torch.equal(logits(models[0], 3), logits(models[1], 3)) and len(captures) == 1


def test_it_is_off_unless_asked_for_and_not_for_sharded_weights(models):
    assert isinstance(models[0].backbone.forward, GraphedForward) and not isinstance(models[1].backbone.forward, GraphedForward)
    with pytest.raises(ValueError, match='leave out model.cuda_graph'):
        ShardedDataParallel(models[0])
