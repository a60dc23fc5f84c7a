# MPS-Tuning of the embedded pictogram CLIP on pictograms of 56 kinds of things, 16 pictures per class, tested
# in the source and in shifted styles.
#
#   python tools/train.py configs/mps_mini_16shot_pictogram_kinds.py
_base_ = ['./_base_/datasets/pictogram_kinds.py', './_base_/mps_mini_pictograms.py']

# Of the size of the rates that configs/studies/pictogram_things.yaml compares.
optim_wrapper = dict(optimizer=dict(lr=0.003))
test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}})
