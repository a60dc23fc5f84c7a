# PromptSRC, Self-regulating Prompts (ICCV 2023, arXiv 2307.06948). Values of its released code; prompts are averaged in
# float32, and nothing else is.
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
    teacher_templates=None,  # the first 60 of OpenAI's for ImageNet, for every data set
    text_weight=25.0,
    image_weight=10.0,
    logit_weight=1.0,
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
    name='promptsrc',
    label='PromptSRC',
    # Epochs are weighted by a Gaussian over them.
    hooks=dict(epoch_average=dict(type='EpochAverageHook', weights=dict(mean=30, std=30))),
    cases=[
        dict(
            datasets=['StanfordCars', 'Flowers102', 'FGVCAircraft', 'DTD', 'EuroSAT'],
            set={'default_hooks.epoch_average.weights.mean': 45, 'default_hooks.epoch_average.weights.std': 5},
        ),
        dict(
            tasks=['base_to_new'],
            set={
                'train_cfg.max_epochs': 20,
                'default_hooks.epoch_average.weights.mean': 15,
                'default_hooks.epoch_average.weights.std': 1,
            },
        ),
        dict(
            tasks=['transfer'],
            set={
                'train_cfg.max_epochs': 20,
                'default_hooks.epoch_average.weights.mean': 6,
                'default_hooks.epoch_average.weights.std': 10,
                'model.text_depth': 3,
                'model.vision_depth': 3,
            },
        ),
        # Its text tower has 3 blocks, and knows few words: not those of the 60 templates.
        dict(architectures=['mps-mini'], set={'model.text_depth': 3, 'model.teacher_templates': 'classes'}),
        # The released code leaves out the last, incomplete batch.
        dict(recipe='official', set={'train_dataloader.drop_last': True}),
    ],
)
