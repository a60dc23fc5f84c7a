# CoOp, Learning to Prompt for Vision-Language Models (IJCV 2022, arXiv 2109.01134). Values of its released code, which
# trains in float16; here in float32.
architecture = 'ViT-B-16'
pretrained = 'openai'

model = dict(
    type='CoOpClassifier',
    architecture=architecture,
    pretrained=pretrained,
    num_context=16,
    context_init=None,  # random, with a standard deviation of 0.02
    class_position='end',
    class_specific=False,
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
    name='coop',
    label='CoOp',
    cases=[
        dict(min_shots=2, set={'train_cfg.max_epochs': 100}),
        dict(min_shots=8, set={'train_cfg.max_epochs': 200}),
        # As the paper of CoCoOp (arXiv 2203.05557) runs CoOp where classes or data sets are new.
        dict(
            tasks=['base_to_new', 'transfer'],
            set={'train_cfg.max_epochs': 200, 'model.num_context': 4, 'model.context_init': 'a photo of a'},
        ),
        dict(datasets=['ImageNet'], set={'train_cfg.max_epochs': 50}),
        # The released code leaves out the last, incomplete batch, unless there is no other.
        dict(recipe='official', set={'train_dataloader.drop_last': True}),
    ],
)
