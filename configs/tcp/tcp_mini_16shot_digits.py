# TCP of the embedded mini CLIP on scikit-learn's handwritten digits, 16 pictures per class.
#
#   python tools/train.py configs/tcp/tcp_mini_16shot_digits.py
#
# Equal to `--method tcp` on configs/mps_mini_16shot_digits.py.
_base_ = [
    '../_base_/methods/tcp.py',
    '../_base_/datasets/digits.py',
    '../default_runtime.py',
]

architecture = 'mps-mini'
pretrained = 'embedded'
# Its text tower has 3 blocks, not 12.
model = dict(architecture=architecture, pretrained=pretrained, class_aware_block=2)

# Crops are those of the data set.
train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views=dict(num_views=1)))
default_hooks = dict(checkpoint=dict(interval=10))

test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}})
