"""JSON of another form than its readers count on is refused with the place."""

import math

import pytest

from mmpretrain_mps.utils.shape import check_shape, count, fault_of, figure, number, or_none

SHAPE = {'name': str, 'shots': count, 'values': {'*': number}, 'rows': [{'a': figure, 'b?': or_none([str])}]}
GOOD = dict(name='x', shots=3, values=dict(p=1.5), rows=[dict(a=math.nan), dict(a=2, b=None), dict(a=2, b=['y'])])


def test_what_is_of_the_form_passes():
    assert check_shape(GOOD, SHAPE, 'file') is GOOD


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(name=5), 'name is 5, expected text'),
        (dict(shots=-1), 'shots is -1, expected a whole number from 0 on'),
        (dict(shots=True), 'shots is True'),
        (dict(shots='"><img src=x>'), "shots is '\"><img src=x>', expected a whole number"),
        (dict(shots=10**400), 'shots is 1000'),
        (dict(values=[]), 'values is [], expected a mapping'),
        (dict(values=dict(p='1')), "values.p is '1', expected a finite number"),
        (dict(values=dict(p=math.inf)), 'values.p is inf'),
        (dict(rows={}), 'rows is {}, expected a list'),
        (dict(rows=[5]), 'rows[0] is 5, expected a mapping'),
        (dict(rows=[dict(a=1), {}]), "rows[1] lacks 'a'"),
        (dict(rows=[dict(a=1, b=[3])]), 'expected a list or null'),
        (dict(rows=[dict(a='x')]), "rows[0].a is 'x', expected a number"),
    ],
)
def test_the_first_fault_is_named_with_its_place(changes, message):
    with pytest.raises(ValueError) as caught:
        check_shape({**GOOD, **changes}, SHAPE, 'file')
    assert str(caught.value).startswith('file: ') and message in str(caught.value)


def test_what_is_missing_is_named():
    assert fault_of({}, SHAPE) == "it lacks 'name'" and fault_of(None, SHAPE) == 'all of it is None, expected a mapping'
