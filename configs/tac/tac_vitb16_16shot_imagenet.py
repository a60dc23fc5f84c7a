# TAC of CLIP ViT-B/16 on ImageNet, 16 pictures per class.
#
#   python tools/train.py configs/tac/tac_vitb16_16shot_imagenet.py --cfg-options data_root=/data
#
# Equal to `--method tac` on configs/mps_vitb16_16shot_imagenet.py.
_base_ = [
    '../_base_/methods/tac.py',
    '../_base_/datasets/imagenet.py',
    '../default_runtime.py',
]

model = dict(num_prompts=10)
train_dataloader = dict(
    batch_size={{_base_.batch_size}}, dataset=dict(views=dict(num_views=4, scale=(0.8, 1.0), reference='squash'))
)
param_scheduler = [
    dict(type='ConstantLR', factor=0.004, begin=0, end=2, by_epoch=True),
    dict(type='CosineAnnealingLR', T_max=5, begin=1, end=5, by_epoch=True),
]
train_cfg = dict(max_epochs=5, val_interval=5)
default_hooks = {{_base_.method.hooks}}

val_cfg = None
test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}})
