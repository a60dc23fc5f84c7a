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
    lines += [f"FAULT: {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {fault}"
              for fault, names in faults.items()]
    for line in lines:
        report(line)
    counts = [f'{count} {what}' for count, what in ((len(needs.missing), 'missing'), (len(faults), 'faulty')) if count]
    report(f"dry run: NOT ready, {' and '.join(counts)}, see above" if counts else
           'dry run: ready, all parts are sound and all that is needed is there')
    return 1 if counts else 0


class Needs:
    """Looks for weights and data on disk, for each of them once.

    Attributes:
        found (list[str]): What is there.
        missing (list[str]): What is not.
        skipped (list[str]): Targets that are not there and that nobody insists on.
    """

    def __init__(self):
        self.found, self.missing, self.skipped, self._seen = [], [], [], set()

    def look_for(self, cfg):
        """Look for what a config needs.

        Args:
            cfg (Config): Complete.
        """
        model = cfg.get('model') or {}
        if model.get('architecture'):
            architecture, weights = model['architecture'], model.get('pretrained')
            self._look(f'weights {weights!r} of {architecture}', lambda: _missing_weights(architecture, weights),
                       self.missing)
        auxiliary = model.get('auxiliary_weights')
        if auxiliary:
            self._look(f"weights {auxiliary['checkpoint']!r} of the auxiliary network",
                       lambda: _missing_auxiliary(auxiliary), self.missing)
        for name in LOADERS:
            if cfg.get(name):
                self._look_for_data(cfg[name].dataset, self.missing)
        test = cfg.get('test_cfg') or {}
        targets, requested = test.get('targets') or {}, test.get('requested') or ()
        requested = tuple(targets) if requested == 'all' else (requested, ) if isinstance(requested, str) else requested
        for name, target in targets.items():
            if target is not None:
                self._look_for_data(target.get('dataset', target), self.missing if name in requested else self.skipped)

    def _look_for_data(self, dataset, absent):
        spec, root = described_data(dataset)
        if spec is not None:
            self._look(f'{spec.name} below {root or "."}', lambda: find_missing_parts(spec, root), absent)
        elif root:
            self._look(f'the data root {root}', lambda: [] if osp.isdir(root) else ['there is no such folder'], absent)
        else:
            # Pictures of a package, or drawn in memory: seconds at most.
            innermost = {**datasets_of(dataset)[-1], 'pipeline': []}
            self._look(f"pictures of {innermost['type']}", lambda: _missing_package(innermost), absent)

    def _look(self, what, find, absent):
        if what not in self._seen:
            self._seen.add(what)
            faults = find()
            if faults:
                absent.append(f"{what}: {'; '.join(faults)}")
            else:
                self.found.append(what)


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
    named = f"{', '.join(recipes)}; " if any(recipes) else ''
    shots, seeds = (' '.join(map(str, dict.fromkeys(values))) for values in (
        [cell.shots for cell in cells if cell.trains] or [0], [cell.seed for cell in cells]))
    return f'{Path(config).stem}: {named}shots {shots}; seeds {seeds} ({len(cells)} runs)'


def _estimate(cells, read, step_seconds, jobs):
    steps = [steps_of(read[cell.config, cell.recipe], cell.shots) for cell in cells]
    if None in steps:
        name = Path(cells[steps.index(None)].config).name
        return f'no estimate: how many pictures {name} trains on is not known without the data'
    seconds = sum(steps) * step_seconds / max(1, min(jobs, len(cells)))
    return (f'{sum(steps)} training steps of {step_seconds:g} s, {jobs} runs at a time: about {in_words(seconds)}, '
            'without testing')


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
