"""Whether pictures that something is chosen by are those that are reported on."""

from typing import Any

# Two configs of one data set may differ in these and still show the same pictures.
PRESENTATION_KEYS = frozenset(
    {
        'pipeline',
        'test_mode',
        'lazy_init',
        'serialize_data',
        'max_refetch',
        'templates',
        'class_names',
        'cache_images',
        'cache_limit_mb',
    }
)


def shows_test_pictures(val_dataloader: dict[str, Any] | None, test_dataloader: dict[str, Any] | None) -> bool:
    """Tell from the configs whether validation would see the test pictures.

    Args:
        val_dataloader (dict | None): Config of the validation loader.
        test_dataloader (dict | None): Config of the test loader.

    Returns:
        bool: Whether the data sets are equal but for how pictures are presented, or validation names a test subset.
    """
    if not val_dataloader:
        return False
    val = val_dataloader['dataset']
    if 'test' in _subsets(val):
        return True
    return test_dataloader is not None and bool(test_dataloader) and _pictures(val) == _pictures(test_dataloader['dataset'])


def _subsets(node):
    """Return all values under ``subset`` and ``split`` in a data set's config, wrapped ones included."""
    if isinstance(node, dict):
        own = {value for key, value in node.items() if key in ('subset', 'split') and isinstance(value, str)}
        return own.union(*map(_subsets, node.values()))
    return set().union(*map(_subsets, node)) if isinstance(node, (list, tuple)) else set()


def _pictures(node):
    if isinstance(node, dict):
        return {key: _pictures(value) for key, value in node.items() if key not in PRESENTATION_KEYS}
    return [_pictures(value) for value in node] if isinstance(node, (list, tuple)) else node
