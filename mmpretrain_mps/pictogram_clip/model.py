"""The form of the pictogram CLIP."""

from .augmentation import IMAGE_SIZE


def model_config(vocab_size: int) -> dict:
    """open_clip configuration: 12 vision blocks on 36 patches, and a small text tower.

    Args:
        vocab_size (int): Number of token ids.

    Returns:
        dict: Content of ``open_clip_config.json``.
    """
    return dict(
        model_cfg=dict(
            embed_dim=96,
            quick_gelu=True,
            vision_cfg=dict(image_size=IMAGE_SIZE, layers=12, width=96, head_width=32, patch_size=8),
            text_cfg=dict(context_length=20, vocab_size=vocab_size, width=64, heads=2, layers=3),
        ),
        preprocess_cfg=dict(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5], interpolation='bicubic', resize_mode='shortest'),
    )
