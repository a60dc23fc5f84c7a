# MPS-Tuning of CLIP ViT-B/16 on DTD, 16 pictures per class, recipe "paper".
#
#   python tools/train.py configs/mps_vitb16_16shot_dtd.py --cfg-options data_root=/data
#   python tools/fewshot_benchmark.py --datasets DTD --cfg-options data_root=/data
#
# Not measured by this project.
_base_ = [
    './_base_/models/clip_vitb16.py',
    './_base_/datasets/dtd.py',
    './_base_/schedules/paper_50e.py',
    './default_runtime.py',
]
