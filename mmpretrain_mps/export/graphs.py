"""ONNX files and programs of torch.export."""

import contextlib
import importlib.util
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .graph import INPUT, prediction_graph

# In programs of torch.export.
DESCRIPTION_FILE = 'mmpretrain_mps.json'
BATCH = 'batch'
ONNX_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')


def write_onnx(classifier: Any, about: dict[str, Any], path: Path) -> dict[str, Any]:
    """Write an ONNX file; each value of the description is JSON in its metadata.

    Args:
        classifier (FewShotClassifier): Fitted.
        about (dict): Of :func:`describe_export`.
        path (Path): The file. Weights of more than 2 GB lie in another one beside it.

    Returns:
        dict: ``input`` and ``outputs``.

    Raises:
        ImportError: If ``onnx``, ``onnxscript`` or ``onnxruntime`` is missing.
    """
    _require_onnx()
    with prediction_graph(classifier) as graph, _quiet():
        more = _describe(graph, about)
        program = torch.onnx.export(
            graph,
            (_example(about),),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=graph.outputs,
            dynamic_shapes=({0: BATCH},),
        )
    if program is None:  # it is one only of the exporter that is asked for here
        raise RuntimeError('PyTorch wrote no ONNX program')
    program.model.metadata_props.update({name: json.dumps(value) for name, value in {**about, **more}.items()})
    program.save(path)
    return more


def run_onnx(path: Path, about: dict[str, Any], images: np.ndarray) -> dict[str, np.ndarray]:
    """Run an ONNX file by onnxruntime on the CPU.

    Args:
        path (Path): The file.
        about (dict): With ``outputs``.
        images (ndarray): Normalised, float32 ``(N, 3, H, W)``.

    Returns:
        dict[str, ndarray]: ``(N, C)`` by the names of the outputs.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return dict(zip(about['outputs'], session.run(about['outputs'], {INPUT: images})))


def write_torch_export(classifier: Any, about: dict[str, Any], path: Path) -> dict[str, Any]:
    """Write a program of torch.export, with the description as the extra file ``mmpretrain_mps.json``.

    Args:
        classifier (FewShotClassifier): Fitted.
        about (dict): Of :func:`describe_export`.
        path (Path): The file.

    Returns:
        dict: ``input`` and ``outputs``.
    """
    with prediction_graph(classifier) as graph, _quiet():
        more = _describe(graph, about)
        program = torch.export.export(graph, (_example(about),), dynamic_shapes=({0: torch.export.Dim(BATCH)},))
        torch.export.save(program, path, extra_files={DESCRIPTION_FILE: json.dumps({**about, **more})})
    return more


def run_torch_export(path: Path, about: dict[str, Any], images: np.ndarray) -> dict[str, np.ndarray]:
    """Run a program of torch.export; as :func:`run_onnx`."""
    with torch.no_grad(), _quiet():
        found = torch.export.load(path).module()(torch.from_numpy(images))
    return {name: value.numpy() for name, value in found.items()}


def _describe(graph, about):
    return dict(
        input=dict(name=INPUT, shape=[BATCH, 3, *about['preprocessing']['image_size']], dtype='float32'),
        outputs=list(graph.outputs),
    )


def _example(about):
    """Return two pictures: a batch of one would be taken for a constant."""
    return torch.zeros(2, 3, *about['preprocessing']['image_size'])


def _require_onnx():
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f'the format onnx needs the package{"s" * (len(missing) > 1)} {", ".join(missing)}; install with '
            "`pip install 'mmpretrain_mps[export]'`, or take the format torch_export, which needs no other"
        )


@contextlib.contextmanager
def _quiet():
    """Keep what the exporters say of their own parts to themselves; what they refuse they raise."""
    logger = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)
