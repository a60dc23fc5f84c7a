# Tip-Adapter-F (ECCV 2022, arXiv 2207.09519): Tip-Adapter whose keys are trained. Values of its released code, but the
# last epoch is the result: the released code keeps the best one on the test pictures.
architecture = 'ViT-B-16'
pretrained = 'openai'

model = dict(
    type='TipAdapterClassifier',
    architecture=architecture,
    pretrained=pretrained,
    alpha=1.0,
    beta=5.5,
    train_keys=True)

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), eps=1e-4, weight_decay=0.01))

# By iteration, to zero.
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=20, eta_min=0.0, begin=0, end=20, by_epoch=True, convert_to_iter_based=True)]

train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=20)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=256, enable=False)

batch_size = 256
views = dict(num_views=1, scale=(0.5, 1.0))

method = dict(
    name='tip_adapter_f',
    label='Tip-Adapter-F',
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
        dict(datasets=['EuroSAT'], set={'train_cfg.max_epochs': 100}),
    ])
