"""CLIP's vision transformer as it is, for what is learned on top of its features."""
import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS

from .dual_branch_vit import check_plain_vit, embed, embed_patches
from .value_path import run_blocks


@MODELS.register_module()
class FrozenViT(BaseModule):
    """The zero-shot branch of :class:`DualBranchViT` alone, with the same features to the last bit.

    Args:
        visual (VisionTransformer): The vision tower of open_clip.

    Raises:
        ValueError: If the tower is not a plain ViT with class-token pooling.
    """

    def __init__(self, visual, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        check_plain_vit(visual)
        self.zero_shot = visual.requires_grad_(False)
        self.train(self.training)

    @property
    def embed_dims(self):
        """int: Dimension of the joint image and text space."""
        return self.zero_shot.proj.shape[1]

    def train(self, mode=True):
        """Stay in evaluation mode."""
        super().train(mode)
        self.zero_shot.eval()
        return self

    @torch.no_grad()
    def forward(self, images):
        """Extract features.

        Args:
            images (Tensor): Normalised pictures, ``(N, 3, H, W)``.

        Returns:
            Tensor: Unit-norm [CLS] features ``(N, D)``, float32.
        """
        visual = self.zero_shot
        tokens, _ = run_blocks(visual.transformer.resblocks, embed_patches(visual, images), cls_only=True)
        return embed(tokens, visual.ln_post, visual.proj)[:, 0]
