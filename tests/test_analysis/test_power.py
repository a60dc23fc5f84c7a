"""How many seeds it takes to tell a difference."""

import numpy as np
import pytest
from scipy import stats
from tiny_run import ROOT

from mmpretrain_mps.analysis.power import power, power_of_study, seeds_needed, smallest_told
from mmpretrain_mps.benchmark.study_results import read_study_results


def test_power_is_the_share_of_experiments_that_tell_the_difference():
    rng = np.random.default_rng(0)
    drawn = rng.normal(1.0, 0.8, (20000, 5))
    told = stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05
    assert power(1.0, 0.8, 5) == pytest.approx(told.mean(), abs=0.01)
    assert power(0.0, 0.8, 5) == pytest.approx(0.05) and power(-1.0, 0.8, 5) == pytest.approx(power(1.0, 0.8, 5))


def test_seeds_and_smallest_difference_belong_together():
    # Cohen's table: an effect of one deviation takes 10 pairs for a power of 80 %.
    assert seeds_needed(1.0, 1.0) == 10
    assert power(smallest_told(0.7, 5), 0.7, 5) == pytest.approx(0.8)
    assert seeds_needed(1.0, 0.0) == 2 and smallest_told(0.0, 5) == 0 and seeds_needed(0.001, 1.0) is None


def test_every_method_of_a_study_is_compared_with_its_baseline():
    study = read_study_results(ROOT / 'results' / 'letters_study')
    rows = power_of_study(study, 'accuracy/fused', 1.0)
    assert len(rows) == 2 * (len(study['choices']) - 1) and all(row['seeds'] == 5 for row in rows)
    assert all(power(1.0, row['deviation'], row['seeds_needed']) >= 0.8 for row in rows)
    with pytest.raises(ValueError, match="no method of the study has 'speed' for two seeds.*expected one of accuracy/fused"):
        power_of_study(study, 'speed', 1.0)
