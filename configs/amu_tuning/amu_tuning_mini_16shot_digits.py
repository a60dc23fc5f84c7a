# AMU-Tuning of the embedded mini CLIP on scikit-learn's handwritten digits, 16 pictures per class.
#
#   python tools/train.py configs/amu_tuning/amu_tuning_mini_16shot_digits.py
#
# Equal to `--method amu_tuning` on configs/mps_mini_16shot_digits.py.
_base_ = [
    '../_base_/methods/amu_tuning.py',
    '../_base_/datasets/digits.py',
    '../default_runtime.py',
]

architecture = 'mps-mini'
pretrained = 'embedded'
# The second network is embedded, too: trained without labels on glyphs that this project's code draws.
model = dict(
    architecture=architecture,
    pretrained=pretrained,
    auxiliary=dict(type='ResNet_CIFAR', depth=18, stem_channels=16, base_channels=16, strides=(2, 2, 2, 2)),
    auxiliary_weights=dict(checkpoint='embedded'),
    auxiliary_mean=(0.5, 0.5, 0.5),
    auxiliary_std=(0.5, 0.5, 0.5),
)

# Crops are those of the data set.
train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views=dict(num_views=1)))
default_hooks = dict(checkpoint=dict(interval=10))

test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}})
