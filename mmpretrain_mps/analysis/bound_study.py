"""How tight is the bound that alignment minimises? The Gromov-Wasserstein distance beside it, over trainings."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.ticker import LogFormatter, MaxNLocator

from ..benchmark.cell_process import Report
from ..benchmark.cell_run import machine, versions
from ..benchmark.curves import colour_of
from ..benchmark.files import json_text, write_files
from ..benchmark.pool import threads_per_process
from ..benchmark.summary import spread_of
from ..utils.files import AnyPath
from ..utils.places import existing_config, find_tool
from .contents import Plot
from .style import MARKERS, legend_below, panel, plot_files
from .work_dir import read_work_dir

FIGURES = ('gw/exact', 'gw/bound', 'gw/tightness', 'gw/entropic', 'gw/diagonal', 'gw/bound_p1', 'gram/feature_cosine')


def settings_of(
    study: dict, methods: Sequence[str], settings_of_method: str | None = None
) -> tuple[dict[str, str], dict[str, dict]]:
    """Return what a study calls some of its methods, and with what changes of the config it trains them.

    All can be trained with what validation chose for one method, so that they differ in what makes them these methods alone.
    Raises ValueError, which lists those that it has, if the study has no such method.
    """
    choices = study['choices']
    unknown = [name for name in [*methods, settings_of_method or methods[0]] if name not in choices]
    if unknown:
        raise ValueError(f'the study {study["study"]!r} has no method {", ".join(unknown)}; it has {", ".join(choices)}')
    labels, settings = {}, {}
    for name in methods:
        own, labels[name] = choices[name], choices[name]['label']
        shared = choices[settings_of_method]['chosen'] if settings_of_method else {}
        settings[name] = {**shared, **own['options'], **({} if settings_of_method else own['chosen'])}
    return labels, settings


def run_trainings(config: AnyPath, runs: Sequence[tuple[dict, Path]], jobs: int, report: Report) -> None:
    """Train with some changes of a config into work directories, ``jobs`` at a time.

    The first that fails ends it by RuntimeError: those that wait are not begun. Raises ValueError if there are no jobs, or a
    training has not logged the distance and its bound.
    """
    if jobs < 1:
        raise ValueError(f'--jobs is {jobs}, expected 1 or more')
    config = existing_config(config)
    threads = threads_per_process(jobs)
    with ThreadPoolExecutor(jobs) as pool:
        tasks = [pool.submit(run_training, config, options, folder, report, threads) for options, folder in runs]
        try:
            for task in tasks:
                task.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def run_training(config: AnyPath, options: dict[str, Any], work_dir: AnyPath, report: Report, threads: int = 1) -> None:
    """Train as :func:`run_trainings` does, in a process of its own, unless it is done.

    The number of threads is bounded: the solvers of several trainings would wait for each other otherwise.
    """
    if (Path(work_dir) / 'last_checkpoint').is_file() and courses_of(work_dir):
        report(f'{work_dir}: done before')
        return
    # The flag reads numbers, truth values and lists as JSON writes them, but not null.
    changes = [f'{name}={"None" if value is None else json.dumps(value)}' for name, value in options.items()]
    command = [sys.executable, str(find_tool('train.py')), str(config), '--work-dir', str(work_dir)]
    command += ['--cfg-options', *changes, '--overwrite']
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': str(threads)})
    if done.returncode:
        raise RuntimeError(f'{work_dir}: training ended with status {done.returncode}:\n{done.stderr[-2000:]}')
    if not courses_of(work_dir):
        needed = 'dict(type="GromovWassersteinDistance") in val_evaluator and train_cfg.val_interval = 1'
        raise ValueError(f'{work_dir}: not every epoch has figures gw/...; the config needs {needed}')
    report(f'{work_dir}: trained')


def courses_of(work_dir: AnyPath) -> dict[str, list[float]]:
    """Return the figures of every validation of a complete training, epoch by epoch; nothing where it has not come to its end."""
    log = read_work_dir(work_dir)
    epochs = (log.config or {}).get('train_cfg', {}).get('max_epochs')
    if 'gw/bound' not in log.names(validation=True):
        return {}
    courses = {name: list(log.course(name, validation=True)[1]) for name in FIGURES}
    return courses if len(courses['gw/bound']) == epochs else {}


def summarise_bounds(courses: dict[str, dict[int, dict]]) -> dict[str, dict[str, Any]]:
    """Average what :func:`courses_of` returned, by method and seed, over seeds.

    By method there are ``mean`` and ``std`` of every figure, over epochs; ``tightness_least`` is the smallest of all.
    """
    summary = {}
    for method, seeds in courses.items():
        summary[method] = {}
        for name in FIGURES:
            spreads = [spread_of(values) for values in zip(*(course[name] for course in seeds.values()))]
            summary[method][name] = dict(mean=[spread.mean for spread in spreads], std=[spread.std for spread in spreads])
        summary[method]['tightness_least'] = min(min(course['gw/tightness']) for course in seeds.values())
    return summary


def write_bounds(
    folder: AnyPath, labels: dict[str, str], options: dict[str, dict], courses: dict[str, dict[int, dict]]
) -> list[Path]:
    """Write ``bounds.json`` and the plots of it, for light and for dark pages; all that is given is by method."""
    summary = summarise_bounds(courses)
    content = dict(labels=labels, options=options, summary=summary, courses=courses, machine=machine(), versions=versions())
    # What a solver could not tell is nan, for which JSON has no word.
    files = {'bounds.json': json_text(_without_nan(content)), **plot_files(bound_plots(labels, summary))}
    return write_files(folder, files)


def _without_nan(content):
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


def bound_plots(labels: dict[str, str], summary: dict[str, dict]) -> list[Plot]:
    """Draw the distance and its bound over epochs, and how tight the bound is where it is small and large."""
    bound = 'The squared Gromov-Wasserstein distance (line) and its bound (circles), mean over seeds.'
    tightness = (
        'Distance over bound against the bound, a point per epoch, mean over seeds: how tight the bound is where as much has '
        'changed.'
    )
    return [
        Plot('bound', bound, partial(_draw, labels, summary)),
        Plot('tightness', tightness, partial(_draw_tightness, labels, summary)),
    ]


def _draw(labels, summary):
    figure, axis = panel('Distance of the geometries and its bound', 'epoch', 'mean squared difference of cosines')
    circles = dict(linestyle='', marker='o', markerfacecolor='none')
    for colour, (method, figures) in enumerate(summary.items()):
        epochs = range(1, len(figures['gw/exact']['mean']) + 1)
        axis.plot(epochs, figures['gw/exact']['mean'], color=colour_of(colour), label=labels[method])
        # Circles round the line, so that both are seen where they are one.
        axis.plot(epochs, figures['gw/bound']['mean'], color=colour_of(colour), **circles)
    axis.plot([], [], color=colour_of(-1), label='bound', **circles)
    axis.set_yscale('log')
    _in_plain_text(axis.yaxis)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, axis)
    return figure


def _draw_tightness(labels, summary):
    figure, axis = panel('Tightness of the bound', 'bound: mean squared difference of cosines', 'distance / bound')
    for colour, (method, figures) in enumerate(summary.items()):
        looks = dict(color=colour_of(colour), linestyle='', marker=MARKERS[colour % len(MARKERS)], label=labels[method])
        axis.plot(figures['gw/bound']['mean'], figures['gw/tightness']['mean'], **looks)
    axis.set_xscale('log')
    _in_plain_text(axis.xaxis)
    axis.set_ylim(0, 1.05)
    legend_below(figure, axis)
    return figure


def _in_plain_text(axis):
    """Write the ticks of a logarithmic axis without mathematics, which the style leaves to no text."""
    axis.set_major_formatter(LogFormatter())
    axis.set_minor_formatter(LogFormatter())
