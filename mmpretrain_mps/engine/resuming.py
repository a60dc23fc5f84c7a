"""Which checkpoint a run goes on from, and whether it is still the same run."""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import print_log

from ..utils.checkpoint import read_checkpoint
from ..utils.config_files import read_config_text
from ..utils.files import read_text

NOTE = 'last_checkpoint'
_NAME = re.compile(r'(epoch|iter)_(\d+)\.pth')
# What changes no result: where things lie and are written, what is shown, how many processes load.
UNRELATED = frozenset(
    {
        'work_dir',
        'load_from',
        'resume',
        'launcher',
        'log_level',
        'log_processor',
        'visualizer',
        'experiment_name',
        'num_workers',
        'persistent_workers',
        'pin_memory',
        'prefetch_factor',
        'cache_images',
        'cache_limit_mb',
        'views_on_device',
        'data_root',
        'cache_dir',
        'default_hooks',
        'env_cfg',
        'architecture',
        'pretrained',
        'class_file',
        'index_file',
        'test_features',
        'timeout',
    }
)
# What the hooks of processes and batches say, and fit the run to.
ELSEWHERE = frozenset({'batch_size', 'model_wrapper_cfg'})
# Sections of a config of which a training is made.
METHOD = (
    'model',
    'data_preprocessor',
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'train_dataloader',
    'train_cfg',
    'custom_hooks',
    'randomness',
)
OTHERS = ('val_dataloader', 'val_evaluator', 'val_cfg', 'test_dataloader', 'test_evaluator', 'test_cfg', 'compile')
# Within these sections, what says when something is looked at.
HARMLESS = frozenset({'val_interval', 'val_begin', 'compile'})


class Change(NamedTuple):
    """One difference between two configs."""

    place: str
    """Dotted, such as ``'optim_wrapper.optimizer.lr'``."""
    before: Any
    now: Any
    of_method: bool
    """Whether the training is another one with it."""

    def __str__(self):
        return f'{self.place}: {_in_words(self.before)} -> {_in_words(self.now)}'


def find_checkpoint(work_dir: str | Path) -> str | None:
    """Return the checkpoint with the most steps that is whole.

    ``last_checkpoint`` names one, but a run may have been killed before it wrote the name, or the folder moved. A file
    that is damaged is passed over with a warning, and the one before it taken.

    Args:
        work_dir (str | Path): Of the training.

    Returns:
        str | None: None if there is no checkpoint at all.

    Raises:
        ValueError: If there are some, but none of them can be read: a fresh start would overwrite them.
    """
    candidates, faults = _candidates(Path(work_dir)), []
    for path in candidates:
        try:
            read_checkpoint(path)
        except (ValueError, FileNotFoundError) as error:
            faults.append(str(error))
            continue
        for fault in faults:
            print_log(f'{fault}. Going on from {path} instead', 'current', logging.WARNING)
        return str(path)
    if not faults:
        return None
    raise ValueError(
        f'{work_dir} holds checkpoints, but none that can be read; move them away to start afresh: ' + '; '.join(faults)
    )


def checkpoints_in(folder: str | Path) -> list[Path]:
    """Return the checkpoints of a training in its work folder, by name the most trained first."""
    folder = Path(folder)
    files = [file for file in folder.glob('*.pth') if _NAME.fullmatch(file.name)] if folder.is_dir() else []
    return sorted(files, key=_number, reverse=True)


def changes_between(before: dict[str, Any], now: dict[str, Any]) -> list[Change]:
    """Compare the configs of a training and of the run that is to go on with it.

    Args:
        before (dict): Plain.
        now (dict): Plain.

    Returns:
        list[Change]: Of what can change a result.
    """
    changes = []
    for section in (*METHOD, *OTHERS):
        changes += [
            Change(*difference, section in METHOD and not HARMLESS.intersection(difference[0].split('.')))
            for difference in _differences(before.get(section), now.get(section), section)
        ]
    return changes


def config_of(checkpoint: dict[str, Any]) -> dict[str, Any] | None:
    """Return the config that a checkpoint keeps as text, read and not run; None if there is none that can be read."""
    text = (checkpoint.get('meta') or {}).get('cfg')
    try:
        return read_config_text(text, 'the config in the checkpoint') if isinstance(text, str) else None
    except ValueError as error:
        print_log(f'{error}: it is not compared with the config of this run', 'current', logging.WARNING)
        return None


def _candidates(folder):
    """Return the files to try, the most trained first; damaged ones stand where their name puts them."""
    files, noted = checkpoints_in(folder), _noted(folder)
    if noted is not None and noted not in files:
        files.append(noted)
    newest = sorted(files, key=_number, reverse=True)
    # Only of a few the steps are read: those that could be the newest of their kind, and the one that was noted.
    kinds = ([file for file in newest if file.name.startswith(kind)] for kind in ('epoch', 'iter'))
    few = {*(file for kind in kinds for file in kind[:2]), *filter(None, [noted])}
    steps = {file: _steps_of(file) for file in few}
    per_epoch = next(
        (steps[file] / _number(file) for file in few if steps[file] and file.name.startswith('epoch') and _number(file) > 0),
        10**9,
    )
    steps = {
        file: found if found is not None else _number(file) * (per_epoch if file.name.startswith('epoch') else 1)
        for file, found in steps.items()
    }
    return sorted(few, key=lambda file: (-steps[file], file.name)) + [file for file in newest if file not in few]


def _noted(folder):
    try:
        name = read_text(folder / NOTE, errors='replace').strip()
    except FileNotFoundError:
        return None
    except ValueError as error:
        print_log(f'{error} The checkpoints beside it are looked through', 'current', logging.WARNING)
        return None
    if not name or '\0' in name:
        return None
    # The folder may have been moved since.
    beside, there = folder / Path(name).name, Path(name)
    found = beside if os.path.isfile(beside) else there if there.is_absolute() and os.path.isfile(there) else None
    if found is None:
        print_log(
            f'{folder / NOTE} names {name[:100]!r}, which is not there. The checkpoints beside it are looked through',
            'current',
            logging.WARNING,
        )
    return found


def _number(file):
    found = _NAME.fullmatch(file.name)
    return int(found[2]) if found else -1


def _steps_of(file):
    """Return the steps after which a checkpoint was saved, None if it is damaged."""
    try:
        steps = read_checkpoint(file, mmap=True, whole=False)['meta']['iter']
        return steps if isinstance(steps, int) else None
    except (ValueError, FileNotFoundError, KeyError, TypeError):
        return None


def _differences(before, now, place) -> Iterator[tuple[str, Any, Any]]:
    if place.rpartition('.')[2] in UNRELATED | ELSEWHERE or before == now:
        return
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            yield from _differences(before.get(key), now.get(key), f'{place}.{key}')
    elif isinstance(before, (list, tuple)) and isinstance(now, (list, tuple)) and len(before) == len(now):
        for index, (first, second) in enumerate(zip(before, now)):
            yield from _differences(first, second, f'{place}.{index}')
    else:
        yield place, before, now


def _in_words(value):
    text = 'absent' if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + '...'
