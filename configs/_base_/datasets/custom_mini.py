# One's own pictures as in custom.py, made ready for an embedded model (32x32 or 48x48 pixels).
_base_ = 'custom.py'

keep_crops = True  # less than most of a small picture is another one, whatever a method crops

train_pipeline = [
    dict(type='LoadRGBImage', max_pixels={{_base_.max_pixels}}),
    dict(
        type='DualView',
        num_views=2,
        transforms=[
            dict(
                type='CLIPTrainTransform',
                architecture='mps-mini-pictograms',
                pretrained='embedded',
                scale=(0.8, 1.0),  # less than most of a small picture is another one
                flip_prob=0,
            )  # signs, arrows and digits are not what they were when mirrored
        ],
    ),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadRGBImage', max_pixels={{_base_.max_pixels}}),
    dict(type='CLIPTestTransform', architecture='mps-mini-pictograms', pretrained='embedded'),
    dict(type='PackInputs'),
]

# Pictures this small are ready faster than a worker process could hand them over.
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(dataset=dict(pipeline=train_pipeline)))
test_dataloader = dict(num_workers=0, dataset=dict(pipeline=test_pipeline))
