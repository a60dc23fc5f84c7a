# Zero-shot classification by CLIP ViT-B/16 on ImageNet.
#
#   python tools/test.py configs/zero_shot/zero_shot_vitb16_imagenet.py --zero-shot --cfg-options data_root=/data
#
# Equal to `--method zero_shot` on configs/mps_vitb16_16shot_imagenet.py.
_base_ = [
    '../_base_/methods/zero_shot.py',
    '../_base_/datasets/imagenet.py',
    '../default_runtime.py',
]

train_dataloader = None

val_cfg = None
test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}})
