# Recipe "official" over 100 epochs, as the released code trains Caltech101, DTD, OxfordPets and UCF101.
_base_ = ['official_50e.py']

param_scheduler = [
    dict(type='ConstantLR', factor=0.005, begin=0, end=2, by_epoch=True),
    dict(type='CosineAnnealingLR', T_max=100, begin=1, end=100, by_epoch=True),
]

train_cfg = dict(max_epochs=100, val_interval=100)
