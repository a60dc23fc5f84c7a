# What data sets of small pictures that are held in memory share: pipelines of the embedded model, and loaders.
# `architecture` and `pretrained` belong to the model's config; overriding them there reaches the transforms here, too.
seed = 1
# Recipes may differ by task: 'few_shot', 'base_to_new' or 'transfer' (from this data set to others).
task = 'few_shot'
keep_crops = True  # less than most of a small picture is another one, whatever a method crops

# Less than most of a glyph is another glyph, and a mirrored one is none.
train_pipeline, test_pipeline = __import__('mmpretrain_mps.datasets.pipelines', fromlist=['clip_pipelines']).clip_pipelines(
    'mps-mini', 'embedded', scale=(0.8, 1.0), flip_prob=0
)

# Pictures this small are ready faster than a worker process could hand them over, or pinned memory be had.
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='FewShotSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='BranchAccuracy')
test_evaluator = val_evaluator
