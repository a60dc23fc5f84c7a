"""Self-supervised pre-training of a small ResNet on the pictures of the mini CLIP, with mmpretrain's MoCo v3."""

import copy
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from mmengine.runner import Runner, set_random_seed
from mmpretrain.registry import MODELS
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from . import zero_shot
from .batches import BatchMaker, Recipe

# Four halvings, since the pictures have 32 pixels: its last map has 2 x 2 places and 128 channels.
NETWORK = dict(type='ResNet_CIFAR', depth=18, stem_channels=16, base_channels=16, strides=(2, 2, 2, 2))
RECIPE = Recipe(steps=1400, learning_rate=2e-3, weight_decay=1e-4, warmup=50)
TEMPERATURE, MOMENTUM = 0.1, 0.01
WIDTHS = dict(features=128, hidden=512, embedding=128)


class Views(Dataset):
    """Batches of two pictures of each mask, as a runner takes them; the ``i``-th depends on ``i`` and the seed alone.

    Args:
        batches (BatchMaker): Where pictures come from. Every concept is drawn as often; which it is, is not given.
        steps (int): How many batches.
    """

    def __init__(self, batches: BatchMaker, steps: int):
        self.batches, self.steps = batches, steps

    def __len__(self):
        return self.steps

    def __getitem__(self, step):
        return dict(inputs=self.batches.views(step, 2), data_samples=None)


class Trained(NamedTuple):
    """What a run gives."""

    network: nn.Module
    """The backbone, in evaluation mode."""
    before: nn.Module
    """What it was before the first step, in evaluation mode."""
    losses: np.ndarray
    """Of each step ``(steps,)``: both cross-entropies, times twice the temperature."""
    seconds: float
    """Of the steps, pictures included."""


def moco_v3() -> dict:
    """Return the config of `MoCo v3 <https://arxiv.org/abs/2104.02057>`_ in mmpretrain, around the network.

    As mmpretrain's for a ResNet-50, narrower, colder, and without batch norm over several devices.
    """
    neck = dict(
        type='NonLinearNeck',
        hid_channels=WIDTHS['hidden'],
        out_channels=WIDTHS['embedding'],
        with_last_bn_affine=False,
        norm_cfg=dict(type='BN1d'),
    )
    predictor = dict(neck, in_channels=WIDTHS['embedding'], with_last_bn=False, with_avg_pool=False)
    loss = dict(type='CrossEntropyLoss', loss_weight=2 * TEMPERATURE)
    return dict(
        type='MoCoV3',
        base_momentum=MOMENTUM,
        backbone=dict(NETWORK, zero_init_residual=False),
        neck=dict(neck, in_channels=WIDTHS['features']),
        head=dict(type='MoCoV3Head', predictor=predictor, loss=loss, temperature=TEMPERATURE),
    )


def train(recipe: Recipe, work_dir: Path) -> Trained:
    """Train the network on drawn digits, glyphs of the fonts that matplotlib brings, and shapes.

    Args:
        recipe (Recipe): Length, batch, rate and seed.
        work_dir (Path): Of the log.

    Returns:
        Trained: With the weights of the last step.
    """
    set_random_seed(recipe.seed)
    model = _build(moco_v3())
    model.init_weights()
    # Half the time of a step on a CPU.
    model.to(memory_format=torch.channels_last)
    before = copy.deepcopy(model.backbone)
    before.eval()
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        default_scope='mmpretrain',
        train_dataloader=DataLoader(Views(BatchMaker(recipe, split='train_basic'), recipe.steps), batch_size=None),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=recipe.steps),
        optim_wrapper=dict(
            optimizer=dict(type='AdamW', lr=recipe.learning_rate, weight_decay=recipe.weight_decay),
            paramwise_cfg=dict(norm_decay_mult=0.0),
        ),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.01, end=recipe.warmup, by_epoch=False),
            dict(type='CosineAnnealingLR', begin=recipe.warmup, end=recipe.steps, by_epoch=False),
        ],
        default_hooks=dict(checkpoint=None, sampler_seed=None, logger=dict(type='LoggerHook', interval=50)),
        log_processor=dict(by_epoch=False),
        randomness=dict(seed=recipe.seed),
    )
    began = time.perf_counter()
    runner.train()
    seconds = time.perf_counter() - began
    model.eval()
    losses, _ = runner.message_hub.get_scalar('train/loss').data
    # Runs of one second share a history in mmengine.
    return Trained(model.backbone, before, losses[-recipe.steps :], seconds)


def save(network: nn.Module, path: Path) -> None:
    """Write weights and running statistics in half precision, under the names that mmpretrain's checkpoints have.

    Args:
        network (nn.Module): A trained backbone.
        path (Path): File to write.

    Raises:
        ValueError: If a number is not finite, or too large for half precision.
    """
    state = {
        f'backbone.{name}': value.half().contiguous()
        for name, value in network.state_dict().items()
        if not name.endswith('num_batches_tracked')
    }
    faults = [name for name, value in state.items() if not value.isfinite().all()]
    if faults:
        raise ValueError(
            f'{len(faults)} arrays do not fit half precision, the first is {faults[0]}; train with a smaller learning rate'
        )
    safetensors.torch.save_file(state, str(path))


def load(path: Path) -> nn.Module:
    """Return the network with the weights of a file that :func:`save` wrote, in evaluation mode."""
    network = _build(NETWORK)
    state = {name.partition('.')[2]: value for name, value in safetensors.torch.load_file(path).items()}
    network.load_state_dict({**network.state_dict(), **state})
    network.eval()
    return network


@torch.no_grad()
def features(network: nn.Module, pictures: Tensor) -> Tensor:
    """Return unit-norm pooled features ``(N, 128)`` of pictures ``(N, 3, 32, 32)`` in -1..1."""
    return F.normalize(torch.cat([network(part)[-1].mean((2, 3)) for part in pictures.split(512)]), dim=-1)


def scores(vectors: dict[str, Tensor], labels: np.ndarray) -> dict[str, dict[str, float]]:
    """Compare vectors of labelled pictures by five-fold cross-validation.

    Args:
        vectors (dict[str, Tensor]): By name ``(N, D)``.
        labels (np.ndarray): ``(N,)``.

    Returns:
        dict: For each name accuracies in percent: of the nearest class mean, the nearest neighbour, a linear probe.
    """
    judges = dict(
        nearest_class_mean=NearestCentroid(),
        nearest_neighbour=KNeighborsClassifier(1),
        linear_probe=make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)),
    )
    return {
        name: {
            judge: round(100 * float(cross_val_score(model, found.numpy(), labels, cv=5).mean()), 2)
            for judge, model in judges.items()
        }
        for name, found in vectors.items()
    }


def digit_scores(networks: dict[str, nn.Module]) -> dict[str, dict[str, float]]:
    """Return the :func:`scores` of networks, and of pixels, on the train half of scikit-learn's digits."""
    images, labels = zero_shot.digits_images()
    rows = zero_shot.digits_halves()['train']
    pictures = zero_shot.preprocess(images[rows])
    found = {name: features(network, pictures) for name, network in networks.items()}
    return scores(dict(found, pixels=F.normalize(pictures.flatten(1), dim=-1)), labels[rows])


def _build(config):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(dict(config))
