"""A comparison of methods: each chooses its settings on validation pictures, with the same budget; then all are tested."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..utils.files import AnyPath
from ..utils.methods import RECIPES, read_method
from ..utils.places import config_beside, existing_config
from .files import check_keys, check_named_config, listed, read_mapping
from .grid import Cell, Treatment, make_cells
from .summary import Spread, spread_of

STUDY_KEYS = ('title', 'config', 'baseline', 'options', 'selection', 'report', 'methods', 'columns', 'claims', 'trade_off')
METHOD_KEYS = ('label', 'config', 'method', 'recipe', 'options', 'candidates', 'more_candidates')
SELECTION_KEYS = ('shots', 'seeds', 'metric', 'options')
REPORT_KEYS = ('shots', 'seeds', 'targets')
DIRECTIONS = ('higher', 'lower', '')


class Method(NamedTuple):
    """One line of the comparison."""

    name: str
    label: str
    config: str
    options: dict[str, Any]
    """Changes to the config that make the method."""
    candidates: list[dict[str, Any]]
    """Further changes, among which validation chooses."""
    method: str = ''
    """Name of a method in the place of the config's; '' for the config's own."""
    recipe: str = 'default'
    """Of the method."""

    def treatment(self, label: str, candidate: dict[str, Any]) -> Treatment:
        """Return what one of the candidates, as results call it, is for a grid."""
        return Treatment(label, self.method, self.recipe, {**self.options, **candidate})


class Column(NamedTuple):
    """One figure that is compared."""

    metric: str
    title: str
    better: str = 'higher'
    """``'higher'``, ``'lower'`` or ``''`` where neither is better."""
    zero_shot: str = ''
    """The metric that gives the same figure of the zero-shot model; ``''`` if there is none."""
    digits: int = 2


class Study(NamedTuple):
    """A comparison, as its file describes it."""

    title: str
    baseline: str
    options: dict[str, Any]
    selection: dict[str, Any]
    report: dict[str, Any]
    methods: list[Method]
    columns: list[Column]
    claims: list[dict[str, Any]]
    """Entries that :func:`.claims.read_claims` reads."""
    trade_off: list[str]
    """Two metrics of columns that are shown against each other; may be empty."""
    path: str
    """Of the file, for messages."""

    @property
    def budget(self) -> int:
        """Candidates of every method."""
        return len(self.methods[0].candidates)


class Choice(NamedTuple):
    """What validation chose for a method."""

    index: int
    options: dict[str, Any]
    scores: list[Spread]
    """Of every candidate, over the seeds of selection."""


def read_study(path: AnyPath) -> Study:
    """Read the file of a study, and check it.

    It is YAML with ``config`` (relative to the file, or one of this project's by its name), ``baseline`` (name of a method),
    ``options`` (for every run), ``selection`` (``shots``, ``seeds``, ``metric``, ``options``), ``report`` (``shots``, ``seeds``,
    ``targets``), ``methods`` (name -> ``label``, ``options``, ``candidates``, ``more_candidates`` to add to those of a file that
    this one builds on, ``config``, and ``method`` with ``recipe`` for another method than the config's, named as for ``--method``;
    null leaves out one of that file) and ``columns`` (``metric``, ``title``, ``better``, ``zero_shot``, ``digits``); optionally
    ``claims``, see :mod:`.claims`, and ``trade_off``, two metrics of columns. Raises ValueError if a key is unknown or missing, a
    value is of another kind, methods have different numbers of candidates or equal ones, the baseline is no method, or a seed
    serves twice.
    """
    path = existing_config(path, 'study')
    content = read_mapping(path, 'study', STUDY_KEYS)
    check_keys(path, content, STUDY_KEYS, ('config', 'baseline', 'selection', 'report', 'methods', 'columns'))
    _check_section(f'{path}: selection', content['selection'], SELECTION_KEYS, ('shots', 'seeds', 'metric'))
    _check_section(f'{path}: report', content['report'], REPORT_KEYS, ('shots', 'seeds'))
    _check_types(path, content)
    study = Study(
        content.get('title', path.stem),
        content['baseline'],
        content.get('options') or {},
        content['selection'],
        content['report'],
        [
            _read_method(path, name, method, content['config'])
            for name, method in content['methods'].items()
            if method is not None
        ],
        [_read_column(path, column) for column in content['columns']],
        content.get('claims') or [],
        content.get('trade_off') or [],
        str(path),
    )
    _check_whole(path, study)
    return study


def only(study: Study, names: Sequence[str]) -> Study:
    """Keep some methods of a study, the baseline among them, in its own order, and the claims that speak of no other."""
    known = [method.name for method in study.methods]
    strangers = [name for name in names if name not in known]
    if strangers or study.baseline not in names:
        wrong = f'there is no {", ".join(map(repr, strangers))}' if strangers else f'the baseline {study.baseline!r} is missing'
        there_are = f'the study has {", ".join(known)}, and all are compared with {study.baseline}'
        raise ValueError(f'methods {" ".join(names)}: {wrong}; {there_are}')
    claims = []
    for claim in study.claims:
        others = [name for name in listed(claim['than']) if name in names]
        if claim['method'] in names and others:
            claims.append({**claim, 'than': others})
    return study._replace(methods=[method for method in study.methods if method.name in names], claims=claims)


def selection_cells(study: Study) -> list[Cell]:
    """Lay out the runs that settings are chosen by: method by method, candidate by candidate, seed by seed.

    They are tested on what ``selection.options`` say.
    """
    options = {**study.options, **(study.selection.get('options') or {})}
    cells = []
    for method in study.methods:
        treatments = [method.treatment(_name_of(method, index), method.candidates[index]) for index in range(study.budget)]
        shots, seeds = [study.selection['shots']], study.selection['seeds']
        cells += make_cells([method.config], shots, seeds, options=options, treatments=treatments)
    return cells


def choose(study: Study, results: Sequence[dict]) -> dict[str, Choice]:
    """Choose the candidate of each method whose validation figure is the highest on average; of equals the first.

    Raises ValueError if the result of one of :func:`selection_cells` is missing, or has not the figure that is selected by.
    """
    metric = study.selection['metric']
    scores: dict[str, dict[int, float]] = {}
    for result in results:
        if metric not in result['metrics']:
            raise ValueError(f'a run of {result["recipe"]} has no {metric!r} to select by; it has {", ".join(result["metrics"])}')
        scores.setdefault(result['recipe'], {})[result['seed']] = result['metrics'][metric]
    choices = {}
    for method in study.methods:
        spreads = []
        for name in (_name_of(method, index) for index in range(len(method.candidates))):
            missing = [seed for seed in study.selection['seeds'] if seed not in scores.get(name, {})]
            if missing:
                raise ValueError(f'{name} cannot be judged: runs with seeds {missing} are missing')
            spreads.append(spread_of(scores[name].values()))
        best = max(range(len(spreads)), key=lambda index: spreads[index].mean)
        choices[method.name] = Choice(best, method.candidates[best], spreads)
    return choices


def edges_of(candidates: Sequence[dict[str, Any]], chosen: dict[str, Any]) -> dict[str, float]:
    """Find chosen settings that are the smallest or the largest of all candidates: a better one may lie beyond."""
    edges = {}
    for name, value in chosen.items():
        values = {candidate.get(name) for candidate in candidates}
        if len(values) > 1 and all(isinstance(other, (int, float)) for other in values) and value in (min(values), max(values)):
            edges[name] = value
    return edges


def report_cells(study: Study, choices: Mapping[str, Choice]) -> list[Cell]:
    """Lay out the runs that are reported: method by method, with the settings that were chosen; few shots first."""
    cells = []
    for method in study.methods:
        treatments = [method.treatment(method.name, choices[method.name].options)]
        more = dict(options=study.options, with_targets=study.report.get('targets', True), treatments=treatments)
        cells += make_cells([method.config], study.report['shots'], study.report['seeds'], **more)
    return cells


def report_cells_of(study: Study, index: int) -> list[Cell]:
    """Lay out the runs that are reported if every method chooses its candidate of this number, from 0 on."""
    return report_cells(study, {method.name: Choice(index, method.candidates[index], []) for method in study.methods})


def values_of(results: Sequence[dict], method: str, shots: int, metric: str) -> dict[int, float]:
    """Collect a figure of a method by seed; runs without the figure are left out."""
    return {
        result['seed']: result['metrics'][metric]
        for result in results
        if result['recipe'] == method and result['shots'] == shots and metric in result['metrics']
    }


def paired_difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Spread | None:
    """Describe ``ours - theirs``, figures by seed, over the seeds that both have; None without such a seed."""
    shared = sorted(ours.keys() & theirs.keys())
    return spread_of([ours[seed] - theirs[seed] for seed in shared]) if shared else None


def is_certain(difference: Spread) -> bool:
    """Return whether the 95 % interval of a difference leaves out 0; a difference that never varies is certain."""
    return difference.half_width is not None and abs(difference.mean) > difference.half_width


def _name_of(method, index):
    return f'{method.name}.{index + 1}'


def _check_section(owner, content, known, needed):
    _require(isinstance(content, dict), owner, content, 'a mapping')
    check_keys(owner, content, known, needed)


def _require(fits, what, value, expected):
    if not fits:
        raise ValueError(f'{what} is {value!r}, expected {expected}')


def _check_types(path, content):
    selection, report = content['selection'], content['report']
    for name, value, kind, expected, least in (
        ('methods', content['methods'], dict, 'a mapping', None),
        ('columns', content['columns'], list, 'a list', None),
        ('selection.shots', selection['shots'], int, 'a whole number from 1 on', 1),
        ('selection.seeds', selection['seeds'], list, 'a list', 0),
        ('report.shots', report['shots'], list, 'a list', 1),
        ('report.seeds', report['seeds'], list, 'a list', 0),
    ):
        _require(isinstance(value, kind) and value, f'{path}: {name}', value, expected)
        if least is not None:
            _check_numbers(f'{path}: {name}', listed(value), least)
    _check_options(path, content)
    _check_options(f'{path}: selection', selection)
    _check_switch(f'{path}: report.targets', report.get('targets', True))
    claims = content.get('claims') or []
    _require(isinstance(claims, list), f'{path}: claims', claims, 'a list of mappings')
    for claim in claims:
        if not isinstance(claim, dict):
            raise ValueError(f'{path}: claims holds {claim!r}, expected a mapping')
        _check_switch(f'{path}: grows of claim {claim.get("text")!r}', claim.get('grows', False))


def _check_numbers(owner, values, least):
    bad = [value for value in values if not isinstance(value, int) or isinstance(value, bool) or value < least]
    if bad:
        raise ValueError(f'{owner} holds {bad[0]!r}, expected whole numbers from {least} on')
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise ValueError(f'{owner} holds {twice[0]} more than once, expected each number once')


def _check_options(owner, section):
    options = section.get('options')
    _require(isinstance(options, (dict, type(None))), f'{owner}: options', options, 'a mapping of config names to values')


def _check_switch(what, value):
    _require(isinstance(value, bool), what, value, 'true or false')


def _read_method(path, name, method, config):
    owner = f'{path}: method {name!r}'
    _check_section(owner, method, METHOD_KEYS, ('candidates',))
    candidates = []
    for key in ('candidates', 'more_candidates'):
        if key in method:
            entries = method[key]
            if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
                raise ValueError(f'{owner} needs a list of {key}, each a mapping of config names to values, but has {entries!r}')
            candidates += entries
    for number, candidate in enumerate(candidates, 1):
        first = candidates.index(candidate) + 1
        if first < number:
            equal = f'number {first} and {number}: {candidate}'
            raise ValueError(f'{owner} has equal candidates, {equal}; expected different ones')
    _check_options(owner, method)
    file = str(config_beside(path, method.get('config', config)))
    check_named_config(file, path)
    label, by, recipe = method.get('label', name), method.get('method', ''), method.get('recipe', RECIPES[0])
    if recipe not in RECIPES or (by and not isinstance(by, str)) or ('recipe' in method and not by):
        expected = f'the name of a method, and one of its recipes {", ".join(RECIPES)}'
        raise ValueError(f'{owner} has method={by!r} and recipe={recipe!r}, expected {expected}')
    if by:
        check_named_config(by, path)
        try:
            content = read_method(by)
        except ValueError as error:
            raise ValueError(f'{owner}: {error}') from None
        if content.train_cfg is None:
            raise ValueError(f'{owner} trains nothing: there is nothing to choose; columns have zero_shot for its figures')
        label = method.get('label', content.method.label)
    return Method(name, label, file, method.get('options') or {}, candidates, by, recipe)


def _read_column(path, column):
    _check_section(f'{path}: a column', column, Column._fields, ('metric', 'title'))
    found = Column(**column)
    owner = f'{path}: column {found.title!r} has'
    if found.better not in DIRECTIONS:
        raise ValueError(f'{owner} better={found.better!r}, expected one of {DIRECTIONS}')
    if not isinstance(found.digits, int) or isinstance(found.digits, bool) or found.digits < 0:
        raise ValueError(f'{owner} digits={found.digits!r}, expected a whole number from 0 on')
    return found


def _check_whole(path, study):
    budgets = {method.name: len(method.candidates) for method in study.methods}
    if len(set(budgets.values())) != 1:
        raise ValueError(f'{path}: every method must have as many candidates as the others, but there are {budgets}')
    if study.baseline not in budgets:
        raise ValueError(f'{path}: the baseline {study.baseline!r} is none of the methods {list(budgets)}')
    metrics, pair = [column.metric for column in study.columns], study.trade_off
    if pair and (not isinstance(pair, list) or len(pair) != 2 or not all(metric in metrics for metric in pair)):
        raise ValueError(f'{path}: trade_off is {pair}, expected two metrics of columns: {metrics}')
    shared = sorted(set(study.selection['seeds']) & set(study.report['seeds']))
    if shared:
        raise ValueError(f'{path}: the seeds {shared} are both selected by and reported; expected different ones')
