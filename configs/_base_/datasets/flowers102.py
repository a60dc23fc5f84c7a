# Flowers102: 102 classes; 4,093 / 1,633 / 2,463 pictures to draw from, validate and test on.
_base_ = 'few_shot.py'

train_dataloader = dict(dataset=dict(dataset=dict(type='CLIPFlowers102')))
val_dataloader = dict(dataset=dict(dataset=dict(type='CLIPFlowers102')))
test_dataloader = dict(dataset=dict(type='CLIPFlowers102'))
