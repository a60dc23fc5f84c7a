"""What is captured and replayed, and when; graphs themselves need a GPU: tests/gpu/test_cuda_graphs_on_a_gpu.py."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmpretrain.structures import DataSample
from tiny_clip import NAMES, save_tiny_clip, shake
from tiny_steps import build_shaken
from torch.utils._pytree import tree_flatten, tree_map

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


class ReplayedTraining:
    """Stands for the graphs of a training step: what they are replayed on and into stays at its place, as on a GPU."""

    def __init__(self, function, images, parameters):
        self.function, self.replays = function, 0
        weights = [parameter for parameter in parameters if parameter.requires_grad]
        outputs, spec = tree_flatten(function())
        gradients = [torch.zeros_like(one) if one is not None and one.requires_grad else None for one in outputs]
        self.graphs = cuda_graph.TrainingGraphs(
            SimpleNamespace(replay=self.forward),
            SimpleNamespace(replay=self.backward),
            images,
            [None if one is None else torch.zeros_like(one) for one in outputs],
            spec,
            gradients,
            weights,
            [torch.zeros_like(weight) for weight in weights],
            (),
        )

    def forward(self):
        self.replays += 1
        with torch.enable_grad():
            self.live, _ = tree_flatten(self.function())
        for static, live in zip(self.graphs.outputs, self.live):
            if static is not None:
                static.copy_(live.detach())

    def backward(self):
        pairs = [(live, gradient) for live, gradient in zip(self.live, self.graphs.gradients) if gradient is not None]
        found = torch.autograd.grad([live for live, _ in pairs], self.graphs.weights, [gradient for _, gradient in pairs])
        for static, gradient in zip(self.graphs.of_weights, found):
            static.copy_(gradient)


@pytest.fixture
def steps(monkeypatch):
    """The training steps that were captured; pictures on the CPU count as if they were on a GPU."""
    found = []

    def capture_training(*arguments):
        found.append(ReplayedTraining(*arguments))
        return found[-1].graphs

    monkeypatch.setattr(cuda_graph, '_is_on_gpu', lambda images: True)
    monkeypatch.setattr(cuda_graph, 'capture_training', capture_training)
    return found


@pytest.fixture
def trained(architecture):
    """The same model in training, with and without graphs, and an optimizer for each."""
    models = [build_shaken(architecture, cuda_graph=graph) for graph in ('training', False)]
    return [(model.train(), torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)) for model in models]


def loss_of(model, seed, count=4):
    views = [pictures(count, 2 * seed + view) for view in (0, 1)]
    samples = [DataSample().set_gt_label(index % len(NAMES)) for index in range(count)]
    return sum(value for name, value in model(views, samples, mode='loss').items() if 'loss' in name)


def weights_of(model):
    return {name: value for name, value in model.state_dict().items() if 'tuned' in name}


def test_training_steps_share_a_graph_and_end_with_the_weights_of_those_without(steps, trained):
    for model, optimizer in trained:
        for seed in range(4):
            loss_of(model, seed).backward()
            if seed % 2:  # the gradients of two small steps add up
                optimizer.step()
                optimizer.zero_grad()
    assert len(steps) == 1 and steps[0].replays == 4
    ours, theirs = (weights_of(model) for model, _ in trained)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-6, atol=1e-7, msg=name)


def test_a_step_before_the_backward_pass_of_the_last_one_goes_without(steps, trained):
    for model, optimizer in trained:
        (loss_of(model, 0) + loss_of(model, 1)).backward()
        loss_of(model, 2).backward()
        optimizer.step()
    assert [step.replays for step in steps] == [2]
    ours, theirs = (weights_of(model) for model, _ in trained)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-6, atol=1e-7, msg=name)


def test_frozen_weights_that_change_and_other_sizes_are_captured_anew_in_training(steps, trained):
    (model, _), (plain, _) = trained
    loss_of(model, 0).backward()
    for one in (model, plain):
        with torch.no_grad():
            one.backbone.zero_shot.conv1.weight.mul_(1.5)
    assert torch.equal(loss_of(model, 1), loss_of(plain, 1)) and len(steps) == 2
    model.zero_grad()
    loss_of(model, 1).backward()
    loss_of(model, 1, count=2).backward()
    assert len(steps) == 3


def test_predictions_checkpointing_and_several_processes_go_without_in_training(steps, trained, monkeypatch):
    model = trained[0][0]
    model.backbone.checkpointing = True
    loss_of(model, 0).backward()
    model.backbone.checkpointing = False
    monkeypatch.setattr(cuda_graph, 'is_initialized', lambda: True)
    loss_of(model, 0).backward()
    assert not steps


def test_a_word_that_is_none_is_refused(architecture):
    with pytest.raises(ValueError, match="cuda_graph is 'step', expected False, True for predictions, or 'training' for both"):
        MPSCLIPClassifier(architecture, None, cuda_graph='step')


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
