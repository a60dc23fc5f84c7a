# The linear probe on features of the embedded mini CLIP: logistic regression on 45 distorted letters, 4 pictures per class.
#
#   python tools/train.py configs/mps_mini_4shot_letters_linear_probe.py
#   python tools/test.py configs/mps_mini_4shot_letters_linear_probe.py \
#       work_dirs/mps_mini_4shot_letters_linear_probe/epoch_1.pth
#
# In tables, "tuned" is the probe, and "fused" is the probe too (alpha 1). Expected: results/letters_study/study.md.
_base_ = './mps_mini_4shot_letters.py'

model = dict(
    _delete_=True,
    type='LinearProbeClassifier',
    architecture={{_base_.architecture}},
    pretrained={{_base_.pretrained}},
    head=dict(type='LogitsFusionHead', alpha=1.0),
)

# Features are those of the test transform.
train_dataloader = dict(dataset=dict(dataset=dict(pipeline={{_base_.test_pipeline}})))
train_cfg = dict(_delete_=True, type='LinearProbeLoop', C=30.0)
# optim_wrapper stays, since a Runner that trains wants one; no step is ever taken.
param_scheduler = None
# It tunes no layer, so that there is none to measure, and knows no classes but its own, so that there are no targets.
test_evaluator = [dict(type='BranchAccuracy'), dict(type='CalibrationError')]
test_cfg = dict(_delete_=True)
