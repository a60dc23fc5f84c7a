# PromptSRC of CLIP ViT-B/16 on one's own pictures, 16 per class.
#
#   python tools/train.py configs/promptsrc/promptsrc_vitb16_16shot_custom.py --cfg-options data_root=/my/pictures
#
# Equal to `--method promptsrc` on configs/mps_vitb16_16shot_custom.py.
_base_ = [
    '../_base_/methods/promptsrc.py',
    '../_base_/datasets/custom.py',
    '../default_runtime.py',
]

train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views={{_base_.views}}))
default_hooks = {{_base_.method.hooks}}

val_cfg = None
