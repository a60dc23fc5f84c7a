"""Testing on the source and on several targets, in one run."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.runner import TestLoop
from mmpretrain.registry import LOOPS
from torch.utils.data import DataLoader

from ...datasets.split import shorten
from ...evaluation import AlphaSweep, BranchAccuracy, CalibrationError
from ..hooks.loops import unwrapped
from .domain_report import DomainReport, SetResult
from .targets import build_targets

if TYPE_CHECKING:
    from mmengine.runner import Runner

# Always computed, and reported in tables of their own.
KINDS = (BranchAccuracy, CalibrationError, AlphaSweep)


class ClassHead(NamedTuple):
    """The classes among which a target's pictures are predicted."""

    origin: str
    """``'source'``: the model's own; ``'cut'``: some of the model's own; ``'encoded'``: made for the target."""
    class_names: tuple
    templates: tuple | None
    texts: dict | None
    """``(C, D)``, where they were encoded."""
    labels: tuple | None = None
    """Labels in the model of the classes, where these are cut from its own."""


class Target(NamedTuple):
    """One data set to test on besides the source."""

    name: str
    dataloader: DataLoader
    evaluator: Evaluator


@LOOPS.register_module()
class DomainGeneralizationLoop(TestLoop):
    """Test on the source's test set, then on every target, and lay the results out as one table.

    Each target is predicted among its own classes:

    - ``metainfo['source_indices']`` cuts them from the model's prototypes by number (ImageNet-A and -R: 200 of 1000),
      never by name, since two classes may share one;
    - a target with the model's class list takes the prototypes as they are;
    - other classes (cross-data-set evaluation, new classes) get prototypes of their own names and templates; a model
      that cannot predict other classes (:class:`LinearProbeClassifier`) leaves such a target out.

    The model's own prototypes are back afterwards. Every target that is there is tested. What is missing, or cannot
    be predicted, is listed as skipped, with the reason; missing though asked for, it is an error before anything else
    is done.

    Beside the metrics of the config there are always accuracy and expected calibration error of both branches and
    their fusion, and the accuracy for every alpha. The main process logs the table and writes
    ``domain_generalization.json``, ``.csv`` and ``.md`` into the work folder. Metrics of the source have their usual
    names, those of a target start with its name, means with ``mean_of_targets`` and ``mean_of_all``. Numbers of further
    metrics of the config are in a table of their own, without means.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): Of the source's test set.
        evaluator (Evaluator | dict | list): Metrics for every set.
        targets (dict, optional): Name to the config of a data set, or of a whole data loader. What either leaves out
            (pipeline; batch size, workers, sampler) is as for the source. None switches a target off.
        requested (str | Sequence[str], optional): Names of the targets that must be there, or ``'all'``.
        fp16 (bool): Mixed precision.
        feature_metrics (str): ``'all'``, or ``'source'``: metrics that need more than predictions (they say so by
            ``test_features``) look at the source alone, and targets cost no more than their predictions.

    Raises:
        FileNotFoundError: If a requested target is missing, or a target is there in part.
        ValueError: If ``requested`` names what is no target, or ``feature_metrics`` is unknown.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict[str, Any],
        evaluator: Evaluator | dict[str, Any] | list[Any],
        targets: dict[str, Any] | None = None,
        requested: str | Sequence[str] | None = None,
        fp16: bool = False,
        feature_metrics: str = 'all',
    ):
        if feature_metrics not in ('all', 'source'):
            raise ValueError(f"feature_metrics must be 'all' or 'source', but is {feature_metrics!r}")
        # Before the source, whose listing can take a while: what is missing is to be known at once.
        found, self.skipped = build_targets(runner, dataloader, targets or {}, requested)
        super().__init__(runner, dataloader, evaluator, fp16)
        for kind in KINDS:
            if _find(self.evaluator, kind) is None:
                self.evaluator.metrics.append(kind())
        # Copied while empty, and before a tool adds a metric that is for the source alone, such as a dump to a file.
        self.targets = [Target(name, loader, copy.deepcopy(self.evaluator)) for name, loader in found.items()]
        for target in self.targets:
            if feature_metrics == 'source':
                target.evaluator.metrics = [
                    metric for metric in target.evaluator.metrics if not getattr(metric, 'test_features', ())
                ]
            target.evaluator.dataset_meta = metainfo_of(target.dataloader.dataset)

    def run(self) -> dict[str, float]:
        """Test on all sets.

        Returns:
            dict[str, float]: Metrics of the source, of the targets, and their means.
        """
        for name, reason in self.skipped.items():
            self.runner.logger.warning(f'target {name} is skipped: {reason}')
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        self.runner.model.eval()
        self.test_loss.clear()
        # Before the first picture: unusable class names are no surprise at the end then.
        targets, unpredictable = self._make_heads()
        own = ClassHead('source', self._model.class_names, None, None)
        report = DomainReport(
            {**self.skipped, **unpredictable},
            self.runner._load_from,
            getattr(getattr(self._model, 'head', None), 'alpha', None),
            _find(self.evaluator, CalibrationError).num_bins,
        )
        metrics = self._test('source', own, report)
        for target, head in targets:
            self.runner.logger.info(
                f'target {target.name}: {len(target.dataloader.dataset)} pictures, '
                f'{len(head.class_names)} classes ({head.origin})'
            )
            with self._switched_to(target, head):
                theirs = self._test(target.name, head, report)
            metrics.update({f'{target.name}/{name}': value for name, value in theirs.items()})
        metrics.update(report.means())
        if is_main_process():
            report.write(self.runner.work_dir)
            self.runner.logger.info(f'results, also in {self.runner.work_dir}/domain_generalization.*\n\n{report.markdown()}')
        self.runner.call_hook('after_test_epoch', metrics=metrics)
        self.runner.call_hook('after_test')
        return metrics

    @property
    def _model(self):
        return unwrapped(self.runner.model)

    def _test(self, name, head, report):
        """Run over the current set, add it to the report and return its metrics without the alpha sweep."""
        for index, batch in enumerate(self.dataloader):
            self.run_iter(index, batch)
        dataset = self.dataloader.dataset
        metrics = self.evaluator.evaluate(len(dataset))
        accuracy, ece, sweep = (_figures(self.evaluator, kind, metrics) for kind in KINDS)
        prefixes = tuple(f'{_find(self.evaluator, kind).prefix}/' for kind in KINDS)
        report.add(
            SetResult(
                name=name,
                dataset=metainfo_of(dataset).get('dataset_name', type(dataset).__name__),
                pictures=len(dataset),
                classes=len(head.class_names),
                head=head.origin,
                accuracy=accuracy,
                ece=ece,
                alpha_sweep=sweep,
                others={
                    name: value
                    for name, value in metrics.items()
                    if isinstance(value, (int, float)) and not name.startswith(prefixes)
                },
            )
        )
        return {name: value for name, value in metrics.items() if not name.startswith(prefixes[-1])}

    @contextlib.contextmanager
    def _switched_to(self, target, head):
        """Make hooks, logs and the model see a target in the source's place."""
        own = self.dataloader, self.evaluator, self.runner.visualizer.dataset_meta
        self.dataloader, self.evaluator = target.dataloader, target.evaluator
        self.runner.visualizer.dataset_meta = metainfo_of(target.dataloader.dataset)
        changed = contextlib.nullcontext()
        if head.origin == 'cut':
            changed = self._model.with_class_subset(head.labels)
        elif head.origin == 'encoded':
            changed = self._model.with_classes(head.texts, head.class_names, head.templates)
        try:
            with changed:
                yield
        finally:
            self.dataloader, self.evaluator, self.runner.visualizer.dataset_meta = own

    def _make_heads(self):
        """Return targets with their heads, and why others have none; a look at the text tower is shared by all."""
        heads = [(target, self._make_head(target)) for target in self.targets]
        to_encode = [head for _, head in heads if head.origin == 'encoded']
        if not to_encode:
            return heads, {}
        if not getattr(self._model, 'predicts_any_classes', True):
            reason = f'{type(self._model).__name__} predicts only the classes that it was trained on, and these are others'
            unpredictable = {target.name: reason for target, head in heads if head.origin == 'encoded'}
            for name in unpredictable:
                self.runner.logger.warning(f'target {name} is skipped: {reason}')
            return [(target, head) for target, head in heads if head.origin != 'encoded'], unpredictable
        encoded = iter(self._model.encode_classes([(head.class_names, head.templates) for head in to_encode]))
        return [(target, head._replace(texts=next(encoded)) if head.origin == 'encoded' else head) for target, head in heads], {}

    def _make_head(self, target):
        """Decide how a target is predicted; prototypes that have to be encoded are left out."""
        metainfo, model = metainfo_of(target.dataloader.dataset), self._model
        classes, indices = tuple(metainfo.get('classes') or ()), metainfo.get('source_indices')
        if not classes:
            raise ValueError(
                f'target {target.name}: {type(target.dataloader.dataset).__name__} has no '
                "metainfo['classes'], expected the name of every label"
            )
        templates = tuple(metainfo.get('templates') or model.templates or ()) or None
        if indices is not None:
            ours = [model.class_names[index] for index in indices if 0 <= index < len(model.class_names)]
            if ours == list(classes):
                if list(indices) == list(range(len(model.class_names))):
                    return ClassHead('source', classes, None, None)
                self._check_can_change(target)
                return ClassHead('cut', classes, None, None, tuple(indices))
            self.runner.logger.warning(
                f'target {target.name}: its source_indices belong to another source; the model has there '
                f'{shorten(ours)}, the '
                f'target {shorten(classes)}. The names of the target are used'
            )
        if classes == tuple(model.class_names):
            return ClassHead('source', classes, None, None)
        self._check_can_change(target)
        return ClassHead('encoded', classes, templates, None)

    def _check_can_change(self, target):
        """Refuse a target of other classes where the model has no way to predict others, not even some of its own."""
        if not hasattr(self._model, 'with_classes'):
            raise ValueError(
                f'target {target.name} has other classes than the model, and {type(self._model).__name__} '
                'cannot change its classes as MPSCLIPClassifier can'
            )


def metainfo_of(dataset: Any) -> Mapping[str, Any]:
    """Return what a data set tells of itself; wrappers and foreign data sets may tell nothing."""
    return getattr(dataset, 'metainfo', None) or {}


def _find(evaluator, kind):
    return next((metric for metric in evaluator.metrics if isinstance(metric, kind)), None)


def _figures(evaluator, kind, metrics):
    """Return what one metric contributed, without its prefix."""
    prefix = f'{_find(evaluator, kind).prefix}/'
    return {name[len(prefix) :]: value for name, value in metrics.items() if name.startswith(prefix)}
