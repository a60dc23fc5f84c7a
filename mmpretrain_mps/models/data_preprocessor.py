"""Normalisation of pictures on the device."""

from typing import Any

from mmpretrain.models.utils import SelfSupDataPreprocessor
from mmpretrain.registry import MODELS
from open_clip.transform import PreprocessCfg

_NO_BANK = (
    'the batch holds {}, but the data preprocessor was not given the {}: {} does so while it trains. At other times let the '
    'data set show pictures: dataset.{}(None)'
)


@MODELS.register_module()
class CLIPDataPreprocessor(SelfSupDataPreprocessor):
    """mmpretrain's preprocessor for one or several views, which leaves the data samples on the host.

    mmengine copies every sample's label to the GPU on its own and waits for each. The classifier copies all labels of a
    batch at once, and metrics read them on the host anyway. Arguments as in mmpretrain.

    Attributes:
        view_bank (ViewBank | None): Where batches are looked up that name pre-drawn views instead of holding pictures;
            :class:`ViewBankHook` sets it during a training.
        picture_bank (PictureBank | None): Where views are cut out for batches that name pictures and crop boxes;
            :class:`DeviceViewsHook` sets it during a training.
    """

    view_bank: Any = None
    picture_bank: Any = None

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Copy the pictures to the device and normalise them.

        Args:
            data (dict): ``inputs``, a tensor or a list of one per view, and ``data_samples``. Numbers of pre-drawn
                views come as a dict, see :meth:`FewShotDataset.set_view_bank`, and so do crop boxes, see
                :meth:`FewShotDataset.set_view_boxes`.
            training (bool): Makes no difference.

        Returns:
            dict: With both keys; the inputs of pre-drawn views are their frozen features.

        Raises:
            ValueError: If there is no bank of what the batch names.
        """
        inputs = data['inputs']
        if isinstance(inputs, dict):
            if 'boxes' not in inputs:
                if self.view_bank is None:
                    raise ValueError(_NO_BANK.format('numbers of views', 'view bank', 'ViewBankHook', 'set_view_bank'))
                return dict(inputs=self.view_bank.read(**inputs, device=self.device), data_samples=data['data_samples'])
            if self.picture_bank is None:
                raise ValueError(_NO_BANK.format('crop boxes', 'decoded pictures', 'DeviceViewsHook', 'set_view_boxes'))
            data = dict(data, inputs=self.picture_bank.read(**inputs))
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
