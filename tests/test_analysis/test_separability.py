"""Separation of classes over layers, from logged figures."""

from reported import drawn, lines_of, texts_of

from mmpretrain_mps.analysis.contents import plots_of
from mmpretrain_mps.analysis.separability import separability_section


def test_layers_are_ordered_to_the_output_and_averaged_over_runs():
    runs = [
        {
            'separability/tuned/output/silhouette': value,
            'separability/tuned/before_end_10/silhouette': 10 * value,
            'separability/tuned/before_end_2/silhouette': 2 * value,
            'separability/zero_shot/output/silhouette': 0.5,
        }
        for value in (0.1, 0.3)
    ]
    (plot,) = separability_section(runs, 'nothing').parts
    assert plot.name == 'separability-silhouette' and plot.caption.endswith('Mean of 2 runs.')
    lines = lines_of(plot)
    assert lines['tuned'][0] == [0, 1, 2] and [round(y, 6) for y in lines['tuned'][1]] == [2.0, 0.4, 0.2]
    assert lines['zero-shot'] == ([2], [0.5], '--')
    (axis,) = drawn(plot).axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ['10', '2', 'output']


def test_each_figure_has_its_plot_also_one_that_is_not_known():
    runs = [{'separability/tuned/output/scatter_ratio': 1.0, 'separability/tuned/output/new_figure': 1.0}]
    section = separability_section(runs, 'nothing')
    assert [plot.name for plot in plots_of([section])] == ['separability-scatter-ratio', 'separability-new-figure']
    assert [drawn(plot).axes[0].get_title() for plot in section.parts] == ['Scatter within over between classes', 'new figure']
    assert 'Mean of' not in section.parts[0].caption


def test_figures_of_targets_and_others_are_left_out_and_nothing_is_said_to_be_nothing():
    runs = [{'mnist/separability/tuned/output/silhouette': 1.0, 'accuracy/fused': 2.0}]
    assert texts_of(separability_section(runs, 'Nothing.')) == [
        'Nothing. To have them, add dict(type="ClassSeparability") to test_evaluator and test.'
    ]
