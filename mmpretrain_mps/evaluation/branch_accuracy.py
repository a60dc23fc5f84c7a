"""Accuracy of the fused prediction and of each branch alone."""
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

SCORES = {'zero_shot': 'zero_shot_score', 'tuned': 'tuned_score', 'fused': 'pred_score'}


@METRICS.register_module()
class BranchAccuracy(BaseMetric):
    """Top-1 accuracy in percent of the zero-shot branch, the tuned branch and their fusion, over the same pictures.

    The results are called ``accuracy/zero_shot``, ``accuracy/tuned`` and ``accuracy/fused``. A ViT that predicts without
    branches gets ``accuracy/fused`` alone.

    Args:
        collect_device (str): Where the processes exchange results, 'cpu' or 'gpu'.
        prefix (str | None): Replaces ``accuracy``.
    """

    default_prefix = 'accuracy'

    def process(self, data_batch, data_samples):
        """Note for each picture which branches are right.

        Args:
            data_batch: Not used.
            data_samples (Sequence[dict]): With ``gt_label`` of one label, ``pred_score`` (C,) and, if the model has
                branches, ``zero_shot_score`` and ``tuned_score`` (C,).
        """
        for sample in data_samples:
            label = int(sample['gt_label'])
            self.results.append(
                {name: int(sample[key].argmax()) == label for name, key in SCORES.items() if key in sample})

    def compute_metrics(self, results):
        """Average over the pictures.

        Args:
            results (list[dict]): Of all processes.

        Returns:
            dict[str, float]: Percent.
        """
        return {name: 100 * sum(row[name] for row in results) / len(results) for name in results[0]}


def accuracy_table(metrics):
    """Lay metrics out as a small table, the branches first and in their order.

    Args:
        metrics (dict): Names to numbers, as a test returns them.

    Returns:
        str: One line per number; values that are no numbers are left out.
    """
    first = [f'accuracy/{name}' for name in SCORES if f'accuracy/{name}' in metrics]
    names = first + [name for name, value in metrics.items() if name not in first and isinstance(value, (int, float))]
    width = max((len(name) for name in names), default=0)
    return '\n'.join(f'{name:<{width}}  {metrics[name]:7.2f}' for name in names)
