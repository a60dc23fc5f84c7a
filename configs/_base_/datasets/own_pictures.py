# What custom.py and custom_table.py share: pictures are turned as their EXIF orientation says, since cameras and phones
# rely on it.
_base_ = 'few_shot.py'

data_root = ''
skip_invalid = False  # True leaves out what cannot be decoded, with a warning
allow_outside = False  # True follows links and paths that lead out of data_root
max_pixels = 100_000_000  # larger pictures are refused before they are decoded

train_pipeline, test_pipeline = __import__('mmpretrain_mps.datasets.pipelines', fromlist=['clip_pipelines']).clip_pipelines(
    'ViT-B-16', 'openai', exif=True, max_pixels=max_pixels
)

checks = dict(skip_invalid=skip_invalid, allow_outside=allow_outside, max_pixels=max_pixels)
train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root, pipeline=train_pipeline, **checks)))
val_dataloader = None
val_evaluator = None
test_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline, **checks))
del checks
