"""From the flags of tools/train.py and tools/test.py to a runner."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS

from ..utils.config import apply_options
from ..utils.config_checks import check_values
from ..utils.config_files import read_config_file
from ..utils.cores import available_cores, processes_here
from ..utils.methods import RECIPES, method_names, other_values, replace_method
from ..utils.option_values import OptionsAction
from ..utils.places import existing_config
from ..utils.trust import add_trust_flag
from .launch import LAUNCHERS, end_with_launcher, is_first_process, leave_processes, set_up_processes
from .preflight import check_inputs, check_processes, fetch_weights
from .resuming import find_checkpoint
from .work_folder import claimed

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from mmengine.config import Config

TENSORBOARD_BACKEND = 'TensorboardVisBackend'
WORKER_TIMEOUT = 50  # seconds for a batch that is not there
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def add_common_flags(parser: ArgumentParser) -> None:
    """Add the flags that training and testing share, named as mmpretrain names them.

    Args:
        parser (ArgumentParser): Changed in place.
    """
    parser.add_argument(
        '--method',
        metavar='NAME',
        help='train the config by another method: its model, optimizer, schedules and views replace those '
        f'of the config, which keeps its data and its CLIP ({", ".join(method_names())}, or the path of a '
        'file like those in configs/_base_/methods)',
    )
    parser.add_argument(
        '--recipe', choices=RECIPES, help="with --method: its 'default' recipe, or the one of its authors' released code"
    )
    parser.add_argument(
        '--work-dir',
        help='folder for logs and results; by default work_dirs/<name of the config>, or work_dirs/<name of the config>-<method>',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision: bfloat16 where the device has it, else float16')
    parser.add_argument('--no-pin-memory', action='store_true', help='do not pin the memory of batches')
    parser.add_argument('--no-persistent-workers', action='store_true', help='start the workers anew in every epoch')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        metavar='NAME=VALUE',
        help="change the config, for example num_shots=4 train_cfg.max_epochs=10; lists as a=1,2 or \"a=['x, y', 'z']\"",
    )
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='who starts several processes')
    parser.add_argument('--local_rank', '--local-rank', type=int, help='set by old launchers; torchrun does not use it')
    add_trust_flag(parser)
    parser.add_argument('--traceback', action='store_true', help='show where in the code an input was refused')


def check_device(parser: ArgumentParser, device: str) -> None:
    """End a tool with a message if its ``--device`` is a GPU and there is none.

    Args:
        parser (ArgumentParser): Of the tool.
        device (str): As given.
    """
    if torch.device(device).type == 'cuda' and not torch.cuda.is_available():
        parser.error(f'--device is {device}, but PyTorch sees no GPU here')


def read_config(path: str, arguments: Namespace, content: Config | None = None) -> Config:
    """Read a config file and apply the flags that training and testing share: ``--method`` first, ``--cfg-options`` last.

    Args:
        path (str): The config file, or the name of one of this project's.
        arguments (Namespace): With the flags of :func:`add_common_flags`.
        content (Config, optional): What the file holds, for those who read it many times; changed in place.

    Returns:
        Config: For :func:`build_runner`.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the config asks for TensorBoard and the package is missing.
        ValueError: If an option names what does not exist, there is no such method, or it does not fit the config.
    """
    path = str(existing_config(path))  # also where the content is known
    if arguments.local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', str(arguments.local_rank))
    cfg = read_config_file(path) if content is None else content
    cfg.launcher = arguments.launcher
    if arguments.recipe and not arguments.method:
        raise ValueError(f'--recipe {arguments.recipe} is of a method: name it by --method')
    named = '-'.join(Path(part).stem for part in (path, arguments.method, arguments.recipe) if part)
    cfg.work_dir = arguments.work_dir or cfg.get('work_dir') or str(Path('work_dirs', named))
    for name in LOADERS:
        if cfg.get(name):
            _complete_loader(cfg[name], arguments)
    if arguments.method:
        replace_method(cfg, arguments.method, arguments.recipe or RECIPES[0], arguments.cfg_options)
    else:
        _warn_of_other_values(cfg, arguments.cfg_options)
        if 'method' in cfg:
            cfg.method.pop('cases', None)  # done with; mmengine writes the config into every checkpoint
        apply_options(cfg, arguments.cfg_options)
    if cfg.get('tensorboard'):
        with_tensorboard(cfg)
    return cfg


def _warn_of_other_values(cfg, options):
    others = other_values(cfg, options)
    if others:
        listed = ', '.join(f'{name}={value}' for name, value in others.items())
        _warn_once(
            f'{cfg.filename} keeps its values for {options["num_shots"]} shots, too, where the recipe of '
            f'{cfg.method.label} has {listed}; --method {cfg.method.name} takes those'
        )


@functools.cache  # a grid reads its configs again and again
def _warn_once(message):
    print_log(message, level=logging.WARNING)


def _complete_loader(loader, arguments):
    """Fill in what mmpretrain's tools fill in, but persistent workers only where there are workers."""
    loader.setdefault('collate_fn', dict(type='default_collate'))
    loader.setdefault('pin_memory', torch.cuda.is_available())
    loader.setdefault('persistent_workers', True)
    if arguments.no_pin_memory:
        loader.pin_memory = False
    if arguments.no_persistent_workers:
        loader.persistent_workers = False


