# MPS-Tuning of the embedded mini CLIP on one's own pictures of glyphs, 16 per class: needs nothing but the pictures.
#
#   python tools/train.py configs/mps_mini_16shot_custom.py --cfg-options data_root=/my/pictures
#   python tools/test.py configs/mps_mini_16shot_custom.py work_dirs/mps_mini_16shot_custom/epoch_50.pth \
#       --cfg-options data_root=/my/pictures
#
# The embedded model knows digits, letters, symbols and simple shapes; other class names are refused. Folders are given
# known names in data_root/classes.yaml.
_base_ = ['./_base_/datasets/custom_mini.py', './_base_/mps_mini.py']

val_cfg = None
