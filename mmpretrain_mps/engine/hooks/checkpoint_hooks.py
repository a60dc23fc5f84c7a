"""Checkpoints that survive a kill, that load as plain data, and that know what they were trained on."""
from mmengine.dist import is_main_process
from mmengine.fileio import get_file_backend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import find_latest_checkpoint
from mmpretrain.registry import HOOKS

from ...utils.checkpoint import check_checkpoint, history_from_plain, is_local, to_plain
from .. import file_backend  # noqa: F401  (registers the back end)
from ..sharding import whole_state
from .loops import built_datasets, is_training, unwrapped

# What identifies the pictures behind a checkpoint, from a data set's metainfo.
ORIGIN_KEYS = ('dataset_name', 'split_id', 'num_shots', 'seed', 'picks_id')


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, except that at every moment ``last_checkpoint`` names a complete file.

    mmengine deletes the outdated checkpoint, then writes the new one in place, then notes its name; a run killed in
    between cannot be resumed. Here the new file is written beside its place and renamed, its name is noted in the same
    way, and only then the outdated one is deleted.

    Args:
        backend_args (dict | None): As in mmengine; the default writes local files in one step.
        **kwargs: As in mmengine.
    """

    def __init__(self, *args, backend_args=None, **kwargs):
        # A remote back end brings its own guarantees.
        if backend_args is None and is_local(kwargs.get('out_dir') or ''):
            backend_args = dict(backend='atomic_local')
        super().__init__(*args, backend_args=backend_args, **kwargs)

    def _save_checkpoint_with_step(self, runner, step, meta):
        outdated = self._keep(step) if self.max_keep_ckpts > 0 else []
        # The file lists what is outdated too: should the run end before the deletion, the resumed one makes up for it.
        if self.max_keep_ckpts > 0:
            runner.message_hub.update_info('keep_ckpt_ids', [*outdated, *self.keep_ckpt_ids])
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        with whole_state(runner):
            runner.save_checkpoint(
                self.out_dir,
                filename,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args)
        if self.max_keep_ckpts > 0:
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        if is_main_process():
            note = get_file_backend(backend_args=dict(backend='atomic_local'))
            note.put_text(self.last_ckpt, note.join_path(runner.work_dir, 'last_checkpoint'))
            self._delete(outdated)

    def _save_best_checkpoint(self, runner, metrics):
        if not self.save_best:
            return
        # Before it is known whether there is a new best one: that is decided between two requests for the state.
        with whole_state(runner):
            super()._save_best_checkpoint(runner, metrics)

    def _keep(self, step):
        """Add a step to those that are kept and return the steps that have to go for it."""
        if self.keep_ckpt_ids and self.keep_ckpt_ids[-1] == step:
            return []
        full = len(self.keep_ckpt_ids) == self.max_keep_ckpts
        outdated = [self.keep_ckpt_ids.popleft()] if full else []
        self.keep_ckpt_ids.append(step)
        return outdated

    def _delete(self, steps):
        for step in steps:
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Keep checkpoints readable under ``torch.load(weights_only=True)``, and refuse those that do not belong here.

    Saving turns everything into plain types (mmengine puts ``HistoryBuffer`` and numpy objects in) and notes under
    ``meta['origin']`` which pictures the model has seen. Before a run loads, the file is checked: complete, and free of
    pickled code. On loading, the log history is rebuilt and the origin is compared with the data set in use:

    - a run that trains goes on only with the same split and the same picks;
    - a run that tests refuses another split *of the same data set*, for its test pictures may have been trained on.
      Testing on another data set is transfer, and allowed.

    Args:
        allow_other_split (bool): Warn instead of refusing a checkpoint of other pictures.
    """

    # After every hook that adds something to the checkpoint, such as the averaged weights of EMAHook.
    priority = 'LOWEST'

    def __init__(self, allow_other_split=False):
        self.allow_other_split = allow_other_split

    def before_run(self, runner):
        """Check the file that the runner is about to load.

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
            path = find_latest_checkpoint(runner.work_dir)
        if path is not None and is_local(path):
            check_checkpoint(path)

    def before_save_checkpoint(self, runner, checkpoint):
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
            hub['runtime_info'] = _plain_entries(hub['runtime_info'], runner)
        for key in list(checkpoint):
            checkpoint[key] = to_plain(checkpoint[key], key)

    def after_load_checkpoint(self, runner, checkpoint):
        """Rebuild the log history and compare the origin.

        Args:
            runner (Runner): The runner that loads.
            checkpoint (dict): Changed in place.

        Raises:
            ValueError: If the model was trained on other pictures than this run allows.
        """
        scalars = checkpoint.get('message_hub', {}).get('log_scalars', {})
        for name, value in scalars.items():
            scalars[name] = history_from_plain(value)
        origin = (checkpoint.get('meta') or {}).get('origin')
        datasets = built_datasets(runner)
        if origin and datasets:
            self._compare(runner, origin, origin_of(datasets[0]))

    def _compare(self, runner, origin, here):
        if is_training(runner):
            keys = [key for key in ('dataset_name', 'split_id', 'picks_id') if _differ(origin, here, key)]
        else:
            keys = ['split_id'] if is_other_split(origin, here) else []
        if not keys:
            return
        message = _describe_origins(keys, origin, here)
        if not self.allow_other_split:
            raise ValueError(message + '. To use it all the same, set allow_other_split=True of PlainCheckpointHook in '
                             'custom_hooks')
        runner.logger.warning(message)


def origin_of(dataset):
    """Return what identifies the pictures of a data set: name, split, shots, seed and picks, as far as it tells.

    Args:
        dataset (Dataset): With ``metainfo``.

    Returns:
        dict: Plain values.
    """
    metainfo = getattr(dataset, 'metainfo', {})
    return {key: metainfo[key] for key in ORIGIN_KEYS if metainfo.get(key) is not None}


def is_other_split(origin, here):
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
    return (f'the checkpoint was trained on {what[keys[0]]}: {_describe_origin(origin)}; this run uses '
            f'{_describe_origin(here)}')


def _describe_origin(origin):
    short = {key: value[:12] if key.endswith('_id') else value for key, value in origin.items()}
    return ' '.join(f'{key}={value}' for key, value in short.items()) or 'a data set without a name'


def _plain_entries(entries, runner):
    """Return the entries that have a plain form; what hooks leave in the message hub is not needed to resume."""
    plain = {}
    for key, value in entries.items():
        try:
            plain[key] = to_plain(value, f'message_hub.{key}')
        except TypeError as error:
            runner.logger.warning(f'{error}; left out of the checkpoint')
    return plain
