"""Results as a reader wants to see them at the end of a run."""

from typing import Any

BRANCHES = {'zero_shot': 'zero-shot', 'tuned': 'tuned', 'fused': 'fused'}


def accuracy_table(metrics: dict[str, Any]) -> str:
    """Lay the results of a test out as a small table: one line per branch, or every number where there are no branches.

    Args:
        metrics (dict): Names to values, as a runner's test returns them.

    Returns:
        str: One line per number; values that are no numbers are left out.
    """
    rows = {label: metrics[f'accuracy/{name}'] for name, label in BRANCHES.items() if f'accuracy/{name}' in metrics}
    heading = bool(rows)
    rows = rows or {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
    width = max((len(name) for name in rows), default=0)
    lines = [f'{name:<{width}}  {value:7.2f}' for name, value in rows.items()]
    return '\n'.join([f'{"accuracy":<{width}}        %', *lines] if heading else lines)
