# What the method claims, measured on the digits: geometry that is preserved, classes that are sculpted, concepts of the
# pre-training that are not forgotten. Training is that of mps_mini_16shot_digits.py.
#
#   python tools/train.py configs/mps_mini_16shot_digits_evidence.py
#   python tools/test.py configs/mps_mini_16shot_digits_evidence.py \
#       work_dirs/mps_mini_16shot_digits_evidence/epoch_50.pth
#
# All figures of every set stand in domain_generalization.md and .json of the work folder. They are taken on test pictures
# and choose nothing. Expected: accuracy as in results/mini_digits; the study of methods is in results/digits_study.
_base_ = './mps_mini_16shot_digits.py'

# Digits of other people, and concepts that tuning on digits does not see, each among its own class names: forgetting is
# the distance to zero-shot.
test_cfg = dict(
    feature_metrics='source',
    targets=dict(
        _delete_=True,
        mnist=dict(type='MNISTSample'),
        letters=dict(type='RenderedGlyphs', concepts='letters'),
        symbols=dict(type='RenderedGlyphs', concepts='symbols'),
    ),
)

val_evaluator = dict(type='BranchAccuracy')
test_evaluator = [
    dict(type='BranchAccuracy'),
    dict(type='CalibrationError'),
    dict(type='GramDistortion'),
    dict(type='ClassSeparability'),
]
