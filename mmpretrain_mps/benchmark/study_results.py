"""What a study wrote into ``study.json``: to read, to look figures up in, to lay out as rows of tables, to compare."""

from pathlib import Path
from typing import NamedTuple

from ..utils.files import read_json
from ..utils.shape import check_shape, count, number, or_none
from .cell_run import RESULT
from .study import is_certain, paired_difference, values_of
from .summary import Spread, spread_of

STUDY_FILE = 'study.json'
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
        {'text': str, 'method': str, 'metric': str, 'verdict': str, 'difference': or_none(number), 'half_width': or_none(number)}
    ],
    'cells': [RESULT],
}
# Sums in another order move the last digits of a figure; a picture more or less moves it by far more.
ROUNDING = 1e-6


def is_study(folder):
    """Return whether a folder holds the tables of ``tools/compare_methods.py``."""
    return Path(folder, STUDY_FILE).is_file()


def read_study_results(folder):
    """Read the tables of a study.

    Args:
        folder (str | Path): That ``tools/compare_methods.py`` wrote.

    Returns:
        dict: Content of ``study.json``.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is not readable or none of a study.
    """
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
        ('claims', [claim['method'] for claim in content['claims']], methods),
        ('claims', [claim['metric'] for claim in content['claims']], metrics),
        ('trade_off', content['trade_off'], metrics),
    ):
        strangers = sorted(set(named) - known)
        if strangers:
            raise ValueError(
                f'{file}: {what} names {", ".join(map(repr, strangers))}, which is none of {", ".join(sorted(known)) or "none"}'
            )
    if not content['columns'] or not content['summary']:
        raise ValueError(f'{file} has no {"columns" if not content["columns"] else "summary"}; the study has no figures')
    return content


def label_of(study, method):
    """Return how a method is called in tables."""
    return study['choices'][method]['label']


def column_of(study, metric):
    """Return the column that shows a metric."""
    return next(column for column in study['columns'] if column['metric'] == metric)


def shots_of(study):
    """Return the numbers of shots that are reported, few first."""
    return sorted({row['shots'] for row in study['summary']})


def spread_at(study, method, shots, column):
    """Return mean and spread over seeds, or None where a method has no such figure."""
    values = values_of(study['cells'], method, shots, column['metric'])
    return spread_of(list(values.values())) if values else None


def difference_at(study, method, shots, column):
    """Return the difference to the baseline, paired by seed, or None where there is none."""
    return paired_difference(*(values_of(study['cells'], name, shots, column['metric']) for name in (method, study['baseline'])))


def zero_shot_of(study, column):
    """Return the figure of the zero-shot model, or None."""
    values = [cell['metrics'][column['zero_shot']] for cell in study['cells'] if column['zero_shot'] in cell['metrics']]
    return sum(values) / len(values) if values else None


def claimed_difference(claim):
    """Return the difference (Spread | None) that a claim of ``study.json`` was judged by."""
    return None if claim['difference'] is None else Spread(0, claim['difference'], None, claim['half_width'])


def figures_rows(study, shots):
    """Lay out mean and standard deviation of every method, zero-shot first.

    Args:
        study (dict): From :func:`read_study_results`.
        shots (int): Pictures per class.

    Returns:
        tuple[list[str], list[list[str]]]: Headings and rows.
    """
    columns = study['columns']
    rows = [['zero-shot', *(_number(zero_shot_of(study, column), column) for column in columns)]]
    for method in study['choices']:
        rows.append(
            [label_of(study, method), *(_with_spread(spread_at(study, method, shots, column), column) for column in columns)]
        )
    return ['method', *(column['title'] for column in columns)], rows


def differences_rows(study, shots, write):
    """Lay out the differences of every method to the baseline, paired by seed.

    Args:
        study (dict): From :func:`read_study_results`.
        shots (int): Pictures per class.
        write (Callable[[Spread | None, dict], str]): Writes a difference of a column: :func:`with_half_width` or
            :func:`with_interval`.

    Returns:
        tuple[list[str], list[list[str]]]: Headings and rows.
    """
    columns = study['columns']
    rows = [
        [label_of(study, method), *(write(difference_at(study, method, shots, column), column) for column in columns)]
        for method in study['choices']
        if method != study['baseline']
    ]
    return ['method', *(column['title'] for column in columns)], rows


def with_half_width(difference, column):
    """Write a difference (Spread | None) with half of its 95 % interval."""
    if difference is None:
        return '-'
    text = _number(difference.mean, column, '+')
    return text if difference.half_width is None else f'{text} ± {_number(difference.half_width, column)}'


def with_interval(difference, column):
    """Write a difference (Spread | None) with its 95 % interval, bold where that leaves out 0."""
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
    outside: list
    """(method's label, shots, column's title, earlier mean, half width, mean) of the others."""
    choices: list
    """Labels of methods for which validation chose other settings."""
    alone: int
    """Means that only one of the two has."""

    @property
    def is_whole(self):
        """bool: Whether all of it agrees: the same choices, and every mean within its interval."""
        return not self.outside and not self.choices


def agreement_of(study, earlier):
    """Compare a study with an earlier run of the same one.

    Args:
        study (dict): From :func:`read_study_results`.
        earlier (dict): The same of the other one.

    Returns:
        Agreement: Of means over seeds with the intervals of the earlier means.

    Raises:
        ValueError: If they have no figure in common.
    """
    names = [
        {tuple(row[key] for key in ('method', 'shots', 'metric')) for row in content['summary']} for content in (study, earlier)
    ]
    equal, outside, shared = 0, [], names[0] & names[1]
    if not shared:
        raise ValueError(f'{study["study"]!r} and {earlier["study"]!r} have no figure in common to compare')
    for method, shots, metric in sorted(shared):
        ours, theirs = (values_of(content['cells'], method, shots, metric) for content in (study, earlier))
        equal += ours.keys() == theirs.keys() and all(abs(ours[seed] - theirs[seed]) <= ROUNDING for seed in ours)
        mean, before = spread_of(list(ours.values())).mean, spread_of(list(theirs.values()))
        half_width = before.half_width or 0
        if abs(mean - before.mean) > half_width + ROUNDING:
            outside.append((label_of(study, method), shots, column_of(study, metric)['title'], before.mean, half_width, mean))
    others = [
        label_of(study, method)
        for method in study['choices']
        if method in earlier['choices'] and study['choices'][method]['chosen'] != earlier['choices'][method]['chosen']
    ]
    return Agreement(len(shared), equal, len(shared) - len(outside), outside, others, len(names[0] ^ names[1]))


def agreement_text(agreement, folder):
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


def _with_spread(spread, column):
    if spread is None:
        return '-'
    text = _number(spread.mean, column)
    return text if spread.std is None else f'{text} ± {_number(spread.std, column)}'
