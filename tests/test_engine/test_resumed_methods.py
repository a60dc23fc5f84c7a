"""Trainings of PromptSRC and CLIP-LoRA in mmengine's runner, whole and interrupted."""

from uuid import uuid4

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, HOOKS
from mmpretrain.structures import DataSample
from tiny_clip import NAMES, save_tiny_clip
from torch.utils.data import Dataset

from mmpretrain_mps.models import CLIPLoRAClassifier, PromptSRCClassifier


@DATASETS.register_module()
class OneView(Dataset):
    """Noise on a colour for each class."""

    metainfo = dict(classes=NAMES, templates=('a photo of a {}.',))

    def __init__(self, length=11):
        self.images = torch.randint(128, (length, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
        for index, image in enumerate(self.images):
            image[index % 3] += 60

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return dict(inputs=[self.images[index]], data_samples=DataSample().set_gt_label(index % 3))


@HOOKS.register_module()
class StopBeforeEpoch(Hook):
    def __init__(self, epoch):
        self.epoch = epoch

    def before_train_epoch(self, runner):
        if runner.epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.fixture(scope='module')
def architecture(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp('clip') / 'tiny', text=dict(width=16, heads=2, layers=2))


def build_promptsrc(architecture):
    templates = ('a photo of a {}.',)
    return PromptSRCClassifier(architecture, None, text_depth=2, vision_depth=3, teacher_templates=templates)


RUNS = dict(
    promptsrc=(
        build_promptsrc,
        dict(by_epoch=True, max_epochs=4),
        dict(epoch_average=dict(type='EpochAverageHook', weights=dict(mean=3, std=1))),
    ),
    clip_lora=(
        lambda architecture: CLIPLoRAClassifier(architecture, None, dropout=0.4),
        dict(type='StepBudgetTrainLoop', max_iters=11),
        {},
    ),
)


def run(method, architecture, folder, stop_before=None, resume=False):
    build, train_cfg, hooks = RUNS[method]
    torch.manual_seed(0)
    runner = Runner(
        build(architecture),
        str(folder),
        default_scope='mmpretrain',
        log_level='ERROR',
        experiment_name=uuid4().hex,
        train_dataloader=dict(
            batch_size=4,
            num_workers=0,
            collate_fn=dict(type='default_collate'),
            dataset=dict(type='OneView'),
            sampler=dict(type='DefaultSampler', shuffle=True),
        ),
        train_cfg=train_cfg,
        randomness=dict(seed=3),
        resume=resume,
        optim_wrapper=dict(
            type='OptimWrapper', constructor='TrainableOptimWrapperConstructor', optimizer=dict(type='SGD', lr=0.1, momentum=0.9)
        ),
        custom_hooks=[
            dict(type='ClassNamesHook'),
            dict(type='TemperatureHook'),
            dict(type='EqualBatchesHook'),
            dict(type='PlainCheckpointHook'),
        ],
        default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook'), **hooks),
    )
    if stop_before is None:
        runner.train()
        return runner
    runner.register_hook(dict(type='StopBeforeEpoch', epoch=stop_before))
    with pytest.raises(KeyboardInterrupt):
        runner.train()


@pytest.mark.parametrize('method', sorted(RUNS))
def test_an_interrupted_training_ends_with_the_weights_of_a_whole_one_to_the_last_bit(method, architecture, tmp_path):
    whole = run(method, architecture, tmp_path / 'whole')
    run(method, architecture, tmp_path / 'half', stop_before=2)
    torch.manual_seed(100)  # a new process draws otherwise
    resumed = run(method, architecture, tmp_path / 'half', resume=True)
    ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
    assert set(ours) == set(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (resumed.epoch, resumed.iter) == (whole.epoch, whole.iter)


def test_what_is_saved_predicts_as_the_trained_model_and_is_small(architecture, tmp_path):
    for method, (build, *_) in RUNS.items():
        runner = run(method, architecture, tmp_path / method)
        path = runner.message_hub.get_info('last_ckpt')
        loaded = build(architecture)
        loaded.load_state_dict(torch.load(path, weights_only=True)['state_dict'])
        pictures = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        assert torch.equal(loaded.eval()(pictures), runner.model.eval()(pictures))
        trained = sum(p.numel() for p in loaded.parameters() if p.requires_grad)
        kept = sum(value.numel() for name, value in loaded.state_dict().items() if name != '_extra_state')
        assert kept - trained == 3 * (77 + 8)  # tokens and prototypes of three classes