def build_runner(cfg: Config, loaders: Sequence[str]) -> Runner:
    """Look at what the run needs, set the processes up and build the runner of a config.

    Args:
        cfg (Config): Complete; changed where the machine demands it.
        loaders (Sequence[str]): The data loaders that the run uses, for instance ``('test_dataloader', )``.

    Returns:
        Runner: mmengine's, or the one that ``runner_type`` names.

    Raises:
        FileNotFoundError: If weights or data are missing.
        ValueError: If a number, the launcher's environment, the way to several processes or the model's name is not
            usable.
    """
    check_values(cfg)
    check_processes(cfg)
    check_inputs(cfg, loaders)
    fetch_weights(cfg)
    for name in LOADERS:
        # After all options, since num_workers may be one of them; torch refuses the pair.
        if cfg.get(name) and not cfg[name].get('num_workers'):
            cfg[name].persistent_workers = False
        elif cfg.get(name):  # a worker that was stopped, or whose disk hangs, would be waited for without end
            cfg[name].setdefault('timeout', WORKER_TIMEOUT)
    set_up_processes(cfg)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    loading = ', '.join(f'{name} {cfg[name].get("num_workers", 0)}' for name in loaders if cfg.get(name))
    runner.logger.info(f'processes that load: {loading} ({available_cores()} cores, shared by {processes_here()} processes)')
    if 'train_dataloader' in loaders and (cfg.get('train_dataloader') or {}).get('drop_last'):
        _keep_the_only_batch(runner)
    return runner


def _keep_the_only_batch(runner):
    """Drop no batch where there is no other: a set that is smaller than a batch is trained on as a whole.

    So do the loaders of the released codes, whose recipes say ``drop_last``. The steps of an epoch must be known before
    the loop and the schedules are built, hence not in a hook.
    """
    loader = runner._train_dataloader
    loader['dataset'] = dataset = DATASETS.build(loader['dataset'])
    if len(dataset) // get_world_size() < loader['batch_size']:
        loader['drop_last'] = False
        runner.logger.warning(
            f'{len(dataset)} pictures do not fill a batch of {loader["batch_size"]} in each process: '
            'train_dataloader.drop_last does not apply'
        )


def require_training(cfg: Config) -> None:
    """Refuse a config that trains nothing.

    Args:
        cfg (Config): Complete.

    Raises:
        ValueError: If it has no training loop.
    """
    if not cfg.get('train_cfg'):
        name = (cfg.get('method') or {}).get('label', 'the config')
        raise ValueError(f'{name} trains nothing: train_cfg is None; test it by tools/test.py CONFIG --zero-shot')


