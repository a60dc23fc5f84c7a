"""The classes of a classifier: their names, and all that is made of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from mmengine.logging import print_log
from torch import nn

from ..caches.prototype_cache import cached_prototypes
from ..loading.clip_loader import check_words, load_clip
from ..text import check_prompts
from ..text.prototypes import encode_prototypes
from .description import check_class_names

if TYPE_CHECKING:
    from ..utils.clip_loader import ClipModel

SHOWN_PROMPTS = 3
DEFAULT_TEMPLATES = ('a photo of a {}.',)
ClassTexts = dict[str, torch.Tensor]
"""What a list of classes is turned into: tensors with a leading class axis, by the names of their buffers."""


class ModelOfClasses(nn.Module):
    """A model with class names and what is made of them: buffers and parameters with a leading class axis.

    Every such model has the buffer ``text_prototypes`` ``(C, D)``, float32, not of unit norm: the mean text feature of each
    class in the frozen model, over the prompt templates. A method that needs more of each class registers further
    buffers and says in :meth:`encode_class_texts` how they are made. A method that learns something *of each class*
    registers parameters; it cannot predict classes that it was not trained on.

    Needs the attributes ``architecture``, ``pretrained`` and ``quick_gelu``.

    Attributes:
        class_names (tuple[str] | None): Index = label.
        templates (tuple[str] | None): Prompt templates.
    """

    keeps_text_tower = False
    """Whether texts pass through the text tower in every step; otherwise it is let go once the classes are encoded."""

    def _set_up_classes(self, clip, embed_dims, templates, normalize_templates, cache_prototypes):
        """Register what every model of classes has.

        Args:
            clip (ClipModel): The base model, without its vision tower.
            embed_dims (int): ``D``.
            templates (Sequence[str] | None): Of the config.
            normalize_templates (bool): Unit norm for each template's text feature before the mean.
            cache_prototypes (bool): Keep prototypes on disk.
        """
        self.class_names, self.templates = None, None if templates is None else tuple(templates)
        self.normalize_templates, self.cache_prototypes = normalize_templates, cache_prototypes
        self._class_buffers, self._class_parameters = [], []
        self.register_class_buffer('text_prototypes', torch.zeros(0, embed_dims))
        # A list hides the text tower from the module's parameters, devices and state.
        self._text_tower = [clip]
        if self.keeps_text_tower:
            from ..text import TextTower

            self.text_tower = TextTower(clip.model)

    def register_class_buffer(self, name: str, empty: torch.Tensor) -> None:
        """Register a buffer with a leading class axis, which checkpoints hold.

        Args:
            name (str): Of the attribute, and of the key in what :meth:`encode_class_texts` returns.
            empty (Tensor): ``(0, ...)``: type and trailing shape.
        """
        self.register_buffer(name, empty)
        self._class_buffers.append(name)

    def register_class_parameter(self, name: str, empty: torch.Tensor) -> None:
        """Register a trained parameter with a leading class axis.

        It keeps its identity when the number of classes changes, since an optimizer may already hold it.

        Args:
            name (str): Of the attribute.
            empty (Tensor): ``(0, ...)``: type and trailing shape.
        """
        self.register_parameter(name, nn.Parameter(empty))
        self._class_parameters.append(name)

    @property
    def predicts_any_classes(self) -> bool:
        """bool: Whether the names of other classes are all that it needs to predict them."""
        return not self._class_parameters

    @property
    def bound_to_classes(self) -> bool:
        """bool: Whether the classes are fixed, since something was learned of each of them."""
        return not self.predicts_any_classes and self.class_names is not None

    def set_classes(self, class_names: Sequence[str], templates: Sequence[str] | None = None) -> None:
        """Make of class names what predictions need.

        Args:
            class_names (Sequence[str]): ``C`` readable names, index = label.
            templates (Sequence[str], optional): Prompt templates. Defaults to the ones of the config, else to
                ``'a photo of a {}.'``.

        Raises:
            ValueError: If names or templates are not usable, or unknown to the vocabulary of a mini CLIP, or the
                model has learned other classes.
        """
        if self.bound_to_classes:
            check_class_names(class_names, self.class_names, 'the new list', f'the trained {type(self).__name__}')
        templates = tuple(templates or self.templates or DEFAULT_TEMPLATES)
        (texts,) = self.encode_classes([(class_names, templates)])
        self.take_classes(texts, class_names, templates)
        # What CLIP is told, for anybody to see that it makes sense.
        shown = [templates[0].replace('{}', name) for name in list(class_names)[:SHOWN_PROMPTS]]
        more = ', ...' * (len(class_names) > SHOWN_PROMPTS)
        print_log(f'prompts of the classes: {", ".join(map(repr, shown))}{more}', 'current')

    def add_classes(self, class_names: Sequence[str], templates: Sequence[str] | None = None) -> None:
        """Predict further classes besides the present ones, which stay as they are.

        Args:
            class_names (Sequence[str]): Names of the new classes; their labels follow those of the others.
            templates (Sequence[str], optional): Prompt templates for them. Defaults to those of the others.

        Raises:
            ValueError: If names are not usable or there already, or the model has learned something of each class.
        """
        self._check_classes()
        twice = [name for name in class_names if name in self.class_names or list(class_names).count(name) > 1]
        if twice:
            raise ValueError(f'the class {twice[0]!r} is there already; expected new names')
        if not self.predicts_any_classes:
            raise ValueError(
                f'{type(self).__name__} has learned something of each of its {len(self.class_names)} classes, and '
                'cannot predict others by their names; train it on pictures of all of them'
            )
        (texts,) = self.encode_classes([(class_names, tuple(templates or self.templates or DEFAULT_TEMPLATES))])
        self._check_texts(texts, class_names)
        for name in self._class_buffers:
            old = getattr(self, name)
            setattr(self, name, torch.cat([old, texts[name].to(old)]))
        for name in self._class_parameters:  # of which there is nothing for the new classes
            old = getattr(self, name)
            old.data = torch.cat([old.data, old.data.new_zeros(len(class_names), *old.shape[1:])])
        self.class_names = (*self.class_names, *class_names)

    def take_classes(self, texts: ClassTexts, class_names: Sequence[str], templates: Sequence[str] | None = None) -> None:
        """Predict classes that are already encoded from now on.

        Args:
            texts (ClassTexts): Of :meth:`encode_classes`.
            class_names (Sequence[str]): ``C`` names.
            templates (Sequence[str], optional): What they were encoded with. Defaults to the model's.

        Raises:
            ValueError: If a tensor is missing or the numbers of rows and names differ.
        """
        self._check_texts(texts, class_names)
        for name in self._class_buffers:
            setattr(self, name, texts[name].to(getattr(self, name).device))
        self.class_names, self.templates = tuple(class_names), tuple(templates or self.templates or DEFAULT_TEMPLATES)
        if any(len(getattr(self, name)) != len(class_names) for name in self._class_parameters):
            for name in self._class_parameters:
                self._resize(name, len(class_names))
            self.reset_class_parameters()

    def reset_class_parameters(self) -> None:
        """Give the parameters with a class axis their first values; they are zero where a method does nothing here."""

    def encode_classes(self, class_lists: Sequence[tuple[Sequence[str], Sequence[str]]]) -> list:
        """Encode other classes; the model's own stay as they are.

        Args:
            class_lists (Sequence[tuple]): Pairs of class names and prompt templates, for one text tower to encode all.

        Returns:
            list[ClassTexts]: One for each pair, for :meth:`take_classes` and :meth:`with_classes`.

        Raises:
            ValueError: If names or templates are not usable, or unknown to the vocabulary of a mini CLIP.
        """
        for class_names, templates in class_lists:
            check_words(self.architecture, class_names, templates)
        clip = self._clip_of_texts()
        for class_names, templates in class_lists:
            check_prompts(clip.make_tokenizer(), list(class_names), tuple(templates))
        return [self.encode_class_texts(clip, list(class_names), tuple(templates)) for class_names, templates in class_lists]

    def _clip_of_texts(self):
        """Return the base model with its text tower on the device of the model."""
        if self.keeps_text_tower:
            return self._text_tower[0]._replace(model=self.text_tower.model)
        # Needed again for other classes, for instance at inference; it is then read anew.
        clip = self._text_tower.pop() if self._text_tower else load_clip(self.architecture, self.pretrained, self.quick_gelu)
        return clip._replace(model=clip.model.to(self.text_prototypes.device))

    def encode_class_texts(self, clip: ClipModel, class_names: Sequence[str], templates: Sequence[str]) -> ClassTexts:
        """Turn class names into what the model needs of each class.

        Args:
            clip (ClipModel): With its text tower, and ``make_tokenizer``.
            class_names (Sequence[str]): ``C`` names.
            templates (Sequence[str]): ``T`` prompt templates.

        Returns:
            ClassTexts: A tensor for each buffer with a class axis.
        """
        encode = cached_prototypes if self.cache_prototypes else encode_prototypes
        return dict(text_prototypes=encode(clip.model, clip.make_tokenizer(), class_names, templates, self.normalize_templates))

    @contextlib.contextmanager
    def with_classes(
        self, texts: ClassTexts, class_names: Sequence[str], templates: Sequence[str] | None = None
    ) -> Iterator[ModelOfClasses]:
        """Predict other classes for a while; the model's own come back at the end, also after an error.

        Args:
            texts (ClassTexts): Of :meth:`encode_classes`.
            class_names (Sequence[str]): ``C`` names.
            templates (Sequence[str], optional): What they were encoded with. Defaults to the model's.

        Raises:
            ValueError: If the model predicts the classes alone that it was trained on, a tensor is missing, or the numbers
                of rows and names differ.
        """
        if not self.predicts_any_classes:
            raise ValueError(
                f'{type(self).__name__} predicts the classes that it was trained on, and cannot take over '
                f'others: {len(class_names)} were given'
            )
        self._check_texts(texts, class_names)
        with self._restored():
            for name in self._class_buffers:
                setattr(self, name, texts[name].to(getattr(self, name).device))
            self.class_names, self.templates = tuple(class_names), tuple(templates or self.templates or DEFAULT_TEMPLATES)
            yield self

    @contextlib.contextmanager
    def with_class_subset(self, labels: Sequence[int]) -> Iterator[ModelOfClasses]:
        """Predict among some of the model's own classes for a while; they come back at the end, also after an error.

        Args:
            labels (Sequence[int]): Labels of the classes, in their new order.
        """
        labels = list(labels)
        with self._restored():
            for name in self._class_buffers:
                setattr(self, name, getattr(self, name)[labels])
            for name in self._class_parameters:
                parameter = getattr(self, name)
                parameter.data = parameter.data[labels]
            self.class_names = tuple(self.class_names[label] for label in labels)
            yield self

    @contextlib.contextmanager
    def _restored(self):
        buffers = {name: getattr(self, name) for name in self._class_buffers}
        parameters = {name: getattr(self, name).data for name in self._class_parameters}
        names = self.class_names, self.templates
        try:
            yield
        finally:
            for name, buffer in buffers.items():
                setattr(self, name, buffer)
            for name, data in parameters.items():
                getattr(self, name).data = data
            self.class_names, self.templates = names

    def _check_texts(self, texts, class_names):
        for name in self._class_buffers:
            if name not in texts:
                raise ValueError(
                    f'{type(self).__name__} needs {name} of every class, but got {sorted(texts)}; encode the '
                    'classes by its own encode_classes'
                )
            if len(texts[name]) != len(class_names):
                raise ValueError(f'{len(texts[name])} rows of {name} were given for {len(class_names)} class names')

    def _resize(self, name, num_classes):
        tensor = getattr(self, name)
        empty = tensor.new_zeros(num_classes, *tensor.shape[1:])
        if name in self._class_parameters:
            tensor.data = empty
        else:
            setattr(self, name, empty)

    def _load_from_state_dict(self, state_dict, prefix, *args):
        # As many classes as the checkpoint has; whether they are the right ones, its description tells.
        for name in (*self._class_buffers, *self._class_parameters):
            theirs = state_dict.get(prefix + name)
            if theirs is not None and len(theirs) != len(getattr(self, name)):
                self._resize(name, len(theirs))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _check_classes(self):
        if self.class_names is None:
            raise ValueError(
                'the model has no class names: name them in the config (class_names), load a checkpoint, '
                "use ClassNamesHook, or call set_classes(['first', ...])"
            )
