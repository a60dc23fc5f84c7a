# The linear probe, the baseline of CLIP's own paper, on features of CLIP ViT-B/16 with the weights of OpenAI. The data
# set's config names the same architecture and weights; both change together, as in clip_vitb16.py.
architecture = 'ViT-B-16'
pretrained = 'openai'

model = dict(
    type='LinearProbeClassifier',
    architecture=architecture,
    pretrained=pretrained,
    # 1: the probe alone. Less lets zero-shot CLIP have a say.
    head=dict(type='LogitsFusionHead', alpha=1.0),
)
