"""Batched augmentation that makes pictures of drawings: other sizes, colours, papers, pens and cameras."""

import torch
import torch.nn.functional as F
from torch import Tensor

IMAGE_SIZE = 48
_GREY = (0.299, 0.587, 0.114)


def augment(drawings: Tensor, can_be_mirrored: Tensor, changed: float, generator: torch.Generator) -> Tensor:
    """Make training pictures.

    Args:
        drawings (Tensor): Straight RGBA ``(B, 64, 64, 4)``, uint8; the pictures are made on their device.
        can_be_mirrored (Tensor): ``(B,)`` bool.
        changed (float): Share of the pictures that are not just moved on white paper.
        generator (torch.Generator): Source of randomness, of the same device.

    Returns:
        Tensor: ``(B, 3, 48, 48)`` in -1..1.
    """
    with drawings.device:
        colour, alpha = move(drawings, can_be_mirrored, generator)
        plain = colour * alpha + 1 - alpha
        colour, alpha = redraw(colour, alpha, generator)
        ink = recolour(colour, alpha, generator)
        pictures = paper(alpha, generator) * (1 - alpha) + ink * alpha
        use = _chance(len(plain), changed, generator).view(-1, 1, 1, 1)
        return torch.where(use, photograph(pictures, generator), plain).clamp(0, 1) * 2 - 1


