# Zero-shot classification by CLIP ViT-B/16 on one's own pictures.
#
#   python tools/test.py configs/zero_shot/zero_shot_vitb16_custom.py --zero-shot --cfg-options data_root=/my/pictures
#
# Equal to `--method zero_shot` on configs/mps_vitb16_16shot_custom.py.
_base_ = [
    '../_base_/methods/zero_shot.py',
    '../_base_/datasets/custom.py',
    '../default_runtime.py',
]

train_dataloader = None

val_cfg = None
