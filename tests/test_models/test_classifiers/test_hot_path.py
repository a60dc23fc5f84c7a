import pytest
import torch
from mmengine.optim import OptimWrapper
from mmpretrain.structures import DataSample
from recorded_operators import WAITING, RecordOperators
from tiny_clip import shake

from mmpretrain_mps.models.backbones.linear import force_onednn
from mmpretrain_mps.models.losses import sculpt_loss


def total(losses):
    return sum(value for key, value in losses.items() if 'loss' in key)


def gradients(model, batch):
    model.zero_grad()
    total(model(*batch, mode='loss')).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def step_data(count=4):
    generator = torch.Generator().manual_seed(0)
    return dict(
        inputs=[torch.randint(0, 256, (count, 3, 16, 16), generator=generator, dtype=torch.uint8) for _ in range(2)],
        data_samples=[DataSample().set_gt_label(label % 3) for label in range(count)],
    )


def test_a_training_step_never_waits_for_the_device(build):
    model = build(sculpt_loss=dict(layer_weights=(1.0, 0.5))).train()
    optimizer = OptimWrapper(torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9))
    data = step_data()
    model.train_step(data, optimizer)
    with RecordOperators() as operators:
        model.train_step(data, optimizer)
    assert len(operators.names) > 200
    assert not set(WAITING) & set(operators.names)


def test_the_recorder_notices_a_wait():
    with RecordOperators() as operators:
        torch.ones(1).item()
    assert set(WAITING) & set(operators.names)


def test_labels_travel_together_and_samples_stay_on_the_host(build):
    preprocessor = build().data_preprocessor
    preprocessor.to('meta')
    data = preprocessor(step_data(), training=True)
    assert all(view.device.type == 'meta' for view in data['inputs'])
    assert all(sample.gt_label.device.type == 'cpu' for sample in data['data_samples'])


def test_blocks_share_a_handful_of_compiled_graphs_without_a_break(build, batch):
    torch._dynamo.reset()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    model = build(compile=dict(backend=backend, fullgraph=True))
    counts = []
    for run in (lambda: gradients(model, batch), lambda: gradients(model, batch), lambda: model(batch[0][0])):
        run()
        counts.append(len(graphs))
    # Frozen and tuned blocks, the value path; then without gradients, and [CLS] alone. A second step needs nothing new.
    assert counts[0] == counts[1] <= 6 and counts[2] <= 12


@pytest.mark.parametrize(
    'arguments',
    [
        dict(mode='reduce-overhead'),
        dict(mode='max-autotune'),
        dict(backend='cudagraphs'),
        {'options': {'triton.cudagraphs': True}},
    ],
)
def test_blocks_as_cuda_graphs_are_refused(build, arguments):
    with pytest.raises(ValueError, match='next one would overwrite what it hands on.*model.cuda_graph=True runs predictions'):
        build(compile=arguments)
    build(compile=dict(mode='max-autotune-no-cudagraphs'))


def test_a_compiled_model_has_equal_losses_gradients_and_state(build, batch):
    torch._dynamo.reset()
    plain, compiled = shake(build()), shake(build(compile=dict(backend='aot_eager', fullgraph=True)))
    with force_onednn(False):
        torch.testing.assert_close(gradients(compiled, batch), gradients(plain, batch), rtol=1e-4, atol=1e-5)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(compiled(batch[0][0]), plain(batch[0][0]), rtol=1e-4, atol=1e-4)


def test_checkpointing_keeps_less_and_changes_no_gradient(build, batch):
    plain, checkpointed = shake(build()), shake(build(backbone=dict(checkpointing=True)))
    kept = {}
    for name, model in (('plain', plain), ('checkpointed', checkpointed)):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t):
            model.backbone(batch[0][0], patch_tokens=True)
        kept[name] = sum(sizes)
    assert kept['checkpointed'] < kept['plain'] / 2
    torch.testing.assert_close(gradients(checkpointed, batch), gradients(plain, batch), rtol=1e-5, atol=1e-6)


def test_accumulated_gradients_are_the_mean_over_the_small_batches(build):
    data = [step_data(4), step_data(2)]
    expected, accumulating = shake(build()).train(), shake(build()).train()
    parameters = {name: p for name, p in expected.named_parameters() if p.requires_grad}
    for part in data:
        prepared = expected.data_preprocessor(part, training=True)
        (total(expected(**prepared, mode='loss')) / 2).backward()
    torch.optim.SGD(parameters.values(), lr=0.1).step()
    own = {name: p for name, p in accumulating.named_parameters() if p.requires_grad}
    before = {name: p.detach().clone() for name, p in own.items()}
    wrapper = OptimWrapper(torch.optim.SGD(own.values(), lr=0.1), accumulative_counts=2)
    accumulating.train_step(data[0], wrapper)
    assert all(torch.equal(p, before[name]) for name, p in own.items())
    accumulating.train_step(data[1], wrapper)
    torch.testing.assert_close(own, parameters, rtol=1e-5, atol=1e-6)


def test_sculpting_is_linear_in_the_number_of_classes():
    generator = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(2, 8, 16, generator=generator), dim=-1).requires_grad_()
    labels = torch.randint(0, 21_841, (8,), generator=generator)
    largest, saved = {}, {}
    for classes in (21_841, 2 * 21_841):
        text, sizes = torch.randn(classes, 16, generator=generator), []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t):
            with RecordOperators() as operators:
                sculpt_loss(features, labels, text).backward()
        largest[classes], saved[classes] = operators.largest, sum(sizes)
    # Nothing is larger than queries x classes (or the texts themselves), and what is kept grows as they do.
    assert all(size <= 16 * classes for classes, size in largest.items())
    assert saved[2 * 21_841] < 2.05 * saved[21_841]
