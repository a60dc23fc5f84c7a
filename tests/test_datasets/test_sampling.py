import random

import pytest

from mmpretrain_mps.datasets.sampling import few_shot_picks

LABELS = [2, 2, 2, 0, 0, 1, 0, 2, 1, 2]  # first appearance: 2 (at 0 1 2 7 9), 0 (at 3 4 6), 1 (at 5 8)
VAL_LABELS = [1, 0, 0, 1, 1, 1, 0]  # first appearance: 1 (at 0 3 4 5), 0 (at 1 2 6)


def coop_picks(train, val, shots, seed):
    """The published rule, written once more: global generator, dicts of items."""
    state = random.getstate()
    random.seed(seed)
    chosen = []
    for items, wanted in ((train, shots), (val, min(shots, 4))):
        groups = {}
        for item in items:
            groups.setdefault(item[1], []).append(item)
        chosen.append([])
        for group in groups.values():
            chosen[-1] += random.sample(group, wanted) if len(group) >= wanted else group
    random.setstate(state)
    return chosen


def test_a_small_case_follows_the_rule_computed_by_hand():
    # random.Random(1): sample([0, 1, 2, 7, 9], 3) = [1, 0, 9]; sample([3, 4, 6], 3) = [3, 4, 6]; label 1 gives all;
    # then for val, from the same stream: sample([0, 3, 4, 5], 3) = [5, 4, 3]; sample([1, 2, 6], 3) = [1, 6, 2]
    picks = few_shot_picks(LABELS, 3, 1, VAL_LABELS)
    assert picks.train == [1, 0, 9, 3, 4, 6, 5, 8]
    assert picks.val == [5, 4, 3, 1, 6, 2]
    assert picks.short_classes == {1: 2}
    assert picks.short_val_classes == {}


def test_val_picks_continue_the_stream_of_the_training_picks():
    fresh = few_shot_picks(VAL_LABELS, 3, 1).train
    assert fresh != few_shot_picks(LABELS, 3, 1, VAL_LABELS).val


@pytest.mark.parametrize('shots', [1, 2, 4, 8, 16])
@pytest.mark.parametrize('seed', [1, 2, 3])
def test_picks_equal_the_published_rule_in_content_and_order(shots, seed):
    rng = random.Random(1000 + seed)
    train = [(f'train/{i}', rng.randrange(23)) for i in range(300)]
    val = [(f'val/{i}', rng.randrange(23)) for i in range(70)]
    expected_train, expected_val = coop_picks(train, val, shots, seed)
    picks = few_shot_picks([item[1] for item in train], shots, seed, [item[1] for item in val])
    assert [train[i] for i in picks.train] == expected_train
    assert [val[i] for i in picks.val] == expected_val


def test_val_gives_at_most_four_pictures_per_class_unless_told_otherwise():
    labels = [0] * 20
    assert len(few_shot_picks(labels, 16, 1, labels).val) == 4
    assert len(few_shot_picks(labels, 2, 1, labels).val) == 2
    assert len(few_shot_picks(labels, 16, 1, labels, val_shots=7).val) == 7


def test_global_random_state_is_neither_read_nor_changed():
    random.seed(5)
    first = few_shot_picks(LABELS, 2, 1, VAL_LABELS)
    after = random.random()
    random.seed(6)
    assert few_shot_picks(LABELS, 2, 1, VAL_LABELS) == first
    random.seed(5)
    assert random.random() == after


def test_a_class_with_fewer_pictures_than_shots_gives_all_in_their_order_and_is_reported():
    picks = few_shot_picks([0, 1, 0], 2, 3)
    assert picks.short_classes == {1: 1}
    assert sorted(picks.train) == [0, 1, 2]
    assert few_shot_picks([1, 1, 1], 5, 3).train == [0, 1, 2]


@pytest.mark.parametrize('shots', [0, -1, 1.5, True, None, '4'])
def test_shots_must_be_a_whole_number_of_at_least_one(shots):
    with pytest.raises(ValueError, match='num_shots is .*expected a whole number of at least 1'):
        few_shot_picks(LABELS, shots, 1)


def test_an_empty_list_is_refused():
    with pytest.raises(ValueError, match='empty list of training items'):
        few_shot_picks([], 1, 1)


@pytest.mark.parametrize('seed', [None, 1.0, 'one', -1])
def test_the_seed_must_be_a_whole_number(seed):
    with pytest.raises(ValueError, match='seed is .*expected a whole number from 0 on'):
        few_shot_picks(LABELS, 1, seed)
