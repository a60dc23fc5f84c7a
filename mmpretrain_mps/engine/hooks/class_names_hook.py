"""Class names travel from the data set to the classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ...models.classifiers.description import check_class_names
from .loops import built_datasets, check_reference, is_training, unwrapped, wrap_anew

if TYPE_CHECKING:
    from mmengine.runner import Runner


@HOOKS.register_module()
class ClassNamesHook(Hook):
    """Give the classifier the class names and prompt templates of its data set, or check that both agree.

    Works before anything is loaded: the text prototypes must have their shape when a checkpoint arrives. The training
    data set goes first, then validation, then test. Every data set in use must have the model's classes in the model's
    order, since the label of a picture is an index into them. And the pictures of a training must be prepared as the
    model takes them, see :func:`check_reference`.
    """

    # After RuntimeInfoHook, before the hooks that save or load.
    priority = 'HIGH'

    def before_run(self, runner: Runner) -> None:
        """Set and compare, as soon as the data sets exist.

        Args:
            runner (Runner): Just before it loads or resumes.
        """
        if is_training(runner):
            check_reference(runner)
        for dataset in built_datasets(runner):
            self._match(runner, dataset)

    def before_val(self, runner: Runner) -> None:
        """Compare once more: names can arrive with a checkpoint."""
        self._match(runner, runner.val_loop.dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Compare once more: names can arrive with a checkpoint."""
        self._match(runner, runner.test_loop.dataloader.dataset)

    def _match(self, runner, dataset):
        model = unwrapped(runner.model)
        metainfo = getattr(dataset, 'metainfo', {})
        classes, owner = metainfo.get('classes'), f'data set {metainfo.get("dataset_name", type(dataset).__name__)}'
        if model.class_names:
            check_class_names(classes or None, model.class_names, owner, 'the model')
        elif classes:
            model.set_classes(classes, model.templates or metainfo.get('templates'))
            if not getattr(model, 'predicts_any_classes', True):
                wrap_anew(runner)
            runner.logger.info(f'{len(classes)} classes of {owner} with the templates {model.templates}')
        else:
            raise ValueError(
                f'the model has no class names, and {owner} gives it none; set model.class_names or the '
                "data set's metainfo=dict(classes=...)"
            )
