"""Statements about methods, each judged by the paired differences that a study measured."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from .files import listed
from .study import is_certain, paired_difference, values_of
from .summary import Spread, spread_of

HOLDS, FAILS, OPEN, ABSENT = 'holds', 'the opposite holds', 'cannot be told', 'not measured'


class Claim(NamedTuple):
    """One comparison of a statement: on ``metric``, ``method`` is better than ``than``."""

    text: str
    method: str
    than: str
    metric: str
    better: str = 'higher'
    """Or ``'lower'``."""
    grows: bool = False
    """Whether the statement is that the lead grows from the fewest to the most shots."""


class Verdict(NamedTuple):
    """What the figures say of a claim at one number of shots."""

    claim: Claim
    shots: str
    difference: Spread | None
    verdict: str


def read_claims(owner: str, entries: Sequence[dict[str, Any]], methods: Collection, metrics: Collection) -> list[Claim]:
    """Read the claims of a study, one per pair of methods and metric.

    Entries have the fields of :class:`Claim`, of which ``than`` and ``metric`` may be lists. Raises ValueError, which the owner
    opens, if a key, method or metric is unknown, or a direction is none.
    """
    claims = []
    for entry in entries:
        unknown = [key for key in entry if key not in Claim._fields]
        missing = [key for key in Claim._fields if key not in (*entry, *Claim._field_defaults)]
        if unknown or missing:
            known = ', '.join(Claim._fields)
            raise ValueError(f'{owner}: a claim has the unknown keys {unknown} and lacks {missing}; expected {known}')
        for than in listed(entry['than']):
            for metric in listed(entry['metric']):
                claim = Claim(**{**entry, 'than': than, 'metric': metric})
                named = f'{owner}: claim {claim.text!r}'
                if claim.better not in ('higher', 'lower'):
                    raise ValueError(f"{named} has better={claim.better!r}, expected 'higher' or 'lower'")
                strangers = [name for name in (claim.method, than) if name not in methods]
                strangers += [metric] if metric not in metrics else []
                if strangers:
                    names = ', '.join(map(repr, strangers))
                    raise ValueError(f'{named} names {names}, which is no method and no column of the study')
                claims.append(claim)
    return claims


def judge(claim: Claim, results: Sequence[dict], all_shots: Sequence[int]) -> list[Verdict]:
    """Judge a claim at every number of shots; one that a lead grows once.

    It holds, or its opposite, where the 95 % interval of the paired difference leaves out 0; it is not measured where one of
    the two has no such figure.
    """
    leads = {shots: _lead(claim, results, shots) for shots in all_shots}
    if claim.grows:
        low, high = min(all_shots), max(all_shots)
        return [_verdict(claim, f'{low} to {high}', paired_difference(leads[high], leads[low]) if low < high else None)]
    return [_verdict(claim, str(shots), spread_of(lead.values()) if lead else None) for shots, lead in leads.items()]


def _lead(claim, results, shots):
    ours, theirs = (values_of(results, name, shots, claim.metric) for name in (claim.method, claim.than))
    return {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())}


def _verdict(claim, shots, difference):
    if difference is None:
        verdict = ABSENT
    elif not is_certain(difference):
        verdict = OPEN
    else:
        verdict = HOLDS if (difference.mean > 0) == (claim.better == 'higher') else FAILS
    return Verdict(claim, shots, difference, verdict)
