# MPS-Tuning, Preserve and Sculpt (arXiv 2508.12877). Default: as the paper says. Official: what the released code computes.
_base_ = ['../models/clip_vitb16.py', '../schedules/paper_50e.py']

batch_size = 32
# Two views per picture, as the data sets' configs draw them.
views = dict()

# Epoch 0 at 1e-5, then lr * (1 + cos(pi * (e - 1) / E)) / 2 in epoch e.
official_schedule = [
    dict(type='ConstantLR', factor=0.005, begin=0, end=2, by_epoch=True),
    dict(type='CosineAnnealingLR', T_max=50, begin=1, end=50, by_epoch=True),
]
# One sculpted layer more, texts at their own norm, alignment weighted by 2 unless a later case says otherwise; the last
# batch of an epoch is left out if it is not full, unless it is the only one.
official = {
    'train_dataloader.drop_last': True,
    'param_scheduler': official_schedule,
    'model.gram_loss.loss_weight': 2.0,
    'model.sculpt_loss.layer_weights': (1.0, 1.0, 0.5),
    'model.sculpt_loss.temperature_factors': (1.0, 1.0, 2.0),
    'model.sculpt_loss.normalize_text': False,
    'model.normalize_templates': False,
}
# A small model needs larger steps, and knows less, so that the tuned branch deserves more of the prediction. Chosen on
# validation pictures.
mini = {
    'model.head.alpha': 0.7,
    'model.gram_loss.loss_weight': 1.0,
    'model.sculpt_loss.loss_weight': 0.4,
    'optim_wrapper.optimizer.lr': 0.01,
}
mini_letters = {
    'model.head.alpha': 0.9,
    'model.sculpt_loss.loss_weight': 1.0,
    'optim_wrapper.optimizer.lr': 0.005,
}
mini_things = {
    'model.head.alpha': 0.6,
    'model.sculpt_loss.loss_weight': 1.0,
    'optim_wrapper.optimizer.lr': 0.03,
    'train_cfg.max_epochs': 6,
}
cooler = {'model.sculpt_loss.temperature.start': 0.5, 'model.sculpt_loss.temperature.end': 0.07}

method = dict(
    name='mps',
    label='MPS-Tuning',
    cases=[
        dict(datasets=['ImageNet'], set=dict(batch_size=64)),
        dict(recipe='default', architectures=['mps-mini'], set=mini),
        dict(recipe='default', architectures=['mps-mini'], datasets=['DistortedLetters'], set=mini_letters),
        dict(
            recipe='default',
            architectures=['mps-mini'],
            datasets=['PictogramKinds'],
            set={'optim_wrapper.optimizer.lr': 0.003},
        ),
        dict(recipe='default', architectures=['mps-mini'], datasets=['PictogramThings'], set=mini_things),
        dict(recipe='official', set=official),
        dict(recipe='official', datasets=['Caltech101', 'DTD', 'OxfordPets', 'UCF101'], set={'train_cfg.max_epochs': 100}),
        dict(
            recipe='official',
            datasets=['EuroSAT', 'FGVCAircraft', 'Flowers102', 'StanfordCars'],
            set={'train_cfg.max_epochs': 200},
        ),
        dict(
            recipe='official',
            datasets=['Caltech101', 'StanfordCars', 'EuroSAT', 'FGVCAircraft', 'DTD', 'Flowers102', 'UCF101'],
            set={'model.gram_loss.loss_weight': 0.5},
        ),
        dict(recipe='official', datasets=['OxfordPets', 'Food101', 'DTD', 'EuroSAT', 'UCF101'], set=cooler),
    ],
)
del official_schedule, official, mini, mini_letters, mini_things, cooler
