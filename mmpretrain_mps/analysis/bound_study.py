"""How tight is the bound that alignment minimises? The Gromov-Wasserstein distance beside it, over trainings."""

import functools
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from matplotlib.ticker import LogFormatter, MaxNLocator

from ..benchmark.cell_run import machine, versions
from ..benchmark.curves import colour_of
from ..benchmark.pool import threads_per_process
from ..benchmark.summary import spread_of
from ..engine.file_backend import AtomicLocalBackend
from .contents import Plot
from .style import MARKERS, STYLES, legend_below, panel, render
from .work_dir import read_work_dir

FIGURES = ('gw/exact', 'gw/bound', 'gw/tightness', 'gw/entropic', 'gw/diagonal', 'gw/bound_p1', 'gram/feature_cosine')
ROOT = Path(__file__).resolve().parents[2]


def settings_of(study, methods, settings_of_method=None):
    """Return what a study calls its methods, and with what settings it trains them.

    Args:
        study (dict): From :func:`.study_results.read_study_results`.
        methods (Sequence[str]): Some of its methods.
        settings_of_method (str, optional): Train all with what validation chose for this method, so that they differ in
            what makes them these methods alone.

    Returns:
        tuple[dict[str, str], dict[str, dict]]: Method to label, and method to changes of the config.

    Raises:
        ValueError: If the study has no such method; lists those that it has.
    """
    choices = study['choices']
    unknown = [name for name in [*methods, settings_of_method or methods[0]] if name not in choices]
    if unknown:
        raise ValueError(f'the study {study["study"]!r} has no method {", ".join(unknown)}; it has {", ".join(choices)}')
    return (
        {name: choices[name]['label'] for name in methods},
        {
            name: {**choices[settings_of_method]['chosen'], **choices[name]['options']}
            if settings_of_method
            else {**choices[name]['options'], **choices[name]['chosen']}
            for name in methods
        },
    )