def with_tensorboard(cfg: Config) -> None:
    """Write event files for TensorBoard, besides what the config writes.

    Args:
        cfg (Config): Changed in place.

    Raises:
        ImportError: If the package tensorboard is missing.
    """
    if importlib.util.find_spec('tensorboard') is None:
        raise ImportError(
            'tensorboard=True needs the package tensorboard, which is not installed; install it with '
            "`pip install -e '.[tensorboard]'`"
        )
    visualizer = cfg.get('visualizer') or dict(type='UniversalVisualizer')
    backends = list(visualizer.get('vis_backends') or [])
    if not any(backend['type'] == TENSORBOARD_BACKEND for backend in backends):
        backends.append(dict(type=TENSORBOARD_BACKEND))
    cfg.visualizer = dict(visualizer, vis_backends=backends)


def without_validation(cfg: Config) -> None:
    """Drop validation from a config.

    Args:
        cfg (Config): Changed in place.
    """
    search = (cfg.get('train_cfg') or {}).get('search')
    if search and search.get('pictures', 'val') != 'test' and not search.get('dataloader') and cfg.get('val_dataloader'):
        # What is searched on validation pictures after the training needs them nevertheless.
        search.dataloader = cfg.val_dataloader
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None


def resume_from(cfg: Config, checkpoint: str) -> None:
    """Make the run go on from a checkpoint.

    Args:
        cfg (Config): Changed in place.
        checkpoint (str): A file, or 'auto' for the last one in the work folder (a fresh start if there is none, from the
            weights that ``load_from`` names).
    """
    found = find_checkpoint(cfg.work_dir) if checkpoint == 'auto' else checkpoint
    if found is None:
        print_log(
            f'--resume finds no checkpoint in {cfg.work_dir}: the training starts afresh'
            + (f', from the weights of {cfg.load_from}' if cfg.get('load_from') else ''),
            level=logging.WARNING,
        )
    else:
        cfg.resume, cfg.load_from = True, found


def allow_changes(cfg: Config) -> None:
    """Let a training go on under another config than it was started with.

    Args:
        cfg (Config): Changed in place.
    """
    for hook in cfg.get('custom_hooks') or []:
        if hook.get('type') == 'PlainCheckpointHook':
            hook.allow_changes = True


def train(cfg: Config, overwrite: bool = False) -> None:
    """Train, alone in the work folder.

    Args:
        cfg (Config): Complete.
        overwrite (bool): Let checkpoints of an earlier training in the folder be overwritten.

    Raises:
        FileNotFoundError: If weights or data are missing.
        ValueError: If the folder cannot be used, see :func:`.work_folder.claimed`, or for what :func:`build_runner` refuses.
    """
    end_with_launcher(cfg.launcher)
    with contextlib.ExitStack() as stack:
        if is_first_process(cfg.launcher):
            resumed = cfg.load_from if cfg.get('resume') else None
            stack.enter_context(claimed(cfg.work_dir, resumed, overwrite))
        build_runner(cfg, ('train_dataloader', 'val_dataloader')).train()
        leave_processes()


def with_mixed_precision(cfg: Config) -> None:
    """Train in mixed precision, on whatever device there is.

    Args:
        cfg (Config): Changed in place.
    """
    cfg.optim_wrapper.type = 'DeviceAmpOptimWrapper'


def with_scaled_learning_rate(cfg: Config) -> None:
    """Scale the learning rate by the ratio of the actual batch size to the one that the schedule was written for.

    Args:
        cfg (Config): Changed in place.

    Raises:
        ValueError: If the schedule does not say its batch size.
    """
    if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
        raise ValueError('--auto-scale-lr needs auto_scale_lr = dict(base_batch_size=...) in the config')
    cfg.auto_scale_lr.enable = True
