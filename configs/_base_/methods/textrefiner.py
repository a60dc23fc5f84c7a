# TextRefiner on CoOp (AAAI 2025, arXiv 2412.08176). Values of its released code, which trains in float16; here in
# float32. The last epoch is the result: the released code keeps the best one on the validation split, which is the test
# set of ImageNet. It has configs with rates of 0.001 and 0.0008, too, and does not say for which data sets.
architecture = 'ViT-B-16'
pretrained = 'openai'

model = dict(
    type='TextRefinerClassifier',
    architecture=architecture,
    pretrained=pretrained,
    num_context=4,
    context_init='a photo of a',
    cache_size=25,
    momentum=0.8,  # share of an old entry of the cache
    alpha=0.2,  # weight of the correction of texts
    num_patches=5,
    local_weight=1 / 50,
    distill_weight=20.0,
)

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.002, momentum=0.9, weight_decay=5e-4),
)

# Epoch 0 at 1e-5, then lr * (1 + cos(pi * (e - 1) / E)) / 2 in epoch e.
param_scheduler = [
    dict(type='ConstantLR', factor=0.005, begin=0, end=2, by_epoch=True),
    dict(type='CosineAnnealingLR', T_max=10, begin=1, end=10, by_epoch=True),
]

train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=10)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=32, enable=False)

batch_size = 32
views = dict(num_views=1, scale=(0.08, 1.0))

method = dict(
    name='textrefiner',
    label='CoOp + TextRefiner',
    cases=[
        # The released code leaves out the last, incomplete batch, unless there is no other.
        dict(recipe='official', set={'train_dataloader.drop_last': True}),
    ],
)
