# PromptSRC of the embedded mini CLIP on scikit-learn's handwritten digits, 16 pictures per class.
#
#   python tools/train.py configs/promptsrc/promptsrc_mini_16shot_digits.py
#
# Equal to `--method promptsrc` on configs/mps_mini_16shot_digits.py.
_base_ = [
    '../_base_/methods/promptsrc.py',
    '../_base_/datasets/digits.py',
    '../default_runtime.py',
]

architecture = 'mps-mini'
pretrained = 'embedded'
model = dict(architecture=architecture, pretrained=pretrained, text_depth=3, teacher_templates='classes')

# Crops are those of the data set.
train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views=dict(num_views=1)))
default_hooks = dict(checkpoint=dict(interval=10), epoch_average={{_base_.method.hooks.epoch_average}})

test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}})
