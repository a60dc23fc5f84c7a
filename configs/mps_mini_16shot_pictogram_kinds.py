# MPS-Tuning of a mini CLIP on pictograms of 56 kinds of things, 16 pictures per class, tested in the source and in shifted styles.
#
#   python tools/train.py configs/mps_mini_16shot_pictogram_kinds.py \
#       --cfg-options architecture=local-dir:FOLDER pretrained=None
#
# FOLDER holds a mini CLIP that knows these words; the embedded one was trained on glyphs, and refuses them. Not measured yet.
_base_ = ['./_base_/datasets/pictogram_kinds.py', './_base_/mps_mini.py']

test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}})
