"""A training within a program: the config, the Runner and the checkpoint of the tools, but no folder and no log to read."""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import random
import tempfile
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import mmengine.device.utils
import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from mmpretrain.registry import DATASETS, MODELS
from tqdm.auto import tqdm

from ..datasets import PictureFolder
from ..engine import command_line
from ..engine.resuming import find_checkpoint
from ..models.loading.clip_loader import mini_folder
from ..utils.checkpoint import read_checkpoint
from ..utils.config_files import read_config_file
from ..utils.errors import USER_ERRORS, user_message
from ..utils.fitting import check_weights
from ..utils.methods import replace_method
from ..utils.option_values import with_values
from ..utils.places import find_config
from ..utils.quiet_log import quiet_log

if TYPE_CHECKING:
    from mmengine.runner import Runner

MINI_CONFIG, CONFIG = 'mps_mini_16shot_custom.py', 'mps_vitb16_16shot_custom.py'
# Of a training that is never resumed: who interrupts a program wants it to stop.
LEFT_OUT = ('InterruptionHook', 'MidEpochHook')
LOG_LEVELS = ('ERROR', 'WARNING', 'INFO')


def base_config(architecture: str) -> str:
    """Return the path of the config of one's own pictures for a CLIP."""
    return str(find_config(MINI_CONFIG if mini_folder(architecture) else CONFIG))


def typed_values(architecture: str, options: dict[str, str] | None) -> dict[str, Any]:
    """Return options as typed on a command line as values, which fit those that they replace.

    Args:
        architecture (str): Of the CLIP.
        options (dict, optional): Of :class:`OptionsAction`.

    Raises:
        ValueError: If one does not fit.
    """
    return with_values(read_config_file(base_config(architecture)), options) if options else {}


def make_config(method: str, recipe: str, options: dict[str, Any], pictures: dict | None = None) -> Config:
    """Return the config that ``tools/train.py`` would make of one's own pictures with ``--method`` and ``--cfg-options``.

    Args:
        method (str): Name of a method, or the path of a file of one.
        recipe (str): Of the method.
        options (dict): Dotted names to values, as of ``--cfg-options``; with ``architecture``.
        pictures (dict, optional): Data set in the place of the folder ``data_root``.

    Returns:
        Config: For :func:`train`.

    Raises:
        ValueError: If there is no such method, or an option names what does not exist.
    """
    path = base_config(options['architecture'])
    parser = argparse.ArgumentParser()
    command_line.add_common_flags(parser)
    cfg = command_line.read_config(path, parser.parse_args([]))
    if pictures is not None:
        dataset = cfg.train_dataloader.dataset.dataset
        cfg.train_dataloader.dataset.dataset = dict(pictures, subset='train', pipeline=dataset.pipeline)
    try:
        replace_method(cfg, method, recipe, options)
    except ValueError as error:
        raise ValueError(
            str(error)
            .replace('--cfg-options names what', 'a setting names what')
            .replace(path, 'the config')
            .replace('--recipe', 'recipe')
        ) from None
    return cfg


def training_pictures(cfg: Config) -> PictureFolder:
    """Read the folder that the pictures of a training are drawn from.

    Args:
        cfg (Config): Of :func:`make_config`; of its folder the training pictures are those that are not tested on.
    """
    return DATASETS.build(dict(cfg.test_dataloader.dataset, subset='train', pipeline=[]))


def train(
    cfg: Config, device: str, verbose: int = 1, all_pictures: bool = False, progress: Callable[[int, int], Any] | None = None
) -> dict:
    """Train as ``tools/train.py`` does.

    Args:
        cfg (Config): Of :func:`make_config`; changed in place.
        device (str): As torch names it.
        verbose (int): 0: nothing is shown; 1: a progress bar, and warnings; 2: the whole log.
        all_pictures (bool): All are meant to be taken, so that classes with fewer are none to warn of.
        progress (Callable, optional): Gets the steps that are done and those of the whole training, after each of them.

    Returns:
        dict: The checkpoint of the last epoch, plain data, without what only resuming needs.

    Raises:
        FileNotFoundError: If weights or pictures are missing.
        ValueError: If something does not fit together; says what.
    """
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type not in LEFT_OUT]
    cfg.default_hooks.checkpoint.interval = 10**9  # the last epoch is saved in any case
    cfg.log_level = LOG_LEVELS[min(verbose, len(LOG_LEVELS) - 1)]
    with (
        tempfile.TemporaryDirectory(prefix='mmpretrain_mps-') as folder,
        _own_log(cfg),
        computing_on(device),
        _random_state_restored(),
        understood_errors(),
    ):
        cfg.work_dir = folder
        runner = command_line.build_runner(cfg, ('train_dataloader',))
        if verbose == 1:
            runner.register_hook(_ProgressBar(cfg.method.label), priority='VERY_LOW')
        if progress is not None:
            runner.register_hook(_Teller(progress), priority='VERY_LOW')
        runner.logger.addFilter(functools.partial(_is_news, all_pictures))
        runner.train()
        checkpoint = read_checkpoint(cast(str, find_checkpoint(folder)))
    return dict(meta=checkpoint['meta'], state_dict=checkpoint['state_dict'])


