"""What labelled pictures that were not trained on are for: accuracies, calibration, abstention, prediction sets."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..datasets.given import sources_of
from ..datasets.pictures import PictureFolder
from ..engine.resuming import config_of
from .calibration import abstention_threshold, conformal_level, fit_temperature, probabilities_of
from .prediction import Predictions

Pictures = Any
"""A folder, or a sequence of paths, pictures of Pillow, or arrays; see :func:`..datasets.given.sources_of`."""


Classifier = TypeVar('Classifier', bound='HeldOutMixin')


class HeldOutMixin:
    """Methods of :class:`FewShotClassifier` that take held-out pictures, or rest on what they told."""

    # Of the classifier that this is a part of.
    classes_: np.ndarray
    logits: Callable[..., Predictions]
    predict_proba: Callable[..., np.ndarray]
    _fitted: Callable[[], Any]

    def score(self, pictures: Pictures, labels: Sequence | None = None, sample_weight: Sequence[Any] | None = None) -> float:
        """Return the share of right predictions, 0 to 1.

        Args:
            pictures (str | Path | Sequence): As in :meth:`fit`; of a folder without labels, ``test/<class>/*`` is taken, or the
                pictures that were kept when the same folder was trained on, or else all of them.
            labels (Sequence, optional): ``N`` labels.
            sample_weight (Sequence, optional): Of the pictures.
        """
        predictions, places = self._labelled(pictures, labels)
        return float(np.average(predictions.fused.argmax(1).numpy() == places, weights=sample_weight))

    def report(self, pictures: Pictures, labels: Sequence | None = None) -> dict[str, float]:
        """Return the accuracies of all branches in percent, named as ``tools/test.py`` names them; arguments as in
        :meth:`score`."""
        predictions, places = self._labelled(pictures, labels)
        right = {
            name: 100 * float(np.mean(getattr(predictions, name).argmax(1).numpy() == places))
            for name in ('zero_shot', 'tuned', 'fused')
        }
        return {'pictures': len(places), **{f'accuracy/{name}': share for name, share in right.items()}}

    def has_test_pictures(self, folder: str | Path) -> bool:
        """Whether a folder holds labelled pictures to test on, see :meth:`score`."""
        return bool(self._rows_of_folder(folder)[1])

    def _labelled(self, pictures, labels):
        """Return predictions of ``N`` pictures, and the places of their labels, an array ``(N,)``."""
        self._fitted()
        if labels is None:
            sources, labels = self._pictures_of_folder(pictures)
        else:
            sources, labels = sources_of(pictures), list(labels)
            if len(labels) != len(sources):
                raise ValueError(f'there are {len(sources)} pictures but {len(labels)} labels')
        places = {label: place for place, label in enumerate(self.classes_.tolist())}
        labels = [label.item() if isinstance(label, np.generic) else label for label in labels]
        strangers = sorted({str(label) for label in labels if label not in places})
        if strangers:
            raise ValueError(
                f'the labels {", ".join(strangers[:5])} are none of the classes '
                f'{", ".join(map(str, self.classes_.tolist()[:10]))}'
            )
        return self._predict(sources), np.array([places[label] for label in labels])

    def _pictures_of_folder(self, folder):
        split, rows, root = self._rows_of_folder(folder)
        if not rows:
            raise ValueError(f'{folder} holds no pictures to test on; expected test/<class>/*')
        return [str(Path(root, path)) for path, _ in rows], [self._label_of(split.classes[label]) for _, label in rows]

    def _rows_of_folder(self, folder):
        if not isinstance(folder, (str, Path)) or not Path(folder).expanduser().is_dir():
            raise ValueError('labels are missing: expected pictures with labels, or a folder with one folder per class')
        dataset = PictureFolder(data_root=str(folder), subset='train', pipeline=[], **self._checks())
        origin = (self._meta.get('origin') or {}).get('split_id')
        divided = (Path(folder).expanduser() / 'train').is_dir()
        subsets = ('test',) if divided or dataset.metainfo['split_id'] == origin else ('train', 'val', 'test')
        split = dataset.read_split()
        return split, [row for subset in subsets for row in getattr(split, subset)], dataset.img_prefix

    def _checks(self):
        """Return how strict the training was with the pictures of its folder."""
        cfg = config_of(dict(meta=self._meta)) or {}
        return {name: cfg[name] for name in ('skip_invalid', 'allow_outside', 'max_pixels') if name in cfg}

    def _label_of(self, name):
        """Return the label of a class whose folder is named by its label or its name."""
        by_name = dict(zip(self.class_names_, self.classes_.tolist()))
        return by_name.get(name, name)

    def calibrate(
        self: Classifier,
        pictures: Pictures,
        labels: Sequence | None = None,
        accuracy: float | None = None,
        coverage: float | None = None,
    ) -> Classifier:
        """Fit what predictions say of themselves to held-out pictures, which must not have been trained on.

        Args:
            pictures (str | Path | Sequence): As in :meth:`score`.
            labels (Sequence, optional): ``N`` labels.
            accuracy (float, optional): Share of right answers that :meth:`predict_or_abstain` is to reach, where it answers.
            coverage (float, optional): Share of pictures whose class :meth:`predict_set` is to hold.

        Returns:
            FewShotClassifier: Itself, with :attr:`temperature_` and what was asked for.

        Raises:
            ValueError: If no threshold reaches the accuracy.
        """
        predictions, places = self._labelled(pictures, labels)
        logits = predictions.fused.numpy()
        temperature = fit_temperature(logits, places)
        threshold = 0.0 if accuracy is None else abstention_threshold(probabilities_of(logits, temperature), places, accuracy)
        # Of plain probabilities: what was fitted to the same pictures would void the guarantee.
        self.conformal_level_ = None if coverage is None else conformal_level(probabilities_of(logits), places, coverage)
        self.temperature_, self.threshold_ = temperature, threshold
        return self

    def predict_or_abstain(self, pictures: Pictures) -> np.ndarray:
        """Return labels, and None where the probability of the likeliest class lies below :attr:`threshold_`."""
        probabilities = self.predict_proba(pictures)
        labels = self.classes_[probabilities.argmax(1)].astype(object)
        labels[probabilities.max(1) < self.threshold_] = None
        return labels

    def predict_set(self, pictures: Pictures) -> list[np.ndarray]:
        """Return all labels of each picture that cannot be ruled out, the likeliest first; see :func:`conformal_level`.

        Raises:
            ValueError: If :meth:`calibrate` was not asked for a coverage.
        """
        self._fitted()
        if self.conformal_level_ is None:
            raise ValueError('prediction sets need calibrate(pictures, labels, coverage=...) first, on held-out pictures')
        probabilities = probabilities_of(self.logits(pictures).fused.numpy())
        order = np.argsort(-probabilities, axis=1, kind='stable')
        return [self.classes_[places[1 - row[places] <= self.conformal_level_]] for row, places in zip(probabilities, order)]
