# EuroSAT: 10 classes; 13,500 / 5,400 / 8,100 pictures to draw from, validate and test on.
_base_ = 'few_shot.py'

train_dataloader = dict(dataset=dict(dataset=dict(type='CLIPEuroSAT')))
val_dataloader = dict(dataset=dict(dataset=dict(type='CLIPEuroSAT')))
test_dataloader = dict(dataset=dict(type='CLIPEuroSAT'))
