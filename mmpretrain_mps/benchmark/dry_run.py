"""A grid looked at without running it: are its configs sound, is what they need there, how much is it."""

import copy
import math
import os.path as osp
from pathlib import Path

from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS

from ..datasets.preparation import find_missing_parts
from ..engine.loops.targets import ABSENCE_ERRORS
from ..models.utils.auxiliary import require_auxiliary
from ..models.utils.clip_loader import require_weights
from ..utils.config_files import read_config_file
from .cell_process import Failure
from .cell_run import read_result
from .grid import read_cell_config
from .parts import LOADERS, PartsCheck, datasets_of, described_data
from .progress import in_words


def dry_run(folder, cells, report, step_seconds=None, jobs=1):
    """Report what a grid would run, and whether it could. Nothing is written.

    Args:
        folder (str | Path): Of the runs.
        cells (Sequence[Cell]): From :func:`.grid.make_cells`.
        report (Callable[[str], None]): Gets lines for the user.
        step_seconds (float, optional): Measured time of a training step, to estimate the time of all.
        jobs (int): Runs at a time, for the estimate.

    Returns:
        int: 0 if all could be run, else 1.
    """
    left = [cell for cell in cells if read_result(folder, cell) is None]
    parts, needs, faults, configs, read = PartsCheck(), Needs(), {}, {}, {}
    for cell in cells:
        configs.setdefault(cell.config, {}).setdefault(cell.recipe, []).append(cell)
    for config, recipes in configs.items():
        report(_line(config, recipes))
        content = read_config_file(config)
        for recipe, (cell, *_) in recipes.items():
            cfg = read[config, recipe] = read_cell_config(cell, copy.deepcopy(content))
            needs.look_for(cfg)
            for fault in parts.faults_of(cfg):
                faults.setdefault(fault, []).append(f'{Path(config).stem} {recipe}'.strip())
    report(f'{len(cells)} runs, {len(cells) - len(left)} done before, {len(left)} to run')
    if step_seconds is not None:
        report(_estimate(left, read, step_seconds, jobs))
    lines = [f'there: {text}' for text in needs.found]
    lines += [f'not there, will be skipped: {text}' for text in needs.skipped]
    lines += [f'MISSING: {text}' for text in needs.missing]
    lines += [
        f'FAULT: {names[0]}{f" and {len(names) - 1} more" if len(names) > 1 else ""}: {fault}' for fault, names in faults.items()
    ]
    for line in lines:
        report(line)
    counts = [f'{count} {what}' for count, what in ((len(needs.missing), 'missing'), (len(faults), 'faulty')) if count]
    report(
        f'dry run: NOT ready, {" and ".join(counts)}, see above'
        if counts
        else 'dry run: ready, all parts are sound and all that is needed is there'
    )
    return 1 if counts else 0


def without_inputs(folder, cells):
    """Find the cells whose weights or data are missing, so that none of them is started in vain.

    Args:
        folder (str | Path): Of the runs.
        cells (Sequence[Cell]): Of a grid. Those that are done need nothing.

    Returns:
        tuple[list[Cell], list[Failure]]: Those that lack nothing, and those that do, with what it is.
    """
    needs, lacking, ready, failures = Needs(in_memory=False), {}, [], []
    for cell in cells:
        kind = cell.config, cell.recipe
        if kind not in lacking:
            lacking[kind] = needs.look_for(read_cell_config(cell))
        if lacking[kind] and read_result(folder, cell) is None:
            failures.append(Failure(cell, f'it lacks {"; ".join(lacking[kind])}', ''))
        else:
            ready.append(cell)
    return ready, failures


class Needs:
    """Looks for weights and data on disk, for each of them once.

    Args:
        in_memory (bool): Also make data sets that need no files, which may take seconds.

    Attributes:
        found (list[str]): What is there.
        missing (list[str]): What is not.
        skipped (list[str]): Targets that are not there and that nobody insists on.
    """

    def __init__(self, in_memory=True):
        self.found, self.missing, self.skipped, self.in_memory = [], [], [], in_memory
        self._faults = {}

    def look_for(self, cfg):
        """Look for what a config needs.

        Args:
            cfg (Config): Complete.

        Returns:
            list[str]: What of it is missing.
        """
        lacking = []
        for what, find, optional in self._wanted(cfg):
            if what not in self._faults:
                self._faults[what] = '; '.join(find())
                self._note(what, optional)
            if self._faults[what] and not optional:
                lacking.append(f'{what}: {self._faults[what]}')
        return list(dict.fromkeys(lacking))

    def _note(self, what, optional):
        if not self._faults[what]:
            self.found.append(what)
        else:
            (self.skipped if optional else self.missing).append(f'{what}: {self._faults[what]}')

    def _wanted(self, cfg):
        """Yield what a config needs: what it is, how to find its faults, and whether it may be left out."""
        model = cfg.get('model') or {}
        if model.get('architecture'):
            architecture, weights = model['architecture'], model.get('pretrained')
            yield f'weights {weights!r} of {architecture}', lambda: _missing_weights(architecture, weights), False
        auxiliary = model.get('auxiliary_weights')
        if auxiliary:
            yield (f'weights {auxiliary["checkpoint"]!r} of the auxiliary network', lambda: _missing_auxiliary(auxiliary), False)
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
            yield f'pictures of {innermost["type"]}', lambda: _missing_package(innermost), optional


def steps_of(cfg, shots):
    """Count the training steps of a run.

    Args:
        cfg (Config): Of a cell.
        shots (int): Pictures per class.

    Returns:
        int | None: At most, since a class may have fewer pictures; None if the classes are not known without the data.
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


def _line(config, recipes):
    """Return the cells of a config in one line."""
    cells = [cell for group in recipes.values() for cell in group]
    named = f'{", ".join(recipes)}; ' if any(recipes) else ''
    shots, seeds = (
        ' '.join(map(str, dict.fromkeys(values)))
        for values in ([cell.shots for cell in cells if cell.trains] or [0], [cell.seed for cell in cells])
    )
    return f'{Path(config).stem}: {named}shots {shots}; seeds {seeds} ({len(cells)} runs)'


def _estimate(cells, read, step_seconds, jobs):
    steps = [steps_of(read[cell.config, cell.recipe], cell.shots) for cell in cells]
    if None in steps:
        name = Path(cells[steps.index(None)].config).name
        return f'no estimate: how many pictures {name} trains on is not known without the data'
    seconds = sum(steps) * step_seconds / max(1, min(jobs, len(cells)))
    return f'{sum(steps)} training steps of {step_seconds:g} s, {jobs} runs at a time: about {in_words(seconds)}, without testing'


def _missing_package(dataset):
    try:
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            DATASETS.build(dataset)
    except ABSENCE_ERRORS as error:
        return [str(error)]
    return []


def _missing_auxiliary(weights):
    try:
        require_auxiliary(weights)
    except FileNotFoundError as error:
        return [str(error).partition(' are missing: ')[2] or str(error)]
    return []


def _missing_weights(architecture, pretrained):
    try:
        require_weights(architecture, pretrained)
    except (FileNotFoundError, ValueError) as error:
        # It names them itself.
        return [str(error).partition(' are missing: ')[2] or str(error)]
    return []
