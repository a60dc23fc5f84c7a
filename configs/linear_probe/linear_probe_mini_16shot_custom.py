# The linear probe of the embedded pictogram CLIP on one's own pictures, 16 per class.
#
#   python tools/train.py configs/linear_probe/linear_probe_mini_16shot_custom.py --cfg-options data_root=/my/pictures
#
# Equal to `--method linear_probe` on configs/mps_mini_16shot_custom.py.
_base_ = [
    '../_base_/methods/linear_probe.py',
    '../_base_/datasets/custom_mini.py',
    '../default_runtime.py',
]

architecture = 'mps-mini-pictograms'
pretrained = 'embedded'
model = dict(architecture=architecture, pretrained=pretrained)

# Features are those of the test transform.
train_dataloader = dict(dataset=dict(dataset=dict(pipeline={{_base_.test_pipeline}})))
default_hooks = dict(checkpoint=dict(interval=10))

val_cfg = None
