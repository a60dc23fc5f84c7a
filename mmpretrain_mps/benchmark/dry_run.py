"""A grid looked at without running it: are its configs sound, is what they need there, how much is it."""

import math
import os.path as osp
from functools import partial
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS

from ..datasets.preparation import find_missing_parts
from ..engine.loops.targets import ABSENCE_ERRORS
from ..models.loading.auxiliary import require_auxiliary
from ..models.loading.clip_loader import require_weights
from ..utils.files import AnyPath
from .cell_process import Failure, Report
from .cell_run import read_result
from .grid import Cell, configs_of
from .parts import LOADERS, PartsCheck, datasets_of, described_data
from .progress import in_words


def dry_run(folder: AnyPath, cells: list[Cell], report: Report, step_seconds: float | None = None, jobs: int = 1) -> int:
    """Report what a grid would run, and whether it could; write nothing. Return 0 if all could be run, else 1.

    The time of all is estimated where the measured time of a training step is given, of ``jobs`` runs at a time.
    """
    left = [cell for cell in cells if read_result(folder, cell) is None]
    parts, needs, faults, configs = PartsCheck(), Needs(), {}, configs_of(cells)
    for config in dict.fromkeys(cell.config for cell in cells):
        report(_line(config, [cell for cell in cells if cell.config == config]))
    for (config, recipe), cfg in configs.items():
        needs.look_for(cfg)
        for fault in parts.faults_of(cfg):
            faults.setdefault(fault, []).append(f'{Path(config).stem} {recipe}'.strip())
    report(f'{len(cells)} runs, {len(cells) - len(left)} done before, {len(left)} to run')
    if step_seconds is not None:
        report(_estimate(left, configs, step_seconds, jobs))
    lines = [f'there: {text}' for text in needs.found]
    lines += [f'not there, will be skipped: {text}' for text in needs.skipped]
    lines += [f'MISSING: {text}' for text in needs.missing]
    for fault, (first, *others) in faults.items():
        lines.append(f'FAULT: {first}{f" and {len(others)} more" if others else ""}: {fault}')
    for line in lines:
        report(line)
    counts = [f'{count} {what}' for count, what in ((len(needs.missing), 'missing'), (len(faults), 'faulty')) if count]
    ready = 'ready, all parts are sound and all that is needed is there'
    report(f'dry run: NOT ready, {" and ".join(counts)}, see above' if counts else f'dry run: {ready}')
    return 1 if counts else 0


def without_inputs(folder: AnyPath, cells: list[Cell]) -> tuple[list[Cell], list[Failure]]:
    """Tell cells that lack nothing, or are done, from those whose weights or data are missing, so that none starts in vain."""
    needs, ready, failures = Needs(in_memory=False), [], []
    lacking = {kind: needs.look_for(cfg) for kind, cfg in configs_of(cells).items()}
    for cell in cells:
        lacks = lacking[cell.config, cell.recipe]
        if lacks and read_result(folder, cell) is None:
            failures.append(Failure(cell, f'it lacks {"; ".join(lacks)}', ''))
        else:
            ready.append(cell)
    return ready, failures


