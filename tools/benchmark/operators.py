"""What a step and a prediction spend their time in, from PyTorch's profiler."""

import functools

import torch
from machine import synchronize
from torch.autograd import DeviceType

TOP_OPERATORS = 15


def profile(bench):
    """Return what our step and prediction spend most of their own time in: operators on the CPU, kernels on a GPU.

    Args:
        bench (Bench): What is run, once more after a run that is not recorded.

    Returns:
        dict[str, list[dict]]: For ``step`` and ``predict``: operator, calls, milliseconds, share of all of them.
    """
    found = {}
    for task in ('step', 'predict'):
        call = functools.partial(getattr(bench, task), 'ours')
        call()
        found[task] = record(call, bench.device)[:TOP_OPERATORS]
    return found


def record(call, device):
    """Profile a call; return what :func:`own_times` says of it: operators on the CPU, kernels on a GPU."""
    cuda = device.type == 'cuda'
    activities = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if cuda else [])]
    with torch.profiler.profile(activities=activities) as recorded:
        call()
        synchronize(device)
    return own_times(recorded.key_averages(), cuda)


def own_times(events, cuda):
    """Lay out where the time goes, longest first, so that all of it counts once.

    Args:
        events (Iterable): ``key_averages()`` of a profiler.
        cuda (bool): Whether the time of a GPU is asked for. An operator then has the time of its kernels, and so has an
            annotation of the host such as ``Optimizer.step``; only kernels, copies and fills are counted.

    Returns:
        list[dict]: ``operator``, ``calls``, ``self_ms``, ``share``.
    """
    wanted = DeviceType.CUDA if cuda else DeviceType.CPU
    rows = [
        (event.key, event.count, event.self_device_time_total if cuda else event.self_cpu_time_total)
        for event in events
        if event.device_type == wanted and not getattr(event, 'is_user_annotation', False)
    ]
    total = sum(time for _, _, time in rows) or 1
    return [
        dict(operator=key, calls=count, self_ms=time / 1e3, share=time / total)
        for key, count, time in sorted(rows, key=lambda row: -row[2])
    ]


def format_profile(found):
    """Return the tables of :func:`profile` for the screen."""
    lines = []
    for task, rows in found.items():
        lines += [f'{f"operators of our {task}":<52}{"calls":>7}{"self ms":>11}{"share":>8}']
        lines += [
            f'{row["operator"][:50]:<52}{row["calls"]:>7}{row["self_ms"]:>11.2f}{100 * row["share"]:>6.1f} %' for row in rows
        ] + ['']
    return '\n'.join(lines)
