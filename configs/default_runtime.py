# What every run shares: imports, hooks, logging, processes.
default_scope = 'mmpretrain'
custom_imports = dict(imports=['mmpretrain_mps'], allow_failed_imports=False)

# Equal to `seed` of the data set's config, so that `--cfg-options seed=2` changes both.
randomness = dict(seed=1)

default_hooks = dict(
    runtime_info=dict(type='IntervalRuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=10),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # Two are kept, should the newer one be damaged. The last step's model is the result. There is no save_best: it would
    # select on the pictures that it reports on.
    # Large ones, where epochs are short, take at most a fiftieth of the time; None writes one after every epoch.
    checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_share=0.02, max_keep_ckpts=2, save_last=True),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='VisualizationHook', enable=False),
)
# Views per picture that are drawn at the start, whose frozen features are then kept; 0 draws new ones in every epoch.
view_bank = 0
# How GPUs multiply float32 numbers: 'strict', whole, or 'tf32', rounded to 11 bits and several times faster.
float32_precision = 'strict'
# Whether views of few-shot pictures are cropped, resized and flipped where the model computes, to the same pixels: True, False,
# or 'auto', on GPUs if the decoded pictures fit.
views_on_device = 'auto'

custom_hooks = [
    dict(type='ShortCutsHook'),
    dict(type='ClassNamesHook'),
    dict(type='TemperatureHook'),
    dict(type='EqualBatchesHook'),
    dict(type='ReuseZeroShotHook'),
    dict(type='ViewBankHook', view_bank=view_bank),
    dict(type='TestFeaturesHook'),
    dict(type='ProcessesHook'),
    dict(type='FiniteLossHook'),
    dict(type='MidEpochHook'),
    dict(type='InterruptionHook'),
    dict(type='PlainCheckpointHook'),
    dict(type='PrecisionHook', float32_precision=float32_precision),
    dict(type='DeviceViewsHook', views_on_device=views_on_device),
]

# Losses and training accuracies are averaged over the window; the rate and the temperatures are shown as they are.
log_processor = dict(window_size=10, mean_pattern=r'loss|time|grad_norm|^acc_')
log_level = 'INFO'
# True writes event files for TensorBoard beside the log of scalars; needs the extra "tensorboard". mmpretrain's own tools
# do not look at it: there, add dict(type='TensorboardVisBackend') to vis_backends.
tensorboard = False
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # The tools of this project take gloo instead where there is no GPU.
    dist_cfg=dict(backend='nccl'),
)

load_from = None
resume = False
