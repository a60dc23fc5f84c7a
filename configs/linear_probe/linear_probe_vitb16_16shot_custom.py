# The linear probe of CLIP ViT-B/16 on one's own pictures, 16 per class.
#
#   python tools/train.py configs/linear_probe/linear_probe_vitb16_16shot_custom.py --cfg-options data_root=/my/pictures
#
# Equal to `--method linear_probe` on configs/mps_vitb16_16shot_custom.py.
_base_ = [
    '../_base_/methods/linear_probe.py',
    '../_base_/datasets/custom.py',
    '../default_runtime.py',
]

# Features are those of the test transform.
train_dataloader = dict(dataset=dict(dataset=dict(pipeline={{_base_.test_pipeline}})))

val_cfg = None
