"""Figures that others have published, to stand beside those that a grid measures."""

from pathlib import Path
from typing import NamedTuple

from ..datasets.catalog import find_spec
from .grid import read_cell_config
from .parts import datasets_of, described_data
from .summary import MEAN, NAMELESS

PUBLISHED_KEYS = ('source', 'recipes', 'methods', 'means', 'speed', 'base_to_new')
SPEED_KEYS = ('training', 'prediction')


class Published(NamedTuple):
    """What is published of the cells of a grid, as far as it is asked for."""

    source: str
    """Where the figures stand; those of a method that stand elsewhere, after its name."""
    values: dict
    """(label of the recipe or method, or name of a method that is not run, data set, target or name of a mean, shots) ->
    accuracy in percent; 0 shots is zero-shot."""
    datasets: tuple
    """Names of the data sets of the run, in its order."""
    means: dict
    """Name of a mean over data sets and targets -> what it is over."""
    speed: dict
    """``'training'`` and ``'prediction'``: pictures per second; empty if nothing is published."""
    others: tuple = ()
    """Names of the methods that are not run here."""
    base_to_new: dict = {}
    """(label or name as in :attr:`values`, data set or ``'mean'``) -> accuracies of base and of new classes, and their
    harmonic mean, in percent."""

    @property
    def targets(self):
        """tuple[str]: Columns with a figure that are neither data sets nor means."""
        others = {*self.datasets, *self.means, MEAN}
        return tuple(dict.fromkeys(column for _, column, _ in self.values if column not in others))


def published_of(grid, path, labels, cells):
    """Take from a grid file what it quotes of the cells of a run.

    .. code-block:: yaml

        published:
          source: where the figures stand
          recipes:
            full:                               # a recipe of the grid
              ImageNet: {0: 66.73, 16: 75.60}   # a data set or a target; 0 shots is zero-shot
              mean: {16: 86.85}                 # over all data sets of the grid
              three: {16: 64.41}                # one of the means below
          methods:                              # others than the grid's own, whether they are run or not
            promptsrc: {source: another place, ImageNet: {16: 73.17}}
          means: {three: [ImageNet, imagenet_sketch, imagenet_v2]}
          speed: {training: 95.65, prediction: 535}   # pictures per second
          base_to_new:                          # base, new, harmonic mean
            coop: {source: a third place, mean: [82.69, 63.22, 71.66]}

    Args:
        grid (dict): Of :func:`.grid.read_grid_file`.
        path (str): Its file, for messages.
        labels (dict[str, str]): Label of a recipe, as cells have it, to the name of its changes.
        cells (Sequence[Cell]): Of the run.

    Returns:
        Published | None: None if the grid publishes nothing. A mean over all data sets is left out if not all are run.

    Raises:
        ValueError: If the section has an unknown key, recipe or column, a figure that is none, or a method with the name
            of a recipe.
    """
    section = grid.get('published')
    if not section:
        return None
    _check_keys('published', _mapping('published', section, path), PUBLISHED_KEYS, path)
    _check_source('published', section.get('source'), path)
    recipes, methods, means, speed, base_to_new = (
        _mapping(f'published.{key}', section.get(key) or {}, path) for key in PUBLISHED_KEYS[1:]
    )
    _check_keys('published.speed', speed, SPEED_KEYS, path)
    _check_keys('published.recipes', recipes, tuple(grid.get('recipes') or ()), path)
    ours = _labels_of_methods(cells)
    _check_methods(methods, {*(grid.get('recipes') or ()), *(cell.recipe for cell in cells), NAMELESS} - set(ours), path)
    run, targets = _sets_of(cells)
    all_datasets = tuple(map(_full_name, grid.get('datasets') or ())) or run
    columns = {*all_datasets, *targets, *means, MEAN}
    for name, members in means.items():
        _check_keys(f'published.means.{name}', members, tuple(sorted(columns - {*means, MEAN})), path)
    shots = {0, *(cell.shots for cell in cells)}
    wanted = {*run, *targets} if any(cell.with_targets for cell in cells) else {*run}
    wanted |= {name for name, members in means.items() if wanted.issuperset(members)}
    whole = set(run) == set(all_datasets)
    wanted |= {MEAN} if whole else set()
    values, sources = {}, {}
    quoted = [
        (f'published.recipes.{recipe}', [label for label, name in labels.items() if name == recipe], of_recipe)
        for recipe, of_recipe in recipes.items()
    ]
    quoted += [(f'published.methods.{name}', ours.get(name, [name]), of_method) for name, of_method in methods.items()]
    for where, names, of_method in quoted:
        figures = _figures_of(where, of_method, tuple(sorted(columns)), names, sources, path)
        for column, of_column in figures.items():
            _check_figures(f'{where}.{column}', of_column, path)
            values.update(
                {
                    (name, column, number): float(value)
                    for name in names
                    for number, value in of_column.items()
                    if column in wanted and number in shots
                }
            )
    halves = {}
    for name, of_method in base_to_new.items():
        where, names = f'published.base_to_new.{name}', ours.get(name, [name])
        figures = _figures_of(where, of_method, tuple(sorted({*all_datasets, MEAN})), names, sources, path)
        for column, of_column in figures.items():
            _check_halves(f'{where}.{column}', of_column, path)
            halves.update(
                {(name, column): tuple(map(float, of_column)) for name in names if column in run or column == MEAN and whole}
            )
    shown = {name for name, *_ in (*values, *halves)}
    elsewhere = [f'for {name}: {text}' for name, text in sources.items() if name in shown]
    return Published(
        '; '.join([section['source'], *elsewhere]),
        values,
        run,
        {name: tuple(members) for name, members in means.items() if name in wanted},
        dict(speed),
        tuple(name for name in {**methods, **base_to_new} if name not in ours),
        halves,
    )


