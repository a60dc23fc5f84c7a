"""One cell of a grid: trained, tested, and its result written down."""

import contextlib
import functools
import json
import logging
import math
import os
import platform
import shutil
import subprocess
import time
from importlib import metadata
from pathlib import Path

import torch
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop

from .. import __version__
from ..engine import command_line
from ..engine.file_backend import AtomicLocalBackend
from ..engine.loops import StepBudgetTrainLoop
from ..engine.resuming import find_checkpoint
from ..utils.errors import PACKAGE_ROOT
from ..utils.files import read_json
from ..utils.shape import count, fault_of, figure, number
from .grid import config_key, read_cell_config
from .selection import choice_pictures

RESULT_FORMAT = 'mmpretrain_mps-benchmark-1'
RESULT_FILE = 'result.json'
LOG_FILE = 'log.txt'
# What the readers of results count on.
RESULT = {
    'format': str,
    'hash': str,
    'config': str,
    'recipe': str,
    'shots': count,
    'seed': count,
    'dataset': str,
    'metrics': {'*': figure},
    'seconds?': {'training': number, 'testing': number},
    'train_pictures?': count,
    'test_pictures?': count,
    'epoch?': number,
    'machine?': dict,
    'versions?': dict,
    'options?': dict,
}
CHECKPOINTS_PER_RUN = 10
PACKAGES = ('torch', 'torchvision', 'mmengine', 'mmpretrain', 'mmcv', 'mmcv-lite', 'open_clip_torch', 'numpy')


def read_result(folder, cell):
    """Return the result of a cell, or of another one that runs the same config, whatever it is called.

    Args:
        folder (str | Path): Of the grid.
        cell (Cell): Of the grid.

    Returns:
        dict | None: Named as the cell is; None if there is none, or what lies there belongs to another config.
    """
    places = [Path(folder, cell.folder)]
    places += sorted(set(Path(folder).glob(str(Path('*', cell.folder.name)))) - set(places))
    for place in places:
        result = result_in(place / RESULT_FILE)
        if result is not None and result['hash'] == cell.key:
            return {**result, **_labels(cell)}
    return None


def result_in(file):
    """Return the result of a cell that a file holds, None if it holds none that is whole."""
    try:
        result = read_json(file)
    except (ValueError, FileNotFoundError):
        return None
    return result if is_result(result) else None


def is_result(content):
    """Return whether content of a file is the result of a cell."""
    return not fault_of(content, RESULT) and content['format'] == RESULT_FORMAT


def run_cell(folder, cell, resume=True, keep_checkpoints=False):
    """Train and test a cell in this process and write its result, complete or not at all.

    Args:
        folder (str | Path): Of the grid.
        cell (Cell): Of the grid.
        resume (bool): Go on from the last checkpoint if there is one; otherwise start over.
        keep_checkpoints (bool): Keep them once the result is written.

    Returns:
        dict: The result.

    Raises:
        ValueError: If the config file has changed since the grid was laid out.
    """
    work_dir = Path(folder, cell.folder)
    cfg = read_cell_config(cell)
    if config_key(cfg, cell.select) != cell.key:
        raise ValueError(f'{cell.config} has changed since the grid was started; start the grid again')
    cfg.work_dir = str(work_dir)
    if (work_dir / RESULT_FILE).is_dir():
        raise ValueError(f'{work_dir / RESULT_FILE} is a folder, where the result is to be written; move it away')
    _save_rarely(cfg.get('train_cfg') or {}, (cfg.get('default_hooks') or {}).get('checkpoint'))
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
        _save_rarely_of_steps(runner)
        runner.train()
    trained = time.time()
    epoch = load_best(runner) if cell.select == 'val' else runner.epoch if cell.trains else 0
    metrics = runner.test()
    result = dict(
        **describe(cell, runner),
        epoch=epoch,
        metrics=figures_of(metrics),
        seconds=dict(training=round(trained - started, 2), testing=round(time.time() - trained, 2)),
        resumed=resumed,
        finished=time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
        machine=machine(),
        versions=versions(),
    )
    AtomicLocalBackend().put_text(json.dumps(result, indent=2, ensure_ascii=False) + '\n', work_dir / RESULT_FILE)
    if not keep_checkpoints:
        for file in work_dir.glob('*.pth'):
            file.unlink()
        (work_dir / 'last_checkpoint').unlink(missing_ok=True)
    return result


def figures_of(metrics):
    """Keep the metrics that are finite numbers; a config may also ask for matrices, and some figure be undefined.

    Args:
        metrics (dict): As a test returns them.

    Returns:
        dict[str, float]: Those of one number.
    """
    figures = {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, (int, float)) or getattr(value, 'shape', None) == ()
    }
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def load_best(runner):
    """Load the best checkpoint on the validation split into the model.

    Args:
        runner (Runner): After training with ``save_best``.

    Returns:
        int: The number of epochs that it was trained for.
    """
    checkpoint = runner.load_checkpoint(runner.message_hub.get_info('best_ckpt'))
    return checkpoint['meta']['epoch']


def describe(cell, runner):
    """Return what a result is about: the cell, the data, the pictures.

    Args:
        cell (Cell): Of the grid.
        runner (Runner): After testing.

    Returns:
        dict: Plain values.
    """
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
    # Epochs may end with an incomplete batch, and a number of steps with an incomplete epoch.
    return (
        by_steps if isinstance(runner.train_loop, IterBasedTrainLoop) else min(by_steps, runner.max_epochs * len(loader.dataset))
    )


def machine():
    """Return what a run ran on.

    Returns:
        dict: System, processor, cores, threads, GPU.
    """
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return dict(
        system=platform.platform(), processor=_processor(), cores=os.cpu_count(), threads=torch.get_num_threads(), gpu=gpu
    )


def versions():
    """Return the versions of what a result depends on.

    Returns:
        dict[str, str]: Package to version, absent ones left out; in a checkout with git, ``commit`` as well.
    """
    found = {'python': platform.python_version(), 'mmpretrain_mps': __version__, **_commit()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


@functools.lru_cache(maxsize=1)
def _commit():
    """Return the commit that the package's files are of, with a ``+`` where they were changed since."""
    command = ['git', '-C', str(Path(__file__).parent)]
    try:
        commit, changes = (
            subprocess.run([*command, *arguments], capture_output=True, text=True, check=True).stdout.strip()
            for arguments in (
                ('rev-parse', '--short=12', 'HEAD'),
                ('status', '--porcelain', '--untracked-files=no', '--', str(PACKAGE_ROOT)),
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {'commit': f'{commit}{"+" if changes else ""}'}


def clear(folder, cell):
    """Remove what an unfinished run of a cell left behind, but its log, which this one may be writing to.

    Args:
        folder (str | Path): Of the grid.
        cell (Cell): Of the grid.
    """
    for path in Path(folder, cell.folder).glob('*'):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOG_FILE:
            path.unlink(missing_ok=True)


def _save_rarely(train, hook):
    """Save about ten times per run: for each checkpoint mmengine formats the whole config anew, slower than an epoch."""
    length = train.get('max_epochs' if (hook or {}).get('by_epoch', True) else 'max_iters')
    if hook and length:
        hook.interval = max(hook.get('interval', 1), length // CHECKPOINTS_PER_RUN)


def _save_rarely_of_steps(runner):
    """The same where only the loop knows how many epochs its steps are."""
    if isinstance(runner.train_loop, StepBudgetTrainLoop):
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.by_epoch:
                hook.interval = max(hook.interval, runner.max_epochs // CHECKPOINTS_PER_RUN)


def _processor():
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        return next(line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
