# TAC of CLIP ViT-B/16 on one's own pictures, 16 per class.
#
#   python tools/train.py configs/tac/tac_vitb16_16shot_custom.py --cfg-options data_root=/my/pictures
#
# Equal to `--method tac` on configs/mps_vitb16_16shot_custom.py.
_base_ = [
    '../_base_/methods/tac.py',
    '../_base_/datasets/custom.py',
    '../default_runtime.py',
]

train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views={{_base_.views}}))
default_hooks = {{_base_.method.hooks}}

val_cfg = None
