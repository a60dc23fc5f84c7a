# scikit-learn's handwritten digits: 1,797 real pictures of 8x8 pixels, in memory, nothing to download.
# `architecture` and `pretrained` belong to the model's config; overriding them there reaches the transforms here, too.
# Train: num_shots pictures per class from the train pool; val: the val split; test: the test split.
num_shots = 16
seed = 1
# Recipes may differ by task: 'few_shot', 'base_to_new' or 'transfer' (from this data set to others).
task = 'few_shot'
keep_crops = True  # less than most of a glyph is another glyph, whatever a method crops

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
                scale=(0.8, 1.0),  # less than most of a glyph is another glyph
                flip_prob=0)  # a mirrored digit is no digit
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
        dataset=dict(type='Digits', subset='train', pipeline=train_pipeline)))
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='Digits', subset='val', test_mode=True, pipeline=test_pipeline))
test_dataloader = dict(
    batch_size=100,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='Digits', subset='test', test_mode=True, pipeline=test_pipeline))

val_evaluator = dict(type='BranchAccuracy')
test_evaluator = val_evaluator

# Other pictures of the same ten classes, for test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}}).
targets = dict(
    mnist=dict(type='MNISTSample'),
    unseen_fonts=dict(type='RenderedGlyphs'),
    noise=dict(type='CorruptedDigits', corruption='noise'),
    blur=dict(type='CorruptedDigits', corruption='blur'),
    inversion=dict(type='CorruptedDigits', corruption='inversion'))
