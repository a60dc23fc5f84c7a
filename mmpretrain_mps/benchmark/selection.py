"""Which checkpoint of a run is reported, and the refusal to choose it on test pictures."""

from mmengine.config import Config

from ..engine import command_line
from ..engine.test_pictures import shows_test_pictures

MONITORED = 'accuracy/fused'
EARLY_STOPPING = 'EarlyStoppingHook'
REFUSED = 'selection on the test split is refused: '
IN_TRAINING = 'train_cfg'


def apply_selection(cfg: Config, select: str) -> None:
    """Make a config train for the checkpoint that is to be reported, by changing it in place.

    For ``'last'`` validation is dropped, for nobody looks at it, unless it can end the training or the training itself
    chooses something by it. For ``'val'`` every epoch is validated, unless the config says how often, and the best one is
    kept. Raises ValueError if selection is on test pictures, asked for or through the config, if there is no validation
    split, or for any other selection.
    """
    if select == 'test':
        raise ValueError(f"{REFUSED}it reports what it was chosen by. Use 'last', or 'val' with a validation split")
    if select not in ('last', 'val'):
        raise ValueError(f"select is {select!r}, expected 'last' or 'val'")
    chooser = _chooser(cfg)
    if (chooser or select == 'val') and shows_test_pictures(cfg.get('val_dataloader'), cfg.get('test_dataloader')):
        raise ValueError(
            f'{REFUSED}{chooser or "select=val"} chooses by val_dataloader, which shows the test pictures. '
            'Give it a validation split, or report the last epoch'
        )
    if select == 'last':
        _checkpoint_hook(cfg).pop('save_best', None)
        if chooser not in (EARLY_STOPPING, IN_TRAINING):
            command_line.without_validation(cfg)
        return
    if not cfg.get('val_dataloader'):
        needed = 'val_dataloader, val_cfg and val_evaluator'
        raise ValueError(f'select=val needs {needed} in the config; this one has no validation split')
    _checkpoint_hook(cfg).update(save_best=MONITORED, rule='greater')
    if cfg.train_cfg.get('val_interval', 1) >= cfg.train_cfg.get('max_epochs', float('inf')):
        cfg.train_cfg.val_interval = 1


def choice_pictures(cfg: Config) -> set[str]:
    """Return the pictures by which a training chooses something of its own, such as Tip-Adapter its two numbers.

    They are of ``'val'``, ``'whole_val'`` and ``'test'``. Released codes choose by the latter, and the recipes called official
    do as they do.
    """
    train = cfg.get('train_cfg') or {}
    search = train.get('search') or {}
    chosen = {search.get('pictures', 'val')} if search and not search.get('dataloader') else set()
    return chosen | ({train.best_epoch_on} if train.get('best_epoch_on') else set())


def _chooser(cfg):
    """Return what in a config acts upon validation results, None if nothing does."""
    hooks = [*(cfg.get('custom_hooks') or ()), *(hook for hook in (cfg.get('default_hooks') or {}).values() if hook)]
    if any(hook.get('type') == EARLY_STOPPING for hook in hooks):
        return EARLY_STOPPING
    if choice_pictures(cfg) & {'val', 'whole_val'} and cfg.get('val_dataloader'):
        return IN_TRAINING
    return 'save_best' if _checkpoint_hook(cfg).get('save_best') else None


def _checkpoint_hook(cfg):
    return (cfg.get('default_hooks') or {}).get('checkpoint') or {}
