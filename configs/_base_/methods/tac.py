# TAC, Task-Aware Clustering for Prompting Vision-Language Models (CVPR 2025). Values of its released code, which has
# recipes from base to new classes and from all classes of ImageNet to other data sets. For few shots of all classes of
# another data set no recipe is released; that of base to new is taken. What is trained is averaged in float32, and
# nothing else is.
#
# Most data sets of the release come with sentences that a language model wrote, 10 or 50 of each class. They are no part
# of this project: give a file by `--cfg-options model.sentences=FILE.json`, {"class name": ["a sentence", ...]}.
architecture = 'ViT-B-16'
pretrained = 'openai'

model = dict(
    type='TACClassifier',
    architecture=architecture,
    pretrained=pretrained,
    num_prompts=5,
    num_clusters=5,
    # The 60 templates of CLIP, which the release takes for DTD and EuroSAT.
    sentences='clip',
    dropout=0.3,
    text_weight=20.0,
    image_weight=25.0,
)

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.0025, momentum=0.9, weight_decay=5e-4),
)

# Epoch 0 at 1e-5, then lr * (1 + cos(pi * (e - 1) / E)) / 2 in epoch e.
param_scheduler = [
    dict(type='ConstantLR', factor=0.004, begin=0, end=2, by_epoch=True),
    dict(type='CosineAnnealingLR', T_max=20, begin=1, end=20, by_epoch=True),
]

train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=20)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=8, enable=False)

batch_size = 8
# And the picture without augmentation, squashed to the size of the model.
views = dict(num_views=4, scale=(0.4, 1.0), reference='squash')

# To other data sets, and to other pictures of the same classes.
all_of_imagenet = {'train_cfg.max_epochs': 5, 'model.num_prompts': 10, 'train_dataloader.dataset.views.scale': (0.8, 1.0)}
method = dict(
    name='tac',
    label='TAC',
    hooks=dict(epoch_average=dict(type='EpochAverageHook', weights='uniform')),
    cases=[
        dict(tasks=['transfer'], set=all_of_imagenet),
        dict(tasks=['few_shot'], datasets=['ImageNet'], set=all_of_imagenet),
        # It knows few words: not those of the templates.
        dict(architectures=['mps-mini'], set={'model.sentences': None}),
        # The released code leaves out the last, incomplete batch.
        dict(recipe='official', set={'train_dataloader.drop_last': True}),
    ],
)
del all_of_imagenet