def build_model(model: Config, device: str, checkpoint: dict | None = None, source: Any = 'at hand') -> torch.nn.Module:
    """Build a model for predictions.

    Args:
        model (Config): Of a classifier.
        device (str): As torch names it.
        checkpoint (dict, optional): Whose weights it takes.
        source (str | Path): The checkpoint, for messages.

    Returns:
        CLIPClassifier: In evaluation mode.

    Raises:
        FileNotFoundError: If weights are missing.
        ValueError: If the checkpoint does not fit, or the config is not one of a classifier of this project.
    """
    with understood_errors(), quiet_log(), _random_state_restored():
        command_line.check_inputs(Config(dict(model=model)), ())
        built = MODELS.build(model)
        if checkpoint is not None:
            built.load_state_dict(check_weights(checkpoint, built, source), strict=False)
    return built.to(device).eval()


@contextlib.contextmanager
def understood_errors() -> Iterator[None]:
    """Turn what libraries say of a wrong name in a config into a ValueError of one sentence."""
    try:
        yield
    except Exception as error:
        message = user_message(error)
        if message is None or isinstance(error, USER_ERRORS):
            raise
        raise ValueError(message.replace('the config and --cfg-options', 'the settings')) from error


@contextlib.contextmanager
def computing_on(device: str) -> Iterator[None]:
    """Let mmengine, which takes the GPU where there is one, take a device."""
    before = mmengine.device.utils.DEVICE
    mmengine.device.utils.DEVICE = device
    try:
        yield
    finally:
        mmengine.device.utils.DEVICE = before


@contextlib.contextmanager
def _own_log(cfg):
    """Give a training a log of its own, and let go of it: mmengine keeps what belongs to a name for good."""
    cfg.experiment_name = f'few_shot_classifier-{uuid.uuid4().hex}'
    try:
        yield
    finally:
        logger = MMLogger._instance_dict.pop(cfg.experiment_name, None)
        for handler in logger.handlers if logger else ():
            handler.close()
        for kind in (MessageHub, Visualizer, DefaultScope):
            kind._instance_dict.pop(cfg.experiment_name, None)
        for kind in Visualizer.__subclasses__():
            kind._instance_dict.pop(cfg.experiment_name, None)


@contextlib.contextmanager
def _random_state_restored():
    """Put back the states of the random numbers of the program, which mmengine seeds."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def _is_news(all_pictures: bool, record: logging.LogRecord) -> bool:
    """Leave out what mmengine says of its own parts at every start, and what was asked for."""
    message = record.getMessage()
    return 'will be deprecated' not in message and not (all_pictures and 'and give all they have' in message)


class _ProgressBar(Hook):
    """Counts steps; without steps there is nothing to count."""

    def __init__(self, title: str):
        self.title = title
        self.bar: Any = None  # of tqdm, once there is something to count

    def before_train(self, runner: Runner) -> None:
        """Show the bar."""
        self.bar = tqdm(total=runner.max_iters, desc=self.title, unit='step')

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Count a step; the loss is read now and then, since a GPU has to be waited for."""
        self.bar.update()
        if outputs and 'loss' in outputs and runner.iter % 10 == 0:
            self.bar.set_postfix(loss=f'{outputs["loss"].item():.3f}', refresh=False)

    def after_train(self, runner: Runner) -> None:
        """Leave the bar as it is."""
        self.bar.update(self.bar.total - self.bar.n)
        self.bar.close()


class _Teller(Hook):
    """Tells a program how far a training is."""

    def __init__(self, progress: Callable[[int, int], Any]):
        self.progress = progress

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Tell; ``runner.iter`` counts the steps before this one."""
        self.progress(runner.iter + 1, runner.max_iters)


def data_of(cfg: Config) -> tuple[list, int, int]:
    """Return how pictures are prepared for testing: pipeline, batch size, number of processes that load."""
    loader = cfg.test_dataloader
    return loader.dataset.pipeline, loader.get('batch_size', 1), loader.get('num_workers', 0)
