"""What the import of the package brings with it."""

from tiny_run import run_python

# Of what the package needs only for some of what it does; torch, torchvision, mmpretrain and open_clip bring the rest.
LATER = (
    *(
        'scipy.ndimage',
        'scipy.stats',
        'sklearn',
        'matplotlib',
        'pandas',
        'flask',
        'onnx',
        'onnxruntime',
        'ot',
        'submitit',
        'tensorboard',
    ),
    *(f'mmpretrain_mps.{part}' for part in ('analysis', 'benchmark', 'demo', 'export', 'apis', 'cli')),
)


def test_nothing_heavy_is_imported_before_it_is_used():
    code = f'import sys, mmpretrain_mps; print([name for name in {LATER!r} if name in sys.modules])'
    found = run_python('-c', code)
    assert found.stdout.strip().splitlines()[-1:] == ['[]'], found.stdout + found.stderr
