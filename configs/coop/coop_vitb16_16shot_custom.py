# CoOp of CLIP ViT-B/16 on one's own pictures, 16 per class.
#
#   python tools/train.py configs/coop/coop_vitb16_16shot_custom.py --cfg-options data_root=/my/pictures
#
# Equal to `--method coop` on configs/mps_vitb16_16shot_custom.py; for other numbers of shots take that, since some
# of the recipe's values depend on it.
_base_ = [
    '../_base_/methods/coop.py',
    '../_base_/datasets/custom.py',
    '../default_runtime.py',
]

train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views={{_base_.views}}))
param_scheduler = [
    dict(type='ConstantLR', factor=0.005, begin=0, end=2, by_epoch=True),
    dict(type='CosineAnnealingLR', T_max=200, begin=1, end=200, by_epoch=True),
]
train_cfg = dict(max_epochs=200, val_interval=200)

val_cfg = None
