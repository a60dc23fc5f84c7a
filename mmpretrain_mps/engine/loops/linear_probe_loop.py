"""Training of a linear probe: one look at the pictures, one fit."""
import torch
from mmengine.dist import broadcast, collect_results, is_main_process
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import LOOPS

from ..hooks.loops import unwrapped


@LOOPS.register_module()
class LinearProbeLoop(EpochBasedTrainLoop):
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

    def __init__(self, runner, dataloader, C=31.6, max_iter=1000, val_begin=1, val_interval=1):
        super().__init__(runner, dataloader, max_epochs=1, val_begin=val_begin, val_interval=val_interval)
        if C <= 0 or max_iter < 1:
            raise ValueError(f'LinearProbeLoop needs C > 0 and max_iter >= 1, but got {C=}, {max_iter=}')
        if self.dataloader.drop_last:
            raise ValueError('LinearProbeLoop fits to all pictures, but train_dataloader has drop_last=True')
        self.C, self.max_iter = C, max_iter
        self._rows = []

    def run_epoch(self):
        """Extract all features, then fit."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.eval()  # nothing of the features depends on the mode; this says so
        self._rows = []
        for index, batch in enumerate(self.dataloader):
            self.run_iter(index, batch)
        self._fit()
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    @torch.no_grad()
    def run_iter(self, idx, data_batch):
        """Extract the features of a batch.

        Args:
            idx (int): Number of the batch.
            data_batch (dict): Of the data loader.

        Raises:
            ValueError: If a picture comes in several views.
        """
        self.runner.call_hook('before_train_iter', batch_idx=idx, data_batch=data_batch)
        data = self._model.data_preprocessor(data_batch, training=False)
        if not isinstance(data['inputs'], torch.Tensor):
            raise ValueError(f"a linear probe takes one view of each picture, but got {len(data['inputs'])}; set "
                             'train_dataloader.dataset.dataset.pipeline to the test pipeline')
        features, = self._model.extract_feat(data['inputs'])
        self._rows += [(row, int(sample.gt_label)) for row, sample in zip(features.cpu(), data['data_samples'])]
        self.runner.call_hook('after_train_iter', batch_idx=idx, data_batch=data_batch, outputs={})
        self._iter += 1

    def _fit(self):
        model, pictures = self._model, len(self.dataloader.dataset)
        # In the sampler's order, without the pictures that it repeats to give every process as many.
        rows = collect_results(self._rows, pictures)
        if is_main_process():
            features, labels = torch.stack([row for row, _ in rows]), torch.tensor([label for _, label in rows])
            iterations = model.fit(features, labels, self.C, self.max_iter)
            logits = features.to(model.probe_weight) @ model.probe_weight.T + model.probe_bias
            accuracy = 100 * (logits.argmax(1).cpu() == labels).float().mean().item()
            self.runner.logger.info(f'linear probe fitted to {pictures} pictures with C={self.C:g} in {iterations} '
                                    f'iterations, {accuracy:.2f} % of them right')
            if iterations >= self.max_iter:
                self.runner.logger.warning(f'the fit of the linear probe stopped after max_iter={self.max_iter} '
                                           'iterations, before it converged')
        model.fit_of = dict(C=self.C, max_iter=self.max_iter, pictures=pictures)
        for parameter in (model.probe_weight, model.probe_bias):
            broadcast(parameter.data)

    @property
    def _model(self):
        return unwrapped(self.runner.model)
