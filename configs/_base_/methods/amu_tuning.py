# AMU-Tuning (CVPR 2024, arXiv 2404.08958): a bias of CLIP's logits from the features of another frozen network. Official:
# the command of its released code, which is for ImageNet alone, keeps no epoch for its test accuracy here. Default: with
# the uncertainty of the paper. The auxiliary network saw ImageNet's 1.28 million training pictures.
architecture = 'ViT-B-16'
pretrained = 'openai'

model = dict(
    type='AMUTuningClassifier',
    architecture=architecture,
    pretrained=pretrained,
    alpha=0.5,
    fused_weight=0.35,
    uncertainty='moment',
    uncertainty_power=0.4)

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), eps=1e-4, weight_decay=0.01))

# By iteration, to zero.
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=50, eta_min=0.0, begin=0, end=50, by_epoch=True, convert_to_iter_based=True)]

train_cfg = dict(by_epoch=True, max_epochs=50, val_interval=50)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=8, enable=False)

batch_size = 8
views = dict(num_views=1, scale=(0.5, 1.0))

method = dict(
    name='amu_tuning',
    label='AMU-Tuning',
    cases=[dict(recipe='official', set={'model.uncertainty': 'none'})])
