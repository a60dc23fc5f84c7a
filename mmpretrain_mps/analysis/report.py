"""From a folder to its report or its plots."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..benchmark.files import write_files
from ..benchmark.study_results import is_study, read_study_results
from ..utils.quiet_log import quiet_log
from ..utils.trust import add_trust_flag
from .contents import Section, plots_of
from .grid import grid_sections, is_grid, read_grid
from .page import make_page
from .run import run_sections
from .study import study_sections
from .style import plot_files
from .work_dir import read_work_dir

REPORT_FILE = 'report.html'
PLOT_FOLDER = 'plots'


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags that say what is looked at."""
    about = 'work directory of tools/train.py, folder of tools/fewshot_benchmark.py, or of the tables of tools/compare_methods.py'
    parser.add_argument('folder', help=about)
    parser.add_argument('--checkpoint', help='of the training; by default the last one in the work directory')
    parser.add_argument('--split', choices=('test', 'val'), default='test', help='pictures for features and predictions')
    about = 'look at so many of them at most, equally many of each class; by default 2000'
    parser.add_argument('--max-pictures', type=int, default=2000, metavar='N', help=about)
    parser.add_argument('--no-model', action='store_true', help='show only what is logged; run no model')
    add_trust_flag(parser)
    parser.add_argument('--traceback', action='store_true', help='show where in the code an input was refused')


def sections_of(arguments: Namespace) -> tuple[str, list[Section]]:
    """Look at a folder, with the flags of :func:`add_flags`; return title and content of the report.

    Raises FileNotFoundError or NotADirectoryError if the folder or the named checkpoint is not there, and ValueError if it
    holds neither a training nor a grid nor a study, or a flag makes no sense for it.
    """
    folder = Path(arguments.folder)
    if not folder.exists():
        raise FileNotFoundError(f'folder {folder} does not exist (looked from {Path.cwd()})')
    if not folder.is_dir():
        raise NotADirectoryError(f'{folder} is a file; expected the folder of a training, a grid or a study')
    if arguments.max_pictures < 2:
        raise ValueError(f'--max-pictures is {arguments.max_pictures}, expected 2 or more')
    name = folder.resolve().name
    of_many = 'a study' if is_study(folder) else 'a grid' if is_grid(folder) else None
    if of_many and arguments.checkpoint:
        raise ValueError(f'--checkpoint is for the work directory of a training, but {folder} holds {of_many}')
    if is_study(folder):
        study = read_study_results(folder)
        return study['study'], study_sections(study)
    if is_grid(folder):
        return f'Grid {name}', grid_sections(read_grid(folder))
    if not any(any(folder.glob(pattern)) for pattern in ('*/vis_data', '*.pth', '*.py')):
        raise ValueError(
            f'{folder} is neither the work directory of a training (no config *.py, no checkpoint *.pth, no log */vis_data) nor '
            'the folder of a grid (no results.json, no */*/result.json) or study (no study.json)'
        )
    work_dir = read_work_dir(folder, arguments.checkpoint)
    # What building models and data sets tells is no part of a report.
    with quiet_log('ERROR'):
        return f'Training {name}', run_sections(work_dir, arguments.split, arguments.max_pictures, not arguments.no_model)


def write_report(arguments: Namespace) -> Path:
    """Write the report of a folder into ``out``, by default in the folder itself; return the file."""
    file = Path(arguments.out or Path(arguments.folder, REPORT_FILE))
    if file.is_dir():
        raise ValueError(f'--out {file} is a folder, expected a file to write')
    write_files('', {str(file): make_page(*sections_of(arguments))})
    return file


def write_plots(arguments: Namespace) -> list[Path]:
    """Write plots of a folder as PNG and SVG, for light and for dark pages; return the files.

    They are those that ``only`` names, or all; ``out`` is their folder, by default ``plots`` of the folder.
    """
    folder = Path(arguments.out or Path(arguments.folder, PLOT_FOLDER))
    if folder.is_file():
        raise NotADirectoryError(f'--out {folder} is a file, expected a folder')
    plots = {plot.name: plot for plot in plots_of(sections_of(arguments)[1])}
    unknown = [name for name in arguments.only or () if name not in plots]
    if unknown:
        names = ', '.join(map(repr, unknown))
        raise ValueError(f'{arguments.folder} gives no plot {names}; it gives {", ".join(plots) or "none"}')
    return write_files(folder, plot_files([plots[name] for name in arguments.only or plots]))
