"""Files of recorded numbers, and what every comparison with them needs."""

import json
import math
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from safetensors.torch import save_file

from ...models.computation.precision import STRICT, float32_products

TOLERANCE = 1e-5


class Row(NamedTuple):
    """One recorded array against ours."""

    name: str
    difference: float
    """Largest absolute difference."""
    tolerance: float
    """The method's relative tolerance times ``max(1, largest absolute recorded value)``."""

    @property
    def passed(self) -> bool:
        """bool: Whether the difference is within the tolerance; a NaN is not."""
        return self.difference <= self.tolerance


class _Arrays(dict):
    """Arrays of a file by their names; one that is not there is named in the error."""

    def __init__(self, path: Path, arrays: dict[str, np.ndarray]):
        super().__init__(arrays)
        self.path = path

    def __missing__(self, name):
        raise ValueError(f'{self.path} lacks the array {name!r}')


class GoldenFile:
    """Recorded arrays of an ``.npz`` file.

    Args:
        path (str | Path): The file.
        options (dict, optional): Arguments of the classifier that promise equal numbers.
        device (torch.device | str): Where its tensors, and the models that are built from them, are.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not readable without unpickling.
    """

    def __init__(self, path: str | Path, options: dict[str, Any] | None = None, device: torch.device | str = 'cpu'):
        self.path, self.options, self.device = Path(path), dict(options or {}), torch.device(device)
        if not self.path.is_file():
            raise FileNotFoundError(f'{path} does not exist; expected an .npz file of recorded numbers')
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                self.arrays = _Arrays(self.path, {name: archive[name] for name in archive.files})
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f'{path} is not readable as an .npz file of plain arrays: {error}') from error

    def require(self, names: Iterable[str]) -> None:
        """Raise ValueError if one of these arrays is missing."""
        missing = [name for name in names if name not in self.arrays]
        if missing:
            raise ValueError(f'{self.path} lacks the arrays {missing}')

    def tensor(self, name: str, device: torch.device | str | None = None) -> torch.Tensor:
        """Return one array as a tensor on the file's device, or another; numbers with a fraction in float32."""
        tensor = torch.from_numpy(np.array(self.arrays[name])).to(device or self.device)
        return tensor.float() if tensor.is_floating_point() else tensor

    def tensors(self, prefix: str) -> dict:
        """Return all arrays below a prefix as tensors, named without it."""
        return {name[len(prefix) :]: self.tensor(name) for name in self.arrays if name.startswith(prefix)}

    def matches(self, pattern: str) -> Iterator[re.Match]:
        """Yield ``re.Match`` of all array names that match a pattern as a whole."""
        return filter(None, (re.fullmatch(pattern, name) for name in self.arrays))


def compared(golden: GoldenFile, name: str, ours: torch.Tensor | float | None, tolerance: float = TOLERANCE) -> Row:
    """Compare one array; what this project does not compute, or in another shape, differs infinitely.

    Args:
        golden (GoldenFile): The file.
        name (str): Of the recorded array.
        ours (Tensor | float | None): What this project computes.
        tolerance (float): Relative to ``max(1, largest absolute recorded value)``.

    Returns:
        Row: The difference, in float64.
    """
    recorded = golden.tensor(name, 'cpu').double()
    limit = tolerance * max(1.0, recorded.abs().max().item() if recorded.numel() else 0.0)
    ours = None if ours is None else torch.as_tensor(ours)
    if ours is None or ours.shape != recorded.shape:
        return Row(name, float('inf'), limit)
    difference = (ours.detach().double().cpu() - recorded).abs()
    return Row(name, difference.max().item() if difference.numel() else 0.0, limit)


@torch.no_grad()
def find_heads(golden: GoldenFile, width: int, recorded: str, agrees: Callable[[int], bool | torch.Tensor]) -> int:
    """Find the number of attention heads of a tower, which leaves no trace in the shapes of its weights; features tell.

    Args:
        golden (GoldenFile): The file.
        width (int): Of the tower.
        recorded (str): What the features are compared with, for the error.
        agrees (Callable): Whether a number of heads gives the recorded features. It computes in whole float32, whatever is
            compared afterwards.

    Returns:
        int: The number.

    Raises:
        ValueError: If no number that divides the width gives them.
    """
    # The usual width of a head is 64, in small models less.
    counts = sorted((count for count in range(1, width + 1) if width % count == 0), key=lambda count: abs(width // count - 16))
    with float32_products(STRICT), torch.autocast(golden.device.type, enabled=False):
        for count in counts:
            if agrees(count):
                return count
    raise ValueError(
        f'{golden.path}: with no number of heads that divides the width {width} does the tower give the recorded {recorded}'
    )


def clip_folder(golden: GoldenFile, folder: str | Path, heads: tuple[int, int] | None = None) -> str:
    """Write the recorded CLIP model ``clip.*`` as open_clip saves one, to be loaded like any other base model.

    Sizes are read from the arrays. The table of token embeddings may be a compact one, of the rows in use alone.

    Args:
        golden (GoldenFile): With the state of an ``open_clip.CLIP`` below ``clip.``.
        folder (str | Path): Where to put it.
        heads (tuple[int, int], optional): Attention heads of vision and text tower, which leave no trace in shapes.
            Defaults to ``meta.heads``.

    Returns:
        str: The architecture's name, ``'local-dir:FOLDER'``.

    Raises:
        ValueError: If the number of heads is not known.
    """
    if heads is None:
        golden.require(['meta.heads'])
        heads = cast(tuple[int, int], tuple(int(count) for count in golden.arrays['meta.heads']))
    state = golden.tensors('clip.')
    stem, texts = state['visual.conv1.weight'], state['token_embedding.weight']
    width, patch = stem.shape[0], stem.shape[-1]
    side = math.isqrt(len(state['visual.positional_embedding']) - 1)
    config = dict(
        embed_dim=state['visual.proj'].shape[1],
        quick_gelu=True,
        vision_cfg=dict(
            image_size=side * patch,
            layers=_depth(state, 'visual.transformer'),
            width=width,
            head_width=width // heads[0],
            patch_size=patch,
            mlp_ratio=state['visual.transformer.resblocks.0.mlp.c_fc.weight'].shape[0] / width,
        ),
        text_cfg=dict(
            context_length=len(state['positional_embedding']),
            vocab_size=len(texts),
            width=texts.shape[1],
            heads=heads[1],
            layers=_depth(state, 'transformer'),
            mlp_ratio=state['transformer.resblocks.0.mlp.c_fc.weight'].shape[0] / texts.shape[1],
        ),
    )
    folder = Path(folder)
    (folder / 'open_clip_config.json').write_text(json.dumps(dict(model_cfg=config, preprocess_cfg={})))
    save_file({name: value.contiguous() for name, value in state.items()}, folder / 'open_clip_model.safetensors')
    return f'local-dir:{folder}'


def _depth(state, tower):
    pattern = re.compile(re.escape(tower) + r'\.resblocks\.(\d+)\.ln_1\.weight')
    return 1 + max(int(match[1]) for match in filter(None, map(pattern.fullmatch, state)))
