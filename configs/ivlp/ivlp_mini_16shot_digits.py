# IVLP of the embedded mini CLIP on scikit-learn's handwritten digits, 16 pictures per class.
#
#   python tools/train.py configs/ivlp/ivlp_mini_16shot_digits.py
#
# Equal to `--method ivlp` on configs/mps_mini_16shot_digits.py.
_base_ = [
    '../_base_/methods/ivlp.py',
    '../_base_/datasets/digits.py',
    '../default_runtime.py',
]

architecture = 'mps-mini'
pretrained = 'embedded'
model = dict(architecture=architecture, pretrained=pretrained, text_depth=3)

# Crops are those of the data set.
train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views=dict(num_views=1)))
default_hooks = dict(checkpoint=dict(interval=10))

test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}})
