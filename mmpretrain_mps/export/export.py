"""Write a tuned model as a file that runs without this package, and only if it predicts the same there."""

import functools
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..datasets.given import sources_of
from .check import check_agreement, prepared_pictures, sample_pictures
from .description import describe_export
from .graphs import run_onnx, run_torch_export, write_onnx, write_torch_export
from .open_clip_files import run_open_clip, write_open_clip


class Format(NamedTuple):
    """A form of files."""

    ending: str
    """Of its main file."""
    write: Callable
    """Takes classifier, description and path, writes the main file and maybe others beside it, and returns what the description
    has to say besides."""
    run: Callable
    """Takes path, description and normalised pictures, float32 ``(N, 3, H, W)``; returns arrays ``(N, C)`` by their names."""


FORMATS = dict(
    onnx=Format('.onnx', write_onnx, run_onnx),
    torch_export=Format('.pt2', write_torch_export, run_torch_export),
    open_clip=Format('.safetensors', write_open_clip, run_open_clip),
)


def export_classifier(classifier: Any, path: str | Path, form: str = 'onnx', pictures: Any | None = None) -> list[Path]:
    """Write a classifier into a folder of its own, compare, and move the files to their place if all agrees.

    Args:
        classifier (FewShotClassifier): Fitted.
        path (str | Path): File to write, with the ending of its form; a description in JSON and others are written beside it.
        form (str): One of :data:`FORMATS`.
        pictures (str | Path | Sequence, optional): What the file is compared with the classifier on. Defaults to parts of two
            photographs that scikit-learn brings.

    Returns:
        list[Path]: The files, ``path`` first.

    Raises:
        ImportError: If a package for the format is missing.
        NotADirectoryError: If the folder of the file is not there.
        ValueError: If the format is unknown, the model does not fit into it, or what was written predicts otherwise.
    """
    path = Path(path)
    _check_target(path, form)
    about = describe_export(classifier)
    sources = sources_of(sample_pictures() if pictures is None else pictures)
    with tempfile.TemporaryDirectory(prefix='.export-', dir=path.parent) as folder:
        written = Path(folder, path.name)
        about.update(FORMATS[form].write(classifier, about, written))
        expected = classifier.logits(sources)
        images = prepared_pictures(classifier._pipeline, sources, about['preprocessing'])
        run = functools.partial(FORMATS[form].run, written, about)
        check_agreement(run, images, expected, about, path)
        written.with_suffix('.json').write_text(json.dumps(about, indent=1) + '\n', encoding='utf-8')
        names = sorted(os.listdir(folder), key=lambda name: (name != path.name, name))
        for name in names:
            os.replace(Path(folder, name), path.with_name(name))
    return [path.with_name(name) for name in names]


def _check_target(path, form):
    if form not in FORMATS:
        raise ValueError(f'there is no format {form!r}, expected one of {", ".join(FORMATS)}')
    ending = FORMATS[form].ending
    if path.suffix != ending:
        raise ValueError(f'{path} does not end in {ending}, as files of the format {form} do')
    if not path.absolute().parent.is_dir():
        raise NotADirectoryError(f'the folder {path.parent} of {path.name} does not exist')
