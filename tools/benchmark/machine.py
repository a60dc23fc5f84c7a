"""What the benchmark tools share: the machine, its clock and memory, and result files."""

import ctypes
import gc
import json
import platform
import statistics
import time
from importlib import metadata
from pathlib import Path

import torch
from mmengine.device import get_device

from mmpretrain_mps.models.backbones.linear import applies_to, multiply

ROOT = Path(__file__).resolve().parents[2]
# The figures of the docs lie in results/benchmark/: these are replaced only where --out names them.
OUT = ROOT / 'work_dirs' / 'benchmark'
PACKAGES = ('torch', 'mmengine', 'mmpretrain', 'open_clip_torch', 'numpy')


def describe_machine(device):
    """Return processor, accelerator, threads and versions as plain values."""
    cuda = device.type == 'cuda'
    return dict(
        processor=_processor_name(),
        threads=torch.get_num_threads(),
        system=f'{platform.system()} {platform.machine()}',
        device=torch.cuda.get_device_name(device) if cuda else 'cpu',
        python=platform.python_version(),
        versions={name: metadata.version(name) for name in PACKAGES},
        cuda=torch.version.cuda if cuda else None,
    )


def _processor_name():
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return f'{len(names)} x {names[0]}' if names else platform.processor()


CLOCKS = {'wall': time.perf_counter, 'process': time.process_time}


def device_in_use():
    """Return the device that mmengine trains on here: a GPU where there is one."""
    return torch.device(get_device())


def seconds(function, device, clock='wall', calls=1):
    """Run a function and return how long a call took, the device's work included.

    Args:
        function (Callable): What to time.
        device (torch.device): Where it runs.
        clock (str): ``'wall'``, or ``'process'``: processor time, which on a busy machine and with one thread says what
            the wall clock says on a quiet one.
        calls (int): How many are queued before the device is waited for.
    """
    synchronize(device)
    start = CLOCKS[clock]()
    for _ in range(calls):
        function()
    synchronize(device)
    return (CLOCKS[clock]() - start) / calls


def launch_seconds(function, device, repeats=3):
    """Return how long the host takes to launch a call of a function on an idle device, the median of several."""
    found = []
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    synchronize(device)
    return statistics.median(found)


def synchronize(device):
    """Wait for an accelerator."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def alternate(functions, repeats, device, clock='wall', calls=1):
    """Time functions in turn, so that what else the machine does meets all of them.

    Args:
        functions (dict[str, Callable]): What to time.
        repeats (int): How often each is timed, after one run that is not.
        device (torch.device): Where they run.
        clock (str): As in :func:`seconds`.
        calls (int): As in :func:`seconds`.

    Returns:
        dict[str, list[float]]: Seconds of a call.
    """
    times = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(seconds(function, device, clock, calls))
    return times


def median_ratio(times, slow, fast):
    """Return the median over the rounds of how many times longer ``slow`` took than ``fast`` in the same round."""
    return statistics.median(a / b for a, b in zip(times[slow], times[fast]))


def matmul_peak(device, dtype, size=None, repeats=8, clock='wall'):
    """Measure operations per second of one large matrix product, the best of several runs and libraries.

    Args:
        device (torch.device): Where.
        dtype (torch.dtype): Of the matrices.
        size (int, optional): Rows and columns; 8192 on a GPU, else 2048.
        repeats (int): Timed runs.
        clock (str): As in :func:`seconds`.

    Returns:
        float: Floating-point operations per second.
    """
    size = size or (8192 if device.type == 'cuda' else 2048)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    products = dict(default=lambda: left @ right)
    if applies_to(left, right):
        products['onednn'] = lambda: multiply(left, right)
    times = alternate(products, repeats, device, clock)
    return 2 * size**3 / min(min(seconds) for seconds in times.values())


def largest(fits):
    """Return the largest number that ``fits``, to one part in 16, 0 if not even 1 does.

    Args:
        fits (Callable[[int], bool]): True up to some number.
    """
    low, high = 0, 16
    while fits(high):
        low, high = high, 2 * high
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


class PeakMemory:
    """Peak memory of a stretch of work above what was in use before it, in bytes.

    On a GPU PyTorch's own count; elsewhere the resident set of this process, whose peak Linux lets one reset. Gives
    None where neither is to be had.
    """

    def __init__(self, device):
        self.device = device
        self.above = None

    def __enter__(self):
        gc.collect()
        if self.device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device)
            return self
        try:
            ctypes.CDLL('libc.so.6').malloc_trim(0)
            Path('/proc/self/clear_refs').write_text('5')
        except (OSError, AttributeError):
            self.before = None
            return self
        self.before = _resident('VmRSS')
        return self

    def __exit__(self, *_):
        if self.before is None:
            return
        peak = torch.cuda.max_memory_allocated(self.device) if self.device.type == 'cuda' else _resident('VmHWM')
        self.above = peak - self.before


def _resident(field):
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(field + ':'):
            return int(line.split()[1]) * 1024
    raise OSError(f'/proc/self/status has no {field}')


def write_results(results, path):
    """Write results as JSON and say where."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + '\n', encoding='utf-8')
    print(f'written to {path}')
