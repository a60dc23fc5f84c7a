# MPS-Tuning of the embedded pictogram CLIP, on any data set: 12 blocks of width 96 on 48x48 pixels, trained on pictograms and icons.
# Loss weights, alpha and, unless a config says otherwise, the learning rate are those of the other embedded model.
_base_ = './mps_mini.py'

architecture = 'mps-mini-pictograms'
model = dict(architecture=architecture)
