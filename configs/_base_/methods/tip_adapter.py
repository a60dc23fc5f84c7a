# Tip-Adapter (ECCV 2022, arXiv 2207.09519): a memory of the few pictures beside zero-shot CLIP; nothing is trained.
# Sharpness beta and weight alpha of the memory are searched on the validation pictures, min(K, 4) for each class; where
# a config has none, as for ImageNet, they stay what they are. Official searches as the released code does: on the whole
# validation split, many more labels than the few, and for ImageNet ON THE TEST PICTURES, whose figures are then too
# high.
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

# A Runner that trains wants an optimizer; no step is ever taken.
optim_wrapper = dict(type='OptimWrapper', constructor='TrainableOptimWrapperConstructor', optimizer=dict(type='SGD', lr=0.002))

param_scheduler = None

# Ten views of each picture by the training transform, whose features are averaged. 200 values of beta from 0.1 towards
# the first end of the scale, 20 of alpha towards the second.
train_cfg = dict(type='CacheLoop', passes=10, search=dict(scale=(12, 10), steps=(200, 20), pictures='val'))
val_cfg = dict()
test_cfg = dict()

batch_size = 256
views = dict(num_views=1, scale=(0.5, 1.0))

method = dict(
    name='tip_adapter',
    label='Tip-Adapter',
    cases=[
        # Beta and alpha of the released code before its search, and the ends of the search.
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
        dict(recipe='official', set={'train_cfg.search.pictures': 'whole_val'}),
        dict(recipe='official', datasets=['ImageNet'], set={'train_cfg.search.pictures': 'test'}),
    ],
)
