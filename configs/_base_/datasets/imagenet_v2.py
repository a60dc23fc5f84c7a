# Trained on ImageNet, tested on ImageNet-V2 (matched frequency): 1000 classes, 10,000 pictures.
_base_ = 'imagenet.py'

test_dataloader = dict(dataset=dict(type='CLIPImageNetV2'))
