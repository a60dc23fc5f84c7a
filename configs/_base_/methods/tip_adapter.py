# Tip-Adapter (ECCV 2022, arXiv 2207.09519): a memory of the few pictures beside zero-shot CLIP; nothing is trained.
# Sharpness beta and weight alpha of the memory; the released code searches both on the validation split, and on ImageNet,
# which has none, on the test pictures. No recipe here does the latter.
architecture = 'ViT-B-16'
pretrained = 'openai'

model = dict(
    type='TipAdapterClassifier',
    architecture=architecture,
    pretrained=pretrained,
    alpha=1.0,
    beta=5.5,
    train_keys=False)

optim_wrapper = dict(
    type='OptimWrapper', constructor='TrainableOptimWrapperConstructor', optimizer=dict(type='SGD', lr=0.002))

param_scheduler = None

# Ten passes over the pictures by the training transform, whose features are averaged.
train_cfg = dict(type='CacheLoop', passes=10)
val_cfg = dict()
test_cfg = dict()

batch_size = 256
views = dict(num_views=1, scale=(0.5, 1.0))

method = dict(
    name='tip_adapter',
    label='Tip-Adapter',
    cases=[
        # The released code's initial sharpness and weight of the cache, and the upper ends of its search over both.
        dict(datasets=['ImageNet'], set={'model.beta': 1.0, 'model.alpha': 1.17, 'model.search_scale': (7, 3)}),
        dict(datasets=['Caltech101'], set={'model.beta': 1.0, 'model.alpha': 3.0, 'model.search_scale': (12, 5)}),
        dict(datasets=['OxfordPets'], set={'model.beta': 1.0, 'model.alpha': 1.17, 'model.search_scale': (7, 3)}),
        dict(datasets=['StanfordCars'], set={'model.beta': 1.0, 'model.alpha': 3.0, 'model.search_scale': (20, 10)}),
        dict(datasets=['Flowers102'], set={'model.beta': 1.0, 'model.alpha': 10.0, 'model.search_scale': (50, 50)}),
        dict(datasets=['Food101'], set={'model.beta': 1.0, 'model.alpha': 1.17, 'model.search_scale': (10, 10)}),
        dict(datasets=['SUN397'], set={'model.beta': 1.0, 'model.alpha': 1.17, 'model.search_scale': (12, 10)}),
        dict(datasets=['DTD'], set={'model.beta': 1.0, 'model.alpha': 2.0, 'model.search_scale': (13, 13)}),
        dict(datasets=['EuroSAT'], set={'model.beta': 1.0, 'model.alpha': 2.0, 'model.search_scale': (12, 10)}),
        dict(datasets=['UCF101'], set={'model.beta': 1.0, 'model.alpha': 3.0, 'model.search_scale': (7, 3)}),
        dict(datasets=['FGVCAircraft'], set={'model.beta': 1.0, 'model.alpha': 5.0, 'model.search_scale': (30, 30)}),
    ])
