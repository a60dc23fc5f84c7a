"""A look at values that a config states twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

if TYPE_CHECKING:
    from mmengine.runner import Runner

SHORT_CUTS = ('data_root', 'num_shots', 'seed', 'view_bank', 'float32_precision', 'views_on_device')
PLACES = ('train_dataloader', 'val_dataloader', 'test_dataloader', 'custom_hooks')


@HOOKS.register_module()
class ShortCutsHook(Hook):
    """Warn where a value at the top of a config is not the one that the data loaders or hooks use.

    ``tools/train.py`` and ``tools/test.py`` of this project carry ``--cfg-options num_shots=4`` to the data loaders.
    mmpretrain's own tools do not: there, such an option changes the top-level value and nothing else.
    """

    def before_run(self, runner: Runner) -> None:
        """Compare, before the run loads or computes anything.

        Args:
            runner (Runner): With its config.
        """
        for name in SHORT_CUTS:
            for place in PLACES:
                for path, value in _settings_named(runner.cfg.get(place), name, place):
                    if name in runner.cfg and value != runner.cfg[name]:
                        runner.logger.warning(
                            f'{name} is {runner.cfg[name]!r} at the top of the config, but '
                            f'{path} is {value!r}, and that is what this run uses'
                        )


def _settings_named(node, name, path):
    """Yield dotted path and value of every setting of that name."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == name and not isinstance(value, dict):
                yield f'{path}.{key}', value
            else:
                yield from _settings_named(value, name, f'{path}.{key}')
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _settings_named(value, name, f'{path}.{index}')
