# The CLIP that this package carries: 12 blocks of width 96 on 32x32 pixels, trained on rendered glyphs.
_base_ = './clip_vitb16.py'

architecture = 'mps-mini'
pretrained = 'embedded'
model = dict(architecture=architecture, pretrained=pretrained)