def run_trainings(config, runs, jobs, report):
    """Train several times, some at a time. The first that fails ends it: those that wait are not begun.

    Args:
        config (str | Path): With ``GromovWassersteinDistance`` among the metrics of validation.
        runs (Sequence[tuple[dict, Path]]): Changes to the config, and the work directory.
        jobs (int): Trainings at a time.
        report (Callable[[str], None]): Gets a line per training.

    Raises:
        FileNotFoundError: If the config does not exist.
        RuntimeError: If a training fails.
        ValueError: If ``jobs`` is below 1, or a training has not logged the distance and its bound.
    """
    if jobs < 1:
        raise ValueError(f'--jobs is {jobs}, expected 1 or more')
    if not Path(config).is_file():
        raise FileNotFoundError(f'config {config} does not exist (looked from {Path.cwd()})')
    with ThreadPoolExecutor(jobs) as pool:
        tasks = [
            pool.submit(run_training, config, options, folder, report, threads_per_process(jobs)) for options, folder in runs
        ]
        try:
            for task in tasks:
                task.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def run_training(config, options, work_dir, report, threads=1):
    """Train in a process of its own, unless it is done.

    Args:
        config (str | Path): With ``GromovWassersteinDistance`` among the metrics of validation.
        options (dict): Changes to it.
        work_dir (str | Path): Of the training.
        report (Callable[[str], None]): Gets a line.
        threads (int): That it computes with; the solvers of several trainings would wait for each other otherwise.

    Raises:
        RuntimeError: If the training fails; holds the end of what it printed.
        ValueError: If it has not logged the distance and its bound after every epoch.
    """
    if (Path(work_dir) / 'last_checkpoint').is_file() and courses_of(work_dir):
        report(f'{work_dir}: done before')
        return
    # The flag reads numbers, truth values and lists as JSON writes them, but not null.
    changes = [f'{name}={"None" if value is None else json.dumps(value)}' for name, value in options.items()]
    command = [
        sys.executable,
        str(ROOT / 'tools' / 'train.py'),
        str(config),
        '--work-dir',
        str(work_dir),
        '--cfg-options',
        *changes,
        '--overwrite',
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': str(threads)})
    if done.returncode:
        raise RuntimeError(f'{work_dir}: training ended with status {done.returncode}:\n{done.stderr[-2000:]}')
    if not courses_of(work_dir):
        raise ValueError(
            f'{work_dir}: not every epoch has figures gw/...; the config needs '
            'dict(type="GromovWassersteinDistance") in val_evaluator and train_cfg.val_interval = 1'
        )
    report(f'{work_dir}: trained')


def courses_of(work_dir):
    """Return the figures of every validation of a complete training.

    Args:
        work_dir (str | Path): Of the training.

    Returns:
        dict[str, list[float]]: Epoch by epoch; empty where the training has not come to its end.
    """
    log = read_work_dir(work_dir)
    epochs = (log.config or {}).get('train_cfg', {}).get('max_epochs')
    if 'gw/bound' not in log.names(validation=True):
        return {}
    courses = {name: list(log.course(name, validation=True)[1]) for name in FIGURES}
    return courses if len(courses['gw/bound']) == epochs else {}


def summarise_bounds(courses):
    """Average over seeds.

    Args:
        courses (dict[str, dict[int, dict]]): Method to seed to what :func:`courses_of` returned.

    Returns:
        dict: Method to figure to lists over epochs, ``mean`` and ``std``; ``tightness_least`` is the smallest of all.
    """
    summary = {}
    for method, seeds in courses.items():
        summary[method] = {}
        for name in FIGURES:
            spreads = [spread_of(values) for values in zip(*(course[name] for course in seeds.values()))]
            summary[method][name] = dict(mean=[spread.mean for spread in spreads], std=[spread.std for spread in spreads])
        summary[method]['tightness_least'] = min(min(course['gw/tightness']) for course in seeds.values())
    return summary


def write_bounds(folder, labels, options, courses):
    """Write ``bounds.json`` and the plots of it, for light and for dark pages.

    Args:
        folder (str | Path): Where to.
        labels (dict[str, str]): Method to what plots call it.
        options (dict[str, dict]): Method to its changes of the config.
        courses (dict[str, dict[int, dict]]): Method to seed to figures.

    Returns:
        list[Path]: The files.
    """
    summary = summarise_bounds(courses)
    content = dict(labels=labels, options=options, summary=summary, courses=courses, machine=machine(), versions=versions())
    # What a solver could not tell is nan, for which JSON has no word.
    files = {Path(folder, 'bounds.json'): (json.dumps(_without_nan(content), indent=1, allow_nan=False) + '\n').encode()}
    for plot in bound_plots(labels, summary):
        for style in STYLES:
            for extension in ('png', 'svg'):
                files[Path(folder, f'{plot.name}-{style}.{extension}')] = render(plot, style, extension)
    for path, data in files.items():
        AtomicLocalBackend().put(data, path)
    return list(files)


def _without_nan(content):
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


def bound_plots(labels, summary):
    """Draw the distance and its bound over epochs, and how tight the bound is where it is small and large.

    Args:
        labels (dict[str, str]): Method to what plots call it.
        summary (dict): From :func:`summarise_bounds`.

    Returns:
        list[Plot]: ``bound`` and ``tightness``.
    """
    return [
        Plot(
            'bound',
            'The squared Gromov-Wasserstein distance (line) and its bound (circles), mean over seeds.',
            functools.partial(_draw, labels, summary),
        ),
        Plot(
            'tightness',
            'Distance over bound against the bound, a point per epoch, mean over seeds: how tight the bound '
            'is where as much has changed.',
            functools.partial(_draw_tightness, labels, summary),
        ),
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
        axis.plot(
            figures['gw/bound']['mean'],
            figures['gw/tightness']['mean'],
            color=colour_of(colour),
            linestyle='',
            marker=MARKERS[colour % len(MARKERS)],
            label=labels[method],
        )
    axis.set_xscale('log')
    _in_plain_text(axis.xaxis)
    axis.set_ylim(0, 1.05)
    legend_below(figure, axis)
    return figure


def _in_plain_text(axis):
    """Write the ticks of a logarithmic axis without mathematics, which the style leaves to no text."""
    axis.set_major_formatter(LogFormatter())
    axis.set_minor_formatter(LogFormatter())
