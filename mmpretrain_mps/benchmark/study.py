"""A comparison of methods: each chooses its settings on validation pictures, with the same budget; then all are tested."""

from pathlib import Path
from typing import NamedTuple

from ..utils.methods import RECIPES, read_method
from .files import check_named_config, read_mapping
from .grid import Treatment, make_cells
from .summary import Spread, spread_of

STUDY_KEYS = ('title', 'config', 'baseline', 'options', 'selection', 'report', 'methods', 'columns', 'claims', 'trade_off')
METHOD_KEYS = ('label', 'config', 'method', 'recipe', 'options', 'candidates')
SELECTION_KEYS = ('shots', 'seeds', 'metric', 'options')
REPORT_KEYS = ('shots', 'seeds', 'targets')
COLUMN_KEYS = ('metric', 'title', 'better', 'zero_shot', 'digits')
DIRECTIONS = ('higher', 'lower', '')


class Method(NamedTuple):
    """One line of the comparison."""

    name: str
    label: str
    config: str
    options: dict
    """Changes to the config that make the method."""
    candidates: list
    """Further changes, among which validation chooses."""
    method: str = ''
    """Name of a method in the place of the config's; '' for the config's own."""
    recipe: str = 'default'
    """Of the method."""

    def treatment(self, label, candidate):
        """Return what a candidate is for a grid.

        Args:
            label (str): As results call it.
            candidate (dict): One of ``candidates``.
        """
        return Treatment(label, self.method, self.recipe, {**self.options, **candidate})


class Column(NamedTuple):
    """One figure that is compared."""

    metric: str
    title: str
    better: str
    """``'higher'``, ``'lower'`` or ``''`` where neither is better."""
    zero_shot: str
    """The metric that gives the same figure of the zero-shot model; ``''`` if there is none."""
    digits: int


class Study(NamedTuple):
    """A comparison, as its file describes it."""

    title: str
    baseline: str
    options: dict
    selection: dict
    report: dict
    methods: list
    columns: list
    claims: list
    """Entries that :func:`.claims.read_claims` reads."""
    trade_off: list
    """Two metrics of columns that are shown against each other; may be empty."""
    path: str
    """Of the file, for messages."""

    @property
    def budget(self):
        """int: Candidates of every method."""
        return len(self.methods[0].candidates)


class Choice(NamedTuple):
    """What validation chose for a method."""

    index: int
    options: dict
    scores: list
    """:class:`Spread` of every candidate, over the seeds of selection."""


def read_study(path):
    """Read the file of a study.

    Args:
        path (str | Path): YAML with ``config`` (relative to the file), ``baseline`` (name of a method), ``options`` (for
            every run), ``selection`` (``shots``, ``seeds``, ``metric``, ``options``), ``report`` (``shots``, ``seeds``,
            ``targets``), ``methods`` (name -> ``label``, ``options``, ``candidates``, ``config``, and ``method`` with
            ``recipe`` for another method than the config's, named as for ``--method``) and ``columns``
            (``metric``, ``title``, ``better``, ``zero_shot``, ``digits``); optionally ``claims``, see
            :mod:`.claims`, and ``trade_off``, two metrics of columns.

    Returns:
        Study: Checked.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no mapping, a key is unknown or missing, a value is of another kind, methods have
            different numbers of candidates or equal ones, the baseline is no method, or a seed serves twice.
    """
    path = Path(path)
    content = read_mapping(path, 'study', STUDY_KEYS)
    _check_keys(content, STUDY_KEYS, ('config', 'baseline', 'selection', 'report', 'methods', 'columns'), str(path))
    _check_keys(content['selection'], SELECTION_KEYS, ('shots', 'seeds', 'metric'), f'{path}: selection')
    _check_keys(content['report'], REPORT_KEYS, ('shots', 'seeds'), f'{path}: report')
    _check_types(path, content)
    methods = [_read_method(path, name, method, content['config']) for name, method in content['methods'].items()]
    study = Study(
        content.get('title', path.stem),
        content['baseline'],
        content.get('options') or {},
        content['selection'],
        content['report'],
        methods,
        [_read_column(path, column) for column in content['columns']],
        content.get('claims') or [],
        content.get('trade_off') or [],
        str(path),
    )
    _check_whole(path, study)
    return study


def only(study, names):
    """Leave methods out.

    Args:
        study (Study): From :func:`read_study`.
        names (Sequence[str]): Methods to keep.

    Returns:
        Study: With these methods, in its own order, and the claims that speak of no other.

    Raises:
        ValueError: If a name is no method, or the baseline is not among them.
    """
    known = [method.name for method in study.methods]
    strangers = [name for name in names if name not in known]
    if strangers or study.baseline not in names:
        wrong = f'there is no {", ".join(map(repr, strangers))}' if strangers else f'the baseline {study.baseline!r} is missing'
        raise ValueError(
            f'methods {" ".join(names)}: {wrong}; the study has {", ".join(known)}, and all are compared with {study.baseline}'
        )
    claims = [
        {**claim, 'than': [name for name in listed(claim['than']) if name in names]}
        for claim in study.claims
        if claim['method'] in names
    ]
    return study._replace(
        methods=[method for method in study.methods if method.name in names], claims=[claim for claim in claims if claim['than']]
    )


