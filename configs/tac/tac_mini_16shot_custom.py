# TAC of the embedded pictogram CLIP on one's own pictures, 16 per class.
#
#   python tools/train.py configs/tac/tac_mini_16shot_custom.py --cfg-options data_root=/my/pictures
#
# Equal to `--method tac` on configs/mps_mini_16shot_custom.py.
_base_ = [
    '../_base_/methods/tac.py',
    '../_base_/datasets/custom_mini.py',
    '../default_runtime.py',
]

architecture = 'mps-mini-pictograms'
pretrained = 'embedded'
# It knows few words: not those of CLIP's templates.
model = dict(architecture=architecture, pretrained=pretrained, sentences=None)

# Crops are those of the data set.
train_dataloader = dict(batch_size={{_base_.batch_size}}, dataset=dict(views=dict(num_views=4, reference='squash')))
default_hooks = dict(checkpoint=dict(interval=10), epoch_average={{_base_.method.hooks.epoch_average}})

val_cfg = None
