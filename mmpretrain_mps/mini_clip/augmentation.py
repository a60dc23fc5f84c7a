"""Batched augmentation that turns ink masks into training pictures.

Masks are rendered once and kept in memory; everything random happens here,
on whole batches, so the training process needs no loader processes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

IMAGE_SIZE = 32
# Side in pixels of a simulated sensor and how often it is used; 8 is the
# size of very small scans, 32 leaves the picture as it is.
_RESOLUTIONS = (8, 10, 14, 20, 28, 32)
_RESOLUTION_ODDS = (0.34, 0.08, 0.08, 0.08, 0.12, 0.30)


def _uniform(shape, low: float, high: float, generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def _chance(count: int, probability: float, generator) -> Tensor:
    return torch.rand(count, generator=generator) < probability


def vary_thickness(masks: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Thicken or thin the ink of some masks by one pixel.

    Args:
        masks (Tensor): ``(B, 1, S, S)`` in 0..1.
        probability (float): Chance of each of the two changes.
        generator (torch.Generator): Source of randomness.

    Returns:
        Tensor: Same shape.
    """
    draw = torch.rand(len(masks), generator=generator)[:, None, None, None]
    thick = F.max_pool2d(masks, 3, 1, 1)
    # Only part of the pixel is taken away, or thin strokes would break.
    thin = 0.4 * masks - 0.6 * F.max_pool2d(-masks, 3, 1, 1)
    return torch.where(draw < probability, thick, torch.where(draw > 1 - probability, thin, masks))


def _random_affine(count: int, strength: float, generator: torch.Generator) -> Tensor:
    """Maps from picture to mask coordinates ``(B, 2, 3)``.

    Ink ends up 0.6 to 1.04 of the frame long, some of it squeezed sideways.
    """
    angle = strength * 0.14 * torch.randn(count, generator=generator)
    shear = strength * 0.15 * torch.randn(count, generator=generator)
    fill = _uniform((count,), 0.6, 1.04, generator)
    squeeze = torch.exp(strength * 0.15 * torch.randn(count, generator=generator)).clamp(min=1.0, max=1.6)
    # Ink takes up 0.92 of a mask; a little less keeps its soft edges.
    scale = 0.94 / fill
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = scale * squeeze * cos
    theta[:, 0, 1] = scale * squeeze * (shear * cos - sin)
    theta[:, 1, 0] = scale * sin
    theta[:, 1, 1] = scale * (shear * sin + cos)
    margin = (1.04 - fill).clamp(min=0)[:, None] * scale[:, None]
    theta[:, :, 2] = margin * _uniform((count, 2), -0.8, 0.8, generator)
    return theta


