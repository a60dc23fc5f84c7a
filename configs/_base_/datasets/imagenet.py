# ImageNet: 1000 classes; 1,281,167 pictures to draw from, the 50,000 validation pictures to test on.
# The protocol has no val split here: a config that builds on this file also says `val_cfg = None`.
_base_ = 'few_shot.py'

train_dataloader = dict(batch_size=64, dataset=dict(dataset=dict(type='CLIPImageNet')))
val_dataloader = None
val_evaluator = None
test_dataloader = dict(dataset=dict(type='CLIPImageNet'))

# The shifted test sets, for test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}}).
targets = dict(
    imagenet_v2=dict(type='CLIPImageNetV2', data_root={{_base_.data_root}}, subset='test'),
    imagenet_sketch=dict(type='CLIPImageNetSketch', data_root={{_base_.data_root}}, subset='test'),
    imagenet_a=dict(type='CLIPImageNetA', data_root={{_base_.data_root}}, subset='test'),
    imagenet_r=dict(type='CLIPImageNetR', data_root={{_base_.data_root}}, subset='test'),
)
