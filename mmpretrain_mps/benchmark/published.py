"""Figures that others have published, to stand beside those that a grid measures."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..datasets.catalog import find_spec
from .files import check_keys
from .grid import Cell, read_cell_config
from .parts import datasets_of, described_data
from .summary import MEAN, NAMELESS, Published

PUBLISHED_KEYS = ('source', 'recipes', 'methods', 'means', 'speed', 'base_to_new')
SPEED_KEYS = ('training', 'prediction')


def published_of(grid: dict[str, Any], path: str | None, labels: dict[str, str], cells: Sequence[Cell]) -> Published | None:
    """Take from a grid of a file what it quotes of the cells of a run, see ``docs/paper.md``; None if that is nothing.

    ``labels`` has labels of recipes, as cells have them, with the names of their changes. A mean over all data sets is left out
    if not all are run. Raises ValueError if the section has an unknown key, recipe or column, a figure that is none, or a
    method with the name of a recipe.
    """
    if not grid.get('published'):
        return None
    where = f'{path}: published'
    section = _section(where, grid['published'], PUBLISHED_KEYS)
    _check_source(where, section.get('source'))
    recipes, methods, means, speed, base_to_new = (
        _section(f'{where}.{key}', section.get(key) or {}) for key in PUBLISHED_KEYS[1:]
    )
    _section(f'{where}.speed', speed, SPEED_KEYS)
    _section(f'{where}.recipes', recipes, tuple(grid.get('recipes') or ()))
    ours = _labels_of_methods(cells)
    _check_names(where, methods, {*(grid.get('recipes') or ()), *(cell.recipe for cell in cells), NAMELESS} - set(ours))
    run, targets = _sets_of(cells)
    all_datasets = tuple(map(_full_name, grid.get('datasets') or ())) or run
    columns = {*all_datasets, *targets, *means, MEAN}
    for name, members in means.items():
        check_keys(f'{where}.means.{name}', members, sorted(columns - {*means, MEAN}), some='some of ')
    wanted = {*run, *targets} if any(cell.with_targets for cell in cells) else {*run}
    wanted |= {name for name, members in means.items() if wanted.issuperset(members)}
    if set(run) == set(all_datasets):
        wanted.add(MEAN)
    values, halves, sources = {}, {}, {}
    labels_of = {name: [label for label, changes in labels.items() if changes == name] for name in recipes}
    for part, sections, known in (('recipes', recipes, labels_of), ('methods', methods, ours)):
        for place, column, names, figures in _figures(f'{where}.{part}', sections, columns, known, sources):
            _check_figures(place, figures)
            if column in wanted:
                values |= {(name, column, number): float(value) for name in names for number, value in figures.items()}
    for place, column, names, figures in _figures(f'{where}.base_to_new', base_to_new, {*all_datasets, MEAN}, ours, sources):
        _check_halves(place, figures)
        if column in wanted:
            halves |= {(name, column): tuple(map(float, figures)) for name in names}
    shots = {0, *(cell.shots for cell in cells)}
    values = {key: value for key, value in values.items() if key[2] in shots}
    shown = {name for name, *_ in (*values, *halves)}
    return Published(
        '; '.join([section['source'], *(f'for {name}: {text}' for name, text in sources.items() if name in shown)]),
        values,
        run,
        {name: tuple(members) for name, members in means.items() if name in wanted},
        dict(speed),
        tuple(name for name in {**methods, **base_to_new} if name not in ours),
        halves,
    )


def _check_names(where, methods, taken):
    """Refuse methods with the names of recipes."""
    if taken & set(methods):
        raise ValueError(
            f'{where}.methods holds {", ".join(repr(name) for name in methods if name in taken)}, which is a recipe that the '
            'grid runs; expected other names, or the figures under published.recipes'
        )


def _figures(where, sections, columns, labels, sources) -> Iterator[tuple[str, str, list[str], Any]]:
    """Yield place, column, labels and figures of every method; a source of its own goes to ``sources``."""
    for method, section in sections.items():
        place, names = f'{where}.{method}', labels.get(method, [method])
        section = _section(place, section, ('source', *sorted(columns)))
        if 'source' in section:
            _check_source(place, section['source'])
            sources.update(dict.fromkeys(names, section['source']))
        for column, figures in section.items():
            if column != 'source':
                yield f'{place}.{column}', column, list(names), figures


def _labels_of_methods(cells):
    """Return the name of every method of the cells, and the labels of its cells."""
    labels = {}
    for cell in cells:
        if cell.method:
            labels.setdefault(Path(cell.method).stem, {})[cell.recipe] = None
    return labels


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


def _section(where, value, known=None):
    if not isinstance(value, dict):
        raise ValueError(f'{where} is {value!r}; expected a mapping')
    check_keys(where, value, value if known is None else known, some='some of ')
    return value


def _check_source(where, source):
    if not isinstance(source, str):
        raise ValueError(f'{where} has the source {source!r}; expected a text that says where the figures stand')


def _check_halves(where, figures):
    if not isinstance(figures, (list, tuple)) or len(figures) != 3 or not all(map(_is_percentage, figures)):
        raise ValueError(f'{where} is {figures!r}; expected three percentages: base, new, harmonic mean')


def _check_figures(where, figures):
    for shots, value in figures.items() if isinstance(figures, dict) else [(None, figures)]:
        if not isinstance(shots, int) or shots < 0 or not _is_percentage(value):
            raise ValueError(f'{where} is {figures!r}; expected numbers of shots, 0 for zero-shot, each with a percentage')


def _is_percentage(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 100
