# What custom.py and custom_table.py share: pictures are turned as their EXIF orientation says, since cameras and phones
# rely on it.
_base_ = 'few_shot.py'

data_root = ''
skip_invalid = False  # True leaves out what is no picture, with a warning

train_pipeline = [
    dict(type='LoadRGBImage', exif=True),
    dict(
        type='DualView',
        num_views=2,
        transforms=[
            dict(
                type='CLIPTrainTransform',
                architecture='ViT-B-16',
                pretrained='openai',
                scale=(0.3, 1.0),
                flip_prob=0.5)
        ]),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadRGBImage', exif=True),
    dict(type='CLIPTestTransform', architecture='ViT-B-16', pretrained='openai'),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    dataset=dict(dataset=dict(data_root=data_root, skip_invalid=skip_invalid, pipeline=train_pipeline)))
val_dataloader = None
val_evaluator = None
test_dataloader = dict(dataset=dict(data_root=data_root, skip_invalid=skip_invalid, pipeline=test_pipeline))
