"""What a study wrote into ``study.json``: to read, to look figures up in, to lay out as rows of tables, to compare."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..utils.files import AnyPath, read_json
from ..utils.shape import check_shape, count, number, or_none
from .cell_run import RESULT
from .study import is_certain, paired_difference, values_of
from .summary import Spread, spread_of

STUDY_FILE, SELECTION_FILE = 'study.json', 'selection.json'
STUDY_FORMAT = 'mmpretrain_mps-study-1'
# What the readers of a study count on.
STUDY = {
    'study': str,
    'baseline': str,
    'selected': str,
    'trade_off': [str],
    'columns': [{'metric': str, 'title': str, 'better': str, 'zero_shot': or_none(str), 'digits': count}],
    'choices': {
        '*': {
            'label': str,
            'chosen': dict,
            'options': dict,
            'candidates': [{'options': dict, 'mean': or_none(number), 'std': or_none(number)}],
        }
    },
    'summary': [{'method': str, 'shots': count, 'metric': str, 'mean': number}],
    'claims': [
        {
            **dict.fromkeys(('text', 'method', 'than', 'metric', 'shots', 'verdict'), str),
            **dict.fromkeys(('difference', 'half_width'), or_none(number)),
        }
    ],
    'cells': [RESULT],
}
# Sums in another order move the last digits of a figure; a picture more or less moves it by far more.
ROUNDING = 1e-6


def is_study(folder: AnyPath) -> bool:
    """Return whether a folder holds the tables of ``tools/compare_methods.py``."""
    return Path(folder, STUDY_FILE).is_file()


def read_study_results(folder: AnyPath) -> dict[str, Any]:
    """Read ``study.json`` of a folder that ``tools/compare_methods.py`` wrote, and check that it is whole."""
    file = Path(folder, STUDY_FILE)
    if not file.is_file():
        raise FileNotFoundError(f'{file} does not exist (looked from {Path.cwd()}); tools/compare_methods.py writes it')
    content = read_json(file)
    if not isinstance(content, dict) or content.get('format') != STUDY_FORMAT:
        found = content.get('format') if isinstance(content, dict) else type(content).__name__
        raise ValueError(f'{file} has the format {found!r}, expected {STUDY_FORMAT!r}')
    check_shape(content, STUDY, file)
    methods, metrics = set(content['choices']), {column['metric'] for column in content['columns']}
    for what, named, known in (
        ('the baseline', [content['baseline']], methods),
        ('claims', [claim[side] for claim in content['claims'] for side in ('method', 'than')], methods),
        ('claims', [claim['metric'] for claim in content['claims']], metrics),
        ('trade_off', content['trade_off'], metrics),
    ):
        strangers = sorted(set(named) - known)
        if strangers:
            names, others = ', '.join(map(repr, strangers)), ', '.join(sorted(known)) or 'none'
            raise ValueError(f'{file}: {what} names {names}, which is none of {others}')
    if not content['columns'] or not content['summary']:
        raise ValueError(f'{file} has no {"columns" if not content["columns"] else "summary"}; the study has no figures')
    return content


def finished_runs(folder: AnyPath) -> dict[str, dict]:
    """Collect the results of all runs, those of selection included, that a folder of tables holds, by the key of their config."""
    study, runs = read_study_results(folder), []
    file = Path(folder, SELECTION_FILE)
    if file.is_file():
        content = read_json(file)
        check_shape(content, {'cells': [RESULT]}, file)
        runs = content['cells']
    return {run['hash']: run for run in [*runs, *study['cells']]}


def label_of(study: dict, method: str) -> str:
    """Return how a method is called in tables."""
    return study['choices'][method]['label']


def column_of(study: dict, metric: str) -> dict:
    """Return the column that shows a metric."""
    return next(column for column in study['columns'] if column['metric'] == metric)


def shots_of(study: dict) -> list[int]:
    """Return the numbers of shots that are reported, few first."""
    return sorted({row['shots'] for row in study['summary']})


def spread_at(study: dict, method: str, shots: int, column: dict) -> Spread | None:
    """Return mean and spread over seeds, or None where a method has no such figure."""
    values = values_of(study['cells'], method, shots, column['metric'])
    return spread_of(values.values()) if values else None


def difference_at(study: dict, method: str, shots: int, column: dict) -> Spread | None:
    """Return the difference to the baseline, paired by seed, or None where there is none."""
    return paired_difference(*(values_of(study['cells'], name, shots, column['metric']) for name in (method, study['baseline'])))


def zero_shot_of(study: dict, column: dict) -> float | None:
    """Return the figure of the zero-shot model, or None.

    It is that of the baseline's runs, if they have it: some methods have a logit scale of their own, and with it another
    calibration error of the same predictions, so that a mean over methods would be the figure of no model.
    """
    found: dict[str, list[float]] = {}
    for cell in study['cells']:
        if column['zero_shot'] in cell['metrics']:
            found.setdefault(cell['recipe'], []).append(cell['metrics'][column['zero_shot']])
    values = found.get(study['baseline']) or next(iter(found.values()), [])
    return sum(values) / len(values) if values else None


def claimed_difference(claim: dict) -> Spread | None:
    """Return the difference that a claim of ``study.json`` was judged by."""
    return None if claim['difference'] is None else Spread(0, claim['difference'], None, claim['half_width'])


def figures_rows(study: dict, shots: int) -> tuple[list[str], list[list[str]]]:
    """Lay out headings and rows: mean and standard deviation of every method, zero-shot first."""
    columns = study['columns']
    rows = [['zero-shot', *(_number(zero_shot_of(study, column), column) for column in columns)]]
    for method in study['choices']:
        spreads = [(spread_at(study, method, shots, column), column) for column in columns]
        figures = ['-' if spread is None else plus_minus(spread.mean, spread.std, column) for spread, column in spreads]
        rows.append([label_of(study, method), *figures])
    return ['method', *(column['title'] for column in columns)], rows


def differences_rows(study: dict, shots: int, write: Callable[[Spread | None, dict], str]) -> tuple[list[str], list[list[str]]]:
    """Lay out headings and rows: the differences of every method to the baseline, paired by seed.

    :func:`with_half_width` or :func:`with_interval` writes a difference of a column.
    """
    columns, others = study['columns'], [method for method in study['choices'] if method != study['baseline']]
    rows = [
        [label_of(study, method), *(write(difference_at(study, method, shots, column), column) for column in columns)]
        for method in others
    ]
    return ['method', *(column['title'] for column in columns)], rows


def with_half_width(difference: Spread | None, column: dict) -> str:
    """Write a difference with half of its 95 % interval."""
    return '-' if difference is None else plus_minus(difference.mean, difference.half_width, column, '+')


def with_interval(difference: Spread | None, column: dict) -> str:
    """Write a difference with its 95 % interval, bold where that leaves out 0."""
    if difference is None:
        return '-'
    text = _number(difference.mean, column, '+')
    if difference.half_width is None:
        return text
    text += f' [{", ".join(_number(end, column, "+") for end in difference.interval)}]'
    return f'**{text}**' if is_certain(difference) else text


class Agreement(NamedTuple):
    """How the figures of a study compare with those of an earlier one."""

    figures: int
    """Means that both have: of every method, number of shots and column."""
    equal: int
    """Those whose runs, seed by seed, gave the same up to rounding."""
    inside: int
    """Those whose mean lies within the 95 % interval of the earlier mean."""
    outside: list[tuple]
    """(method's label, shots, column's title, earlier mean, half width, mean) of the others."""
    choices: list[str]
    """Labels of methods for which validation chose other settings."""
    alone: int
    """Means that only one of the two has."""

    @property
    def is_whole(self) -> bool:
        """Whether all of it agrees: the same choices, and every mean within its interval."""
        return not self.outside and not self.choices


def agreement_of(study: dict, earlier: dict) -> Agreement:
    """Compare the means of a study over seeds with the intervals of the means of an earlier run of the same one."""
    here, there = ({(row['method'], row['shots'], row['metric']) for row in one['summary']} for one in (study, earlier))
    equal, outside, shared = 0, [], here & there
    if not shared:
        raise ValueError(f'{study["study"]!r} and {earlier["study"]!r} have no figure in common to compare')
    for method, shots, metric in sorted(shared):
        ours, theirs = (values_of(content['cells'], method, shots, metric) for content in (study, earlier))
        equal += ours.keys() == theirs.keys() and all(abs(ours[seed] - theirs[seed]) <= ROUNDING for seed in ours)
        mean, before = spread_of(ours.values()).mean, spread_of(theirs.values())
        half_width = before.half_width or 0
        if abs(mean - before.mean) > half_width + ROUNDING:
            outside.append((label_of(study, method), shots, column_of(study, metric)['title'], before.mean, half_width, mean))
    both = [name for name in study['choices'] if name in earlier['choices']]
    others = [name for name in both if study['choices'][name]['chosen'] != earlier['choices'][name]['chosen']]
    others = [label_of(study, name) for name in others]
    return Agreement(len(shared), equal, len(shared) - len(outside), outside, others, len(here ^ there))


def agreement_text(agreement: Agreement, folder: AnyPath) -> str:
    """Return an agreement in words: what is equal, what lies within the intervals, what does not."""
    lines = [
        f'compared with {folder}: {agreement.inside} of {agreement.figures} means lie within the 95 % interval of the '
        f'earlier one, {agreement.equal} are equal run by run'
    ]
    lines += [f'{agreement.alone} means are of one of the two alone'] * bool(agreement.alone)
    lines += [f'other settings were chosen for: {", ".join(agreement.choices)}'] * bool(agreement.choices)
    lines += [
        f'outside: {label}, {shots} shots, {title}: {before:.3f} ± {half:.3f} before, {mean:.3f} now'
        for label, shots, title, before, half, mean in agreement.outside
    ]
    return '\n'.join(lines)


def _number(value, column, sign=''):
    return '-' if value is None else f'{value:{sign}.{column["digits"]}f}'


def plus_minus(mean: float, width: float | None, column: dict, sign: str = '') -> str:
    """Write a figure of a column with its standard deviation, or half of its interval."""
    text = _number(mean, column, sign)
    return text if width is None else f'{text} ± {_number(width, column)}'
