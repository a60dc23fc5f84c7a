# Tip-Adapter-F of CLIP ViT-B/16 on ImageNet, 16 pictures per class.
#
#   python tools/train.py configs/tip_adapter_f/tip_adapter_f_vitb16_16shot_imagenet.py --cfg-options data_root=/data
#
# Equal to `--method tip_adapter_f` on configs/mps_vitb16_16shot_imagenet.py.
_base_ = [
    '../_base_/methods/tip_adapter_f.py',
    '../_base_/datasets/imagenet.py',
    '../default_runtime.py',
]

train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views={{_base_.views}}))
model = dict(beta=1.0, head=dict(alpha=1.17))
train_cfg = dict(search=dict(scale=(7, 3)))

val_cfg = None
test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}})