def selection_cells(study):
    """Lay out the runs that settings are chosen by.

    Args:
        study (Study): From :func:`read_study`.

    Returns:
        list[Cell]: Method by method, candidate by candidate, seed by seed; tested on what ``selection.options`` say.
    """
    cells = []
    for method in study.methods:
        treatments = [
            method.treatment(_candidate_name(method, index), candidate) for index, candidate in enumerate(method.candidates)
        ]
        cells += make_cells(
            [method.config],
            [study.selection['shots']],
            study.selection['seeds'],
            options={**study.options, **(study.selection.get('options') or {})},
            treatments=treatments,
        )
    return cells


def choose(study, results):
    """Choose the candidate of each method whose validation figure is the highest on average; of equals the first.

    Args:
        study (Study): From :func:`read_study`.
        results (Sequence[dict]): Of all of :func:`selection_cells`.

    Returns:
        dict[str, Choice]: By the name of the method.

    Raises:
        ValueError: If a run is missing, or did not give the figure that is selected by.
    """
    metric = study.selection['metric']
    scores = {}
    for result in results:
        if metric not in result['metrics']:
            raise ValueError(f'a run of {result["recipe"]} has no {metric!r} to select by; it has {", ".join(result["metrics"])}')
        scores.setdefault(result['recipe'], {})[result['seed']] = result['metrics'][metric]
    choices = {}
    for method in study.methods:
        spreads = []
        for index in range(len(method.candidates)):
            name = _candidate_name(method, index)
            missing = [seed for seed in study.selection['seeds'] if seed not in scores.get(name, {})]
            if missing:
                raise ValueError(f'{name} cannot be judged: runs with seeds {missing} are missing')
            spreads.append(spread_of(list(scores[name].values())))
        best = max(range(len(spreads)), key=lambda index: spreads[index].mean)
        choices[method.name] = Choice(best, method.candidates[best], spreads)
    return choices


def edges_of(candidates, chosen):
    """Find chosen values beyond which nothing was tried: a better one may lie there.

    Args:
        candidates (Sequence[dict]): Settings of every candidate of a method.
        chosen (dict): Those that validation chose.

    Returns:
        dict[str, float]: Name of the setting to its chosen value, where that is the smallest or the largest of all.
    """
    edges = {}
    for name, value in chosen.items():
        values = {candidate.get(name) for candidate in candidates}
        if len(values) > 1 and all(isinstance(other, (int, float)) for other in values) and (value in (min(values), max(values))):
            edges[name] = value
    return edges


def report_cells(study, choices):
    """Lay out the runs that are reported.

    Args:
        study (Study): From :func:`read_study`.
        choices (dict[str, Choice]): From :func:`choose`.

    Returns:
        list[Cell]: Method by method, with the settings that were chosen; few shots first.
    """
    cells = []
    for method in study.methods:
        cells += make_cells(
            [method.config],
            study.report['shots'],
            study.report['seeds'],
            options=study.options,
            with_targets=study.report.get('targets', True),
            treatments=[method.treatment(method.name, choices[method.name].options)],
        )
    return cells


def values_of(results, method, shots, metric):
    """Collect a figure.

    Args:
        results (Sequence[dict]): Of report cells.
        method (str): Name of the method.
        shots (int): Pictures per class.
        metric (str): Name of the figure.

    Returns:
        dict[int, float]: By seed; runs without the figure are left out.
    """
    return {
        result['seed']: result['metrics'][metric]
        for result in results
        if result['recipe'] == method and result['shots'] == shots and metric in result['metrics']
    }


def paired_difference(ours, theirs):
    """Describe the difference of two methods, seed by seed.

    Args:
        ours (dict[int, float]): Figures by seed.
        theirs (dict[int, float]): Figures of the other method.

    Returns:
        Spread | None: Of ``ours - theirs`` over the seeds that both have, with the 95 % interval by Student's t; None
        without such a seed.
    """
    shared = sorted(ours.keys() & theirs.keys())
    return spread_of([ours[seed] - theirs[seed] for seed in shared]) if shared else None


def is_certain(difference: Spread):
    """Return whether the 95 % interval of a difference leaves out 0; a difference that never varies is certain."""
    if difference.half_width is None:
        return False
    return difference.mean != 0 and abs(difference.mean) > difference.half_width


def listed(value):
    """Return a value that may stand alone as a list."""
    return value if isinstance(value, (list, tuple)) else [value]


def _candidate_name(method, index):
    return f'{method.name}.{index + 1}'


