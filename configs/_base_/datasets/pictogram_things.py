# Pictograms of single things: 250 classes (octopus, guitar, ...), trained on the drawings of two artists and tested on that of a
# third one; loaders and pipelines are those of the kinds.
_base_ = 'pictogram_kinds.py'

train_dataloader = dict(dataset=dict(dataset=dict(type='PictogramThings')))
val_dataloader = dict(dataset=dict(dataset=dict(type='PictogramThings')))
test_dataloader = dict(dataset=dict(type='PictogramThings'))

# The older style is for validation here, and no target.
targets = dict(
    _delete_=True,
    other_artist=dict(type='PictogramThings', domain='other_artist', subset='test'),
    sketch=dict(type='PictogramThings', domain='sketch', subset='test'),
    distorted=dict(type='PictogramThings', domain='distorted', subset='test'),
)
