# CLIP-Adapter of CLIP ViT-B/16 on ImageNet, 16 pictures per class.
#
#   python tools/train.py configs/clip_adapter/clip_adapter_vitb16_16shot_imagenet.py --cfg-options data_root=/data
#
# Equal to `--method clip_adapter` on configs/mps_vitb16_16shot_imagenet.py.
_base_ = [
    '../_base_/methods/clip_adapter.py',
    '../_base_/datasets/imagenet.py',
    '../default_runtime.py',
]

train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views={{_base_.views}}))
model = dict(templates=('a photo of a {}.',))

val_cfg = None
test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}})
