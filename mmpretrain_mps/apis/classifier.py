"""Few-shot classification by CLIP in the form of scikit-learn: fit, predict, score, save, load."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose
from mmpretrain.registry import TRANSFORMS
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from ..datasets.given import Given, checked_pictures, given, sources_of
from ..utils.checkpoint import read_checkpoint, to_plain
from ..utils.config_files import read_config_in
from ..utils.fetching import local_checkpoint
from ..utils.methods import RECIPES, read_method
from .calibration import probabilities_of
from .held_out import HeldOutMixin, Pictures
from .labels import class_names_of, places_of
from .prediction import Predictions, predict_batches, predict_pictures
from .saved import read_saved, write_saved
from .training import build_model, data_of, make_config, train, training_pictures


class FewShotClassifier(HeldOutMixin, ClassifierMixin, BaseEstimator):
    """CLIP, tuned on a few labelled pictures of each class by any method of this project.

        >>> classifier = FewShotClassifier(method='mps')
        >>> classifier.fit(['a.jpg', 'b.jpg', 'c.jpg', 'd.jpg'], ['cat', 'cat', 'dog', 'dog'])
        >>> classifier.predict(['e.jpg'])
        array(['dog'], dtype='<U3')

    Beneath it are the Runner, the data sets, losses, recipes and checkpoints of the tools: the same pictures in a folder, with
    ``tools/train.py --method NAME`` and the same seed, give the same weights.

    Args:
        architecture (str): Model name of open_clip, ``'local-dir:FOLDER'``, ``'mps-mini'`` or
            ``'mps-mini-pictograms'`` for the embedded ones.
        pretrained (str | None): Tag or file of its weights; ``'embedded'`` for the embedded model.
        method (str): One of those in docs/methods.md, such as ``'mps'``, ``'coop'``, ``'tip_adapter_f'``, ``'zero_shot'``.
        shots (int, optional): Pictures of each class that are drawn from those given. Defaults to all of them.
        device (str): As torch names it; ``'auto'`` takes a GPU if there is one.
        recipe (str): ``'default'``, or ``'official'`` for that of the released code.
        seed (int): Of the picks, the augmentation and the training.
        verbose (int): 0: nothing is shown; 1: progress bars, and warnings; 2: the whole log of a training.
        **settings: Changes of the config, named as for ``--cfg-options`` of the tools, with two underscores for each dot:
            ``train_cfg__max_epochs=10``, ``model__head__alpha=0.5``.

    Attributes:
        classes_ (ndarray): Labels, in the order of the columns of :meth:`predict_proba`.
        class_names_ (tuple[str]): Their names, as CLIP reads them.
        model_ (CLIPClassifier): The model itself.
        temperature_ (float): Of :meth:`predict_proba`; 1 before :meth:`calibrate`.
        threshold_ (float): Confidence below which :meth:`predict_or_abstain` abstains; 0 before :meth:`calibrate`.
        conformal_level_ (float | None): Of :meth:`predict_set`; None before :meth:`calibrate`.
    """

    def __init__(
        self,
        architecture: str = 'ViT-B-16',
        pretrained: str | None = 'openai',
        method: str = 'mps',
        shots: int | None = None,
        device: str = 'auto',
        recipe: str = RECIPES[0],
        seed: int = 1,
        verbose: int = 1,
        **settings: Any,
    ):
        self.architecture, self.pretrained, self.method, self.shots = architecture, pretrained, method, shots
        self.device, self.recipe, self.seed, self.verbose = device, recipe, seed, verbose
        self.settings = settings

    # Conventions of scikit-learn, whose estimators know no settings by free names.

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return all arguments of the constructor, the settings among them."""
        return {**super().get_params(deep), **self.settings}

    def set_params(self, **params: Any) -> 'FewShotClassifier':
        """Change arguments of the constructor; what is none of the others is a setting."""
        for name, value in params.items():
            if name in self._get_param_names():
                setattr(self, name, value)
            else:
                self.settings = {**self.settings, name: value}
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, 'model_')

    # Training.

    def fit(
        self,
        pictures: Pictures | None = None,
        labels: Sequence | None = None,
        class_names: Sequence[str] | dict[Any, str] | None = None,
        templates: Sequence[str] | None = None,
        progress: Callable[[int, int], Any] | None = None,
    ) -> 'FewShotClassifier':
        """Tune on labelled pictures.

        Args:
            pictures (str | Path | Sequence): ``N`` pictures: paths, pictures of Pillow, or RGB arrays ``(H, W, 3)``, uint8. Or,
                without labels, a folder as ``tools/train.py`` takes it: ``train/<class>/*``, or ``<class>/*``, of which 30 %
                per class are then kept for :meth:`score`.
            labels (Sequence, optional): ``N`` labels, names or numbers.
            class_names (Sequence[str] | dict, optional): Names that CLIP reads, in the order of the sorted labels, or by label.
                Defaults to the labels themselves, which then have to be names. ``zero_shot`` needs nothing else.
            templates (Sequence[str], optional): Prompt templates, each with one ``{}`` for the name.
            progress (Callable, optional): Gets the steps that are done and those of the whole training, after each of them;
                methods without steps do not call it.

        Returns:
            FewShotClassifier: Itself.

        Raises:
            FileNotFoundError: If pictures or weights are missing.
            ValueError: If there is no such method or setting, pictures and labels do not fit together, or one of the pictures
                cannot be read; names it.
        """
        for name, least in dict(seed=0, shots=1).items():
            value = getattr(self, name)
            if not (value is None and name == 'shots') and not (type(value) is int and value >= least):
                raise ValueError(f'{name} is {value!r}, expected a whole number from {least} on')
        trains = read_method(self.method).train_cfg is not None
        if pictures is None:
            return self._fit_names(class_names, templates, trains)
        if labels is None:
            return self._fit_folder(pictures, class_names, templates, trains, progress)
        sources = sources_of(pictures)
        classes, places = places_of(sources, labels)
        data = Given(checked_pictures(sources), places.tolist(), class_names_of(classes, class_names))
        with given(data) as key:
            cfg = self._config(templates, dict(type='GivenPictures', key=key), np.bincount(places).max() if trains else 1)
            self._train(cfg, data.names, templates, trains, progress)
        return self._keep(classes)

    def _fit_names(self, class_names, templates, trains):
        if trains or not class_names:
            raise ValueError(
                f'there are no pictures: fit(pictures, labels) tunes by {self.method!r}; of the methods, zero_shot '
                'alone needs nothing but fit(class_names=[...])'
            )
        names = list(class_names.values() if isinstance(class_names, dict) else class_names)
        self._train(self._config(templates), names, templates, trains)
        return self._keep(np.array(list(class_names)))

    def _fit_folder(self, folder, class_names, templates, trains, progress):
        if not isinstance(folder, (str, Path)) or not Path(folder).expanduser().is_dir():
            raise ValueError(
                'labels are missing: expected fit(pictures, labels), or a folder with one folder per class, but '
                f'pictures is {str(folder)[:100]!r}'
            )
        options = dict(data_root=str(Path(folder).expanduser()))
        if class_names is not None:
            sets = ('train_dataloader.dataset.dataset', 'test_dataloader.dataset')[0 if trains else 1 :]
            options.update({f'{name}.class_names': list(class_names) for name in sets})
        dataset = training_pictures(self._config(templates, options=options))
        names = dataset.metainfo['classes']
        if len(names) < 2:
            raise ValueError(f'{folder} holds one class alone, {names[0]!r}; expected two or more')
        cfg = self._config(templates, most_shots=np.bincount(dataset.split_labels['train']).max(), options=options)
        self._train(cfg, names, templates or dataset.metainfo['templates'], trains, progress)
        return self._keep(np.array(names))

    def _config(self, templates, pictures=None, most_shots=1, options=None):
        options = {
            **(options or {}),
            'architecture': self.architecture,
            'pretrained': self.pretrained,
            'seed': self.seed,
            'num_shots': int(most_shots) if self.shots is None else self.shots,
            **{name.replace('__', '.'): value for name, value in self.settings.items()},
        }
        if templates is not None and read_method(self.method).train_cfg is not None:
            options['train_dataloader.dataset.templates'] = [templates] if isinstance(templates, str) else list(templates)
        return make_config(self.method, self.recipe, options, pictures)

    def _train(self, cfg, names, templates, trains, progress=None):
        """Train, and take the model as the checkpoint has it."""
        self._take(cfg, train(cfg, self._device(), self.verbose, self.shots is None, progress) if trains else None)
        if not trains:
            self.model_.set_classes(names, templates)
            self._meta = to_plain(dict(cfg=cfg.pretty_text, base=self.model_.describe()['base']))

    def _take(self, cfg, checkpoint, source='at hand'):
        """Take the weights and the settings of a checkpoint."""
        pipeline, self._batch_size, self._num_workers = data_of(cfg)
        self.model_ = build_model(cfg.model, self._device(), checkpoint, source)
        self._pipeline = Compose([TRANSFORMS.build(step) for step in pipeline])
        self._meta = dict(checkpoint['meta']) if checkpoint else {}

    def _keep(self, classes):
        self.classes_ = classes
        self.temperature_, self.threshold_, self.conformal_level_ = 1.0, 0.0, None
        return self

    def _device(self):
        if self.device == 'auto':
            return 'cuda' if torch.cuda.is_available() else 'cpu'
        return str(torch.device(self.device))

    # Prediction.

    @property
    def class_names_(self) -> tuple:
        """tuple[str]: Names of the classes, as CLIP reads them."""
        return self._fitted().class_names

    def logits(self, pictures: Pictures) -> Predictions:
        """Return logits and features of both branches, the frozen and the tuned one.

        Args:
            pictures (str | Path | Sequence): As in :meth:`fit`; of a folder, all pictures at any depth, sorted by path.

        Returns:
            Predictions: Tensors, in the order of the pictures.

        Raises:
            FileNotFoundError: If a picture is not there.
            ValueError: If one cannot be read; names it.
        """
        self._fitted()
        return self._predict(sources_of(pictures))

    def _predict(self, sources):
        with tqdm(total=len(sources), unit='picture', disable=not self.verbose or len(sources) <= self._batch_size) as bar:
            return predict_pictures(
                self.model_, self._pipeline, sources, self._batch_size, self._workers_for(sources), bar.update
            )

    def _workers_for(self, sources):
        """Return how many processes load: none for a single batch, which they would only hold up."""
        return self._num_workers if len(sources) > self._batch_size else 0

    def predict(self, pictures: Pictures) -> np.ndarray:
        """Return the label of each picture, of :attr:`classes_`; arguments and errors as in :meth:`logits`."""
        places = self.logits(pictures).fused.argmax(1).numpy()
        return self.classes_[places]

    def predict_proba(self, pictures: Pictures) -> np.ndarray:
        """Return probabilities ``(N, C)``, columns as in :attr:`classes_`; calibrated after :meth:`calibrate`."""
        return probabilities_of(self.logits(pictures).fused.numpy(), self.temperature_)

    def predict_rows(self, pictures: Pictures, topk: int = 1, batch_size: int | None = None) -> Iterator[list]:
        """Classify batch by batch, and pass over pictures that cannot be read.

        Args:
            pictures (str | Path | Sequence): As in :meth:`logits`.
            topk (int): Classes of each picture.
            batch_size (int, optional): Pictures at once.

        Yields:
            list[tuple]: Place of a picture, its likeliest labels with their probabilities, and why it cannot be read (or '').
        """
        model, sources = self._fitted(), sources_of(pictures)
        for places, predictions, faults in predict_batches(
            model, self._pipeline, sources, batch_size or self._batch_size, self._workers_for(sources), tolerant=True
        ):
            rows: list[tuple[int, list, str]] = [(place, [], fault) for place, fault in faults]
            shares = () if predictions is None else probabilities_of(predictions.fused.numpy(), self.temperature_)
            for place, row in zip(places, shares):
                best = np.argsort(-row, kind='stable')[:topk]
                rows.append((place, [(self.classes_[other], float(row[other])) for other in best], ''))
            yield sorted(rows, key=lambda row: row[0])

    # Classes and files.

    def add_classes(self, class_names: Sequence[str], templates: Sequence[str] | None = None) -> 'FewShotClassifier':
        """Predict further classes, by their names alone; what was tuned stays.

        Args:
            class_names (Sequence[str]): Their names, which are their labels as well.
            templates (Sequence[str], optional): Prompt templates for them. Defaults to those of the others.

        Returns:
            FewShotClassifier: Itself; a calibration is void, and taken back.

        Raises:
            ValueError: If the method has learned something of each class, or a name is there already.
        """
        self._fitted().add_classes([class_names] if isinstance(class_names, str) else list(class_names), templates)
        added = self.model_.class_names[len(self.classes_) :]
        return self._keep(np.array([*self.classes_.tolist(), *added], dtype=None if self.classes_.dtype.kind == 'U' else object))

    def save(self, path: str | Path) -> None:
        """Write a checkpoint: plain data, which :meth:`load`, ``MPSInferencer`` and ``tools/test.py`` read.

        Args:
            path (str | Path): File to write, in one step.
        """
        model = self._fitted()
        about = dict(
            classes=self.classes_.tolist(),
            temperature=self.temperature_,
            threshold=self.threshold_,
            conformal_level=self.conformal_level_,
            params={**self.get_params(), 'verbose': 1, 'device': 'auto'},
        )
        state = {name: value.cpu() for name, value in model.state_dict().items()}
        write_saved(path, self._meta, about, state)

    def export(self, path: str | Path, format: str = 'onnx', pictures: Pictures | None = None) -> list[Path]:
        """Write a file that predicts without this package; it is compared with this classifier before it takes its place.

        Args:
            path (str | Path): ``*.onnx``, ``*.pt2`` for ``'torch_export'``, or ``*.safetensors`` for ``'open_clip'``. A
                description, ``*.json``, is written beside it: classes, preparation of pictures, temperature, and more.
            format (str): ``'onnx'`` and ``'torch_export'`` take every method; ``'open_clip'``, weights of a plain CLIP with a
                linear layer, those that can be folded into it.
            pictures (str | Path | Sequence, optional): To compare on; by default parts of two photographs.

        Returns:
            list[Path]: The files that were written, ``path`` first.

        Raises:
            ImportError: If a package is missing that the format needs.
            NotADirectoryError: If there is no such folder.
            ValueError: If the format does not take the method or the preparation of pictures, or what was written predicts
                otherwise; no file is left then.
        """
        from ..export import export_classifier  # which takes predictions from here

        self._fitted()
        return export_classifier(self, path, format, pictures)

    @classmethod
    def load(cls, path: str | Path, device: str = 'auto', verbose: int = 1) -> 'FewShotClassifier':
        """Read a checkpoint of :meth:`save`, or of ``tools/train.py``; as data, no code in it is run.

        Args:
            path (str | Path): A file, or an ``https://`` address.
            device (str): As in the class.
            verbose (int): As in the class.

        Returns:
            FewShotClassifier: Fitted.

        Raises:
            FileNotFoundError: If it, or the weights of its CLIP, are not there.
            ValueError: If it is damaged, no plain data, or names code from elsewhere.
        """
        path = local_checkpoint(path)
        checkpoint = read_checkpoint(path)
        cfg = read_config_in(checkpoint, path)
        about = read_saved(checkpoint, cfg, path)
        classifier = cls(**{**about.get('params', {}), 'device': device, 'verbose': verbose})
        classifier._take(cfg, checkpoint, path)
        names = about.get('classes') or list(classifier.model_.class_names)
        if len(names) != len(classifier.model_.class_names):
            raise ValueError(f'checkpoint {path} names {len(names)} labels for {len(classifier.model_.class_names)} classes')
        classifier._keep(np.array(names))
        classifier.temperature_, classifier.threshold_ = about.get('temperature', 1.0), about.get('threshold', 0.0)
        classifier.conformal_level_ = about.get('conformal_level')
        return classifier

    def _fitted(self):
        check_is_fitted(self, msg='this %(name)s has not been fitted: call fit(pictures, labels), or load(path)')
        return self.model_
