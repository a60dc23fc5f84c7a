# MPS-Tuning of the embedded mini CLIP on scikit-learn's handwritten digits, 16 pictures per class.
#
#   python tools/train.py configs/mps_mini_16shot_digits.py
#   python tools/test.py configs/mps_mini_16shot_digits.py work_dirs/mps_mini_16shot_digits/epoch_50.pth
_base_ = [
    './_base_/models/mini_clip.py',
    './_base_/datasets/digits.py',
    './_base_/schedules/paper_50e.py',
    './default_runtime.py',
]

model = dict(head=dict(alpha=0.7))
optim_wrapper = dict(optimizer=dict(lr=0.01))
# An epoch takes less than a second; to write a checkpoint after each would take as long again.
default_hooks = dict(checkpoint=dict(interval=10))

# Other pictures of the same ten classes, tested after the held-out digits. MNIST needs the extra "targets".
test_cfg = dict(
    type='DomainGeneralizationLoop',
    targets=dict(
        mnist=dict(type='MNISTSample'),
        unseen_fonts=dict(type='RenderedGlyphs'),
        noise=dict(type='CorruptedDigits', corruption='noise'),
        blur=dict(type='CorruptedDigits', corruption='blur'),
        inversion=dict(type='CorruptedDigits', corruption='inversion')))
