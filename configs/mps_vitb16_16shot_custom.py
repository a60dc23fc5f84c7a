# MPS-Tuning of CLIP ViT-B/16 on one's own pictures, 16 per class.
#
#   python tools/train.py configs/mps_vitb16_16shot_custom.py --cfg-options data_root=/my/pictures
#   python tools/test.py configs/mps_vitb16_16shot_custom.py work_dirs/mps_vitb16_16shot_custom/epoch_50.pth \
#       --cfg-options data_root=/my/pictures
#
# data_root holds train/<class>/* and test/<class>/*, or <class>/* alone, which is then split. Readable class names and
# prompt templates can be given in data_root/classes.yaml.
_base_ = [
    './_base_/models/clip_vitb16.py',
    './_base_/datasets/custom.py',
    './_base_/schedules/paper_50e.py',
    './default_runtime.py',
]

val_cfg = None
