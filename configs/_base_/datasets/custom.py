# One's own pictures: data_root/train/<class>/*.jpg with data_root/test/<class>/*.jpg, or one tree
# data_root/<class>/*.jpg of which 30 % per class are kept for testing.
# Readable names and templates: data_root/classes.yaml.
# The model of the last epoch is the result: a config that builds on this file also says `val_cfg = None`.
_base_ = 'own_pictures.py'

train_dataloader = dict(dataset=dict(dataset=dict(type='PictureFolder')))
test_dataloader = dict(dataset=dict(type='PictureFolder'))
