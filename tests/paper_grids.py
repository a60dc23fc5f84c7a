"""The grids of the paper's tables and figures, laid out as the tool does."""

import argparse
import copy
import functools
from unittest import mock

from tiny_digits import CONFIG_FOLDER

from mmpretrain_mps.benchmark import grid as grid_module
from mmpretrain_mps.benchmark.command import cells_of, quotable_labels
from mmpretrain_mps.benchmark.grid import read_grid_file
from mmpretrain_mps.benchmark.published import published_of
from mmpretrain_mps.utils.config_files import read_config_file

GRIDS = {path.stem: path for path in sorted((CONFIG_FOLDER / 'grids').glob('*/*.yaml')) if path.parent.name != '_base_'}
# In recipe "paper" these are the method itself, written out.
ALIASES = ('lambda1_0.5', 'sculpt_two')


def files_read_once():
    """Read each file once within this context: anew for each grid, they would take most of the time."""
    read = functools.lru_cache(None)(read_config_file)
    return mock.patch.object(grid_module, 'read_config_file', lambda path: copy.deepcopy(read(path)))


def flags_of(**flags):
    defaults = dict(
        configs=[], datasets=[], methods=[], shots=None, seeds=None, recipes=None, cfg_options=None, select='last', targets=False
    )
    return argparse.Namespace(**{**defaults, **flags})


def quoted(name, methods=()):
    grid, flags = read_grid_file(str(GRIDS[name])), dict(seeds=[1], methods=list(methods))
    cells = cells_of(flags_of(**flags), CONFIG_FOLDER, grid)
    return published_of(grid, str(GRIDS[name]), quotable_labels(flags_of(**flags), grid), cells)
