# Trained on ImageNet, tested on ImageNet-Sketch: 1000 classes, 50,889 pictures.
_base_ = 'imagenet.py'

test_dataloader = dict(dataset=dict(type='CLIPImageNetSketch'))
