# MPS-Tuning of the embedded mini CLIP on scikit-learn's handwritten digits, 16 pictures per class.
#
#   python tools/train.py configs/mps_mini_16shot_digits.py
#   python tools/test.py configs/mps_mini_16shot_digits.py work_dirs/mps_mini_16shot_digits/epoch_50.pth
#
# Expected on the 899 held-out digits: results/mini_digits/results.md (about a minute per run on 2 cores).
_base_ = [
    './_base_/models/mini_clip.py',
    './_base_/datasets/digits.py',
    './_base_/schedules/paper_50e.py',
    './default_runtime.py',
]

# The embedded model is not CLIP: it is small, so that a step has to be larger to move it, and it knows few things, so that
# the tuned branch deserves more of the prediction than the frozen one. Learning rate, weights and alpha were chosen on
# the validation split, in an earlier round than that of configs/studies/digits.yaml.
model = dict(head=dict(alpha=0.7), gram_loss=dict(loss_weight=1.0), sculpt_loss=dict(loss_weight=0.4))
optim_wrapper = dict(optimizer=dict(lr=0.01))
# An epoch takes less than a second; to write a checkpoint after each would take as long again.
default_hooks = dict(checkpoint=dict(interval=10))

# Other pictures of the same ten classes, tested after the held-out digits. MNIST needs the extra "targets".
test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}})
