"""From base to new classes: both accuracies and their harmonic mean, of ours and of what is published."""

import json

import pytest
from made_up_results import cells_of, result

from mmpretrain_mps.benchmark.base_to_new import base_to_new_lines
from mmpretrain_mps.benchmark.summary import Published, Spread, summarise
from mmpretrain_mps.benchmark.tables import results_json, results_latex, results_markdown
from mmpretrain_mps.engine.loops.domain_report import DomainReport, SetResult, harmonic_mean


def pair(dataset, seed, base, new, recipe='coop'):
    return result(dataset, 16, seed, base, recipe=recipe, **{'new/accuracy/fused': new, 'harmonic_mean/accuracy/fused': 1.0})


# A: base 80 and 90, new 60 and 60; B: base 60 and 50, new 40 and 60. H of A: 2*80*60/140 = 68.571429, 2*90*60/150 = 72.
OURS = [pair('A', 1, 80.0, 60.0), pair('A', 2, 90.0, 60.0), pair('B', 1, 60.0, 40.0), pair('B', 2, 50.0, 60.0)]
QUOTED = Published(
    'a paper', {}, ('A', 'B'), {}, {}, ('tac',), {('coop', 'mean'): (82.69, 63.22, 71.66), ('tac', 'mean'): (85.42, 77.6, 81.24)}
)


def test_the_harmonic_mean_is_the_one_computed_by_hand():
    assert harmonic_mean(80, 60) == pytest.approx(68.5714286) and harmonic_mean(70, 70) == 70
    assert harmonic_mean(0, 50) == harmonic_mean(0, 0) == 0


def test_each_data_set_has_the_mean_over_seeds_of_its_harmonic_means():
    method, shots, dataset, base, new, harmonic = base_to_new_lines(OURS)[0]
    assert (method, shots, dataset, base.mean, new.mean) == ('coop', 16, 'A', 85, 60)
    assert harmonic.mean == pytest.approx((68.5714286 + 72) / 2) and harmonic.count == 2


def test_the_mean_is_of_both_accuracies_seed_by_seed_and_h_is_of_the_means():
    *_, dataset, base, new, harmonic = base_to_new_lines(OURS)[-1]
    # Seed 1: base 70, new 50; seed 2: base 70, new 60.
    assert (dataset, base.mean, base.std, new.mean) == ('mean', 70, 0, 55)
    assert harmonic.mean == pytest.approx((2 * 70 * 50 / 120 + 2 * 70 * 60 / 130) / 2)


def test_there_is_no_mean_over_some_of_the_data_sets():
    others = [pair('A', 1, 80.0, 60.0, recipe='tcp')]
    lines = [line[:3] for line in base_to_new_lines([*OURS, *others])]
    assert lines == [('coop', 16, 'A'), ('coop', 16, 'B'), ('coop', 16, 'mean'), ('tcp', 16, 'A')]


def test_what_is_published_follows_ours_and_stands_alone_where_there_is_nothing_of_ours():
    lines = base_to_new_lines(OURS, QUOTED)
    assert lines[3] == ('coop (paper)', '-', 'mean', 82.69, 63.22, 71.66)
    assert lines[4] == ('tac (paper)', '-', 'mean', 85.42, 77.6, 81.24) and len(lines) == 5
    assert [line[0] for line in base_to_new_lines([], QUOTED)] == ['coop (paper)', 'tac (paper)']
    assert base_to_new_lines([result('A', 16, 1, 80.0)]) == []


def test_the_files_of_a_grid_have_the_table_and_no_column_of_new_classes_elsewhere():
    text = results_markdown(cells_of(OURS), OURS, published=QUOTED)
    assert '## From base to new classes' in text
    assert '| coop (paper) | - | mean | 82.69 | 63.22 | 71.66 |' in ' '.join(text.split()).replace('|-', '| -')
    assert 'harmonic_mean' not in text and summarise(OURS, targets=True).datasets == []
    rows = json.loads(results_json(cells_of(OURS), OURS, published=QUOTED))['base_to_new']
    assert rows[0]['dataset'] == 'A' and rows[0]['harmonic_mean']['mean'] == pytest.approx(70.2857143)
    assert rows[3] == dict(method='coop (paper)', shots='-', dataset='mean', base=82.69, new=63.22, harmonic_mean=71.66)
    assert r'coop (paper) & - & mean & $82.69$ & $63.22$ & $71.66$ \\' in results_latex(OURS, QUOTED)
    assert isinstance(base_to_new_lines(OURS)[0][3], Spread)


def set_of(name, accuracy):
    figures = dict(zero_shot=accuracy - 10.0, tuned=accuracy, fused=accuracy)
    return SetResult(name, 'Animals', 10, 2, 'source', figures, figures, {'0.5': accuracy})


def test_the_report_of_a_test_has_the_harmonic_mean_where_there_are_new_classes():
    report = DomainReport({}, alpha=0.5)
    for name, accuracy in (('source', 80.0), ('new', 60.0)):
        report.add(set_of(name, accuracy))
    assert report.means()['harmonic_mean/accuracy/fused'] == pytest.approx(68.5714286)
    assert report.means()['harmonic_mean/accuracy/zero_shot'] == pytest.approx(2 * 70 * 50 / 120)
    accuracies, errors = report.markdown().split('| ECE')
    assert 'harmonic mean of base and new' in accuracies and '68.57' in accuracies and 'harmonic' not in errors
    other = DomainReport({}, alpha=0.5)
    for name in ('source', 'sketch'):
        other.add(set_of(name, 80.0))
    assert not any('harmonic' in name for name in other.means()) and 'harmonic' not in other.markdown()
