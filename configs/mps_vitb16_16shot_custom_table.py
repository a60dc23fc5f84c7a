# MPS-Tuning of CLIP ViT-B/16 on one's own pictures, listed in data_root/pictures.csv (path,label[,split]), 16 per class.
#
#   python tools/train.py configs/mps_vitb16_16shot_custom_table.py --cfg-options data_root=/my/pictures
_base_ = [
    './_base_/models/clip_vitb16.py',
    './_base_/datasets/custom_table.py',
    './_base_/schedules/paper_50e.py',
    './default_runtime.py',
]

val_cfg = None
