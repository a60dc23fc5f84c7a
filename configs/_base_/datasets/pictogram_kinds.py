# Pictograms by kind: 56 classes (bird, fruit, ...), trained on some concepts of each and tested on others; 64x64 pixels, in
# memory, nothing to download; see docs/pictograms.md.
# `architecture` and `pretrained` belong to the model's config; overriding them there reaches the transforms here, too.
# Train: num_shots pictures per class from the train pool; val: min(num_shots, 4) per class; test: the test split.
num_shots = 16
seed = 1
# Recipes may differ by task: 'few_shot', 'base_to_new' or 'transfer' (from this data set to others).
task = 'few_shot'
keep_crops = True  # half a small drawing is hard to tell, whatever a method crops

train_pipeline = [
    dict(type='LoadRGBImage'),
    dict(
        type='DualView',
        num_views=2,
        transforms=[
            dict(
                type='CLIPTrainTransform',
                architecture='mps-mini',
                pretrained='embedded',
                scale=(0.6, 1.0),
                flip_prob=0.5)
        ]),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadRGBImage'),
    dict(type='CLIPTestTransform', architecture='mps-mini', pretrained='embedded'),
    dict(type='PackInputs'),
]

# Pictures this small are ready faster than a worker process could hand them over, or pinned memory be had.
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='FewShotSampler', shuffle=True),
    dataset=dict(
        type='FewShotDataset',
        num_shots=num_shots,
        seed=seed,
        dataset=dict(type='PictogramKinds', subset='train', pipeline=train_pipeline)))
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='FewShotDataset',
        subset='val',
        num_shots=num_shots,
        seed=seed,
        dataset=dict(type='PictogramKinds', subset='val', test_mode=True, pipeline=test_pipeline)))
test_dataloader = dict(
    batch_size=100,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='PictogramKinds', subset='test', test_mode=True, pipeline=test_pipeline))

val_evaluator = dict(type='BranchAccuracy')
test_evaluator = val_evaluator

# The same classes in other hands, for test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}}).
targets = dict(
    older=dict(type='PictogramKinds', domain='older', subset='test'),
    other_artist=dict(type='PictogramKinds', domain='other_artist', subset='test'),
    sketch=dict(type='PictogramKinds', domain='sketch', subset='test'),
    distorted=dict(type='PictogramKinds', domain='distorted', subset='test'))