def _check_types(path, content):
    selection, report = content['selection'], content['report']
    for name, value, kind in (
        ('methods', content['methods'], dict),
        ('columns', content['columns'], list),
        ('selection.shots', selection['shots'], int),
        ('selection.seeds', selection['seeds'], list),
        ('report.shots', report['shots'], list),
        ('report.seeds', report['seeds'], list),
    ):
        if not isinstance(value, kind) or not value:
            expected = {dict: 'a mapping', list: 'a list', int: 'a whole number from 1 on'}[kind]
            raise ValueError(f'{path}: {name} is {value!r}, expected {expected}')
    _check_numbers(path, 'selection.shots', [selection['shots']], 1)
    _check_numbers(path, 'selection.seeds', selection['seeds'], 0)
    _check_numbers(path, 'report.shots', report['shots'], 1)
    _check_numbers(path, 'report.seeds', report['seeds'], 0)
    _check_options(path, content)
    _check_options(f'{path}: selection', selection)
    _check_switch(f'{path}: report.targets', report.get('targets', True))
    _check_claims(path, content.get('claims'))


def _check_numbers(path, name, values, least):
    bad = [value for value in values if not isinstance(value, int) or isinstance(value, bool) or value < least]
    if bad:
        raise ValueError(f'{path}: {name} holds {bad[0]!r}, expected whole numbers from {least} on')
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise ValueError(f'{path}: {name} holds {twice[0]} more than once, expected each number once')


def _check_options(owner, section):
    options = section.get('options')
    if options is not None and not isinstance(options, dict):
        raise ValueError(f'{owner}: options is {options!r}, expected a mapping of config names to values')


def _check_switch(what, value):
    if not isinstance(value, bool):
        raise ValueError(f'{what} is {value!r}, expected true or false')


def _check_claims(path, claims):
    if claims is not None and not isinstance(claims, list):
        raise ValueError(f'{path}: claims is {claims!r}, expected a list of mappings')
    for claim in claims or ():
        if not isinstance(claim, dict):
            raise ValueError(f'{path}: claims holds {claim!r}, expected a mapping')
        _check_switch(f'{path}: grows of claim {claim.get("text")!r}', claim.get('grows', False))


def _read_method(path, name, method, config):
    owner = f'{path}: method {name!r}'
    _check_keys(method, METHOD_KEYS, ('candidates',), owner)
    candidates = method['candidates']
    if not isinstance(candidates, list) or not candidates or not all(isinstance(entry, dict) for entry in candidates):
        raise ValueError(f'{owner} needs a list of candidates, each a mapping of config names to values, but has {candidates!r}')
    for index, candidate in enumerate(candidates):
        first = candidates.index(candidate)
        if first < index:
            raise ValueError(
                f'{owner} has equal candidates, number {first + 1} and {index + 1}: {candidate}; expected different ones'
            )
    _check_options(owner, method)
    file = str(path.parent / method.get('config', config))
    check_named_config(file, path)
    label, by, recipe = method.get('label', name), method.get('method', ''), method.get('recipe', RECIPES[0])
    if recipe not in RECIPES or (by and not isinstance(by, str)) or ('recipe' in method and not by):
        raise ValueError(
            f'{owner} has method={by!r} and recipe={recipe!r}, expected the name of a method, and one of its '
            f'recipes {", ".join(RECIPES)}'
        )
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
    _check_keys(column, COLUMN_KEYS, ('metric', 'title'), f'{path}: a column')
    better = column.get('better', 'higher')
    if better not in DIRECTIONS:
        raise ValueError(f'{path}: column {column["title"]!r} has better={better!r}, expected one of {DIRECTIONS}')
    digits = column.get('digits', 2)
    if not isinstance(digits, int) or isinstance(digits, bool) or digits < 0:
        raise ValueError(f'{path}: column {column["title"]!r} has digits={digits!r}, expected a whole number from 0 on')
    return Column(column['metric'], column['title'], better, column.get('zero_shot', ''), digits)


def _check_keys(content, known, needed, owner):
    if not isinstance(content, dict):
        raise ValueError(f'{owner} is {content!r}, expected a mapping')
    unknown = [key for key in content if key not in known]
    missing = [key for key in needed if key not in content]
    if unknown or missing:
        what = [f'holds {", ".join(map(repr, unknown))}'] * bool(unknown) + [f'lacks {", ".join(map(repr, missing))}'] * bool(
            missing
        )
        raise ValueError(f'{owner} {" and ".join(what)}; expected {", ".join(known)}')


def _check_whole(path, study):
    budgets = {method.name: len(method.candidates) for method in study.methods}
    if len(set(budgets.values())) != 1:
        raise ValueError(f'{path}: every method must have as many candidates as the others, but there are {budgets}')
    if study.baseline not in budgets:
        raise ValueError(f'{path}: the baseline {study.baseline!r} is none of the methods {list(budgets)}')
    metrics = [column.metric for column in study.columns]
    pair = study.trade_off
    if pair and (not isinstance(pair, list) or len(pair) != 2 or not all(metric in metrics for metric in pair)):
        raise ValueError(f'{path}: trade_off is {study.trade_off}, expected two metrics of columns: {metrics}')
    shared = sorted(set(study.selection['seeds']) & set(study.report['seeds']))
    if shared:
        raise ValueError(f'{path}: the seeds {shared} are both selected by and reported; expected different ones')
