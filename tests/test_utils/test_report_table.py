"""The table that ends a test."""

from mmpretrain_mps.utils.report import accuracy_table


def test_branches_come_first_in_the_order_of_the_method():
    table = accuracy_table({'other': 1.0, 'accuracy/fused': 93.456, 'accuracy/zero_shot': 60.0, 'accuracy/tuned': 90.0})
    assert table.split('\n') == ['accuracy         %', 'zero-shot    60.00', 'tuned        90.00', 'fused        93.46']


def test_without_branches_every_number_is_listed_by_its_name():
    assert accuracy_table({'accuracy/top1': 75.0, 'matrix': [[1]]}) == 'accuracy/top1    75.00'
    assert accuracy_table({}) == ''
