# SUN397: 397 classes; 15,880 / 3,970 / 19,850 pictures to draw from, validate and test on.
_base_ = 'few_shot.py'

train_dataloader = dict(dataset=dict(dataset=dict(type='CLIPSUN397')))
val_dataloader = dict(dataset=dict(dataset=dict(type='CLIPSUN397')))
test_dataloader = dict(dataset=dict(type='CLIPSUN397'))
