# Pictograms by kind: 56 classes (bird, fruit, ...), trained on some concepts of each and tested on others; 64x64 pixels, in
# memory, nothing to download; see docs/pictograms.md.
# Train: num_shots pictures per class from the train pool; val: min(num_shots, 4) per class; test: the test split.
_base_ = 'in_memory.py'

num_shots = 16

# Half a small drawing is hard to tell.
train_pipeline, test_pipeline = __import__('mmpretrain_mps.datasets.pipelines', fromlist=['clip_pipelines']).clip_pipelines(
    'mps-mini-pictograms', 'embedded', scale=(0.6, 1.0)
)

train_dataloader = dict(
    dataset=dict(
        type='FewShotDataset',
        num_shots=num_shots,
        seed={{_base_.seed}},
        dataset=dict(type='PictogramKinds', subset='train', pipeline=train_pipeline),
    )
)
val_dataloader = dict(
    dataset=dict(
        type='FewShotDataset',
        subset='val',
        num_shots=num_shots,
        seed={{_base_.seed}},
        dataset=dict(type='PictogramKinds', subset='val', test_mode=True, pipeline=test_pipeline),
    )
)
test_dataloader = dict(dataset=dict(type='PictogramKinds', subset='test', test_mode=True, pipeline=test_pipeline))

# The same classes in other hands, for test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}}).
targets = dict(
    older=dict(type='PictogramKinds', domain='older', subset='test'),
    other_artist=dict(type='PictogramKinds', domain='other_artist', subset='test'),
    sketch=dict(type='PictogramKinds', domain='sketch', subset='test'),
    distorted=dict(type='PictogramKinds', domain='distorted', subset='test'),
)
