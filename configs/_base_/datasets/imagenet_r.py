# Trained on ImageNet, tested on ImageNet-R: 200 of the 1000 classes, 30,000 pictures, scored among these 200.
_base_ = 'imagenet.py'

test_dataloader = dict(dataset=dict(type='CLIPImageNetR'))
