"""What a checkpoint says of itself, and what it must fit."""

import json
import math
from collections.abc import Sequence
from logging import WARNING

import torch
from mmengine.logging import print_log
from torch import nn

from ...utils.files import parse_json
from ..caches.fingerprint import fingerprint

CHECKPOINT_FORMAT = 'mmpretrain_mps-1'
DESCRIPTION_KEY = '_extra_state'
# Modules of a classifier that come from the base model (or another frozen one) again, and are therefore in no checkpoint.
FROZEN_MODULES = ('backbone.zero_shot', 'text_tower', 'auxiliary')


class DescribedModule(nn.Module):
    """Checkpoints without frozen weights, which say what they were made from and refuse what they do not fit.

    The frozen weights (:data:`FROZEN_MODULES`) are identified by their SHA-256. The description travels as UTF-8 JSON
    in a uint8 tensor, which every way of saving and loading carries.

    Needs the attributes ``architecture``, ``pretrained``, ``quick_gelu``, ``backbone.zero_shot``, ``class_names`` and
    ``templates``.
    """

    method = ''
    """Name of the method, as checkpoints state it."""

    # What checkpoints do not state that are older than a key.
    described_by_default = {'method': 'mps'}
    allow_other_prediction = False

    def describe(self) -> dict:
        """Describe the model and what it was built on.

        Returns:
            dict: Plain values: format, base model with the SHA-256 of its frozen weights, method and its settings, how
            predictions are made, class names, templates.
        """
        return dict(
            format=CHECKPOINT_FORMAT,
            base=dict(
                architecture=self.architecture,
                pretrained=self.pretrained,
                quick_gelu=self.quick_gelu,
                **self._base_fingerprints(),
            ),
            method=self.method,
            **self.describe_method(),
            prediction=self.describe_prediction(),
            class_names=self.class_names,
            templates=self.templates,
        )

    def describe_method(self) -> dict:
        """Return the settings, as plain values, that a checkpoint must share with the model that loads it."""
        return {}

    def describe_prediction(self) -> dict:
        """Return the settings that decide predictions beside the weights: names of a config to plain values.

        A checkpoint that states another value is refused, unless ``allow_other_prediction`` is set.
        """
        return {}

    def _base_fingerprints(self):
        if self._fingerprints is None:
            self._fingerprints = dict(sha256=fingerprint(dict(self.backbone.zero_shot.named_parameters())))
            if getattr(self, 'text_tower', None) is not None:
                self._fingerprints['text_sha256'] = fingerprint(dict(self.text_tower.named_parameters()))
        return self._fingerprints

    _fingerprints = None

    def get_extra_state(self) -> torch.Tensor:
        """Return :meth:`describe` as UTF-8 JSON in a uint8 tensor."""
        return torch.frombuffer(bytearray(json.dumps(self.describe()).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Take over the class names and templates of a checkpoint; what was made of them comes with its tensors."""
        description = read_description(state)
        self.class_names = None if description['class_names'] is None else tuple(description['class_names'])
        self.templates = None if description['templates'] is None else tuple(description['templates'])

    def check_description(self, state: torch.Tensor) -> None:
        """Refuse the description of a checkpoint that this model is none of.

        Args:
            state (Tensor): The description, as :meth:`get_extra_state` gives it.

        Raises:
            ValueError: If it is not readable, or says another base, method, setting or list of classes.
        """
        self._check_fits(read_description(state))

    def _load_from_state_dict(self, state_dict, prefix, *args):
        key = prefix + DESCRIPTION_KEY
        if key not in state_dict:
            raise ValueError(
                'this checkpoint does not say which base model it belongs to, so it is none of '
                f'{type(self).__name__}; keys: {list(state_dict)[:5]}'
            )
        self.check_description(state_dict[key])
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _check_fits(self, theirs):
        ours = self.describe()
        for key in ('sha256', 'text_sha256'):
            if theirs['base'].get(key) != ours['base'].get(key) and ours['base'].get(key) and theirs['base'].get(key):
                raise ValueError(
                    f'the checkpoint was tuned from {_name_base(theirs["base"])}, but this model is built '
                    f"on {_name_base(ours['base'])}; set architecture and pretrained to the checkpoint's "
                    'base'
                )
        if theirs['base']['quick_gelu'] != ours['base']['quick_gelu']:
            raise ValueError(
                f'the checkpoint was tuned with quick_gelu={theirs["base"]["quick_gelu"]}, but this model '
                f'has quick_gelu={ours["base"]["quick_gelu"]}'
            )
        for key, value in dict(method=self.method, **_plain(self.describe_method())).items():
            found = theirs.get(key, self.described_by_default.get(key))
            if found != value:
                raise ValueError(f'the checkpoint was tuned with {key}={found}, but this model has {value}')
        self._check_prediction(theirs.get('prediction'))
        check_class_names(theirs['class_names'], ours['class_names'], 'the checkpoint', 'this model')

    def _check_prediction(self, theirs):
        # Older checkpoints do not state it, and those that searched for a number bring that.
        for name, ours in _plain(self.describe_prediction()).items():
            found = theirs.get(name, ours) if isinstance(theirs, dict) else ours
            if _equal(found, ours):
                continue
            message = f'the checkpoint was trained to predict with {name}={found}, but this model has {ours}'
            if not self.allow_other_prediction:
                raise ValueError(
                    f'{message}; leave it at {found}, or set model.allow_other_prediction=True to predict with '
                    f'{ours} all the same'
                )
            print_log(message, 'current', WARNING)

    def _leave_out_frozen_weights(self):
        """Keep the frozen weights out of state dicts, and do not miss them when one is loaded."""
        self._register_state_dict_hook(_drop_frozen_weights)
        self.register_load_state_dict_post_hook(_forgive_frozen_weights)


def check_class_names(theirs: Sequence[str] | None, ours: Sequence[str] | None, their_owner: str, our_owner: str) -> None:
    """Raise ValueError unless two lists of class names are equal; None on either side fits everything.

    Args:
        theirs (Sequence[str] | None): Names of one side.
        ours (Sequence[str] | None): Names of the other side.
        their_owner (str): What ``theirs`` belong to, for the message.
        our_owner (str): What ``ours`` belong to, for the message.

    Raises:
        ValueError: Gives the counts, or the first label whose names differ.
    """
    if theirs is None or ours is None or list(theirs) == list(ours):
        return
    if len(theirs) != len(ours):
        raise ValueError(
            f'{their_owner} has {len(theirs)} classes ({_shorten(theirs)}), but {our_owner} has {len(ours)} ({_shorten(ours)})'
        )
    label = next(index for index, (a, b) in enumerate(zip(theirs, ours)) if a != b)
    raise ValueError(
        f'class {label} is {theirs[label]!r} in {their_owner}, but {ours[label]!r} in {our_owner}; names '
        'and their order must be the same'
    )


def read_description(state: torch.Tensor) -> dict:
    """Read what :meth:`DescribedModule.get_extra_state` wrote.

    Args:
        state (Tensor): uint8, UTF-8 JSON.

    Returns:
        dict: The description.

    Raises:
        ValueError: If it is no such description, or one of another format.
    """
    try:
        description = parse_json(bytes(state.cpu().tolist()).decode(), 'it')
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f'the description in this checkpoint is not readable: {error}') from error
    if not isinstance(description, dict) or description.get('format') != CHECKPOINT_FORMAT:
        found = description.get('format') if isinstance(description, dict) else description
        raise ValueError(f'this checkpoint has the format {found!r}; expected {CHECKPOINT_FORMAT!r}')
    base = description.get('base')
    if (
        not isinstance(base, dict)
        or not {'architecture', 'pretrained', 'quick_gelu', 'sha256'} <= set(base)
        or not isinstance(base['sha256'], str)
    ):
        raise ValueError('the description in this checkpoint does not say which base model it belongs to')
    for key in ('class_names', 'templates'):
        value = description.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(text, str) for text in value)):
            raise ValueError(f'the description in this checkpoint has the {key} {value!r}, expected a list of texts')
        description[key] = value
    return description


def _plain(settings):
    """Return settings as they come back from JSON, where tuples have become lists."""
    return json.loads(json.dumps(settings))


def _equal(theirs, ours):
    """Compare settings; of numbers, the last digits may depend on the machine."""
    numbers = [isinstance(value, (int, float)) and not isinstance(value, bool) for value in (theirs, ours)]
    return math.isclose(theirs, ours, rel_tol=1e-6) if all(numbers) else theirs == ours


def _drop_frozen_weights(module, state_dict, prefix, local_metadata):
    for name in _frozen_names(module):
        state_dict.pop(prefix + name, None)


def _forgive_frozen_weights(module, incompatible_keys):
    # In place, since the caller's own list is what becomes a warning or an error.
    frozen = set(_frozen_names(module))
    incompatible_keys.missing_keys[:] = [key for key in incompatible_keys.missing_keys if key not in frozen]


def _frozen_names(module):
    names = []
    for path in FROZEN_MODULES:
        owner = module
        for part in path.split('.'):
            owner = getattr(owner, part, None)
        if owner is not None:
            names += [f'{path}.{name}' for name in owner.state_dict()]
    return names


def _name_base(base):
    return f'{base["architecture"]} ({base["pretrained"]}, weights {base["sha256"][:12]})'


def _shorten(names):
    return ', '.join(map(str, list(names)[:3])) + (', ...' if len(names) > 3 else '')
