# Zero-shot CLIP (arXiv 2103.00020): nothing is trained, class texts alone decide. `tools/test.py CONFIG --zero-shot`.
architecture = 'ViT-B-16'
pretrained = 'openai'

model = dict(type='ZeroShotClassifier', architecture=architecture, pretrained=pretrained)

optim_wrapper = None
param_scheduler = None
train_cfg = None
val_cfg = dict()
test_cfg = dict()

batch_size = 32
views = 'test'
method = dict(name='zero_shot', label='zero-shot CLIP', cases=[])