def warp(masks: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Random affine map plus smooth elastic displacement to 32 x 32.

    Args:
        masks (Tensor): ``(B, 1, S, S)`` in 0..1 whose ink fills the frame.
        strength (float): Scale of turn, shear and elastic displacement; 1 is
            the strength for glyphs.
        generator (torch.Generator): Source of randomness.

    Returns:
        Tensor: ``(B, 1, 32, 32)``.
    """
    count = len(masks)
    grid = F.affine_grid(_random_affine(count, strength, generator), [count, 1, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)
    amplitude = strength * _uniform((count, 1, 1, 1), 0, 0.13, generator)
    field = amplitude * torch.randn(count, 2, 5, 5, generator=generator)
    field = F.interpolate(field, size=IMAGE_SIZE, mode='bicubic', align_corners=True)
    return F.grid_sample(masks, grid + field.permute(0, 2, 3, 1), align_corners=False)


def lower_resolution(masks: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Reduce some masks to a few pixels and enlarge them again.

    Args:
        masks (Tensor): ``(B, 1, 32, 32)`` in 0..1.
        probability (float): Chance that a mask takes part at all.
        generator (torch.Generator): Source of randomness.

    Returns:
        Tensor: Same shape, within 0..1.
    """
    choice = torch.multinomial(torch.tensor(_RESOLUTION_ODDS), len(masks), True, generator=generator)
    choice[~_chance(len(masks), probability, generator)] = len(_RESOLUTIONS) - 1
    out = masks.clone()
    for index, side in enumerate(_RESOLUTIONS):
        rows = (choice == index).nonzero()[:, 0]
        if side == IMAGE_SIZE or not len(rows):
            continue
        small = F.interpolate(masks[rows], size=side, mode='area')
        # antialias picks the bicubic kernel that Pillow uses.
        out[rows] = F.interpolate(small, size=IMAGE_SIZE, mode='bicubic', antialias=True)
    # Scanners stretch contrast, so most reduced pictures reach full ink again.
    peak = out.amax((1, 2, 3), keepdim=True).clamp(min=0.2)
    stretch = _chance(len(masks), 0.75, generator)[:, None, None, None]
    return torch.where(stretch, out / peak, out).clamp(0, 1)


def _soften(masks: Tensor, generator: torch.Generator) -> Tensor:
    """Blur some masks and bend the ink curve of all of them."""
    blurred = F.avg_pool2d(masks, 3, 1, 1)
    use = _chance(len(masks), 0.25, generator)[:, None, None, None]
    masks = torch.where(use, blurred, masks)
    gamma = torch.exp(_uniform((len(masks), 1, 1, 1), -0.6, 0.4, generator))
    return masks.clamp(1e-4, 1) ** gamma


def _glyph_paints(count: int, generator: torch.Generator):
    """Ink and paper ``(B, 3)`` in 0..1 of glyph pictures."""
    light = _uniform((count, 1), 0.75, 1.0, generator).expand(-1, 3)
    dark = _uniform((count, 1), 0.0, 0.12, generator).expand(-1, 3)
    ink_hue = _uniform((count, 3), 0, 1, generator)
    paper_hue = _uniform((count, 3), 0, 1, generator)
    # Move too similar pairs apart, so that the glyph can be seen.
    gap = (ink_hue - paper_hue).mean(1, keepdim=True)
    push = torch.where(gap >= 0, 0.3, -0.3) * (gap.abs() < 0.35)
    ink_hue, paper_hue = ink_hue + push, paper_hue - push
    kind = torch.rand(count, 1, generator=generator)
    ink = torch.where(kind < 0.6, light, torch.where(kind < 0.8, dark, ink_hue))
    paper = torch.where(kind < 0.6, dark, torch.where(kind < 0.8, light, paper_hue))
    return ink.clamp(0, 1), paper.clamp(0, 1)


def _shape_paints(colours: Tensor, generator: torch.Generator):
    """Jittered shape colour and a paper that differs from it ``(B, 3)``."""
    count = len(colours)
    ink = colours + 0.04 * torch.randn(count, 3, generator=generator)
    candidates = _uniform((4, count, 3), 0, 1, generator)
    candidates[0] = _uniform((count, 1), 0, 0.1, generator)
    candidates[1] = _uniform((count, 1), 0.9, 1, generator)
    order = torch.rand(4, count, generator=generator)
    too_near = (candidates - ink).abs().amax(2) < 0.35
    best = (order - 2.0 * too_near).argmax(0)
    return ink.clamp(0, 1), candidates[best, torch.arange(count)]


def paint(masks: Tensor, colours: Tensor | None, generator: torch.Generator) -> Tensor:
    """Give ink masks colours and sensor noise.

    Args:
        masks (Tensor): ``(B, 1, 32, 32)`` in 0..1.
        colours (Tensor, optional): Ink colours ``(B, 3)`` in 0..1 for shapes;
            ``None`` paints glyphs: mostly light on dark, some dark on light,
            some in random colours.
        generator (torch.Generator): Source of randomness.

    Returns:
        Tensor: Pictures ``(B, 3, 32, 32)`` normalised to -1..1.
    """
    count = len(masks)
    if colours is None:
        ink, paper = _glyph_paints(count, generator)
    else:
        ink, paper = _shape_paints(colours, generator)
    ink, paper = ink[:, :, None, None], paper[:, :, None, None]
    pictures = paper + masks * (ink - paper)
    level = _uniform((count, 1, 1, 1), 0, 0.09, generator)
    level = level * _chance(count, 0.4, generator)[:, None, None, None]
    noise = torch.randn(pictures.shape, generator=generator)
    return (pictures + level * noise).clamp(0, 1) * 2 - 1


def augment_glyphs(masks: Tensor, drawn: bool, generator: torch.Generator) -> Tensor:
    """Training pictures of glyphs.

    Args:
        masks (Tensor): Ink ``(B, S, S)`` uint8.
        drawn (bool): Whether the masks are drawn with a pen of random width
            already; masks of fonts get their thickness varied here.
        generator (torch.Generator): Source of randomness.

    Returns:
        Tensor: ``(B, 3, 32, 32)`` normalised to -1..1.
    """
    ink = masks[:, None].float() / 255
    ink = vary_thickness(ink, 0.1 if drawn else 0.3, generator)
    ink = warp(ink, 1.0, generator)
    ink = _soften(lower_resolution(ink, 0.75, generator), generator)
    return paint(ink, None, generator)


def augment_shapes(masks: Tensor, colours: Tensor, generator: torch.Generator) -> Tensor:
    """Training pictures of coloured shapes.

    Args:
        masks (Tensor): Ink ``(B, S, S)`` uint8.
        colours (Tensor): Ink colours ``(B, 3)`` in 0..1.
        generator (torch.Generator): Source of randomness.

    Returns:
        Tensor: ``(B, 3, 32, 32)`` normalised to -1..1.
    """
    ink = warp(masks[:, None].float() / 255, 0.5, generator)
    ink = lower_resolution(ink, 0.3, generator)
    return paint(ink, colours, generator)
