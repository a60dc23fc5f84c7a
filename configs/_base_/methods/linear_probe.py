# The linear probe, the baseline of CLIP's own paper (arXiv 2103.00020): logistic regression on frozen features.
_base_ = ['../models/clip_vitb16_linear_probe.py', '../schedules/linear_probe.py']

batch_size = 32
# Features are those of the test transform.
views = 'test'

method = dict(
    name='linear_probe',
    label='linear probe',
    cases=[
        dict(datasets=['ImageNet'], set=dict(batch_size=64)),
        dict(architectures=['mps-mini'], datasets=['DistortedLetters'], set={'train_cfg.C': 30.0}),
    ],
)
