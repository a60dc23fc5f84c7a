# One's own pictures, listed in data_root/pictures.csv with the header path,label or path,label,split. Without the
# column split, 30 % per class are kept for testing. Readable names and templates: data_root/classes.yaml.
# The model of the last epoch is the result: a config that builds on this file also says `val_cfg = None`.
_base_ = 'own_pictures.py'

train_dataloader = dict(dataset=dict(dataset=dict(type='PictureTable')))
test_dataloader = dict(dataset=dict(type='PictureTable'))
