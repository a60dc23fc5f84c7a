"""Render the pictograms of this package anew from the packages of emoji that they come from.

Needs the extra ``pictograms`` and the archives that ``mmpretrain_mps/pictograms/packages.yaml`` names. Their SHA-256 is checked,
nothing is fetched, and the same archives give the same pixels; docs/pictograms.md says how to get them::

    python tools/build_pictograms.py PACKAGES
    python tools/build_pictograms.py PACKAGES --out work_dirs/pictograms --pretraining work_dirs/pictograms/pretraining
"""

import argparse
from pathlib import Path

from mmpretrain_mps.pictograms import folder
from mmpretrain_mps.pictograms.building import build, read_kinds
from mmpretrain_mps.pictograms.contact_sheets import write_contact_sheets
from mmpretrain_mps.pictograms.packages import read_listing
from mmpretrain_mps.utils.errors import user_errors


def main():
    """Build, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('packages', type=Path, help='folder of the archives')
    parser.add_argument('--out', type=Path, default=folder(), help="folder to write; by default the package's own")
    parser.add_argument(
        '--pretraining',
        type=Path,
        metavar='FOLDER',
        help='write the drawings that a model may be pre-trained on into this folder, too',
    )
    parser.add_argument(
        '--contact-sheets', type=Path, metavar='FOLDER', help='write small pictures of every style into this folder'
    )
    parser.add_argument('--traceback', action='store_true', help='show where in the code an input was refused')
    arguments = parser.parse_args()
    with user_errors(arguments.traceback):
        index = build(arguments.packages, arguments.out, read_listing(), read_kinds(), arguments.pretraining)
        if arguments.contact_sheets:
            write_contact_sheets(arguments.out, arguments.contact_sheets)
    for style, sheet in index['sheets'].items():
        print(f'{style}: {len(sheet["concepts"])} drawings, {sheet["role"]}')
    for reason, concepts in index['left_out']['emoji'].items():
        print(f'left out, {reason}: {len(concepts)}')
    for style, faults in index['left_out']['drawings'].items():
        for reason, concepts in faults.items():
            print(f'left out of {style}, {reason}: {", ".join(concepts)}')


if __name__ == '__main__':
    main()
