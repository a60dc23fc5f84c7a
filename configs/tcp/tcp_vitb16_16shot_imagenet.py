# TCP of CLIP ViT-B/16 on ImageNet, 16 pictures per class.
#
#   python tools/train.py configs/tcp/tcp_vitb16_16shot_imagenet.py --cfg-options data_root=/data
#
# Equal to `--method tcp` on configs/mps_vitb16_16shot_imagenet.py.
_base_ = [
    '../_base_/methods/tcp.py',
    '../_base_/datasets/imagenet.py',
    '../default_runtime.py',
]

model = dict(knowledge_template='a photo of a {}.')
train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views={{_base_.views}}))
param_scheduler = [
    dict(type='ConstantLR', factor=0.005, begin=0, end=2, by_epoch=True),
    dict(type='CosineAnnealingLR', T_max=25, begin=1, end=25, by_epoch=True),
]
train_cfg = dict(max_epochs=25, val_interval=25)

val_cfg = None
test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}})
