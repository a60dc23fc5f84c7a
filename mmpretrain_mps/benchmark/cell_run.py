"""One cell of a grid: trained, tested, and its result written down."""

import contextlib
import functools
import logging
import math
import os
import platform
import shutil
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop

from .. import __version__
from ..engine import command_line
from ..engine.resuming import find_checkpoint
from ..utils.errors import PACKAGE_ROOT
from ..utils.files import AnyPath, read_json
from ..utils.shape import count, fault_of, figure, number
from .files import json_text, write_files
from .grid import Cell, config_key, read_cell_config
from .selection import choice_pictures

RESULT_FORMAT = 'mmpretrain_mps-benchmark-1'
RESULT_FILE = 'result.json'
LOG_FILE = 'log.txt'
# What the readers of results count on.
RESULT = {
    **dict.fromkeys(('format', 'hash', 'config', 'recipe', 'dataset'), str),
    **dict.fromkeys(('shots', 'seed', 'train_pictures?', 'test_pictures?'), count),
    **dict.fromkeys(('machine?', 'versions?', 'options?'), dict),
    'epoch?': number,
    'metrics': {'*': figure},
    'seconds?': {'training': number, 'testing': number},
}
CHECKPOINTS_PER_RUN = 10
PACKAGES = ('torch', 'torchvision', 'mmengine', 'mmpretrain', 'mmcv', 'mmcv-lite', 'open_clip_torch', 'numpy')


def read_result(folder: AnyPath, cell: Cell) -> dict[str, Any] | None:
    """Return the result of a cell of a grid, or of another one that runs the same config, named as this cell is.

    None if there is none, or what lies there belongs to another config.
    """
    places = [Path(folder, cell.folder)]
    places += sorted(set(Path(folder).glob(str(Path('*', cell.folder.name)))) - set(places))
    for place in places:
        result = result_in(place / RESULT_FILE)
        if result is not None and result['hash'] == cell.key:
            return {**result, **_labels(cell)}
    return None


def result_in(file: AnyPath) -> dict[str, Any] | None:
    """Return the result of a cell that a file holds, None if it holds none that is whole."""
    try:
        result = read_json(file)
    except (ValueError, FileNotFoundError):
        return None
    return result if not fault_of(result, RESULT) and result['format'] == RESULT_FORMAT else None


def run_cell(folder: AnyPath, cell: Cell, resume: bool = True, keep_checkpoints: bool = False) -> dict[str, Any]:
    """Train and test a cell in this process, write its result, complete or not at all, and return it.

    It goes on from the last checkpoint if it may and there is one. Raises ValueError if the config file has changed since the
    grid was laid out.
    """
    work_dir = Path(folder, cell.folder)
    cfg = read_cell_config(cell)
    if config_key(cfg, cell.select) != cell.key:
        raise ValueError(f'{cell.config} has changed since the grid was started; start the grid again')
    cfg.work_dir = str(work_dir)
    if (work_dir / RESULT_FILE).is_dir():
        raise ValueError(f'{work_dir / RESULT_FILE} is a folder, where the result is to be written; move it away')
    try:
        resumed = resume and find_checkpoint(cfg.work_dir) is not None
    except ValueError as error:  # its folder is the grid's own: nobody else would move them away
        print_log(f'{error}. The cell starts over', level=logging.WARNING)
        clear(folder, cell)
        resumed = False
    if resumed:
        command_line.resume_from(cfg, 'auto')
    started = time.time()
    runner = command_line.build_runner(cfg, ('train_dataloader', 'val_dataloader', 'test_dataloader'))
    if cell.trains:
        _save_rarely(runner)
        runner.train()
    trained = time.time()
    epoch = runner.epoch if cell.trains else 0
    if cell.select == 'val':
        epoch = runner.load_checkpoint(runner.message_hub.get_info('best_ckpt'))['meta']['epoch']
    metrics = runner.test()
    result = dict(
        **_description(cell, runner),
        epoch=epoch,
        metrics=figures_of(metrics),
        seconds=dict(training=round(trained - started, 2), testing=round(time.time() - trained, 2)),
        resumed=resumed,
        finished=time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
        machine=machine(),
        versions=versions(),
    )
    write_files(work_dir, {RESULT_FILE: json_text(result, indent=2)})
    if not keep_checkpoints:
        for file in work_dir.glob('*.pth'):
            file.unlink()
        (work_dir / 'last_checkpoint').unlink(missing_ok=True)
    return result


