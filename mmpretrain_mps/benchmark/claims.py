"""Statements about methods, each judged by the paired differences that a study measured."""

from typing import NamedTuple

from .study import is_certain, listed, paired_difference, values_of
from .summary import Spread, spread_of

HOLDS, FAILS, OPEN, ABSENT = 'holds', 'the opposite holds', 'cannot be told', 'not measured'
CLAIM_KEYS = ('text', 'method', 'than', 'metric', 'better', 'grows')


class Claim(NamedTuple):
    """One comparison of a statement: on ``metric``, ``method`` is better than ``than``."""

    text: str
    method: str
    than: str
    metric: str
    better: str
    """``'higher'`` or ``'lower'``."""
    grows: bool
    """Whether the statement is that the lead grows from the fewest to the most shots."""


class Verdict(NamedTuple):
    """What the figures say of a claim at one number of shots."""

    claim: Claim
    shots: str
    difference: Spread | None
    verdict: str


def read_claims(owner, entries, methods, metrics):
    """Read the claims of a study.

    Args:
        owner (str): What opens an error message.
        entries (Sequence[dict]): With ``text``, ``method``, ``than`` (a method or a list of them), ``metric`` (one or a
            list), ``better`` and ``grows``.
        methods (Sequence[str]): Names that there are.
        metrics (Sequence[str]): Metrics of the study's columns.

    Returns:
        list[Claim]: One per pair of methods and metric.

    Raises:
        ValueError: If a key, method or metric is unknown, or a direction is none.
    """
    claims = []
    for entry in entries:
        unknown = [key for key in entry if key not in CLAIM_KEYS]
        missing = [key for key in ('text', 'method', 'than', 'metric') if key not in entry]
        if unknown or missing:
            raise ValueError(
                f'{owner}: a claim has the unknown keys {unknown} and lacks {missing}; expected {", ".join(CLAIM_KEYS)}'
            )
        better = entry.get('better', 'higher')
        if better not in ('higher', 'lower'):
            raise ValueError(f"{owner}: claim {entry['text']!r} has better={better!r}, expected 'higher' or 'lower'")
        for than in listed(entry['than']):
            for metric in listed(entry['metric']):
                strangers = [name for name in (entry['method'], than) if name not in methods]
                strangers += [metric] if metric not in metrics else []
                if strangers:
                    raise ValueError(
                        f'{owner}: claim {entry["text"]!r} names {", ".join(map(repr, strangers))}, which is '
                        'no method and no column of the study'
                    )
                claims.append(Claim(entry['text'], entry['method'], than, metric, better, entry.get('grows', False)))
    return claims


def judge(claim, results, all_shots):
    """Judge a claim by the results.

    Args:
        claim (Claim): What is claimed.
        results (Sequence[dict]): Of the report.
        all_shots (Sequence[int]): Numbers of shots of the report.

    Returns:
        list[Verdict]: One per number of shots; a single one for a claim that a lead grows. It holds, or its opposite, where
        the 95 % interval of the paired difference leaves out 0; it is not measured where one of the two has no such figure.
    """
    leads = {shots: {seed: ours - theirs for seed, ours, theirs in _pairs(claim, results, shots)} for shots in all_shots}
    if claim.grows:
        low, high = min(all_shots), max(all_shots)
        return [_verdict(claim, f'{low} to {high}', paired_difference(leads[high], leads[low]) if low < high else None)]
    return [_verdict(claim, str(shots), spread_of(list(lead.values())) if lead else None) for shots, lead in leads.items()]


def _pairs(claim, results, shots):
    ours, theirs = (values_of(results, name, shots, claim.metric) for name in (claim.method, claim.than))
    return [(seed, ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]


def _verdict(claim, shots, difference):
    if difference is None:
        return Verdict(claim, shots, None, ABSENT)
    if not is_certain(difference):
        return Verdict(claim, shots, difference, OPEN)
    as_claimed = (difference.mean > 0) == (claim.better == 'higher')
    return Verdict(claim, shots, difference, HOLDS if as_claimed else FAILS)
