"""Training of a linear probe: one look at the pictures, one fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import broadcast, is_main_process
from mmpretrain.registry import LOOPS

from ..extraction import extract_share, put_together
from ..hooks.loops import unwrapped
from .training_free_loop import TrainingFreeLoop

if TYPE_CHECKING:
    from mmengine.runner import Runner
    from torch.utils.data import DataLoader


@LOOPS.register_module()
class LinearProbeLoop(TrainingFreeLoop):
    """Extract the features of every training picture once, and fit :class:`LinearProbeClassifier` to them.

    It counts as a training of one epoch, after which hooks save and validate as they always do. The pictures must come
    in one view, prepared as for testing: ``train_dataloader.dataset.dataset.pipeline`` is the test pipeline. Several
    processes share the extraction; the main one fits, and all of them get its weights.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): Of the training pictures.
        C (float): Inverse strength of the penalty. CLIP's published example has 0.316 on features as they come, of norm
            10 or so; on unit-norm features 0.316 * 10**2 is the same. CLIP's paper sweeps it on validation pictures.
        max_iter (int): Bound of the iterations of L-BFGS.
        val_begin (int): As in mmengine.
        val_interval (int): As in mmengine.

    Raises:
        ValueError: If ``C`` is not positive, or the data loader leaves pictures out.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict[str, Any],
        C: float = 31.6,
        max_iter: int = 1000,
        val_begin: int = 1,
        val_interval: int = 1,
    ):
        super().__init__(runner, dataloader, val_begin=val_begin, val_interval=val_interval)
        if C <= 0 or max_iter < 1:
            raise ValueError(f'LinearProbeLoop needs C > 0 and max_iter >= 1, but got {C=}, {max_iter=}')
        if self.dataloader.drop_last:
            raise ValueError('LinearProbeLoop fits to all pictures, but train_dataloader has drop_last=True')
        self.C, self.max_iter = C, max_iter

    def work(self) -> None:
        """Extract all features, then fit."""
        loader, pictures = self.dataloader, len(self.dataloader.dataset)
        share = extract_share(
            loader.dataset, self._features_of, loader.batch_size, loader.num_workers, loader.collate_fn, 'training pictures'
        )
        features, labels = put_together(share, pictures)
        model = unwrapped(self.runner.model)
        if is_main_process():
            self._fit(model, features, labels)
        model.fit_of = dict(C=self.C, max_iter=self.max_iter, pictures=pictures)
        for parameter in (model.probe_weight, model.probe_bias):
            broadcast(parameter.data)

    def _features_of(self, batch):
        model = unwrapped(self.runner.model)
        data = model.data_preprocessor(batch, training=False)
        if not isinstance(data['inputs'], torch.Tensor):
            raise ValueError(
                f'a linear probe takes one view of each picture, but got {len(data["inputs"])}; set '
                'train_dataloader.dataset.dataset.pipeline to the test pipeline'
            )
        (features,) = model.extract_feat(data['inputs'])
        return features, torch.cat([sample.gt_label for sample in data['data_samples']])

    def _fit(self, model, features, labels):
        iterations = model.fit(features, labels, self.C, self.max_iter)
        logits = features.to(model.probe_weight) @ model.probe_weight.T + model.probe_bias
        accuracy = 100 * (logits.argmax(1).cpu() == labels).float().mean().item()
        self.runner.logger.info(
            f'linear probe fitted to {len(labels)} pictures with C={self.C:g} in {iterations} '
            f'iterations, {accuracy:.2f} % of them right'
        )
        if iterations >= self.max_iter:
            self.runner.logger.warning(
                f'the fit of the linear probe stopped after max_iter={self.max_iter} iterations, before it converged'
            )
