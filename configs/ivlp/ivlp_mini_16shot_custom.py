# IVLP of the embedded pictogram CLIP on one's own pictures, 16 per class.
#
#   python tools/train.py configs/ivlp/ivlp_mini_16shot_custom.py --cfg-options data_root=/my/pictures
#
# Equal to `--method ivlp` on configs/mps_mini_16shot_custom.py.
_base_ = [
    '../_base_/methods/ivlp.py',
    '../_base_/datasets/custom_mini.py',
    '../default_runtime.py',
]

architecture = 'mps-mini-pictograms'
pretrained = 'embedded'
model = dict(architecture=architecture, pretrained=pretrained, text_depth=3)

# Crops are those of the data set.
train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views=dict(num_views=1)))
default_hooks = dict(checkpoint=dict(interval=10))

val_cfg = None
