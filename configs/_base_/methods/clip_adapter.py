# CLIP-Adapter (IJCV 2023, arXiv 2110.04544). Its code has no recipe and refers to CoOp's, which this is. The share of
# the adapter, model.ratio, is 0.2 in its code; the paper chooses it for each data set: choose it on validation
# pictures.
architecture = 'ViT-B-16'
pretrained = 'openai'

model = dict(
    type='CLIPAdapterClassifier',
    architecture=architecture,
    pretrained=pretrained,
    reduction=4,
    ratio=0.2,
    final_relu=True,  # as in the code; the paper has none
    head=dict(type='LogitsFusionHead', alpha=1.0),
)

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.002, momentum=0.9, weight_decay=5e-4),
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
    name='clip_adapter',
    label='CLIP-Adapter',
    cases=[
        # Its code has one template for ImageNet, too.
        dict(datasets=['ImageNet'], set={'model.templates': ('a photo of a {}.',)}),
        dict(min_shots=2, set={'train_cfg.max_epochs': 100}),
        dict(min_shots=8, set={'train_cfg.max_epochs': 200}),
        dict(datasets=['ImageNet'], set={'train_cfg.max_epochs': 50}),
        # CoOp's code leaves out the last, incomplete batch, unless there is no other.
        dict(recipe='official', set={'train_dataloader.drop_last': True}),
    ],
)
