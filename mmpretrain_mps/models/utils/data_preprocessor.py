"""Normalisation of pictures on the device."""
from mmpretrain.models.utils import SelfSupDataPreprocessor
from mmpretrain.registry import MODELS


@MODELS.register_module()
class CLIPDataPreprocessor(SelfSupDataPreprocessor):
    """mmpretrain's preprocessor for one or several views, which leaves the data samples on the host.

    mmengine copies every sample's label to the GPU on its own and waits for each. The classifier copies all labels of a
    batch at once, and metrics read them on the host anyway. Arguments as in mmpretrain.
    """

    def cast_data(self, data):
        """Copy the pictures to the device."""
        if not isinstance(data, dict) or 'data_samples' not in data:
            return super().cast_data(data)
        pictures = {key: value for key, value in data.items() if key != 'data_samples'}
        return dict(super().cast_data(pictures), data_samples=data['data_samples'])
