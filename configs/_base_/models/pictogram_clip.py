# The second CLIP that this package carries: 12 blocks of width 96 on 48x48 pixels, trained on pictograms and icons.
_base_ = './clip_vitb16.py'

architecture = 'mps-mini-pictograms'
pretrained = 'embedded'
model = dict(architecture=architecture, pretrained=pretrained)
