# From base to new classes on the digits: trained and tested on zero to four, then tested on five to nine.
#
#   python tools/train.py configs/mps_mini_16shot_digits_base2new.py
#   python tools/test.py configs/mps_mini_16shot_digits_base2new.py \
#       work_dirs/mps_mini_16shot_digits_base2new/epoch_50.pth
_base_ = './mps_mini_16shot_digits.py'

task = 'base_to_new'
train_dataloader = dict(dataset=dict(dataset=dict(class_subset='base')))
val_dataloader = dict(dataset=dict(class_subset='base'))
test_dataloader = dict(dataset=dict(class_subset='base'))
test_cfg = dict(
    _delete_=True, type='DomainGeneralizationLoop', targets=dict(new=dict(type='Digits', subset='test', class_subset='new'))
)
