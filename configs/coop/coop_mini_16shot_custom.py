# CoOp of the embedded pictogram CLIP on one's own pictures, 16 per class.
#
#   python tools/train.py configs/coop/coop_mini_16shot_custom.py --cfg-options data_root=/my/pictures
#
# Equal to `--method coop` on configs/mps_mini_16shot_custom.py; for other numbers of shots take that, since some
# of the recipe's values depend on it.
_base_ = [
    '../_base_/methods/coop.py',
    '../_base_/datasets/custom_mini.py',
    '../default_runtime.py',
]

architecture = 'mps-mini-pictograms'
pretrained = 'embedded'
model = dict(architecture=architecture, pretrained=pretrained)

# Crops are those of the data set.
train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views=dict(num_views=1)))
param_scheduler = [
    dict(type='ConstantLR', factor=0.005, begin=0, end=2, by_epoch=True),
    dict(type='CosineAnnealingLR', T_max=200, begin=1, end=200, by_epoch=True),
]
train_cfg = dict(max_epochs=200, val_interval=200)
default_hooks = dict(checkpoint=dict(interval=10))

val_cfg = None
