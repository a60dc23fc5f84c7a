# MPS-Tuning of the embedded pictogram CLIP on one's own pictures, 16 per class: needs nothing but the pictures.
#
#   python tools/train.py configs/mps_mini_16shot_custom.py --cfg-options data_root=/my/pictures
#   python tools/test.py configs/mps_mini_16shot_custom.py work_dirs/mps_mini_16shot_custom/epoch_50.pth \
#       --cfg-options data_root=/my/pictures
#
# The embedded model knows some thousand everyday words (dog, kettle, mountain); class names with other words are refused. Folders
# are given known names in data_root/classes.yaml. Digits and letters are known better by the other embedded model:
# --cfg-options architecture=mps-mini.
_base_ = ['./_base_/datasets/custom_mini.py', './_base_/mps_mini_pictograms.py']

val_cfg = None
