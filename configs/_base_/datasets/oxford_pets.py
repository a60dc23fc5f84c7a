# OxfordPets: 37 classes; 2,944 / 736 / 3,669 pictures to draw from, validate and test on.
_base_ = 'few_shot.py'

train_dataloader = dict(dataset=dict(dataset=dict(type='CLIPOxfordPets')))
val_dataloader = dict(dataset=dict(dataset=dict(type='CLIPOxfordPets')))
test_dataloader = dict(dataset=dict(type='CLIPOxfordPets'))
