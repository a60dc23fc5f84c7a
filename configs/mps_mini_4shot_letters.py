# MPS-Tuning of the embedded mini CLIP on 45 distorted letters, 4 pictures per class: harder than the digits, and with more
# to forget.
#
#   python tools/train.py configs/mps_mini_4shot_letters.py
#   python tools/test.py configs/mps_mini_4shot_letters.py work_dirs/mps_mini_4shot_letters/epoch_50.pth
#
# Expected: results/letters_study/study.md, the full method (about half a minute of training on 2 cores).
_base_ = [
    './_base_/models/mini_clip.py',
    './_base_/datasets/letters.py',
    './_base_/schedules/paper_50e.py',
    './default_runtime.py',
]

# What validation chose for the full method among nine candidates (configs/studies/letters.yaml).
model = dict(head=dict(alpha=0.9), gram_loss=dict(loss_weight=1.0), sculpt_loss=dict(loss_weight=1.0))
optim_wrapper = dict(optimizer=dict(lr=0.005))
default_hooks = dict(checkpoint=dict(interval=10))

# The same letters as they are printed, real digits, and symbols, each among its own class names.
test_cfg = dict(
    type='DomainGeneralizationLoop',
    feature_metrics='source',
    targets=dict(
        printed=dict(type='RenderedGlyphs', concepts='letters'),
        digits=dict(type='Digits', subset='test'),
        symbols=dict(type='RenderedGlyphs', concepts='symbols'),
    ),
)
test_evaluator = [
    dict(type='BranchAccuracy'),
    dict(type='CalibrationError'),
    dict(type='GramDistortion'),
    dict(type='ClassSeparability'),
]
