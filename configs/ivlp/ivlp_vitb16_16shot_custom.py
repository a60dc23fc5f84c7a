# IVLP of CLIP ViT-B/16 on one's own pictures, 16 per class.
#
#   python tools/train.py configs/ivlp/ivlp_vitb16_16shot_custom.py --cfg-options data_root=/my/pictures
#
# Equal to `--method ivlp` on configs/mps_vitb16_16shot_custom.py.
_base_ = [
    '../_base_/methods/ivlp.py',
    '../_base_/datasets/custom.py',
    '../default_runtime.py',
]

train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views={{_base_.views}}))

val_cfg = None
