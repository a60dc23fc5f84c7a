"""A look at what a run needs from outside, before anything is built."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmengine.logging import print_log
from mmpretrain.registry import DATASETS, MODELS

from ..models.classifiers import CLIPClassifier
from ..utils.checkpoint import check_checkpoint
from ..utils.fetching import local_checkpoint
from .sharding import NO_VIEW_BANK

if TYPE_CHECKING:
    from mmengine.config import Config

# Why mmengine's other ways to several processes do not fit, by the name in the config.
UNFIT_WRAPPERS = {
    'MMFullyShardedDataParallel': 'deals flattened weights out, while the classifier needs single weights of a block',
    'MMSeparateDistributedDataParallel': 'wraps the parts of a model one by one, for several optimizers',
    'MMDeepSpeedEngineWrapper': 'brings its own optimizer and its own checkpoints',
}
WHAT_FITS = (
    "model_wrapper_cfg.type can be 'MMDistributedDataParallel' (the default: each process has all weights) or "
    "'ShardedDataParallel' (each keeps a share, see configs/_base_/sharded.py)"
)


def check_processes(cfg: Config) -> None:
    """Refuse ways to train with several processes that cannot work, before anything is built.

    Args:
        cfg (Config): Of a run.

    Raises:
        ValueError: Says what was asked for, why it does not work, and what does.
    """
    wrapper = (cfg.get('model_wrapper_cfg') or {}).get('type')
    if wrapper in UNFIT_WRAPPERS:
        raise ValueError(f'model_wrapper_cfg asks for {wrapper}, which {UNFIT_WRAPPERS[wrapper]}; {WHAT_FITS}')
    strategy = (cfg.get('strategy') or {}).get('type', 'SingleDeviceStrategy')
    if cfg.get('runner_type') == 'FlexibleRunner' and (
        cfg.get('launcher', 'none') != 'none' or strategy != 'SingleDeviceStrategy'
    ):
        raise ValueError(
            f'FlexibleRunner with {strategy} and several processes writes checkpoints that one process '
            f'cannot read; leave out runner_type and strategy: {WHAT_FITS}'
        )
    if wrapper == 'ShardedDataParallel':
        _check_sharding(cfg)


def _check_sharding(cfg):
    if cfg.get('launcher', 'none') == 'none':
        print_log(
            'ShardedDataParallel: a single process keeps everything; start several with tools/dist_train.sh',
            level=logging.WARNING,
        )
    hooks = [*(cfg.get('custom_hooks') or []), *filter(None, (cfg.get('default_hooks') or {}).values())]
    if any(hook.get('type') == 'EMAHook' for hook in hooks):
        raise ValueError('EMAHook copies the whole model, which no process has under ShardedDataParallel; leave out one of them')
    if cfg.get('compile') or (cfg.get('model') or {}).get('compile'):
        raise ValueError(
            'ShardedDataParallel gathers the weights of each block when it is run, which torch.compile '
            'would cut into pieces; leave out compile, or the sharding'
        )
    size = next((hook.get('view_bank') for hook in hooks if hook.get('type') == 'ViewBankHook'), 0)
    if size:
        raise ValueError(NO_VIEW_BANK.format(size))
    for name in ('val_dataloader', 'test_dataloader'):
        if ((cfg.get(name) or {}).get('sampler') or {}).get('round_up') is False:
            raise ValueError(
                'ShardedDataParallel gathers weights in every batch, so that all processes need equally '
                f'many, but {name}.sampler has round_up=False; leave it out (pictures count once all the '
                'same), or the sharding'
            )
    wrapper = cfg.get('optim_wrapper') or {}
    if wrapper and wrapper.get('constructor') != 'TrainableOptimWrapperConstructor':
        raise ValueError(
            'ShardedDataParallel needs optim_wrapper.constructor=TrainableOptimWrapperConstructor, which '
            f"puts the optimizer's state together for checkpoints, but it is {wrapper.get('constructor')}"
        )


def fetch_weights(node: Config | dict[str, Any] | Sequence[Any]) -> None:
    """Let every part of a config that starts from a checkpoint do so from a file here that is plain data.

    mmengine's ``init_cfg=dict(type='Pretrained', checkpoint=...)`` would unpickle what an address, or torch's defaults of
    another day, give it.

    Args:
        node (Config | dict | list): Changed in place.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be fetched, or is no plain data.
    """
    part: Any = node
    values = list(part.values()) if hasattr(part, 'values') else part
    if hasattr(part, 'values') and part.get('type') == 'Pretrained' and isinstance(part.get('checkpoint'), str):
        part['checkpoint'] = local_checkpoint(part['checkpoint'])
        check_checkpoint(part['checkpoint'])
    for value in values:
        if isinstance(value, (dict, list, tuple)):
            fetch_weights(value)


def check_inputs(cfg: Config, loaders: Sequence[str]) -> None:
    """Raise one error for missing weights and missing data together, so that nobody meets them one after the other.

    Data alone is not looked at here: the run builds its data sets soon enough, and ImageNet takes time to list.

    Args:
        cfg (Config): Of a run; configs of other models pass.
        loaders (Sequence[str]): The data loaders that the run uses, for instance ``('train_dataloader', )``.

    Raises:
        FileNotFoundError: Names everything that is missing, where it was looked for, and how to get it.
        ValueError: If an architecture or a tag is unknown.
    """
    model = cfg.get('model') or {}
    kind = model.get('type')
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(kind, type) and issubclass(kind, CLIPClassifier)):
        return
    try:
        kind.require_files(model)
    except FileNotFoundError as error:
        faults = [str(error), *_data_faults(cfg, loaders)]
        raise FileNotFoundError('\n'.join(f'- {fault}' for fault in faults) if len(faults) > 1 else faults[0]) from None


def _data_faults(cfg, loaders):
    faults = []
    for loader in loaders:
        if cfg.get(loader):
            try:
                DATASETS.build(cfg[loader].dataset)
            except (FileNotFoundError, NotADirectoryError) as error:
                faults.append(str(error))
    return list(dict.fromkeys(faults))
