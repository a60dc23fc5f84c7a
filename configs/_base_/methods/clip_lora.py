# CLIP-LoRA, Low-Rank Few-Shot Adaptation of Vision-Language Models (CVPR-W 2024, arXiv 2405.18541). Values of its
# released code: one setting for all data sets, 500 steps for each shot.
architecture = 'ViT-B-16'
pretrained = 'openai'

model = dict(
    type='CLIPLoRAClassifier',
    architecture=architecture,
    pretrained=pretrained,
    rank=2,
    alpha=1.0,
    scaling='sqrt',  # updates are scaled by alpha / sqrt(rank)
    dropout=0.25,
    projections=('q', 'k', 'v'),
    towers=('text', 'vision'),
    position='all',
    prompt='a photo of a {}.',
    logit_scale=100.0,
)  # whatever the CLIP has learned; None takes that

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=2e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01),
)

# By step, down to 1e-6 at the last one.
param_scheduler = [dict(type='CosineAnnealingLR', T_max=8000, eta_min=1e-6, begin=0, end=8000, by_epoch=False)]

train_cfg = dict(type='StepBudgetTrainLoop', max_iters=8000)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=32, enable=False)

batch_size = 32
views = dict(num_views=1, scale=(0.08, 1.0))

method = dict(
    name='clip_lora',
    label='CLIP-LoRA',
    # An epoch is short where there are few pictures: five steps with 16 shots of ten classes.
    hooks=dict(checkpoint=dict(interval=10)),
    cases=[dict(set_per_shot={'train_cfg.max_iters': 500})],
)
