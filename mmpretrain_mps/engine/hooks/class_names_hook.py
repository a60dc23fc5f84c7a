"""Class names travel from the data set to the classifier."""
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmpretrain.registry import HOOKS

from .loops import built_datasets


@HOOKS.register_module()
class ClassNamesHook(Hook):
    """Give the classifier the class names and prompt templates of its data set, or check that both agree.

    Works before anything is loaded: the text prototypes must have their shape when a checkpoint arrives. The training
    data set goes first, then validation, then test. Every data set in use must have the model's classes in the model's
    order, since the label of a picture is an index into them.

    Args:
        check_only (bool): Never set names, only compare.
    """

    # After RuntimeInfoHook, before the hooks that save or load.
    priority = 'HIGH'

    def __init__(self, check_only=False):
        self.check_only = check_only

    def before_run(self, runner):
        """Set and compare, as soon as the data sets exist.

        Args:
            runner (Runner): Just before it loads or resumes.
        """
        for dataset in built_datasets(runner):
            self._match(runner, dataset)

    def before_val(self, runner):
        """Compare once more: names can arrive with a checkpoint."""
        self._match(runner, runner.val_loop.dataloader.dataset)

    def before_test(self, runner):
        """Compare once more: names can arrive with a checkpoint."""
        self._match(runner, runner.test_loop.dataloader.dataset)

    def _match(self, runner, dataset):
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        metainfo = getattr(dataset, 'metainfo', {})
        classes = metainfo.get('classes')
        if not classes:
            if not model.class_names:
                raise ValueError(f"{type(dataset).__name__} has no metainfo['classes'] and the model no class_names; give "
                                 'one of them')
            return
        if not model.class_names and not self.check_only:
            templates = model.templates or metainfo.get('templates')
            if not templates:
                raise ValueError(f"{type(dataset).__name__} has no metainfo['templates'] and the model no templates; give "
                                 "one of them, for example templates=['a photo of a {}.']")
            model.set_classes(list(classes), list(templates))
            runner.logger.info(f'{len(classes)} classes of {_name(dataset)} with {len(templates)} prompt template(s)')
        elif list(model.class_names or ()) != list(classes):
            raise ValueError(describe_difference('the model', model.class_names or (), _name(dataset), classes))


def describe_difference(first_owner, first, second_owner, second):
    """Return one sentence on how two lists of class names differ: counts and the first difference.

    Args:
        first_owner (str): Who has the first list.
        first (Sequence[str]): Class names.
        second_owner (str): Who has the second list.
        second (Sequence[str]): Class names.

    Returns:
        str: For an error message.
    """
    pairs = enumerate(zip(first, second))
    index = next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))
    at = [repr(names[index]) if index < len(names) else 'nothing' for names in (first, second)]
    return (f'class names differ: {first_owner} has {len(first)} and {second_owner} has {len(second)}; the first difference '
            f'is at label {index}, {at[0]} against {at[1]}')


def _name(dataset):
    return f"data set {dataset.metainfo.get('dataset_name', type(dataset).__name__)}"