def move(drawings: Tensor, can_be_mirrored: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turn, scale, squeeze, mirror and shift drawings.

    Returns:
        tuple[Tensor, Tensor]: Straight colours ``(B, 3, 48, 48)`` and opacity ``(B, 1, 48, 48)`` in 0..1.
    """
    count = len(drawings)
    pixels = drawings.permute(0, 3, 1, 2).float() / 255
    pixels = torch.cat([pixels[:, :3] * pixels[:, 3:], pixels[:, 3:]], 1)  # or the colour of nothing would bleed in
    pixels = F.interpolate(pixels, size=IMAGE_SIZE, mode='bilinear', antialias=True)
    angle = 0.17 * torch.randn(count, generator=generator)
    # A part of the pictures stays as it is drawn, as most that are tested are.
    angle = torch.where(_chance(count, 0.4, generator), 0.0, angle)
    scale = 1 / _uniform((count,), 0.62, 1.12, generator)
    squeeze = torch.exp(0.08 * torch.randn(count, generator=generator))
    mirror = torch.where(_chance(count, 0.4, generator) & can_be_mirrored, -1.0, 1.0)
    shear = 0.08 * torch.randn(count, generator=generator)
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = scale * squeeze * mirror * cos
    theta[:, 0, 1] = scale * squeeze * mirror * (shear - sin)
    theta[:, 1, 0] = scale / squeeze * sin
    theta[:, 1, 1] = scale / squeeze * cos
    margin = (0.06 + (scale - 1).clamp(min=0))[:, None]
    theta[:, :, 2] = margin * _uniform((count, 2), -1, 1, generator)
    grid = F.affine_grid(theta, [count, 4, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)
    field = _uniform((count, 1, 1, 1), 0, 0.05, generator) * torch.randn(count, 2, 4, 4, generator=generator)
    field = F.interpolate(field, size=IMAGE_SIZE, mode='bilinear', align_corners=True)
    moved = F.grid_sample(pixels, grid + field.permute(0, 2, 3, 1), align_corners=False)
    alpha = moved[:, 3:].clamp(0, 1)
    return (moved[:, :3] / alpha.clamp(min=1e-3)).clamp(0, 1), alpha


def redraw(colour: Tensor, alpha: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw some of them with another pen: their lines alone, in two levels, or as a silhouette with its bright parts cut out.

    Args:
        colour (Tensor): ``(B, 3, S, S)`` in 0..1.
        alpha (Tensor): ``(B, 1, S, S)`` in 0..1.
        generator (torch.Generator): Source of randomness.

    Returns:
        tuple[Tensor, Tensor]: As given.
    """
    count = len(colour)
    grey = _grey(colour * alpha + 1 - alpha)
    edges = F.max_pool2d(grey, 3, 1, 1) + F.max_pool2d(-grey, 3, 1, 1)
    lines = (edges * _uniform((count, 1, 1, 1), 1.2, 4, generator)).clamp(0, 1)
    # Where the middle between ink and paper lies differs from drawing to drawing.
    mean = (grey * alpha).sum((1, 2, 3), keepdim=True) / alpha.sum((1, 2, 3), keepdim=True).clamp(min=1)
    shift = _uniform((count, 1, 1, 1), -0.15, 0.25, generator)
    levels = ((mean + shift - grey) * 12 + 0.5).clamp(0, 1)
    cut = torch.maximum(levels * alpha, lines * 0.6)
    kind = torch.rand(count, 1, 1, 1, generator=generator)
    new = torch.where(kind < 0.12, lines, torch.where(kind < 0.20, cut, alpha))
    black = kind < 0.20
    return torch.where(black, torch.zeros_like(colour), colour), torch.where(black, new, alpha)


def recolour(colour: Tensor, alpha: Tensor, generator: torch.Generator) -> Tensor:
    """Change colours: levels, contrast, saturation, hue, grey, and for what is black now and then another ink."""
    count = len(colour)
    one = (count, 1, 1, 1)
    grey = _grey(colour)
    saturation = torch.where(_chance(count, 0.2, generator).view(one), 0.0, _uniform(one, 0.5, 1.5, generator))
    changed = grey + saturation * (colour - grey)
    changed = _turn_hue(
        changed,
        torch.where(
            _chance(count, 0.35, generator),
            1.2 * torch.randn(count, generator=generator),
            0.1 * torch.randn(count, generator=generator),
        ),
    )
    changed = changed.clamp(1e-3, 1) ** torch.exp(0.3 * torch.randn(one, generator=generator))
    contrast, brightness = _uniform(one, 0.6, 1.2, generator), 0.1 * torch.randn(one, generator=generator)
    changed = (changed - 0.5) * contrast + 0.5 + brightness + 0.05 * torch.randn((count, 3, 1, 1), generator=generator)
    flat = ((colour * alpha).amax((1, 2, 3)) < 0.1) & _chance(count, 0.4, generator)  # all of it is black
    ink = _uniform((count, 3, 1, 1), 0, 0.8, generator)
    changed = torch.where(flat.view(one), ink, changed)
    return changed.clamp(0, 1)


def paper(alpha: Tensor, generator: torch.Generator) -> Tensor:
    """Return papers ``(B, 3, S, S)``: white, light, of any colour, or blotched."""
    count, side = len(alpha), alpha.shape[-1]
    shape = (count, 3, 1, 1)
    kind = torch.rand(count, 1, 1, 1, generator=generator)
    white = torch.ones(shape)
    light = _uniform(shape, 0.65, 1, generator)
    middle = _uniform(shape, 0.4, 0.9, generator)
    plain = torch.where(kind < 0.5, white, torch.where(kind < 0.75, light, middle))
    coarse = torch.randn(count, 3, 5, 5, generator=generator)
    blotches = F.interpolate(coarse, size=side, mode='bicubic', align_corners=True)
    strength = torch.where(kind > 0.7, _uniform((count, 1, 1, 1), 0.02, 0.16, generator), 0.0)
    return (plain + strength * blotches).clamp(0, 1)


def photograph(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Take pictures out of focus, in bad light, inverted, with noise, or with a part hidden."""
    count, side = len(pictures), pictures.shape[-1]
    one = (count, 1, 1, 1)
    inverted = _chance(count, 0.06, generator).view(one)
    pictures = torch.where(inverted, 1 - pictures, pictures)
    soft = F.avg_pool2d(F.pad(pictures, (1,) * 4, mode='replicate'), 3, 1)
    softer = F.avg_pool2d(F.pad(soft, (1,) * 4, mode='replicate'), 3, 1)
    blur = torch.rand(one, generator=generator)
    pictures = torch.where(blur < 0.12, softer, torch.where(blur < 0.3, soft, pictures))
    level = torch.where(_chance(count, 0.25, generator).view(one), _uniform(one, 0, 0.11, generator), 0.0)
    pictures = pictures + level * torch.randn(pictures.shape, generator=generator)
    # A hidden rectangle of up to a third of each side.
    size, start = _uniform((count, 2), 0.1, 0.35, generator), _uniform((count, 2), 0, 0.9, generator)
    place = (torch.arange(side) + 0.5) / side
    inside = [(place >= start[:, k, None]) & (place < (start + size)[:, k, None]) for k in (0, 1)]
    hidden = (inside[0][:, None, :, None] & inside[1][:, None, None, :]) & _chance(count, 0.2, generator).view(one)
    return torch.where(hidden, _uniform((count, 3, 1, 1), 0, 1, generator), pictures)


def _turn_hue(colour, angle):
    """Turn colours about the grey axis by an angle ``(B,)``."""
    cos, sin = torch.cos(angle).view(-1, 1, 1), torch.sin(angle).view(-1, 1, 1)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
    turn = cos * torch.eye(3) + sin * cross + (1 - cos) / 3
    return torch.einsum('bij,bjhw->bihw', turn, colour)


def _grey(colour):
    return (colour * torch.tensor(_GREY).view(3, 1, 1)).sum(1, keepdim=True)


def _uniform(shape, low, high, generator):
    return low + (high - low) * torch.rand(shape, generator=generator)


def _chance(count, probability, generator):
    return torch.rand(count, generator=generator) < probability
