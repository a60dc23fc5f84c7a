# CLIP-LoRA of the embedded pictogram CLIP on one's own pictures, 16 per class.
#
#   python tools/train.py configs/clip_lora/clip_lora_mini_16shot_custom.py --cfg-options data_root=/my/pictures
#
# Equal to `--method clip_lora` on configs/mps_mini_16shot_custom.py; for other numbers of shots take that, since some
# of the recipe's values depend on it.
_base_ = [
    '../_base_/methods/clip_lora.py',
    '../_base_/datasets/custom_mini.py',
    '../default_runtime.py',
]

architecture = 'mps-mini-pictograms'
pretrained = 'embedded'
model = dict(architecture=architecture, pretrained=pretrained)

# Crops are those of the data set.
train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views=dict(num_views=1)))
default_hooks = {{_base_.method.hooks}}

val_cfg = None
