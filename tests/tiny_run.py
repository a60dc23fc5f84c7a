"""A classifier, a data set and a config so small that whole runs, with their tools and processes, fit into tests."""

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import torch
from mmengine.dist import get_rank
from mmengine.model import BaseModel
from mmpretrain.registry import DATASETS, MODELS
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

ROOT = Path(__file__).resolve().parents[1]


@MODELS.register_module()
class TinyClassifier(BaseModel):
    """Frozen projection and a trained layer, with the interface that the hooks use.

    ``kill_at=(epoch, iteration)`` ends the process as ``kill -9`` does, ``signal_at=(epoch, iteration, name)`` sends it a
    signal, ``nan_at=(epoch, iteration)`` gives a loss that is no number. ``dropout`` draws random numbers.
    ``fail_at=(rank, epoch, iteration)`` raises in that process alone, while all of them print their number in the system.
    """

    def __init__(self, class_names=None, templates=None, kill_at=None, fail_at=None, signal_at=None, nan_at=None, dropout=0):
        super().__init__()
        self.frozen = torch.nn.Linear(8, 8).requires_grad_(False)
        self.tuned = torch.nn.Linear(8, 3)
        self.class_names, self.templates, self.kill_at = class_names, templates, kill_at
        self.fail_at, self.signal_at, self.nan_at = fail_at, signal_at, nan_at
        self.dropout = torch.nn.Dropout(dropout)
        self.epochs, self.iteration = [], 0

    def set_classes(self, class_names, templates):
        self.class_names, self.templates = class_names, templates

    def set_epoch(self, epoch, max_epochs):
        self.epochs.append((epoch, max_epochs))
        self.iteration, self.temperature = 0, 1 - epoch / max_epochs

    def forward(self, inputs, data_samples=None, mode='tensor'):
        inputs = inputs.to(self.tuned.weight.device)
        logits = self.tuned(self.dropout(self.frozen(inputs))).float()
        if mode == 'predict':
            for sample, score in zip(data_samples, logits.softmax(-1)):
                sample.set_pred_score(score).set_pred_label(score.argmax())
                sample.zero_shot_score, sample.tuned_score = score.flip(0), score
            return data_samples
        if self.kill_at and (self.epochs[-1][0], self.iteration) == tuple(self.kill_at):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fail_at and (self.epochs[-1][0], self.iteration) == tuple(self.fail_at[1:]):
            print(f'process {get_rank()} at the place to fail: {os.getpid()}', flush=True)
            if get_rank() == self.fail_at[0]:
                raise RuntimeError(f'process {get_rank()} fails on purpose')
        if self.signal_at and (self.epochs[-1][0], self.iteration) == tuple(self.signal_at[:2]):
            os.kill(os.getpid(), getattr(signal, self.signal_at[2]))
        is_bad = self.nan_at and (self.epochs[-1][0], self.iteration) == tuple(self.nan_at)
        self.iteration += 1
        labels = torch.cat([sample.gt_label for sample in data_samples]).to(logits.device)
        loss = torch.nn.functional.cross_entropy(logits / self.temperature, labels)
        if is_bad:
            loss = loss * float('nan')
        return dict(
            loss_ce=loss,
            loss_gram_global=loss.detach() * 0,
            temperature=torch.tensor(self.temperature),
            acc_fused=(logits.argmax(-1) == labels).float().mean() * 100,
        )


@DATASETS.register_module()
class TinyDataset(Dataset):
    """Noisy points round three corners; ``metainfo`` as the project's data sets have it."""

    def __init__(
        self,
        length=20,
        seed=0,
        classes=('one', 'two', 'three'),
        split_id='a' * 64,
        picks_id=None,
        dataset_name='Tiny',
        templates=('a photo of a {}.',),
    ):
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(length) % 3
        corners = torch.eye(8)[self.labels]
        self.points = 3 * corners + torch.randn(length, 8, generator=generator)
        self.metainfo = dict(classes=classes, templates=templates, dataset_name=dataset_name, split_id=split_id, seed=seed)
        if picks_id:
            self.metainfo.update(picks_id=picks_id, num_shots=4)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return dict(inputs=self.points[index], data_samples=DataSample().set_gt_label(self.labels[index : index + 1]))


CONFIG = """
_base_ = ['{root}/configs/default_runtime.py']
custom_imports = dict(imports=['mmpretrain_mps', 'tiny_run'], allow_failed_imports=False)
# mmengine shares logs and histories between runs of one name, and names runs by the second.
experiment_name = __import__('uuid').uuid4().hex
num_workers = 0
seed = 1
model = dict(type='TinyClassifier')
picks_id = 'b' * 64
split_id = 'a' * 64
loader = dict(batch_size=4, num_workers=num_workers, persistent_workers=False, collate_fn=dict(type='default_collate'))
train_dataloader = dict(
    dataset=dict(type='TinyDataset', seed=seed, split_id=split_id, picks_id=picks_id),
    sampler=dict(type='DefaultSampler', shuffle=True), **loader)
test_dataloader = dict(
    dataset=dict(type='TinyDataset', seed=100, split_id=split_id),
    sampler=dict(type='DefaultSampler', shuffle=False), **loader)
val_dataloader = test_dataloader
val_evaluator = test_evaluator = dict(type='BranchAccuracy')
val_cfg = dict()
test_cfg = dict()
train_cfg = dict(by_epoch=True, max_epochs=4, val_interval=2)
optim_wrapper = dict(
    type='OptimWrapper', constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4))
param_scheduler = [
    dict(type='FirstEpochWarmupLR', start_factor=0.005, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=4, begin=0, end=4, by_epoch=True),
]
auto_scale_lr = dict(base_batch_size=8, enable=False)
loader = None
"""


def write_config(folder):
    """Write the tiny config into a folder and return its path."""
    path = Path(folder) / 'tiny.py'
    path.write_text(CONFIG.replace('{root}', str(ROOT)))
    return path


def call(script, *arguments):
    """Run a Python script in this process and return its exit status; a crash passes through."""
    with mock.patch.object(sys, 'argv', [str(script), *map(str, arguments)]):
        try:
            runpy.run_path(str(script), run_name='__main__')
        except SystemExit as end:
            return end.code
    return 0


def run(*command, **environment):
    """Run a command with this checkout and this folder importable; return the finished process with its output."""
    command = [str(part) for part in command]
    search = os.pathsep.join([str(ROOT), str(ROOT / 'tests'), os.environ.get('PYTHONPATH', '')])
    ours = {'PYTHONPATH': search, 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'}
    environment = {**os.environ, **ours, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)


def run_python(*command, **environment):
    """Run a script with this Python."""
    return run(sys.executable, *command, **environment)
