# The Gromov-Wasserstein distance between the features before and after tuning on pictograms of things, and the bound that
# alignment minimises, on validation pictures after every epoch. Needs the extra "analysis".
#
#   python tools/analysis/gromov_wasserstein.py results/things_study --settings-of full --shots 4 \
#       --config configs/mps_mini_16shot_pictogram_things_evidence_gw.py --work-dir work_dirs/things_bound --out results/things_bound
_base_ = './mps_mini_16shot_pictogram_things.py'

train_cfg = dict(val_interval=1)
val_evaluator = [
    dict(type='BranchAccuracy'),
    dict(type='GramDistortion'),
    dict(type='GromovWassersteinDistance', max_pictures=500),  # two of each class
]
