# AMU-Tuning (CVPR 2024, arXiv 2404.08958): a bias of CLIP's logits from the features of another frozen network.
# Default: with the uncertainty of the paper, whose power is searched with the weight alpha on the validation pictures,
# min(K, 4) for each class; where a config has none, as for ImageNet, both stay what they are. Official: the command of
# the released code, which is for ImageNet alone; it keeps the epoch that is best ON THE TEST PICTURES, whose figures
# are then too high. The auxiliary network saw ImageNet's 1.28 million training pictures, so that on ImageNet it is not
# few-shot.
architecture = 'ViT-B-16'
pretrained = 'openai'

model = dict(
    type='AMUTuningClassifier',
    architecture=architecture,
    pretrained=pretrained,
    auxiliary=dict(type='ResNet', depth=50),
    # OpenMMLab's own MoCo v3 of 800 epochs. The one that the paper used, r-50-1000ep.pth.tar of
    # facebookresearch/moco-v3 (CC BY-NC 4.0), loads as it is: checkpoint='/path/to/r-50-1000ep.pth.tar',
    # prefix='module.base_encoder'.
    auxiliary_weights=dict(
        checkpoint='https://download.openmmlab.com/mmselfsup/1.x/mocov3/mocov3_resnet50_8xb512-amp-coslr-800e_in1k/'
        'mocov3_resnet50_8xb512-amp-coslr-800e_in1k_20220927-e043f51a.pth',
        prefix='backbone',
    ),
    uncertainty='moment',
    uncertainty_power=0.4,
    fused_weight=0.35,
    head=dict(type='LogitsFusionHead', fusion='additive', alpha=0.5),
)

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), eps=1e-4, weight_decay=0.01),
)

# By iteration, to zero.
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=50, eta_min=0.0, begin=0, end=50, by_epoch=True, convert_to_iter_based=True)
]

# The layer starts from one view of each picture. The scale is that of power and alpha.
train_cfg = dict(
    type='FeatureStartLoop',
    max_epochs=50,
    val_interval=50,
    passes=1,
    search=dict(scale=(1.0, 3.0), steps=(9, 29), pictures='val'),
    best_epoch_on=None,
)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=8, enable=False)

batch_size = 8
views = dict(num_views=1, scale=(0.5, 1.0))

# Nothing is downloaded for the embedded CLIP: a small network, trained by MoCo v3 on the same kind of pictures, lies
# beside it. Its pictures have the normalisation of that CLIP.
mini = {
    'model.auxiliary': dict(type='ResNet_CIFAR', depth=18, stem_channels=16, base_channels=16, strides=(2, 2, 2, 2)),
    'model.auxiliary_weights.checkpoint': 'embedded',
    'model.auxiliary_mean': (0.5, 0.5, 0.5),
    'model.auxiliary_std': (0.5, 0.5, 0.5),
}

method = dict(
    name='amu_tuning',
    label='AMU-Tuning',
    cases=[
        dict(architectures=['mps-mini'], set=mini),
        dict(recipe='official', set={'model.uncertainty': 'none', 'train_cfg.search': None, 'train_cfg.best_epoch_on': 'test'}),
    ],
)
del mini
