"""Normalisation of pictures on the device."""

from typing import Any

from mmpretrain.models.utils import SelfSupDataPreprocessor
from mmpretrain.registry import MODELS
from open_clip.transform import PreprocessCfg


@MODELS.register_module()
class CLIPDataPreprocessor(SelfSupDataPreprocessor):
    """mmpretrain's preprocessor for one or several views, which leaves the data samples on the host.

    mmengine copies every sample's label to the GPU on its own and waits for each. The classifier copies all labels of a
    batch at once, and metrics read them on the host anyway. Arguments as in mmpretrain.

    Attributes:
        view_bank (ViewBank | None): Where batches are looked up that name pre-drawn views instead of holding pictures;
            :class:`ViewBankHook` sets it during a training.
    """

    view_bank = None

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Copy the pictures to the device and normalise them.

        Args:
            data (dict): ``inputs``, a tensor or a list of one per view, and ``data_samples``. Numbers of pre-drawn
                views come as a dict, see :meth:`FewShotDataset.set_view_bank`.
            training (bool): Makes no difference.

        Returns:
            dict: With both keys; the inputs of pre-drawn views are their frozen features.
        """
        if isinstance(data['inputs'], dict):
            return dict(inputs=self.view_bank.read(**data['inputs'], device=self.device), data_samples=data['data_samples'])
        pictures = super().forward(dict(inputs=data['inputs'], data_samples=None), training)
        return dict(pictures, data_samples=data.get('data_samples'))


def normalisation_of(preprocess: PreprocessCfg) -> dict[str, Any]:
    """Return the config of the preprocessor that normalises RGB pictures of 0-255 as a model of open_clip expects them."""
    return dict(
        type='CLIPDataPreprocessor',
        non_blocking=True,
        mean=[255 * value for value in preprocess.mean],
        std=[255 * value for value in preprocess.std],
    )
