# AMU-Tuning of CLIP ViT-B/16 on one's own pictures, 16 per class.
#
#   python tools/train.py configs/amu_tuning/amu_tuning_vitb16_16shot_custom.py --cfg-options data_root=/my/pictures
#
# Equal to `--method amu_tuning` on configs/mps_vitb16_16shot_custom.py.
_base_ = [
    '../_base_/methods/amu_tuning.py',
    '../_base_/datasets/custom.py',
    '../default_runtime.py',
]

train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views={{_base_.views}}))

val_cfg = None
