# From base to new classes on pictograms of 56 kinds of things: trained and tested on the first half of the classes, then tested on
# the other half.
#
#   python tools/train.py configs/mps_mini_16shot_pictogram_kinds_base2new.py
_base_ = './mps_mini_16shot_pictogram_kinds.py'

task = 'base_to_new'
train_dataloader = dict(dataset=dict(dataset=dict(class_subset='base')))
val_dataloader = dict(dataset=dict(dataset=dict(class_subset='base')))
test_dataloader = dict(dataset=dict(class_subset='base'))
test_cfg = dict(
    _delete_=True,
    type='DomainGeneralizationLoop',
    targets=dict(new=dict(type='PictogramKinds', subset='test', class_subset='new')),
)
