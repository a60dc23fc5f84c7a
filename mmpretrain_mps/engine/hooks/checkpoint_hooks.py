"""Checkpoints that load as plain data, and that know what they were trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ...utils.checkpoint import check_checkpoint, history_from_plain, to_plain
from ...utils.fetching import local_checkpoint
from ...utils.fitting import check_training_state, check_weights
from .. import file_backend  # noqa: F401  (registers the back end)
from ..resuming import changes_between, config_of, find_checkpoint
from .loops import built_datasets, is_training, unwrapped

if TYPE_CHECKING:
    from mmengine.runner import Runner
    from torch.utils.data import Dataset

# What identifies the pictures behind a checkpoint, from a data set's metainfo.
ORIGIN_KEYS = ('dataset_name', 'split_id', 'num_shots', 'seed', 'picks_id')


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Keep checkpoints readable under ``torch.load(weights_only=True)``, and refuse those that do not belong here.

    Saving turns everything into plain types (mmengine puts ``HistoryBuffer`` and numpy objects in) and notes under
    ``meta['origin']`` which pictures the model has seen. Before a run loads, the file is checked: complete, and free of
    pickled code. On loading, the log history is rebuilt and the origin is compared with the data set in use:

    - a run that trains goes on only with the same split and the same picks;
    - a run that tests refuses another split *of the same data set*, for its test pictures may have been trained on.
      Testing on another data set is transfer, and allowed.

    A checkpoint of which weights are missing, misshapen or no numbers is refused, and so is a training that would go on
    under another config (differences are listed; where it is validated or saved may change).

    Args:
        allow_other_split (bool): Warn instead of refusing a checkpoint of other pictures.
        allow_changes (bool): Warn instead of refusing to go on under another config; ``--allow-changes`` of
            ``tools/train.py``. What the checkpoint holds, such as learning rates and their schedule, goes on as it is.
    """

    # After every hook that adds something to the checkpoint, such as the averaged weights of EMAHook.
    priority = 'LOWEST'

    def __init__(self, allow_other_split: bool = False, allow_changes: bool = False):
        self.allow_other_split = allow_other_split
        self.allow_changes = allow_changes

    def before_run(self, runner: Runner) -> None:
        """Choose, fetch and check the file that the runner is about to load.

        Args:
            runner (Runner): Just before it loads or resumes.

        Raises:
            FileNotFoundError: If the file is missing.
            ValueError: If the file is incomplete or not plain data.
        """
        if runner._has_loaded:  # the runner trains, then tests: the file it came from may be gone by now
            return
        path = runner._load_from
        if path is None and runner._resume:
            path = find_checkpoint(runner.work_dir)
            runner._resume = path is not None
        if path is not None:
            # Fetched if it is an address: mmengine would unpickle what the server sends.
            runner._load_from = local_checkpoint(path)
            check_checkpoint(runner._load_from)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint plain and note its origin and, if the model tells, the base model.

        Args:
            runner (Runner): The runner of the training.
            checkpoint (dict): Changed in place.
        """
        model = unwrapped(runner.model)
        checkpoint['meta']['origin'] = origin_of(runner.train_dataloader.dataset)
        if hasattr(model, 'describe'):
            checkpoint['meta']['base'] = model.describe()['base']
        hub = checkpoint.get('message_hub')
        if hub is not None:
            hub['runtime_info'] = _plain_values(hub['runtime_info'], runner)
        for key in list(checkpoint):
            checkpoint[key] = to_plain(checkpoint[key], key)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Rebuild the log history and compare the origin.

        Args:
            runner (Runner): The runner that loads.
            checkpoint (dict): Changed in place.

        Raises:
            ValueError: If it does not fit the model, or the model was trained on other pictures or in another way than this
                run allows.
        """
        resumes = is_training(runner) and runner._resume
        try:
            self._look_at(runner, checkpoint, resumes)
        except ValueError:
            if resumes:
                _put_config_back(runner, checkpoint)
            raise

    def _look_at(self, runner, checkpoint, resumes):
        source = runner._load_from or 'at hand'
        check_weights(checkpoint, unwrapped(runner.model), source)
        if resumes:
            self._check_resuming(runner, checkpoint, source)
        hub = checkpoint.get('message_hub')
        scalars = hub.get('log_scalars', {}) if isinstance(hub, dict) else {}
        for name, value in scalars.items():
            scalars[name] = history_from_plain(value)
        meta = checkpoint.get('meta')
        origin = meta.get('origin') if isinstance(meta, dict) else None
        datasets = built_datasets(runner)
        if isinstance(origin, dict) and datasets:
            self._compare(runner, origin, origin_of(datasets[0]))
        if resumes:
            self._compare_configs(runner, checkpoint)

    def _check_resuming(self, runner, checkpoint, source):
        optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
        check_training_state(checkpoint, optimizer, source, _number_of(runner.param_schedulers))
        # mmengine runs what stands there. Nothing writes it any more.
        checkpoint['meta'].pop('config', None)
        epoch = checkpoint['meta']['epoch']
        if epoch > runner.max_epochs:
            raise ValueError(
                f'checkpoint {source} was trained for {epoch} epochs, more than train_cfg.max_epochs='
                f'{runner.max_epochs}; nothing can go on'
            )
        if epoch == runner.max_epochs:
            runner.logger.warning(f'{source} was trained for all of {epoch} epochs: nothing is left to do')

    def _compare_configs(self, runner, checkpoint):
        before, ours = config_of(checkpoint), type(unwrapped(runner.model)).__module__.startswith('mmpretrain_mps.')
        changes = changes_between(before, runner.cfg.to_dict()) if before else []
        # What the arguments of other models are for, nobody here knows.
        grave = [
            change
            for change in changes
            if change.of_method
            and (ours or not change.place.startswith('model.'))
            and not (self.allow_other_split and change.place.startswith('train_dataloader.dataset'))
        ]
        if grave and not self.allow_changes:
            raise ValueError(
                'the training was started under another config: '
                + '; '.join(map(str, grave))
                + '. Go on under the same one, start a new training in another work '
                'folder, or go on all the same with --allow-changes'
            )
        for change in changes:
            runner.logger.warning(f'the config has changed since the training was started: {change}')
        if any(change.place.startswith(('optim_wrapper.optimizer', 'param_scheduler', 'train_cfg')) for change in changes):
            runner.logger.warning('learning rates and their schedule go on as the checkpoint has them, not as the config says')

    def _compare(self, runner, origin, here):
        if is_training(runner):
            keys = [key for key in ('dataset_name', 'split_id', 'picks_id') if _differ(origin, here, key)]
        else:
            keys = ['split_id'] if is_other_split(origin, here) else []
        if not keys:
            return
        message = _describe_origins(keys, origin, here)
        if not self.allow_other_split:
            raise ValueError(
                message + '. To use it all the same, set allow_other_split=True of PlainCheckpointHook in custom_hooks'
            )
        runner.logger.warning(message)


