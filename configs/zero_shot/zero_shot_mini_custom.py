# Zero-shot classification by the embedded pictogram CLIP on one's own pictures.
#
#   python tools/test.py configs/zero_shot/zero_shot_mini_custom.py --zero-shot --cfg-options data_root=/my/pictures
#
# Equal to `--method zero_shot` on configs/mps_mini_16shot_custom.py.
_base_ = [
    '../_base_/methods/zero_shot.py',
    '../_base_/datasets/custom_mini.py',
    '../default_runtime.py',
]

architecture = 'mps-mini-pictograms'
pretrained = 'embedded'
model = dict(architecture=architecture, pretrained=pretrained)

train_dataloader = None
default_hooks = dict(checkpoint=dict(interval=10))

val_cfg = None
