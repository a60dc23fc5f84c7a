# CLIP ViT-B/16 with the weights of OpenAI; recipe "paper" of MPS-Tuning.
# The data set's config names the same ones, since pictures are prepared as the model wants them; both change together
# by --cfg-options architecture=... pretrained=...
architecture = 'ViT-B-16'
pretrained = 'openai'

model = dict(
    type='MPSCLIPClassifier',
    architecture=architecture,
    pretrained=pretrained,
    # 12 blocks: a shared trunk of 4, 4 with adapters, 4 trainable copies.
    backbone=dict(type='DualBranchViT', group_depths=(4, 4, 4)),
    head=dict(type='LogitsFusionHead', alpha=0.3),
    gram_loss=dict(type='GramAlignLoss', loss_weight=0.5, p=1),
    sculpt_loss=dict(
        type='HierarchicalSculptLoss',
        loss_weight=0.1,
        # The output and the second-to-last layer. The paper states no temperature: this is the released code's.
        layer_weights=(1.0, 1.0),
        temperature=dict(start=0.1, end=0.05),
        normalize_text=True,
    ),
    normalize_templates=True,
)
