# What the benchmark data sets share: pipelines and loaders. The files that build on this one name the data set.
# Train: num_shots pictures per class; val: min(num_shots, 4) per class from the val split; test: the whole test split.
# `architecture` and `pretrained` belong to the model's config; overriding them there reaches the transforms here, too.
data_root = 'data'  # the folder that holds caltech-101, oxford_pets, ..., or the data set's own folder
num_shots = 16
seed = 1
# Recipes may differ by task: 'few_shot', 'base_to_new' or 'transfer' (from this data set to others).
task = 'few_shot'
# Processes that load: this process's share of the cores that it may use, at most 16. They do not change what is shown.
# (mmengine would take an import statement for another kind of config.)
num_workers = __import__('mmpretrain_mps.utils.cores', fromlist=['loading_processes']).loading_processes()

# The field reads these pictures without a look at their EXIF orientation, and so its published figures are reproduced.
train_pipeline, test_pipeline = __import__('mmpretrain_mps.datasets.pipelines', fromlist=['clip_pipelines']).clip_pipelines(
    'ViT-B-16', 'openai', exif=False
)

train_dataloader = dict(
    batch_size=32,
    num_workers=num_workers,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='FewShotSampler', shuffle=True),
    dataset=dict(
        type='FewShotDataset',
        num_shots=num_shots,
        seed=seed,
        dataset=dict(data_root=data_root, subset='train', pipeline=train_pipeline),
    ),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=num_workers,
    persistent_workers=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='FewShotDataset',
        subset='val',
        num_shots=num_shots,
        seed=seed,
        dataset=dict(data_root=data_root, subset='val', test_mode=True, pipeline=test_pipeline),
    ),
)
test_dataloader = dict(
    batch_size=100,
    num_workers=num_workers,
    persistent_workers=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(data_root=data_root, subset='test', test_mode=True, pipeline=test_pipeline),
)

val_evaluator = dict(type='BranchAccuracy')
test_evaluator = val_evaluator
