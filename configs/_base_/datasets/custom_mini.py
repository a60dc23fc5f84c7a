# One's own pictures as in custom.py, made ready for an embedded model (32x32 or 48x48 pixels).
_base_ = 'custom.py'

keep_crops = True  # less than most of a small picture is another one, whatever a method crops

# Signs, arrows and digits are not what they were when mirrored.
train_pipeline, test_pipeline = __import__('mmpretrain_mps.datasets.pipelines', fromlist=['clip_pipelines']).clip_pipelines(
    'mps-mini-pictograms', 'embedded', scale=(0.8, 1.0), flip_prob=0, max_pixels={{_base_.max_pixels}}
)

# Pictures this small are ready faster than a worker process could hand them over.
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(dataset=dict(pipeline=train_pipeline)))
test_dataloader = dict(num_workers=0, dataset=dict(pipeline=test_pipeline))
