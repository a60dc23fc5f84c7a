"""Results of cells that nobody trained: for what is about who runs a cell, and when."""

import json
from pathlib import Path

from mmpretrain_mps.benchmark.cell_run import RESULT_FILE, RESULT_FORMAT, read_result


def put_result(folder, cell, accuracy=50.0):
    """Write the result of a cell as a run of it would."""
    path = Path(folder, cell.folder, RESULT_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            dict(
                format=RESULT_FORMAT,
                hash=cell.key,
                config=cell.config,
                recipe=cell.recipe,
                method=cell.method,
                shots=cell.shots,
                seed=cell.seed,
                select=cell.select,
                resumed=False,
                dataset='Digits',
                metrics={'accuracy/fused': accuracy + cell.seed, 'accuracy/zero_shot': accuracy},
                seconds=dict(training=2.0, testing=1.0),
                train_pictures=10,
                test_pictures=20,
                epoch=1,
            )
        )
    )


def put_results(folder, cells, *arguments):
    """Stand in for ``run_cells``: all cells are done at once; note which of them were not before in ``put_results.ran``."""
    todo = [cell for cell in cells if read_result(folder, cell) is None]
    put_results.ran += todo
    for cell in todo:
        put_result(folder, cell)
    return []


put_results.ran = []
