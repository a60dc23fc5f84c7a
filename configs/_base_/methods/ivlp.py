# IVLP: the independent prompts in both towers that PromptSRC (arXiv 2307.06948) regularises, trained by cross-entropy alone.
architecture = 'ViT-B-16'
pretrained = 'openai'

model = dict(
    type='PromptSRCClassifier',
    architecture=architecture,
    pretrained=pretrained,
    num_text_prompts=4,
    num_vision_prompts=4,
    text_depth=9,
    vision_depth=9,
    context_init='a photo of a',
    text_weight=0.0,
    image_weight=0.0,
    logit_weight=0.0,
)

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.0025, momentum=0.9, weight_decay=5e-4),
)

# Epoch 0 at 1e-5, then lr * (1 + cos(pi * (e - 1) / E)) / 2 in epoch e.
param_scheduler = [
    dict(type='ConstantLR', factor=0.004, begin=0, end=2, by_epoch=True),
    dict(type='CosineAnnealingLR', T_max=50, begin=1, end=50, by_epoch=True),
]

train_cfg = dict(by_epoch=True, max_epochs=50, val_interval=50)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=4, enable=False)

batch_size = 4
views = dict(num_views=1, scale=(0.08, 1.0))

method = dict(
    name='ivlp',
    label='IVLP',
    cases=[
        dict(tasks=['base_to_new'], set={'train_cfg.max_epochs': 20}),
        dict(tasks=['transfer'], set={'train_cfg.max_epochs': 20, 'model.text_depth': 3, 'model.vision_depth': 3}),
        # Its text tower has 3 blocks.
        dict(architectures=['mps-mini'], set={'model.text_depth': 3}),
        # The released code leaves out the last, incomplete batch.
        dict(recipe='official', set={'train_dataloader.drop_last': True}),
    ],
)
