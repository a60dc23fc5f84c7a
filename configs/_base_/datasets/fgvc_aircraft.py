# FGVCAircraft: 100 classes; 3,334 / 3,333 / 3,333 pictures to draw from, validate and test on.
_base_ = 'few_shot.py'

train_dataloader = dict(dataset=dict(dataset=dict(type='CLIPFGVCAircraft')))
val_dataloader = dict(dataset=dict(dataset=dict(type='CLIPFGVCAircraft')))
test_dataloader = dict(dataset=dict(type='CLIPFGVCAircraft'))
