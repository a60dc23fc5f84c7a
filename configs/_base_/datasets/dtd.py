# DTD: 47 classes; 2,820 / 1,128 / 1,692 pictures to draw from, validate and test on.
_base_ = 'few_shot.py'

train_dataloader = dict(dataset=dict(dataset=dict(type='CLIPDTD')))
val_dataloader = dict(dataset=dict(dataset=dict(type='CLIPDTD')))
test_dataloader = dict(dataset=dict(type='CLIPDTD'))
