"""Fill the figures of README.md and docs/ in from the files in results/, and draw their plots: python tools/fill_readme.py.

``results/quickstart.json`` is the metrics.json that tools/quickstart.sh leaves in its work folder. A block between
``<!-- NAME -->`` and ``<!-- /NAME -->`` is replaced by what the results say; study.md of every study is written anew from its
study.json. ``--check`` changes nothing and ends with status 1 if a text is not up to date, or plots were drawn from other
figures than those that there are.
"""

import argparse
import hashlib
import re
import sys
from pathlib import Path

from _gpu_tables import GPU_BLOCKS
from _method_tables import METHOD_BLOCKS, RESULTS, read
from _pictogram_tables import PICTOGRAM_BLOCKS
from _speed_tables import SPEED_BLOCKS
from _study_tables import STUDIES, STUDY_BLOCKS
from _things_tables import THINGS_BLOCKS

from mmpretrain_mps.analysis.bound_study import bound_plots
from mmpretrain_mps.analysis.study import study_plots
from mmpretrain_mps.analysis.style import plot_files
from mmpretrain_mps.benchmark.files import write_files
from mmpretrain_mps.benchmark.study_results import read_study_results
from mmpretrain_mps.benchmark.study_tables import study_markdown

ROOT = Path(__file__).resolve().parents[1]
PAGES = ('comparison', 'deployment', 'evidence', 'evidence_things', 'methods', 'mini_clip', 'own_pictures', 'pictograms', 'speed')
TEXTS = ('README.md', *(f'docs/{name}.md' for name in PAGES))
BOUNDS = ('bound', 'things_bound')
# Studies with a plot in a text; folders of plots, and the file that each is drawn from.
SHOWN = [
    folder
    for folder in STUDIES.values()
    if any(f'results/{folder}/plots/' in (ROOT / name).read_text(encoding='utf-8') for name in TEXTS)
]
SOURCES = {f'{folder}/plots': f'{folder}/study.json' for folder in SHOWN}
SOURCES |= {folder: f'{folder}/bounds.json' for folder in BOUNDS}


def parity():
    """Return how many recorded numbers of each method agree, and the largest difference."""
    found = read('parity.json')
    lines = ['| method | recorded arrays | that agree | largest difference, in units of its tolerance |', '|---|---|---|---|']
    for file in found['files']:
        lines.append(
            f'| {file["method"]} | {file["arrays"]} | {file["agreeing"]} | {file["largest"]["share_of_tolerance"]:.2f} |'
        )
    lines.append(f'\ntorch {found["versions"]["torch"]}, float32 on the CPU.')
    return '\n'.join(lines)


def plots():
    """Return the plots of the texts by the folder below results/ that they lie in."""
    drawn = {f'{folder}/plots': study_plots(read_study_results(RESULTS / folder)) for folder in SHOWN}
    bounds = {folder: read(f'{folder}/bounds.json') for folder in BOUNDS}
    return drawn | {folder: bound_plots(content['labels'], content['summary']) for folder, content in bounds.items()}


BLOCKS = {**STUDY_BLOCKS, **THINGS_BLOCKS, **SPEED_BLOCKS, **GPU_BLOCKS, **METHOD_BLOCKS, **PICTOGRAM_BLOCKS, 'parity': parity}


def fill(text):
    """Replace every block of a text.

    Args:
        text (str): With markers.

    Returns:
        str: The same with figures.

    Raises:
        ValueError: If a marker names no block.
    """

    def replace(match):
        if match[1] not in BLOCKS:
            raise ValueError(f'there is a block {match[1]!r}; known are {sorted(BLOCKS)}')
        return f'<!-- {match[1]} -->\n{BLOCKS[match[1]]()}\n<!-- /{match[1]} -->'

    return re.sub(r'<!-- (\w+) -->\n.*?<!-- /\1 -->', replace, text, flags=re.DOTALL)


def texts():
    """Yield the path of every text below the root, and what it should hold."""
    for folder, source in SOURCES.items():
        # Pictures differ with the version of a font; what they were drawn from does not.
        yield f'results/{folder}/drawn_from.sha256', hashlib.sha256((RESULTS / source).read_bytes()).hexdigest() + '\n'
    for name in TEXTS:
        yield name, fill((ROOT / name).read_text(encoding='utf-8'))
    for folder in STUDIES.values():
        yield f'results/{folder}/study.md', study_markdown(read_study_results(RESULTS / folder))


def main():
    """Fill the texts in, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='change nothing; status 1 if a text is out of date')
    check, stale = parser.parse_args().check, []
    for folder, drawn in ({} if check else plots()).items():
        write_files(RESULTS / folder, plot_files(drawn))
    for name, filled in texts():
        file = ROOT / name
        if not file.is_file() or filled != file.read_text(encoding='utf-8'):
            stale.append(name)
            if not check:
                file.write_text(filled, encoding='utf-8')
    print('changed: ' + ', '.join(stale) if stale else 'up to date')
    return int(check and bool(stale))


if __name__ == '__main__':
    sys.exit(main())
