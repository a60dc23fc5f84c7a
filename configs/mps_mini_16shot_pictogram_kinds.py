# MPS-Tuning of a mini CLIP on pictograms of 56 kinds of things, 16 pictures per class, tested in the source and in shifted styles.
#
#   python tools/train.py configs/mps_mini_16shot_pictogram_kinds.py \
#       --cfg-options architecture=local-dir:FOLDER pretrained=None
#
# FOLDER holds a mini CLIP that knows these words; the embedded one was trained on glyphs, and refuses them. Not measured yet.
_base_ = [
    './_base_/models/mini_clip.py',
    './_base_/datasets/pictogram_kinds.py',
    './_base_/schedules/paper_50e.py',
    './default_runtime.py',
]

# Those of the digits (mps_mini_16shot_digits.py); nothing was chosen here.
model = dict(head=dict(alpha=0.7), gram_loss=dict(loss_weight=1.0), sculpt_loss=dict(loss_weight=0.4))
optim_wrapper = dict(optimizer=dict(lr=0.01))
default_hooks = dict(checkpoint=dict(interval=10))

test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}})
