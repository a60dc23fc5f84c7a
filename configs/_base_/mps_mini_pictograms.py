# MPS-Tuning of the embedded pictogram CLIP, on any data set.
_base_ = [
    './models/pictogram_clip.py',
    './schedules/paper_50e.py',
    '../default_runtime.py',
]

# The embedded model is not CLIP: it is small, so that a step has to be larger to move it, and it knows few things, so that
# the tuned branch deserves more of the prediction than the frozen one. Learning rate, weights and alpha were chosen on
# the validation split of the digits, in an earlier round than that of configs/studies/digits.yaml.
model = dict(head=dict(alpha=0.7), gram_loss=dict(loss_weight=1.0), sculpt_loss=dict(loss_weight=0.4))
optim_wrapper = dict(optimizer=dict(lr=0.01))
# An epoch takes less than a second; to write a checkpoint after each would take as long again.
default_hooks = dict(checkpoint=dict(interval=10))
