# Recipe "official", as the released code trains ImageNet, Food101 and SUN397: epoch 0 at 1e-5, then epoch e at
# lr * (1 + cos(pi * (e - 1) / 50)) / 2 with lr = 0.002.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.002, momentum=0.9, weight_decay=5e-4),
)

param_scheduler = [
    # end=2 is one epoch: mmengine restores the full rate at the last step *before* the end; with end=1 it never does.
    dict(type='ConstantLR', factor=0.005, begin=0, end=2, by_epoch=True),
    dict(type='CosineAnnealingLR', T_max=50, begin=1, end=50, by_epoch=True),
]

train_cfg = dict(by_epoch=True, max_epochs=50, val_interval=50)
val_cfg = dict()
test_cfg = dict()

# The batch size that the rate was chosen for (64 for ImageNet), used by --auto-scale-lr alone.
auto_scale_lr = dict(base_batch_size=32, enable=False)
