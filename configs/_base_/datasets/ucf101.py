# UCF101: 101 classes; 7,639 / 1,898 / 3,783 pictures to draw from, validate and test on.
_base_ = 'few_shot.py'

train_dataloader = dict(dataset=dict(dataset=dict(type='CLIPUCF101')))
val_dataloader = dict(dataset=dict(dataset=dict(type='CLIPUCF101')))
test_dataloader = dict(dataset=dict(type='CLIPUCF101'))
