# Tip-Adapter-F of the embedded pictogram CLIP on one's own pictures, 16 per class.
#
#   python tools/train.py configs/tip_adapter_f/tip_adapter_f_mini_16shot_custom.py --cfg-options data_root=/my/pictures
#
# Equal to `--method tip_adapter_f` on configs/mps_mini_16shot_custom.py.
_base_ = [
    '../_base_/methods/tip_adapter_f.py',
    '../_base_/datasets/custom_mini.py',
    '../default_runtime.py',
]

architecture = 'mps-mini-pictograms'
pretrained = 'embedded'
model = dict(architecture=architecture, pretrained=pretrained)

# Crops are those of the data set.
train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views=dict(num_views=1)))
default_hooks = dict(checkpoint=dict(interval=10))

val_cfg = None
