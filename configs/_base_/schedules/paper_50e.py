# Recipe "paper": 50 epochs of SGD. The rate of epoch e >= 1 is lr * (1 + cos(pi * e / 50)) / 2; within epoch 0 it rises
# linearly, iteration by iteration, from 1e-5 to lr = 0.002. The paper states neither momentum nor weight decay; these
# are the released code's.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.002, momentum=0.9, weight_decay=5e-4),
)

param_scheduler = [
    dict(type='FirstEpochWarmupLR', start_factor=0.005, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=50, begin=0, end=50, by_epoch=True),
]

train_cfg = dict(by_epoch=True, max_epochs=50, val_interval=50)
val_cfg = dict()
test_cfg = dict()

# The batch size that the rate was chosen for, used by --auto-scale-lr alone.
auto_scale_lr = dict(base_batch_size=32, enable=False)
