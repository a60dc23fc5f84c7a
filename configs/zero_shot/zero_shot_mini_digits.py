# Zero-shot classification by the embedded mini CLIP on scikit-learn's handwritten digits.
#
#   python tools/test.py configs/zero_shot/zero_shot_mini_digits.py --zero-shot
#
# Equal to `--method zero_shot` on configs/mps_mini_16shot_digits.py.
_base_ = [
    '../_base_/methods/zero_shot.py',
    '../_base_/datasets/digits.py',
    '../default_runtime.py',
]

architecture = 'mps-mini'
pretrained = 'embedded'
model = dict(architecture=architecture, pretrained=pretrained)

train_dataloader = None
default_hooks = dict(checkpoint=dict(interval=10))

test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}})
