# Tip-Adapter of CLIP ViT-B/16 on one's own pictures, 16 per class.
#
#   python tools/train.py configs/tip_adapter/tip_adapter_vitb16_16shot_custom.py --cfg-options data_root=/my/pictures
#
# Equal to `--method tip_adapter` on configs/mps_vitb16_16shot_custom.py.
_base_ = [
    '../_base_/methods/tip_adapter.py',
    '../_base_/datasets/custom.py',
    '../default_runtime.py',
]

train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views={{_base_.views}}))

val_cfg = None
