# The linear probe, the baseline of CLIP's own paper, on features of the embedded mini CLIP: logistic regression on
# scikit-learn's handwritten digits, 16 pictures per class.
#
#   python tools/train.py configs/mps_mini_16shot_digits_linear_probe.py
#   python tools/test.py configs/mps_mini_16shot_digits_linear_probe.py \
#       work_dirs/mps_mini_16shot_digits_linear_probe/epoch_1.pth
#
# In tables, "tuned" is the probe, and "fused" is the probe too (alpha 1). Seconds per run on 2 cores.
_base_ = './mps_mini_16shot_digits.py'

model = dict(
    _delete_=True,
    type='LinearProbeClassifier',
    architecture={{_base_.architecture}},
    pretrained={{_base_.pretrained}},
    head=dict(type='LogitsFusionHead', alpha=1.0),
)

# Features are those of the test transform.
train_dataloader = dict(dataset=dict(dataset=dict(pipeline={{_base_.test_pipeline}})))
train_cfg = dict(_delete_=True, type='LinearProbeLoop', C=31.6)
# optim_wrapper stays, since a Runner that trains wants one; no step is ever taken.
param_scheduler = None
