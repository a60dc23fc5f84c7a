# The linear probe, the baseline of CLIP's own paper, on ImageNet, 16 pictures per class.
#
#   python tools/train.py configs/mps_vitb16_16shot_imagenet_linear_probe.py --cfg-options data_root=/data
#   python tools/fewshot_benchmark.py --datasets ImageNet --recipes linear_probe --cfg-options data_root=/data
#
# Not measured by this project.
_base_ = [
    './_base_/models/clip_vitb16_linear_probe.py',
    './_base_/datasets/imagenet.py',
    './_base_/schedules/linear_probe.py',
    './default_runtime.py',
]

# Features are those of the test transform.
train_dataloader = dict(dataset=dict(dataset=dict(pipeline={{_base_.test_pipeline}})))

val_cfg = None
# All four shifted sets show classes of ImageNet, which the probe can predict.
test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}})
