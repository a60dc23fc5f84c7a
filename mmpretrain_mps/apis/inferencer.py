"""Classify single pictures, with the classes of the checkpoint or with any others."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mmengine.config import Config
from mmengine.dataset import default_collate
from mmpretrain.apis import ImageClassificationInferencer

from ..datasets.picture_files import pictures_below
from ..models.computation.precision import STRICT, check_float32_precision, float32_products
from ..utils.checkpoint import read_checkpoint
from ..utils.config_files import ENDINGS, read_config_file, read_config_in
from ..utils.fetching import local_checkpoint
from ..utils.fitting import check_weights
from ..utils.methods import RECIPES, replace_method

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

    from ..models.classifiers.clip_classifier import CLIPClassifier


class MPSInferencer(ImageClassificationInferencer):
    """mmpretrain's inferencer on pictures that are read and prepared exactly as in training and testing.

        >>> from mmpretrain_mps.apis import MPSInferencer
        >>> classify = MPSInferencer('work_dirs/quickstart/epoch_50.pth')
        >>> classify('picture.png')[0]['pred_class']
        'three'
        >>> classify.set_classes(['small letter a', 'small letter b'])  # other classes, without training

    Pictures are paths, bytes of picture files, pictures of Pillow or RGB arrays ``(H, W, 3)``, uint8; one of them, a list, or
    a folder, whose pictures are taken with those of the folders below it, sorted by path.

    Args:
        model (str | Path | Config | CLIPClassifier): Checkpoint, which then says by which config; or config file, config, or
            a model that was built from one.
        pretrained (str | None): The checkpoint, a file or an address, where ``model`` is none.
        class_names (Sequence[str], optional): Classes to predict instead of the checkpoint's.
        templates (Sequence[str], optional): Prompt templates for ``class_names``. Defaults to the checkpoint's.
        method (str, optional): Of the checkpoint, where the config is of another one, as ``--method`` of the tools.
        recipe (str): Of the method.
        float32_precision (str, optional): How a GPU multiplies float32 numbers, ``'strict'`` or ``'tf32'``. Defaults to what
            the config says, as in a test.
        **kwargs: ``device`` and others of mmpretrain's ``ImageClassificationInferencer``.

    Raises:
        FileNotFoundError: If there is no such config or checkpoint.
        ValueError: If ``class_names`` are not usable, there is no such method or precision, or the checkpoint is damaged, no plain data,
            holds no config where none is named, or does not belong to the model.
    """

    def __init__(
        self,
        model: str | Path | Config | CLIPClassifier,
        pretrained: str | None = None,
        class_names: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        method: str | None = None,
        recipe: str = RECIPES[0],
        float32_precision: str | None = None,
        **kwargs: Any,
    ):
        if float32_precision is not None:
            check_float32_precision(float32_precision)
        named = isinstance(model, (str, Path))
        if named and pretrained is None and Path(model).suffix not in ENDINGS:
            model, pretrained = None, model
        # Read, checked and loaded here: mmengine unpickles what torch's defaults allow, which an environment may change.
        path = local_checkpoint(pretrained) if pretrained else None
        checkpoint = read_checkpoint(path) if path else None
        if model is None:
            model = read_config_in(cast(dict, checkpoint), path)
        elif named:
            model = read_config_file(model)
        elif not isinstance(model, Config) and not hasattr(model, '_config'):
            cast(Any, model)._config = _config_of_pipeline(model)
        if method is not None:
            model = copy.deepcopy(model)
            replace_method(model, method, recipe)
        super().__init__(model=model, pretrained=False, **kwargs)
        if checkpoint is not None:
            self.model.load_state_dict(check_weights(checkpoint, self.model, path), strict=False)
        self.float32_precision = float32_precision or self.config.get('float32_precision', STRICT)
        self.classes = self.model.class_names
        if class_names is not None:
            self.set_classes(class_names, templates)

    def set_classes(self, class_names: Sequence[str], templates: Sequence[str] | None = None) -> None:
        """Predict other classes from now on; both branches meet the new texts, the tuned weights stay.

        Args:
            class_names (Sequence[str]): Readable names.
            templates (Sequence[str], optional): Prompt templates. Defaults to those in use.

        Raises:
            ValueError: If names or templates are not usable.
        """
        self.model.set_classes(class_names, templates)
        self.classes = self.model.class_names

    def preprocess(
        self, inputs: Sequence[str | Path | bytes | PIL.Image.Image | np.ndarray], batch_size: int = 1
    ) -> Iterator[dict[str, Any]]:
        """Read and prepare pictures by the config's test pipeline.

        Args:
            inputs (Sequence[str | Path | bytes | PIL.Image.Image | ndarray]): See the class.
            batch_size (int): Pictures that are classified at a time.

        Yields:
            dict: Collated batches for the model's ``test_step``.
        """
        prepared = map(self._prepare, inputs)
        yield from map(default_collate, self._get_chunk_data(prepared, batch_size))

    def forward(self, inputs: dict | tuple, **kwargs: Any) -> Any:
        """Predict a batch, as :meth:`preprocess` yields it."""
        with float32_products(self.float32_precision):
            return super().forward(inputs, **kwargs)

    def _inputs_to_list(self, inputs):
        if isinstance(inputs, (str, Path)) and Path(inputs).is_dir():
            return pictures_below(inputs)
        return super()._inputs_to_list(inputs)

    def _prepare(self, picture):
        is_path = isinstance(picture, (str, Path))
        return self.pipeline({'img_path': str(picture)} if is_path else {'img': picture, 'img_path': None})


def _config_of_pipeline(model):
    """Return how pictures are prepared for a model that was built without a config."""
    clip = dict(architecture=model.architecture, pretrained=model.pretrained)
    pipeline = [dict(type='LoadRGBImage'), dict(type='CLIPTestTransform', **clip), dict(type='PackInputs')]
    return Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
