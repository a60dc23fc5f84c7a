# Recipe "official" over 200 epochs, as the released code trains EuroSAT, FGVCAircraft, Flowers102 and StanfordCars.
_base_ = ['official_50e.py']

param_scheduler = [
    dict(type='ConstantLR', factor=0.005, begin=0, end=2, by_epoch=True),
    dict(type='CosineAnnealingLR', T_max=200, begin=1, end=200, by_epoch=True),
]

train_cfg = dict(max_epochs=200, val_interval=200)
