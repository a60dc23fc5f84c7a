# StanfordCars: 196 classes; 6,509 / 1,635 / 8,041 pictures to draw from, validate and test on.
_base_ = 'few_shot.py'

train_dataloader = dict(dataset=dict(dataset=dict(type='CLIPStanfordCars')))
val_dataloader = dict(dataset=dict(dataset=dict(type='CLIPStanfordCars')))
test_dataloader = dict(dataset=dict(type='CLIPStanfordCars'))
