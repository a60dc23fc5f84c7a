from uuid import uuid4

import pytest
import torch
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample
from tiny_clip import NAMES, save_tiny_clip, shake
from tiny_digits import write_config
from torch.utils.data import Dataset

from mmpretrain_mps.benchmark.cell_run import run_cell
from mmpretrain_mps.benchmark.grid import make_cells
from mmpretrain_mps.engine import WeightInterpolationHook
from mmpretrain_mps.models import MPSCLIPClassifier


@DATASETS.register_module()
class NoisePictures(Dataset):
    """Noise, labelled in turn; as many views as asked for."""

    def __init__(self, seed=0, views=0, classes=NAMES):
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randint(256, (10, 3, 16, 16), generator=generator, dtype=torch.uint8)
        self.views, self.metainfo = views, dict(classes=classes, templates=('a photo of a {}.',))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image, sample = self.images[index], DataSample().set_gt_label(index % 3)
        return dict(inputs=[image] * self.views if self.views else image, data_samples=sample)


def loader(**dataset):
    return dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
        dataset=dict(type='NoisePictures', **dataset),
    )


@pytest.fixture(scope='module')
def architecture(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp('clip') / 'tiny')


@pytest.fixture
def build(architecture, tmp_path):
    """Build a runner that tests a model with moved weights on a source and a target with classes of its own."""

    def build_runner(hook=None, **more):
        model = shake(MPSCLIPClassifier(architecture, None, class_names=NAMES), scale=0.1)
        hooks = {} if hook is None else dict(weight_interpolation=dict(type='WeightInterpolationHook', **hook))
        targets = dict(other=dict(type='NoisePictures', seed=1, classes=('lake', 'sea', 'pond')))
        return Runner(
            model,
            str(tmp_path),
            test_dataloader=loader(),
            test_evaluator=dict(type='BranchAccuracy'),
            test_cfg=dict(type='DomainGeneralizationLoop', targets=targets),
            default_scope='mmpretrain',
            log_level='ERROR',
            experiment_name=uuid4().hex,
            **{'default_hooks': hooks, **more},
        )

    return build_runner


def weights_of(runner):
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


def assert_same(ours, theirs):
    assert list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


def record(runner, monkeypatch):
    """Collect every prediction that a runner makes."""
    samples, predict = [], runner.model.predict

    def recorded(*args):
        predicted = predict(*args)
        samples.extend(predicted)
        return predicted

    monkeypatch.setattr(runner.model, 'predict', recorded)
    return samples


def test_share_0_predicts_exactly_what_zero_shot_predicts_on_all_targets(build, monkeypatch):
    runner = build(dict(share=0))
    samples = record(runner, monkeypatch)
    runner.test()
    assert len(samples) == 2 * 10
    assert all(torch.equal(sample.tuned_logits, sample.zero_shot_logits) for sample in samples)


def test_share_1_changes_nothing_and_half_lies_between(build, monkeypatch):
    logits = {}
    for share in (None, 1, 0.5):
        runner = build(None if share is None else dict(share=share))
        samples = record(runner, monkeypatch)
        runner.test()
        logits[share] = torch.stack([sample.tuned_logits for sample in samples])
    frozen = torch.stack([sample.zero_shot_logits for sample in samples])
    assert torch.equal(logits[None], logits[1])
    assert all((logits[0.5] - end).abs().max() > 0.1 for end in (logits[1], frozen))


def test_the_weights_come_back_and_a_second_test_gives_the_same(build, monkeypatch):
    runner = build(dict(share=0.5))
    before, samples = weights_of(runner), record(runner, monkeypatch)
    runner.test()
    assert_same(weights_of(runner), before)
    runner.test()
    assert_same(weights_of(runner), before)
    pairs = zip(samples[:20], samples[20:], strict=True)
    assert all(torch.equal(one.tuned_logits, two.tuned_logits) for one, two in pairs)


def test_the_weights_come_back_after_an_error(build, monkeypatch):
    runner, during = build(dict(share=0.5)), []
    before = weights_of(runner)

    def fail(*args):
        during.append(weights_of(runner))
        raise RuntimeError('no more memory')

    monkeypatch.setattr(runner.model, 'predict', fail)
    for _ in range(2):  # also where the runner is used once more afterwards
        with pytest.raises(RuntimeError, match='no more memory'):
            runner.test()
    assert_same(during[0], during[1])
    assert not torch.equal(during[0]['backbone.tuned.proj'], before['backbone.tuned.proj'])
    assert_same(weights_of(runner), before)


@pytest.mark.parametrize('val', [False, True])
def test_validation_is_interpolated_if_asked_for_and_checkpoints_of_it_hold_the_tuned_weights(build, monkeypatch, val):
    hook = dict(
        weight_interpolation=dict(type='WeightInterpolationHook', share=0, val=val),
        checkpoint=dict(type='AtomicCheckpointHook', save_best='accuracy/tuned'),
    )
    runner = build(
        default_hooks=hook,
        custom_hooks=[dict(type='PlainCheckpointHook')],
        train_dataloader=loader(views=2),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        val_dataloader=loader(),
        val_cfg=dict(),
        val_evaluator=dict(type='BranchAccuracy'),
        optim_wrapper=dict(
            type='OptimWrapper', constructor='TrainableOptimWrapperConstructor', optimizer=dict(type='SGD', lr=0.1)
        ),
    )
    samples = record(runner, monkeypatch)
    runner.train()
    frozen = [torch.equal(sample.tuned_logits, sample.zero_shot_logits) for sample in samples]
    assert len(frozen) == 10 and all(frozen) == val
    best = torch.load(runner.message_hub.get_info('best_ckpt'), weights_only=True)['state_dict']
    assert_same(best, weights_of(runner))


def test_a_cell_of_a_grid_takes_it_as_an_option(tmp_path):
    config = write_config(tmp_path, epochs=1)
    options = {'default_hooks.weight_interpolation': dict(type='WeightInterpolationHook', share=0.0)}
    (cell,) = make_cells([str(config)], [1], [1], options=options)
    metrics = run_cell(tmp_path, cell)['metrics']
    assert metrics['accuracy/tuned'] == metrics['accuracy/zero_shot']
    assert make_cells([str(config)], [1], [1])[0].key != cell.key


@pytest.mark.parametrize('share', [-0.1, 1.5])
def test_a_share_outside_of_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match=f'share must lie between 0 .* and 1 .*, but is {share}'):
        WeightInterpolationHook(share)


def test_a_model_without_branches_is_refused(tmp_path):
    loader = dict(batch_size=1, dataset=[0], sampler=dict(type='DefaultSampler', shuffle=False))
    runner = Runner(
        torch.nn.Linear(1, 1),
        str(tmp_path),
        test_dataloader=loader,
        test_evaluator=[],
        test_cfg=dict(),
        default_hooks=dict(interpolation=dict(type='WeightInterpolationHook', share=0.5)),
        default_scope='mmpretrain',
        log_level='ERROR',
        experiment_name=uuid4().hex,
    )
    with pytest.raises(ValueError, match='needs a model with a frozen and a tuned branch.*but this is a Linear'):
        runner.call_hook('before_run')
