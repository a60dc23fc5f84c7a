"""How small a difference a study can tell, and how many seeds it takes to tell one point.

    python tools/analysis/power.py results/digits_study --metric accuracy/fused --difference 1

For every method against the study's baseline: the standard deviation of the differences, paired by seed; the smallest true
difference that such a comparison tells in 80 of 100 repetitions; and the seeds that ``--difference`` takes.
"""

import argparse
import json
import sys
from pathlib import Path

from mmpretrain_mps.analysis.power import power_of_study, power_rows
from mmpretrain_mps.benchmark.study_results import read_study_results
from mmpretrain_mps.engine.loops.domain_report import markdown_table
from mmpretrain_mps.utils.errors import user_errors


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('study', help='folder with the study.json of tools/compare_methods.py')
    parser.add_argument('--metric', default='accuracy/fused')
    parser.add_argument('--difference', type=float, default=1.0, help='to be told, in the unit of the metric')
    parser.add_argument('--out', help='also write the rows here, as JSON')
    parser.add_argument('--traceback', action='store_true', help='show where in the code an input was refused')
    arguments = parser.parse_args()
    if not arguments.difference > 0:
        parser.error(f'--difference is {arguments.difference}, expected a number above 0')
    with user_errors(arguments.traceback):
        rows = power_of_study(read_study_results(arguments.study), arguments.metric, arguments.difference)
    print(markdown_table(*power_rows(rows, arguments.difference)))
    if arguments.out:
        content = dict(study=Path(arguments.study).name, metric=arguments.metric, difference=arguments.difference, rows=rows)
        Path(arguments.out).write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