def _labels_of_methods(cells):
    """Return the name of every method of the cells, and the labels of its cells."""
    labels = {}
    for cell in cells:
        if cell.method:
            labels.setdefault(Path(cell.method).stem, {})[cell.recipe] = None
    return {name: list(of_method) for name, of_method in labels.items()}


def _figures_of(where, section, columns, names, sources, path):
    """Check a method's section and return its columns; a source of its own goes to ``sources``, under ``names``."""
    _check_keys(where, _mapping(where, section, path), ('source', *columns), path)
    if 'source' in section:
        _check_source(where, section['source'], path)
        sources.update(dict.fromkeys(names, section['source']))
    return {column: figures for column, figures in section.items() if column != 'source'}


def _full_name(dataset):
    """Return the name that results use of a data set, however it is spelt in a grid or on the command line."""
    try:
        return find_spec(dataset).name
    except KeyError:
        return dataset


def _sets_of(cells):
    """Return the names of the data sets of the cells, and of all targets that their configs know, tested or not."""
    datasets, targets = [], set()
    for cell in {cell.config: cell for cell in reversed(cells)}.values():
        cfg = read_cell_config(cell._replace(with_targets=True))
        spec, _ = described_data(cfg.test_dataloader.dataset)
        datasets.insert(0, str(datasets_of(cfg.test_dataloader.dataset)[-1]['type']) if spec is None else spec.name)
        targets.update((cfg.get('test_cfg') or {}).get('targets') or ())
    return tuple(dict.fromkeys(datasets)), targets


def _mapping(where, value, path):
    if not isinstance(value, dict):
        raise ValueError(f'{path}: {where} is {value!r}; expected a mapping')
    return value


def _check_source(where, source, path):
    if not isinstance(source, str):
        raise ValueError(f'{path}: {where} has the source {source!r}; expected a text that says where the figures stand')


def _check_methods(methods, taken, path):
    ours = [name for name in methods if name in taken]
    if ours:
        raise ValueError(
            f'{path}: published.methods holds {", ".join(map(repr, ours))}, which is a recipe that the grid '
            'runs; expected other names, or the figures under published.recipes'
        )


def _check_halves(where, figures, path):
    if not isinstance(figures, (list, tuple)) or len(figures) != 3 or not all(map(_is_percentage, figures)):
        raise ValueError(f'{path}: {where} is {figures!r}; expected three percentages: base, new, harmonic mean')


def _is_percentage(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 100


def _check_keys(where, section, known, path):
    unknown = [key for key in section if key not in known]
    if unknown:
        raise ValueError(
            f'{path}: {where} holds {", ".join(map(repr, unknown))}; expected some of {", ".join(map(str, known)) or "nothing"}'
        )


def _check_figures(where, figures, path):
    for shots, value in figures.items() if isinstance(figures, dict) else [(None, figures)]:
        if not isinstance(shots, int) or shots < 0 or not _is_percentage(value):
            raise ValueError(
                f'{path}: {where} is {figures!r}; expected numbers of shots, 0 for zero-shot, each with a percentage'
            )
