# Trained on ImageNet, tested on ImageNet-A: 200 of the 1000 classes, 7,500 pictures, scored among these 200.
_base_ = 'imagenet.py'

test_dataloader = dict(dataset=dict(type='CLIPImageNetA'))
