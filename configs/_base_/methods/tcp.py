# TCP, Textual-based Class-aware Prompt Tuning (CVPR 2024, arXiv 2311.18231). Values of its released code, which trains
# in float16; here in float32. eps is part of the recipe.
architecture = 'ViT-B-16'
pretrained = 'openai'

model = dict(
    type='TCPClassifier',
    architecture=architecture,
    pretrained=pretrained,
    num_context=4,
    class_aware_block=8,  # counted from 0: its input
    knowledge_weight=8.0,
    prompt_template='{}.',  # what follows the context
    knowledge_template=None,
)  # None: the prompt templates of the data set

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='Adam', lr=0.002, betas=(0.9, 0.999), eps=1e-3, weight_decay=5e-4),
)

# Epoch 0 at 1e-5, then lr * (1 + cos(pi * (e - 1) / E)) / 2 in epoch e.
param_scheduler = [
    dict(type='ConstantLR', factor=0.005, begin=0, end=2, by_epoch=True),
    dict(type='CosineAnnealingLR', T_max=50, begin=1, end=50, by_epoch=True),
]

train_cfg = dict(by_epoch=True, max_epochs=50, val_interval=50)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=32, enable=False)

batch_size = 32
views = dict(num_views=1, scale=(0.08, 1.0))

method = dict(
    name='tcp',
    label='TCP',
    cases=[
        dict(datasets=['ImageNet', 'SUN397'], set={'train_cfg.max_epochs': 25}),
        # What follows the context, and the text of the frozen model; where they are not named, as above.
        dict(datasets=['OxfordPets'], set={'model.prompt_template': '{}, a type of pet.'}),
        dict(datasets=['Flowers102'], set={'model.prompt_template': '{}, a type of flower.'}),
        dict(datasets=['StanfordCars'], set={'model.prompt_template': '{}, a type of car'}),
        dict(datasets=['UCF101'], set={'model.prompt_template': 'person doing {}.'}),
        dict(
            datasets=['Food101'],
            set={'model.prompt_template': '{}, a type of food.', 'model.knowledge_template': 'a photo of a {}, a type of food.'},
        ),
        dict(
            datasets=['FGVCAircraft'],
            set={'model.prompt_template': '{}, a type of aircraft.', 'model.knowledge_template': 'a photo of an aircraft {}.'},
        ),
        dict(
            datasets=['DTD'],
            set={'model.prompt_template': '{} texture.', 'model.knowledge_template': 'a photo of a {}, a type of texture.'},
        ),
        dict(datasets=['ImageNet'], set={'model.knowledge_template': 'a photo of a {}.'}),
        # Other data sets keep templates of their own; the released code has no such task.
        dict(
            datasets=['ImageNet'],
            tasks=['transfer'],
            set={'model.knowledge_template': None, 'model.templates': ('a photo of a {}.',)},
        ),
        # Its text tower has 3 blocks, not 12.
        dict(architectures=['mps-mini'], set={'model.class_aware_block': 2}),
        # The released code leaves out the last, incomplete batch, unless there is no other.
        dict(recipe='official', set={'train_dataloader.drop_last': True}),
    ],
)