def figures_of(metrics: dict[str, Any]) -> dict[str, float]:
    """Keep the metrics that are finite numbers; a config may also ask for matrices, and some figure be undefined."""
    numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float)) or _is_scalar(value)}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def _is_scalar(value):
    return getattr(value, 'shape', None) == ()


def _description(cell, runner):
    """Return what a result is about: the cell, the data, the pictures."""
    test = getattr(runner.test_dataloader.dataset, 'metainfo', {})
    pictures = runner.train_dataloader.dataset if cell.trains else ()
    return dict(
        format=RESULT_FORMAT,
        hash=cell.key,
        **_labels(cell),
        shots=cell.shots,
        seed=cell.seed,
        options=dict(cell.options),
        select=cell.select,
        dataset=test.get('dataset_name', type(runner.test_dataloader.dataset).__name__),
        split_id=test.get('split_id'),
        picks_id=getattr(pictures, 'metainfo', {}).get('picks_id'),
        chosen_on_test='test' in choice_pictures(runner.cfg),
        train_pictures=len(pictures),
        pictures_seen=_pictures_seen(runner) if cell.trains else 0,
        test_pictures=len(runner.test_dataloader.dataset),
    )


def _labels(cell):
    """Return what a result is called by; runs of one config may be called in several ways."""
    return dict(config=Path(cell.config).name, recipe=cell.recipe, method=cell.method)


def _pictures_seen(runner):
    """Count the pictures of a whole training, each as often as it was taken."""
    loader = runner.train_dataloader
    by_steps = runner.max_iters * loader.batch_size
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        return by_steps  # the last epoch may be incomplete
    return min(by_steps, runner.max_epochs * len(loader.dataset))  # the last batch of an epoch may be incomplete


def machine() -> dict[str, Any]:
    """Return what a run ran on: system, processor, cores, threads, GPU."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    cores, threads = os.cpu_count(), torch.get_num_threads()
    return dict(system=platform.platform(), processor=_processor(), cores=cores, threads=threads, gpu=gpu)


def versions() -> dict[str, str]:
    """Return the versions of what a result depends on; in a checkout with git, the ``commit`` as well."""
    found = {'python': platform.python_version(), 'mmpretrain_mps': __version__, **_commit()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


@functools.lru_cache(maxsize=1)
def _commit():
    """Return the commit that the package's files are of, with a ``+`` where they were changed since."""

    def git(*arguments):
        """Return what git prints."""
        command = ['git', '-C', str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git('rev-parse', '--short=12', 'HEAD')
        changes = git('status', '--porcelain', '--untracked-files=no', '--', str(PACKAGE_ROOT))
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {'commit': f'{commit}{"+" if changes else ""}'}


def clear(folder: AnyPath, cell: Cell) -> None:
    """Remove what an unfinished run of a cell left behind, but its log, which this one may be writing to."""
    for path in Path(folder, cell.folder).glob('*'):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOG_FILE:
            path.unlink(missing_ok=True)


def _save_rarely(runner):
    """Save about ten times per run: for each checkpoint mmengine formats the whole config anew, slower than an epoch."""
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            length = runner.max_epochs if hook.by_epoch else runner.max_iters
            hook.interval = max(hook.interval, length // CHECKPOINTS_PER_RUN)


def _processor():
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        return next(line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
