# scikit-learn's handwritten digits: 1,797 real pictures of 8x8 pixels, in memory, nothing to download.
# Train: num_shots pictures per class from the train pool; val: the val split; test: the test split.
_base_ = 'in_memory.py'

num_shots = 16

train_dataloader = dict(
    dataset=dict(
        type='FewShotDataset',
        num_shots=num_shots,
        seed={{_base_.seed}},
        dataset=dict(type='Digits', subset='train', pipeline={{_base_.train_pipeline}}),
    )
)
val_dataloader = dict(dataset=dict(type='Digits', subset='val', test_mode=True, pipeline={{_base_.test_pipeline}}))
test_dataloader = dict(dataset=dict(type='Digits', subset='test', test_mode=True, pipeline={{_base_.test_pipeline}}))

# Other pictures of the same ten classes, for test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}}).
targets = dict(
    mnist=dict(type='MNISTSample'),
    unseen_fonts=dict(type='RenderedGlyphs'),
    noise=dict(type='CorruptedDigits', corruption='noise'),
    blur=dict(type='CorruptedDigits', corruption='blur'),
    inversion=dict(type='CorruptedDigits', corruption='inversion'),
)
