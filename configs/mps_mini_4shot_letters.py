# MPS-Tuning of the embedded mini CLIP on 45 distorted letters, 4 pictures per class: harder than the digits.
#
#   python tools/train.py configs/mps_mini_4shot_letters.py
_base_ = [
    './_base_/models/mini_clip.py',
    './_base_/datasets/letters.py',
    './_base_/schedules/paper_50e.py',
    './default_runtime.py',
]

# As for the digits: the embedded model is small, and a step has to be larger to move it.
model = dict(head=dict(alpha=0.5), gram_loss=dict(loss_weight=4.0))
optim_wrapper = dict(optimizer=dict(lr=0.02))
default_hooks = dict(checkpoint=dict(interval=10))
