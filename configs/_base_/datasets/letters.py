# 45 letters, distorted as the embedded model never saw them: 32x32 pixels, drawn in memory, nothing to download.
# Train: num_shots pictures per class from the train pool; val: the val split; test: the test split.
_base_ = 'in_memory.py'

num_shots = 4

train_dataloader = dict(
    dataset=dict(
        type='FewShotDataset',
        num_shots=num_shots,
        seed={{_base_.seed}},
        dataset=dict(type='DistortedLetters', subset='train', pipeline={{_base_.train_pipeline}}),
    )
)
val_dataloader = dict(dataset=dict(type='DistortedLetters', subset='val', test_mode=True, pipeline={{_base_.test_pipeline}}))
test_dataloader = dict(dataset=dict(type='DistortedLetters', subset='test', test_mode=True, pipeline={{_base_.test_pipeline}}))
