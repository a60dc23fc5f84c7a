"""Pictograms: drawings of things by several artists, with a source and shifted targets, held in memory without a download."""

from typing import Any, NamedTuple

import numpy as np
from mmpretrain.registry import DATASETS

from .. import pictograms
from ..pictograms.rendering import on_paper
from ..pictograms.views import desk_view, distorted_view, generator
from .base import SplitDataset
from .split import SUBSETS, Split, class_range, hash_rows

PICTOGRAM_TEMPLATES = ('a photo of a {}.', 'a picture of a {}.', 'a drawing of a {}.', 'an image of a {}.')
DOMAINS = ('source', 'older', 'other_artist', 'sketch', 'distorted')
THING_VIEWS = dict(train=8, val=4, test=4)


class Shown(NamedTuple):
    """One picture of a data set."""

    style: str
    concept: str
    view: int

    @property
    def key(self) -> str:
        """str: Tells it from all others, whatever its place."""
        return f'{self.style}/{self.concept}/{self.view}'


class Pictograms(SplitDataset):
    """Pictures that this package carries, in one of five domains; see ``docs/pictograms.md``.

    Only the domain 'source' has pictures to train on; the others show the same classes, as
    ``metainfo['source_indices']`` says.

    Args:
        domain (str): 'source', the styles of three artists; 'older', an earlier version of one of them; 'other_artist', a
            fourth one; 'sketch', black and white; or 'distorted', the test pictures of the source on blotched paper, turned,
            out of focus and noisy. Defaults to 'source'.
        subset (str): Defaults to 'train'.
        **kwargs: Arguments of :class:`SplitDataset`; ``data_root`` is not used.

    Raises:
        ValueError: For an unknown domain, or another subset than 'test' of a target.
    """

    domains: tuple[str, ...] = DOMAINS

    def __init__(self, domain: str = 'source', subset: str = 'train', **kwargs: Any):
        if domain not in self.domains:
            raise ValueError(f'{type(self).__name__}: domain is {domain!r}, expected one of {", ".join(self.domains)}.')
        if domain != 'source' and subset in SUBSETS and subset != 'test':
            raise ValueError(
                f"{type(self).__name__}: subset is {subset!r}, expected 'test': the domain '{domain}' is there to test on."
            )
        self.domain = domain
        self._shown: list[Shown] = []
        super().__init__(subset=subset, **kwargs)

    @property
    def dataset_name(self) -> str:
        """str: Tells the domains apart, like ``PictogramKinds-sketch``."""
        return type(self).__name__ + ('' if self.domain == 'source' else f'-{self.domain}')

    def list_pictures(self) -> dict[str, dict[str, list[Shown]]]:
        """Return class name -> subset -> pictures, of the domain alone."""
        raise NotImplementedError

    def show(self, shown: Shown, drawing: np.ndarray) -> np.ndarray:
        """Return a picture of the source or of another style, RGB ``(64, 64, 3)``, uint8."""
        raise NotImplementedError

    def styles(self, role: str) -> list[str]:
        """Return the styles of a role, as the index names it."""
        return [style for style, sheet in pictograms.index()['sheets'].items() if sheet['role'] == role]

    def read_split(self) -> Split:
        """Return the split; rows hold the place of the picture."""
        classes = self.list_pictures()
        rows, self._shown = {}, []
        for subset in SUBSETS:
            pictures = [(shown, label) for label, parts in enumerate(classes.values()) for shown in parts.get(subset, ())]
            start = len(self._shown)
            rows[subset] = [(start + place, label) for place, (_, label) in enumerate(pictures)]
            self._shown += [shown for shown, _ in pictures]
        return Split(list(classes), PICTOGRAM_TEMPLATES, **rows, source=self.dataset_name)

    def read_image(self, index: int) -> np.ndarray:
        """Return picture ``index`` as uint8 RGB ``(64, 64, 3)``."""
        shown = self._shown[index]
        drawing = pictograms.drawings(shown.style)[shown.concept]
        if self.domain == 'distorted':
            return distorted_view(drawing, generator('distorted', shown.key))
        return self.show(shown, drawing)

    def identify(self, split: Split) -> str:
        """Return the ``split_id``, of what is shown instead of places: more drawings do not make other picks of the old ones."""
        rows = {subset: [(self._shown[place].key, label) for place, label in getattr(split, subset)] for subset in SUBSETS}
        return hash_rows([self.domain, len(split.classes), rows])

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the pictures.

        Returns:
            list[dict]: One record per picture.
        """
        records = super().load_data_list()
        if self.domain != 'source':
            self._metainfo['source_indices'] = tuple(class_range(self.class_subset, len(self.split_classes)))
        return records


@DATASETS.register_module()
class PictogramKinds(Pictograms):
    """Kinds of things (bird, fruit, musical instrument, ...): trained on some concepts of a kind, tested on others.

    A picture is a drawing as it is, on white. No concept is in two subsets, whoever draws it. Of a target, the concepts are
    those of the test subset that its style has.

    Args:
        **kwargs: See :class:`Pictograms`.
    """

    def list_pictures(self) -> dict[str, dict[str, list[Shown]]]:
        """Return class name -> subset -> pictures."""
        index = pictograms.index()
        if self.domain in ('source', 'distorted'):
            subsets = SUBSETS if self.domain == 'source' else ('test',)
            drawn = {style: set(index['sheets'][style]['concepts']) for style in self.styles('source')}
        else:
            subsets = ('test',)
            drawn = {style: set(index['shown'][style]) for style in self.styles(self.domain)}
        return {
            kind: {
                subset: [Shown(style, concept, 0) for concept in parts[subset] for style in drawn if concept in drawn[style]]
                for subset in subsets
            }
            for kind, parts in index['kinds'].items()
        }

    def show(self, shown: Shown, drawing: np.ndarray) -> np.ndarray:
        """Return the drawing on white."""
        return on_paper(drawing)


@DATASETS.register_module()
class PictogramThings(Pictograms):
    """Single things (octopus, guitar, red apple, ...): trained on the drawings of two artists, tested on that of a third one.

    A picture is a drawing on paper of some colour, turned, smaller and moved: eight such views of each of the two drawings to
    train on, four of the one to test on, and for validation four of an older version by one of the artists, which therefore
    is no target.

    Args:
        **kwargs: See :class:`Pictograms`.
    """

    domains = tuple(domain for domain in DOMAINS if domain != 'older')

    def list_pictures(self) -> dict[str, dict[str, list[Shown]]]:
        """Return class name -> subset -> pictures."""
        index = pictograms.index()
        found = {}
        for concept, styles in index['things'].items():
            if self.domain != 'source':
                styles = dict(test=styles['test'] if self.domain == 'distorted' else self.styles(self.domain))
            found[index['concepts'][concept]['name']] = {
                subset: [Shown(style, concept, view) for style in styles[subset] for view in range(THING_VIEWS[subset])]
                for subset in styles
            }
        return found

    def show(self, shown: Shown, drawing: np.ndarray) -> np.ndarray:
        """Return the drawing as it lies on a desk, the same every time."""
        return desk_view(drawing, generator('desk', shown.key))
