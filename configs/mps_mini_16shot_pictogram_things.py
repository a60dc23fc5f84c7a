# MPS-Tuning of the embedded pictogram CLIP on pictograms of 250 single things, 16 pictures per class, tested
# in the source and in shifted styles.
#
#   python tools/train.py configs/mps_mini_16shot_pictogram_things.py
_base_ = ['./_base_/datasets/pictogram_things.py', './_base_/mps_mini_pictograms.py']

# What configs/studies/pictogram_things.yaml chose on validation pictures, for six passes; the weight of alignment is 1, as everywhere.
model = dict(head=dict(alpha=0.6), sculpt_loss=dict(loss_weight=1.0))
optim_wrapper = dict(optimizer=dict(lr=0.03))
train_cfg = dict(max_epochs=6, val_interval=6)
param_scheduler = [
    dict(type='FirstEpochWarmupLR', start_factor=0.005, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=6, begin=0, end=6, by_epoch=True),
]
test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}})
