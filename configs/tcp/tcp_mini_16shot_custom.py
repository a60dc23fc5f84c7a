# TCP of the embedded pictogram CLIP on one's own pictures, 16 per class.
#
#   python tools/train.py configs/tcp/tcp_mini_16shot_custom.py --cfg-options data_root=/my/pictures
#
# Equal to `--method tcp` on configs/mps_mini_16shot_custom.py.
_base_ = [
    '../_base_/methods/tcp.py',
    '../_base_/datasets/custom_mini.py',
    '../default_runtime.py',
]

architecture = 'mps-mini-pictograms'
pretrained = 'embedded'
# Its text tower has 3 blocks, not 12.
model = dict(architecture=architecture, pretrained=pretrained, class_aware_block=2)

# Crops are those of the data set.
train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views=dict(num_views=1)))
default_hooks = dict(checkpoint=dict(interval=10))

val_cfg = None
