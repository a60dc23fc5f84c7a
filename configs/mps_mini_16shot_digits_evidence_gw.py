# The Gromov-Wasserstein distance between the features before and after tuning, and the bound that alignment minimises,
# on the validation split after every epoch. Needs the extra "analysis"; a second more per epoch.
#
#   python tools/train.py configs/mps_mini_16shot_digits_evidence_gw.py
#
# The course over the epochs stands in work_dirs/mps_mini_16shot_digits_evidence_gw/<time>/vis_data/scalars.json, one
# line per epoch with gw/exact, gw/bound, gw/tightness, ...
_base_ = './mps_mini_16shot_digits_evidence.py'

train_cfg = dict(val_interval=1)
val_evaluator = [
    dict(type='BranchAccuracy'),
    dict(type='GramDistortion'),
    dict(type='GromovWassersteinDistance'),
]
test_evaluator = [
    dict(type='BranchAccuracy'),
    dict(type='CalibrationError'),
    dict(type='GramDistortion'),
    dict(type='ClassSeparability'),
    dict(type='GromovWassersteinDistance'),
]
