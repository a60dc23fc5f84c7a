"""How long exported models take on a CPU, beside the model itself and the plain tower of open_clip.

    python tools/benchmark/export.py --architecture ViT-B-16
    python tools/benchmark/export.py --threads 1 --clock process        # a machine that others use too

Untrained weights take as long as tuned ones. All formulations get the same pictures, and run in turn.
"""

import argparse
import functools
import statistics
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from machine import CLOCKS, OUT, alternate, describe_machine, write_results

from mmpretrain_mps.apis import FewShotClassifier
from mmpretrain_mps.apis.training import make_config
from mmpretrain_mps.export import export_classifier
from mmpretrain_mps.export.graph import INPUT
from mmpretrain_mps.models.loading.clip_loader import load_clip, model_config
from mmpretrain_mps.models.loading.names import EMBEDDED_ARCHITECTURE, EMBEDDED_WEIGHTS
from mmpretrain_mps.utils.errors import user_errors

CLASSES = ('circle', 'square', 'triangle', 'star', 'cross')
METHODS = ('zero_shot', 'mps')


def untrained(architecture, method):
    """Return a classifier as a training would start with it, on the CPU.

    Args:
        architecture (str): Of open_clip, with random weights, or the embedded model.
        method (str): Of this project.
    """
    pretrained = EMBEDDED_WEIGHTS if architecture == EMBEDDED_ARCHITECTURE else None
    classifier = FewShotClassifier(architecture, pretrained, method, device='cpu', verbose=0)
    classifier._take(make_config(method, 'default', dict(architecture=architecture, pretrained=pretrained)), None)
    classifier.model_.set_classes(CLASSES)
    return classifier._keep(np.array(CLASSES))


def runners(architecture, method, folder, threads):
    """Export a classifier, and return what predicts a batch: name to a function of an array ``(N, 3, H, W)``."""
    classifier, files = untrained(architecture, method), {}
    for form, ending in (('onnx', 'onnx'), ('torch_export', 'pt2')):
        files[form], *_ = export_classifier(classifier, Path(folder, f'{method}.{ending}'), form)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(files['onnx'], options, providers=['CPUExecutionProvider'])
    program, model = torch.export.load(files['torch_export']).module(), classifier.model_
    return {
        f'{method}, PyTorch': lambda images: model(torch.from_numpy(images)),
        f'{method}, ONNX': lambda images: session.run(None, {INPUT: images}),
        f'{method}, torch.export': lambda images: program(torch.from_numpy(images)),
    }


def measure(arguments):
    """Return the median seconds of a prediction of each number of pictures: number to formulation to seconds."""
    architecture, medians = arguments.architecture, {}
    tower = load_clip(architecture, EMBEDDED_WEIGHTS if architecture == EMBEDDED_ARCHITECTURE else None).model.visual
    size = model_config(architecture)['vision_cfg']['image_size']
    with tempfile.TemporaryDirectory() as folder:
        functions = {"open_clip's tower": lambda images: tower(torch.from_numpy(images))}
        for method in METHODS:
            functions.update(runners(architecture, method, folder, arguments.threads))
        for pictures in arguments.pictures:
            images = np.random.default_rng(0).standard_normal((pictures, 3, size, size), dtype=np.float32)
            with torch.no_grad():
                times = alternate(
                    {name: functools.partial(function, images) for name, function in functions.items()},
                    arguments.repeats,
                    torch.device('cpu'),
                    arguments.clock,
                    calls=arguments.calls,
                )
            medians[str(pictures)] = {name: statistics.median(values) for name, values in times.items()}
    return medians


def parse_arguments(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--architecture', default=EMBEDDED_ARCHITECTURE, help='the embedded model, or one of open_clip with random weights'
    )
    parser.add_argument('--pictures', type=int, nargs='+', default=[1, 32], help='in a batch')
    parser.add_argument('--repeats', type=int, default=5, help='timed rounds')
    parser.add_argument('--calls', type=int, default=1, help='of each in a round')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--clock', choices=list(CLOCKS), default='wall', help='process: processor time, for busy machines')
    parser.add_argument('--out', help='result file; default work_dirs/benchmark/export-ARCHITECTURE.json')
    return parser.parse_args(argv)


def main(argv=None):
    """Measure, print, write."""
    arguments = parse_arguments(argv)
    torch.set_num_threads(arguments.threads)
    with user_errors():
        medians = measure(arguments)
    for pictures, found in medians.items():
        print(f'batch of {pictures}: ' + ', '.join(f'{name} {1000 * value:.1f} ms' for name, value in found.items()))
    settings = {name: value for name, value in vars(arguments).items() if name != 'out'}
    write_results(
        dict(
            settings=settings,
            machine={**describe_machine(torch.device('cpu')), 'onnxruntime': onnxruntime.__version__},
            seconds=medians,
        ),
        arguments.out or OUT / f'export-{Path(arguments.architecture).name}.json',
    )


if __name__ == '__main__':
    main()