def _put_config_back(runner, checkpoint):
    """Let the config in the work folder be that of its training again: the runner has written that of the refused run there."""
    meta, source = checkpoint.get('meta'), runner._load_from
    text = meta.get('cfg') if isinstance(meta, dict) else None
    is_of_folder = source and Path(source).resolve().parent == Path(runner.work_dir).resolve()
    if is_of_folder and isinstance(text, str) and runner.cfg.filename and is_main_process():
        Path(runner.work_dir, Path(runner.cfg.filename).name).write_text(text, encoding='utf-8')


def _number_of(schedulers):
    """Return how many schedules a run has: a list of them, or lists by the name of their optimizer."""
    return sum(map(len, schedulers.values())) if isinstance(schedulers, dict) else len(schedulers or ())


def origin_of(dataset: Dataset) -> dict[str, Any]:
    """Return what identifies the pictures of a data set: name, split, shots, seed and picks, as far as it tells.

    Args:
        dataset (Dataset): With ``metainfo``.

    Returns:
        dict: Plain values.
    """
    metainfo = getattr(dataset, 'metainfo', {})
    return {key: metainfo[key] for key in ORIGIN_KEYS if metainfo.get(key) is not None}


def is_other_split(origin: dict[str, Any], here: dict[str, Any]) -> bool:
    """Whether the same data set is split otherwise, so that pictures to test on may have been trained on.

    Args:
        origin (dict): Of :func:`origin_of`, as a checkpoint keeps it.
        here (dict): The same of the data set in use.

    Returns:
        bool: False where either side does not say.
    """
    return origin.get('dataset_name') == here.get('dataset_name') and _differ(origin, here, 'split_id')


def _differ(first, second, key):
    """Whether both sides know the value and disagree."""
    return first.get(key) is not None and second.get(key) is not None and first[key] != second[key]


def _describe_origins(keys, origin, here):
    what = dict(dataset_name='another data set', split_id='another split of the data set', picks_id='other pictures')
    return f'the checkpoint was trained on {what[keys[0]]}: {_describe_origin(origin)}; this run uses {_describe_origin(here)}'


def _describe_origin(origin):
    short = {key: value[:12] if key.endswith('_id') else value for key, value in origin.items()}
    return ' '.join(f'{key}={value}' for key, value in short.items()) or 'a data set without a name'


def _plain_values(values, runner):
    """Return the values that have a plain form; what hooks leave in the message hub is not needed to resume."""
    plain = {}
    for key, value in values.items():
        try:
            plain[key] = to_plain(value, f'message_hub.{key}')
        except TypeError as error:
            runner.logger.warning(f'{error}; left out of the checkpoint')
    return plain
