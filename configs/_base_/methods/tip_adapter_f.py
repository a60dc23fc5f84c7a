# Tip-Adapter-F (ECCV 2022, arXiv 2207.09519): Tip-Adapter whose keys are trained. Values of its released code, in
# float32. Beta and alpha are searched after the training, as for Tip-Adapter. Official also does what the released code
# does and keeps the epoch that is best ON THE TEST PICTURES, whose figures are then too high; by default the last epoch
# counts.
architecture = 'ViT-B-16'
pretrained = 'openai'

model = dict(
    type='TipAdapterClassifier',
    architecture=architecture,
    pretrained=pretrained,
    # The paper's. The released code starts each data set from numbers of its own, below.
    beta=5.5,
    head=dict(type='LogitsFusionHead', fusion='additive', alpha=1.0),
)

# Epsilon belongs to the recipe: the release trains in float16.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), eps=1e-4, weight_decay=0.01),
)

# By iteration, to zero.
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=20, eta_min=0.0, begin=0, end=20, by_epoch=True, convert_to_iter_based=True)
]

# Keys start from the mean features of ten views of each picture.
train_cfg = dict(
    type='FeatureStartLoop',
    max_epochs=20,
    val_interval=20,
    passes=10,
    search=dict(scale=(12, 10), steps=(200, 20), pictures='val'),
    best_epoch_on=None,
)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=256, enable=False)

batch_size = 256
views = dict(num_views=1, scale=(0.5, 1.0))

method = dict(
    name='tip_adapter_f',
    label='Tip-Adapter-F',
    cases=[
        # Beta and alpha of the released code in training, and the ends of its search.
        dict(datasets=['ImageNet'], set={'model.beta': 1.0, 'model.head.alpha': 1.17, 'train_cfg.search.scale': (7, 3)}),
        dict(datasets=['Caltech101'], set={'model.beta': 1.0, 'model.head.alpha': 3.0, 'train_cfg.search.scale': (12, 5)}),
        dict(datasets=['OxfordPets'], set={'model.beta': 1.0, 'model.head.alpha': 1.17, 'train_cfg.search.scale': (7, 3)}),
        dict(datasets=['StanfordCars'], set={'model.beta': 1.0, 'model.head.alpha': 3.0, 'train_cfg.search.scale': (20, 10)}),
        dict(datasets=['Flowers102'], set={'model.beta': 1.0, 'model.head.alpha': 10.0, 'train_cfg.search.scale': (50, 50)}),
        dict(datasets=['Food101'], set={'model.beta': 1.0, 'model.head.alpha': 1.17, 'train_cfg.search.scale': (10, 10)}),
        dict(datasets=['SUN397'], set={'model.beta': 1.0, 'model.head.alpha': 1.17, 'train_cfg.search.scale': (12, 10)}),
        dict(datasets=['DTD'], set={'model.beta': 1.0, 'model.head.alpha': 2.0, 'train_cfg.search.scale': (13, 13)}),
        dict(datasets=['EuroSAT'], set={'model.beta': 1.0, 'model.head.alpha': 2.0, 'train_cfg.search.scale': (12, 10)}),
        dict(datasets=['UCF101'], set={'model.beta': 1.0, 'model.head.alpha': 3.0, 'train_cfg.search.scale': (7, 3)}),
        dict(datasets=['FGVCAircraft'], set={'model.beta': 1.0, 'model.head.alpha': 5.0, 'train_cfg.search.scale': (30, 30)}),
        dict(datasets=['EuroSAT'], set={'train_cfg.max_epochs': 100}),
        dict(recipe='official', set={'train_cfg.search.pictures': 'whole_val', 'train_cfg.best_epoch_on': 'test'}),
        dict(recipe='official', datasets=['ImageNet'], set={'train_cfg.search.pictures': 'test'}),
    ],
)
