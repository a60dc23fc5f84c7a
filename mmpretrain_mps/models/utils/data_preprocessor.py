"""Normalisation of pictures on the device."""
from mmpretrain.models.utils import SelfSupDataPreprocessor
from mmpretrain.registry import MODELS


@MODELS.register_module()
class CLIPDataPreprocessor(SelfSupDataPreprocessor):
    """mmpretrain's preprocessor for one or several views, which leaves the data samples on the host.

    mmengine copies every sample's label to the GPU on its own and waits for each. The classifier copies all labels of a
    batch at once, and metrics read them on the host anyway. Arguments as in mmpretrain.
    """

    def forward(self, data, training=False):
        """Copy the pictures to the device and normalise them.

        Args:
            data (dict): ``inputs``, a tensor or a list of one per view, and ``data_samples``.
            training (bool): Makes no difference.

        Returns:
            dict: With both entries.
        """
        pictures = super().forward(dict(inputs=data['inputs'], data_samples=None), training)
        return dict(pictures, data_samples=data.get('data_samples'))
