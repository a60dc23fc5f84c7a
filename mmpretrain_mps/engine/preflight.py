"""A look at what a run needs from outside, before anything is built."""
from mmpretrain.registry import DATASETS

from ..models.utils.clip_loader import require_weights

OUR_CLASSIFIERS = ('MPSCLIPClassifier', 'LinearProbeClassifier')


def check_inputs(cfg, loaders):
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
    if model.get('type') not in OUR_CLASSIFIERS:
        return
    try:
        require_weights(model.get('architecture'), model.get('pretrained'))
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
