"""Results as a reader wants to see them at the end of a run."""

BRANCHES = {'zero_shot': 'zero-shot', 'tuned': 'tuned', 'fused': 'fused'}


def accuracy_table(metrics):
    """Lay the results of a test out as a small table: the branches first, then every other number.

    Args:
        metrics (dict): Names to values, as a runner's test returns them.

    Returns:
        str: One line per number; values that are no numbers are left out.
    """
    names = {f'accuracy/{name}': label for name, label in BRANCHES.items() if f'accuracy/{name}' in metrics}
    others = [name for name, value in metrics.items() if name not in names and isinstance(value, (int, float))]
    rows = {**{label: metrics[name] for name, label in names.items()}, **{name: metrics[name] for name in others}}
    width = max((len(name) for name in rows), default=0)
    lines = [f'{name:<{width}}  {value:7.2f}' for name, value in rows.items()]
    return '\n'.join([f"{'accuracy':<{width}}        %", *lines] if names else lines)
