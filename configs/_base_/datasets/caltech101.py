# Caltech101: 100 classes; 4,128 / 1,649 / 2,465 pictures to draw from, validate and test on.
_base_ = 'few_shot.py'

train_dataloader = dict(dataset=dict(dataset=dict(type='CLIPCaltech101')))
val_dataloader = dict(dataset=dict(dataset=dict(type='CLIPCaltech101')))
test_dataloader = dict(dataset=dict(type='CLIPCaltech101'))