class Needs:
    """Looks for weights and data on disk, for each of them once.

    What is ``skipped`` are targets that are not there and that nobody insists on. Data sets that need no files are made, too,
    unless that, which may take seconds, is not wanted.
    """

    def __init__(self, in_memory: bool = True):
        self.found, self.missing, self.skipped, self.in_memory = [], [], [], in_memory
        self._faults = {}

    def look_for(self, cfg: Config) -> list[str]:
        """Look for what a complete config needs; return what of it is missing."""
        lacking = []
        for what, find, optional in self._wanted(cfg):
            if what not in self._faults:
                faults = find()
                self._faults[what] = f'{what}: {"; ".join(faults)}' if faults else ''
                kind = self.found if not faults else self.skipped if optional else self.missing
                kind.append(self._faults[what] or what)
            if self._faults[what] and not optional:
                lacking.append(self._faults[what])
        return list(dict.fromkeys(lacking))

    def _wanted(self, cfg):
        """Yield what a config needs: what it is, how to find its faults, and whether it may be left out."""
        model = cfg.get('model') or {}
        if model.get('architecture'):
            architecture, weights = model['architecture'], model.get('pretrained')
            find = partial(_lacks, require_weights, architecture, weights, errors=(FileNotFoundError, ValueError))
            yield f'weights {weights!r} of {architecture}', find, False
        auxiliary = model.get('auxiliary_weights')
        if auxiliary:
            what = f'weights {auxiliary["checkpoint"]!r} of the auxiliary network'
            yield what, partial(_lacks, require_auxiliary, auxiliary), False
        for name in LOADERS:
            if cfg.get(name):
                yield from self._wanted_data(cfg[name].dataset, False)
        test = cfg.get('test_cfg') or {}
        targets, requested = test.get('targets') or {}, test.get('requested') or ()
        requested = tuple(targets) if requested == 'all' else (requested,) if isinstance(requested, str) else requested
        for name, target in targets.items():
            if target is not None:
                yield from self._wanted_data(target.get('dataset', target), name not in requested)

    def _wanted_data(self, dataset, optional):
        spec, root = described_data(dataset)
        if spec is not None:
            yield f'{spec.name} below {root or "."}', lambda: find_missing_parts(spec, root), optional
        elif root:
            yield (f'the data root {root}', lambda: [] if osp.isdir(root) else ['there is no such folder'], optional)
        elif self.in_memory:
            # Pictures of a package, or drawn in memory.
            innermost = {**datasets_of(dataset)[-1], 'pipeline': []}
            yield f'pictures of {innermost["type"]}', partial(_lacks, _build, innermost), optional


def steps_of(cfg: Config, shots: int) -> int | None:
    """Count the training steps of a run, at most: a class may have fewer pictures than shots.

    None if the classes are not known without the data.
    """
    if not cfg.get('train_cfg'):
        return 0
    if cfg.train_cfg.get('max_iters'):
        return cfg.train_cfg.max_iters
    spec, _ = described_data(cfg.train_dataloader.dataset)
    if spec is None:
        return None
    # A loop that says no number of epochs looks at the pictures once.
    return cfg.train_cfg.get('max_epochs', 1) * math.ceil(spec.num_classes * shots / cfg.train_dataloader.batch_size)


def _line(config, cells):
    """Return the cells of a config in one line."""
    recipes = dict.fromkeys(cell.recipe for cell in cells)
    named = f'{", ".join(recipes)}; ' if any(recipes) else ''
    shots = ' '.join(map(str, dict.fromkeys(cell.shots for cell in cells if cell.trains))) or 0
    seeds = ' '.join(map(str, dict.fromkeys(cell.seed for cell in cells)))
    return f'{Path(config).stem}: {named}shots {shots}; seeds {seeds} ({len(cells)} runs)'


def _estimate(cells, configs, step_seconds, jobs):
    steps = [steps_of(configs[cell.config, cell.recipe], cell.shots) for cell in cells]
    if None in steps:
        name = Path(cells[steps.index(None)].config).name
        return f'no estimate: how many pictures {name} trains on is not known without the data'
    seconds = sum(steps) * step_seconds / max(1, min(jobs, len(cells)))
    return f'{sum(steps)} training steps of {step_seconds:g} s, {jobs} runs at a time: about {in_words(seconds)}, without testing'


def _build(dataset):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        DATASETS.build(dataset)


def _lacks(require, *arguments, errors=ABSENCE_ERRORS):
    """Return what a function that needs something says of its absence."""
    try:
        require(*arguments)
    except errors as error:
        # What is missing names itself.
        return [str(error).partition(' are missing: ')[2] or str(error)]
    return []
