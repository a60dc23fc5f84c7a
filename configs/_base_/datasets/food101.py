# Food101: 101 classes; 50,500 / 20,200 / 30,300 pictures to draw from, validate and test on.
_base_ = 'few_shot.py'

train_dataloader = dict(dataset=dict(dataset=dict(type='CLIPFood101')))
val_dataloader = dict(dataset=dict(dataset=dict(type='CLIPFood101')))
test_dataloader = dict(dataset=dict(type='CLIPFood101'))
