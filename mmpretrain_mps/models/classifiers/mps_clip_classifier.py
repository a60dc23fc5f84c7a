"""CLIP tuned on a few pictures per class by MPS-Tuning."""
import contextlib
import json
from typing import NamedTuple, Optional

import torch
import torch.nn.functional as F
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.registry import MODELS
from torch import nn

from mmpretrain_mps import mini_clip

from ..backbones.dual_branch_vit import FrozenFeatures
from ..utils import data_preprocessor as _  # noqa: F401  (registers the preprocessor)
from ..utils.clip_loader import EMBEDDED_ARCHITECTURE, load_clip
from ..utils.fingerprint import fingerprint
from ..utils.gathering import gather_batch
from ..utils.prototype_cache import cached_prototypes
from ..utils.test_features import NO_FEATURES, TestFeatures, write_features
from ..utils.text_prototypes import encode_prototypes, fill_templates

CHECKPOINT_FORMAT = 'mmpretrain_mps-1'
DESCRIPTION_KEY = '_extra_state'
DEFAULT_TEMPLATES = ('a photo of a {}.', )


class LossInputs(NamedTuple):
    """What the losses see of a batch: ``V`` views of ``B`` pictures, those of all processes once gathered."""

    labels: torch.Tensor
    """``(B,)``, int64."""
    tuned: torch.Tensor
    """[CLS] features of the tuned branch ``(V, B, D)``."""
    zero_shot: Optional[torch.Tensor]
    """The same of the frozen branch; None where nothing depends on it."""
    intermediate: tuple
    """The same of intermediate layers through the pseudo-forward, each ``(V, B, D)``."""
    local_distances: Optional[torch.Tensor]
    """Local Gram distance of each picture ``(B,)``; None where it does not count."""
    patch_distances: tuple = ()
    """For each point-wise loss: distance of the patch tokens of each picture ``(B,)``; None where it does not count."""

    def gathered(self, equal_sizes):
        """Return the batch of all processes; see :func:`gather_batch`."""
        views_last = [None if x is None else x.movedim(0, 1) for x in (self.tuned, self.zero_shot, *self.intermediate)]
        of_pictures = [self.labels, self.local_distances, *self.patch_distances]
        gathered = gather_batch([*of_pictures, *views_last], equal_sizes)
        labels, local_distances, *patch_distances = gathered[:len(of_pictures)]
        tuned, zero_shot, *intermediate = (None if x is None else x.movedim(1, 0) for x in gathered[len(of_pictures):])
        return LossInputs(labels, tuned, zero_shot, tuple(intermediate), local_distances, tuple(patch_distances))


@MODELS.register_module()
class MPSCLIPClassifier(BaseClassifier):
    """Few-shot classifier of `Preserve and Sculpt <https://arxiv.org/abs/2508.12877>`_ on a CLIP of open_clip.

    It wires: the backbone computes the features of both branches, the head fuses their logits, the losses constrain
    (Gram alignment) and separate (hierarchical sculpting) the tuned features. A loss with weight 0 costs nothing.

    Its state holds the trained weights, the class prototypes and a description of the base model; the frozen weights
    come from the base model again, which loading a checkpoint verifies.

    Args:
        architecture (str): Model name of open_clip, or ``'mps-mini'``.
        pretrained (str | None): Tag such as ``'openai'`` or a local file; None for random weights.
        backbone (dict): Config of the backbone; it gets ``visual``, open_clip's vision tower.
        head (dict): Config of the fusion head.
        gram_loss (dict, optional): Config of :class:`GramAlignLoss`.
        sculpt_loss (dict, optional): Config of :class:`HierarchicalSculptLoss`.
        point_loss (dict | Sequence[dict], optional): Config of :class:`PointAlignLoss` or, by its type, of
            :class:`LogitConsistencyLoss`, or of both: what relations of pictures are compared with.
        class_names (Sequence[str], optional): Readable names, index = label. Without them :class:`ClassNamesHook`
            takes those of the data set, or :meth:`set_classes` is called.
        templates (Sequence[str], optional): Prompt templates; they take precedence over the data set's.
        normalize_templates (bool): Unit norm for each template's text feature before the mean; the released code does
            not do so.
        quick_gelu (bool, optional): Overrides the activation that weights are known to need.
        logit_scale (float, optional): Factor on cosines. Defaults to the one CLIP learned, 100 for OpenAI's.
        gather (str): ``'all'``: processes that train together compute the losses of their common batch, and N processes
            with batch B equal one with batch N x B. ``'none'``: each computes those of its own pictures; relations
            between pictures of different processes are then lost, so that the global Gram and the sculpting loss, and
            with them the result, depend on the number of processes.
        compile (bool | dict, optional): Run the backbone through ``torch.compile``, with these arguments. It costs time
            at the start; shapes should stay the same, so that ``drop_last`` helps.
        cache_prototypes (bool): Keep class prototypes on disk; :mod:`..utils.prototype_cache` says where.
        test_features (Sequence[str]): What predictions carry besides logits and scores, see :class:`TestFeatures`.
            Defaults to nothing; :class:`TestFeaturesHook` adds what metrics need while they are in use.
        data_preprocessor (dict, optional): Defaults to the normalisation of the CLIP model, for RGB pictures of 0-255.

    Attributes:
        equal_batches (bool): Whether all processes are known to have equally many pictures in the batch at hand, which
            :class:`EqualBatchesHook` finds out. Otherwise they tell each other first.
        kept_zero_shot (KeptFeatures | None): Frozen features of the pictures at hand, which :class:`ReuseZeroShotHook`
            lends for the time of a validation, if ``sample_idx`` names one picture alone.
        predicts_any_classes (bool): Whether prototypes are all that it needs to predict other classes.

    Raises:
        ValueError: If ``gather`` or one of ``test_features`` is unknown, or ``point_loss`` holds a type twice.
    """

    predicts_any_classes = True

    def __init__(self, architecture, pretrained, backbone=None, head=None, gram_loss=None, sculpt_loss=None,
                 point_loss=None, class_names=None, templates=None, normalize_templates=True, quick_gelu=None,
                 logit_scale=None, gather='all', compile=None, cache_prototypes=True, test_features=(),
                 data_preprocessor=None, init_cfg=None):
        if gather not in ('all', 'none'):
            raise ValueError(f"gather must be 'all' or 'none', but is {gather!r}")
        clip = load_clip(architecture, pretrained, quick_gelu)
        # Built here, in mmpretrain's registry: the base class would need a default scope to be set.
        super().__init__(init_cfg=init_cfg,
                         data_preprocessor=MODELS.build(data_preprocessor or _normalisation(clip.preprocess)))
        self.architecture, self.pretrained, self.quick_gelu = architecture, pretrained, clip.quick_gelu
        self.image_size = clip.preprocess.image_size
        self.normalize_templates = normalize_templates
        self.gather, self.equal_batches = gather, False
        self.cache_prototypes, self.kept_zero_shot = cache_prototypes, None
        self.test_features = TestFeatures.of(test_features)
        self.logit_scale = clip.model.logit_scale.exp().item() if logit_scale is None else float(logit_scale)
        self.backbone = MODELS.build({'type': 'DualBranchViT', **(backbone or {}), 'visual': clip.model.visual})
        if compile:
            # In place: names of parameters, and with them checkpoints, stay what they are.
            self.backbone.compile(**(compile if isinstance(compile, dict) else {}))
        self.head = MODELS.build({'type': 'LogitsFusionHead', **(head or {})})
        self.gram_loss = _build_if_active(gram_loss, 'GramAlignLoss')
        self.sculpt_loss = _build_if_active(sculpt_loss, 'HierarchicalSculptLoss')
        self.point_losses = _build_point_losses(point_loss)
        self.class_names, self.templates = None, None if templates is None else tuple(templates)
        self.register_buffer('text_prototypes', torch.zeros(0, self.backbone.embed_dims))
        self._base_fingerprint = None
        # A list hides the text tower from the module's parameters, devices and state.
        self._text_tower = [clip._replace(model=_without_vision(clip.model))]
        self._register_state_dict_hook(_drop_frozen_weights)
        self.register_load_state_dict_post_hook(_forgive_frozen_weights)
        if class_names is not None:
            self.set_classes(class_names, templates)

    @property
    def temperature(self):
        """float: Current temperature of the sculpting loss, None without it."""
        return None if self.sculpt_loss is None else self.sculpt_loss.temperature

    def set_epoch(self, epoch, max_epochs):
        """Set what changes over the epochs: the temperature of the sculpting loss.

        Args:
            epoch (int): Current epoch, from 0.
            max_epochs (int): Epochs of the whole training.
        """
        if self.sculpt_loss is not None:
            self.sculpt_loss.set_epoch(epoch, max_epochs)

    def set_classes(self, class_names, templates=None):
        """Compute the class prototypes, then let the text tower go.

        Args:
            class_names (Sequence[str]): ``C`` readable names, index = label.
            templates (Sequence[str], optional): Prompt templates. Defaults to the ones of the config, else to
                ``'a photo of a {}.'``.

        Raises:
            ValueError: If names or templates are not usable, or unknown to the vocabulary of the embedded model.
        """
        templates = tuple(templates or self.templates or DEFAULT_TEMPLATES)
        self.text_prototypes, = self.encode_classes([(class_names, templates)])
        self.class_names, self.templates = tuple(class_names), templates

    def encode_classes(self, class_lists):
        """Compute the prototypes of other classes; the model's own stay as they are. The text tower is let go after.

        Args:
            class_lists (Sequence[tuple]): Pairs of class names and prompt templates, for one text tower to encode all.

        Returns:
            list[Tensor]: Prototypes ``(C, D)`` of each pair, float32, not of unit norm.

        Raises:
            ValueError: If names or templates are not usable, or unknown to the vocabulary of the embedded model.
        """
        if self.architecture == EMBEDDED_ARCHITECTURE:
            for class_names, templates in class_lists:
                mini_clip.check_vocabulary(fill_templates(class_names, templates))
        # Needed again for other classes, for instance at inference; it is then read anew.
        clip = self._text_tower.pop() if self._text_tower else load_clip(self.architecture, self.pretrained,
                                                                         self.quick_gelu)
        model, tokenizer = clip.model.to(self.text_prototypes.device), clip.make_tokenizer()
        encode = cached_prototypes if self.cache_prototypes else encode_prototypes
        return [encode(model, tokenizer, class_names, templates, self.normalize_templates)
                for class_names, templates in class_lists]

    @contextlib.contextmanager
    def with_prototypes(self, prototypes, class_names, templates=None):
        """Predict other classes for a while; the model's own come back at the end, also after an error.

        Args:
            prototypes (Tensor): ``(C, D)``, of :meth:`encode_classes` or rows of ``text_prototypes``.
            class_names (Sequence[str]): ``C`` names.
            templates (Sequence[str], optional): What the prototypes were made with. Defaults to the model's.

        Raises:
            ValueError: If the numbers of prototypes and names differ.
        """
        if len(prototypes) != len(class_names):
            raise ValueError(f'{len(prototypes)} prototypes were given for {len(class_names)} class names')
        own = self.text_prototypes, self.class_names, self.templates
        self.text_prototypes = prototypes.to(own[0].device)
        self.class_names, self.templates = tuple(class_names), tuple(templates or own[2] or DEFAULT_TEMPLATES)
        try:
            yield self
        finally:
            self.text_prototypes, self.class_names, self.templates = own

    def with_class_subset(self, labels):
        """Predict among some of the model's own classes for a while; see :meth:`with_prototypes`.

        Args:
            labels (Sequence[int]): Labels of the classes, in their new order.
        """
        return self.with_prototypes(self.text_prototypes[list(labels)], [self.class_names[label] for label in labels])

    def forward(self, inputs, data_samples=None, mode='tensor'):
        """Run the model.

        Args:
            inputs (Tensor | list[Tensor] | FrozenFeatures): Normalised pictures ``(B, 3, H, W)``; for ``mode='loss'`` a
                list of such tensors, one per view, or the frozen features of all views, view by view.
            data_samples (list[DataSample], optional): One per picture; needed with ``mode='loss'``.
            mode (str): ``'loss'`` returns a dict of weighted losses and diagnostics, ``'predict'`` data samples with
                predictions, ``'tensor'`` the fused logits ``(B, C)``.

        Raises:
            ValueError: If there are no class prototypes yet, the picture size is wrong or the mode is unknown.
        """
        self._check_classes()
        views = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        if not isinstance(inputs, FrozenFeatures):
            self._check_size(views[0])
        if mode == 'loss':
            return self.loss(views, data_samples)
        if len(views) != 1:
            raise ValueError(f"mode '{mode}' takes one view of each picture, but got {len(views)}")
        if mode == 'predict':
            return self.predict(views[0], data_samples)
        if mode == 'tensor':
            return self._logits(views[0]).fused
        raise ValueError(f"mode must be 'loss', 'predict' or 'tensor', but is {mode!r}")

    def extract_feat(self, inputs):
        """Return a tuple with the unit-norm [CLS] features of the tuned branch, ``(B, D)``."""
        return (self.backbone(inputs, zero_shot=False).tuned[:, 0], )

    def loss(self, views, data_samples):
        """Compute the weighted losses and the accuracies of a batch.

        Args:
            views (Sequence[Tensor] | FrozenFeatures): ``V`` tensors ``(B, 3, H, W)``, or what :meth:`frozen_features`
                made of them, ``V * B`` rows.
            data_samples (list[DataSample]): ``B`` samples with ``gt_label``.

        Returns:
            dict[str, Tensor]: Scalars; those whose name holds ``loss`` are to be summed.
        """
        labels = torch.cat([sample.gt_label for sample in data_samples])
        labels = labels.to(self.text_prototypes.device, non_blocking=True)
        batch = self._loss_inputs(self._training_features(views, len(data_samples)), labels)
        if self.gather == 'all':
            batch = batch.gathered(self.equal_batches)
        logits = self.head(batch.tuned, batch.zero_shot, self._unit_prototypes(), self.logit_scale)
        losses = self.head.loss(logits, batch.labels)
        if self.gram_loss is not None:
            losses.update(self.gram_loss.combine(batch.tuned, batch.zero_shot, batch.local_distances))
        for loss, distances in zip(self.point_losses, batch.patch_distances, strict=True):
            losses.update(loss.combine(batch.tuned, batch.zero_shot, logits, distances))
        if self.sculpt_loss is not None:
            losses.update(self.sculpt_loss(batch.tuned, batch.intermediate, batch.labels, self.text_prototypes))
            # Filled on the device: a tensor made of a number would be copied there, and waited for.
            losses['temperature'] = batch.tuned.new_full((), self.temperature)
        return losses

    def frozen_features(self, images):
        """Compute what a training step needs of the frozen part of the network, and nothing else.

        Args:
            images (Tensor): Normalised pictures ``(N, 3, H, W)``.

        Returns:
            FrozenFeatures: For :meth:`forward` with ``mode='loss'``, as often as wanted.

        Raises:
            ValueError: If the picture size is wrong.
        """
        self._check_size(images)
        return self.backbone.frozen_features(images, **self._needed_of_branches())

    def predict(self, inputs, data_samples=None):
        """Classify pictures.

        Args:
            inputs (Tensor): ``(B, 3, H, W)``.
            data_samples (list[DataSample], optional): Samples to fill.

        Returns:
            list[DataSample]: See :meth:`LogitsFusionHead.predict`; with ``test_features`` also :func:`write_features`.
        """
        features = self._predict_features(inputs, data_samples, self.test_features)
        samples = self.head.predict(self._fuse(features), data_samples)
        write_features(samples, features, self.test_features)
        return samples

    def _logits(self, images, data_samples=None):
        return self._fuse(self._predict_features(images, data_samples))

    def _fuse(self, features):
        return self.head(features.tuned[:, 0], features.zero_shot[:, 0], self._unit_prototypes(), self.logit_scale)

    def _predict_features(self, images, data_samples=None, wanted=NO_FEATURES):
        """Run both branches, the frozen one only where its features are not kept or more than [CLS] is wanted of it."""
        indices = None if self.kept_zero_shot is None or wanted.beyond_cls else _indices_of(data_samples)
        kept = None if indices is None else self.kept_zero_shot.get(indices, images.device)
        starts = tuple(range(1, self.backbone.num_tuned_blocks + 1)) if wanted.layers else ()
        features = self.backbone(images, patch_tokens=bool(wanted.local), zero_shot=kept is None,
                                 intermediate_starts=starts, zero_shot_starts=starts)
        if kept is not None:
            return features._replace(zero_shot=kept[:, None])
        if indices is not None:
            self.kept_zero_shot.put(indices, features.zero_shot[:, 0])
        return features

    def _needed_of_branches(self):
        """Return what the losses that count need of both branches."""
        constraints = [*([] if self.gram_loss is None else [self.gram_loss]), *self.point_losses]
        return dict(patch_tokens=any(loss.uses_patch_tokens for loss in constraints),
                    zero_shot=bool(constraints) or self.head.uses_zero_shot)

    def _training_features(self, views, pictures=None):
        """Run all views in one batch; return features with a leading axis of views.

        Frozen features do not tell how many pictures they are of.
        """
        features = self.backbone(
            views if isinstance(views, FrozenFeatures) else torch.cat(list(views)),
            **self._needed_of_branches(),
            intermediate_starts=() if self.sculpt_loss is None else self.sculpt_loss.intermediate_starts)
        shape = (-1, len(views[0]) if pictures is None else pictures)
        return features._replace(
            tuned=features.tuned.unflatten(0, shape),
            zero_shot=None if features.zero_shot is None else features.zero_shot.unflatten(0, shape),
            intermediate=tuple(layer.unflatten(0, shape) for layer in features.intermediate))

    def _loss_inputs(self, features, labels):
        """Reduce the features of this process to what the losses see of each picture."""
        gram = self.gram_loss
        local = gram is not None and gram.uses_patch_tokens
        return LossInputs(
            labels, features.tuned[:, :, 0], None if features.zero_shot is None else features.zero_shot[:, :, 0],
            features.intermediate, gram.local_distances(features.tuned, features.zero_shot) if local else None,
            tuple(loss.patch_distances(features.tuned, features.zero_shot) if loss.uses_patch_tokens else None
                  for loss in self.point_losses))

    def _unit_prototypes(self):
        return F.normalize(self.text_prototypes, dim=-1)

    def _check_classes(self):
        if self.class_names is None:
            raise ValueError('the model has no class names: name them in the config (class_names), load a checkpoint, '
                             "use ClassNamesHook, or call set_classes(['first', ...])")

    def _check_size(self, images):
        if tuple(images.shape[-2:]) != self.image_size:
            raise ValueError(f'{self.architecture} takes pictures of {self.image_size} pixels (height, width), but got '
                             f'a batch of shape {tuple(images.shape)}')

    # What a checkpoint says of itself, and what it must fit.

    def describe(self):
        """Describe the model and what it was built on.

        Returns:
            dict: Plain values: format, base model with the SHA-256 of its frozen weights, what is tuned, class names,
            templates.
        """
        if self._base_fingerprint is None:
            self._base_fingerprint = fingerprint(dict(self.backbone.zero_shot.named_parameters()))
        return dict(
            format=CHECKPOINT_FORMAT,
            base=dict(architecture=self.architecture, pretrained=self.pretrained, quick_gelu=self.quick_gelu,
                      sha256=self._base_fingerprint),
            **self._describe_tuned(),
            class_names=self.class_names, templates=self.templates)

    def _describe_tuned(self):
        """Describe what a checkpoint's weights are the weights of; both sides must agree on it."""
        return dict(
            method='mps', group_depths=list(self.backbone.group_depths), adapters=len(self.backbone.tuned.adapters),
            tune_stem=self.backbone.tune_stem)

    def get_extra_state(self):
        """Return :meth:`describe` as UTF-8 JSON in a uint8 tensor, which every way of saving and loading carries."""
        return torch.frombuffer(bytearray(json.dumps(self.describe()).encode()), dtype=torch.uint8)

    def set_extra_state(self, state):
        """Take over the class names and templates of a checkpoint; the prototypes come with its tensors."""
        description = read_description(state)
        self.class_names = None if description['class_names'] is None else tuple(description['class_names'])
        self.templates = None if description['templates'] is None else tuple(description['templates'])

    def _load_from_state_dict(self, state_dict, prefix, *args):
        key = prefix + DESCRIPTION_KEY
        if key not in state_dict:
            raise ValueError('this checkpoint does not say which base model it belongs to, so it is none of '
                             f'{type(self).__name__}; entries: {list(state_dict)[:5]}')
        self._check_fits(read_description(state_dict[key]))
        prototypes = state_dict.get(prefix + 'text_prototypes')
        if prototypes is not None and prototypes.shape != self.text_prototypes.shape:
            self.text_prototypes = self.text_prototypes.new_zeros(prototypes.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _check_fits(self, theirs):
        ours = self.describe()
        if theirs['base']['sha256'] != ours['base']['sha256']:
            raise ValueError(f"the checkpoint was tuned from {_name_base(theirs['base'])}, but this model is built on "
                             f"{_name_base(ours['base'])}; set architecture and pretrained to the checkpoint's base")
        if theirs['base']['quick_gelu'] != ours['base']['quick_gelu']:
            raise ValueError(f"the checkpoint was tuned with quick_gelu={theirs['base']['quick_gelu']}, but this model "
                             f"has quick_gelu={ours['base']['quick_gelu']}")
        for key, value in self._describe_tuned().items():
            # Checkpoints from before these two keys existed do not state them.
            found = theirs.get(key, {'method': 'mps', 'tune_stem': False}.get(key))
            if found != value:
                raise ValueError(f'the checkpoint was tuned with {key}={found}, but this model has {value}')
        check_class_names(theirs['class_names'], ours['class_names'], 'the checkpoint', 'this model')


def check_class_names(theirs, ours, their_owner, our_owner):
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
        raise ValueError(f'{their_owner} has {len(theirs)} classes ({_shorten(theirs)}), but {our_owner} has '
                         f'{len(ours)} ({_shorten(ours)})')
    label = next(index for index, (a, b) in enumerate(zip(theirs, ours)) if a != b)
    raise ValueError(f'class {label} is {theirs[label]!r} in {their_owner}, but {ours[label]!r} in {our_owner}; names '
                     'and their order must be the same')


def read_description(state):
    """Read what :meth:`MPSCLIPClassifier.get_extra_state` wrote.

    Args:
        state (Tensor): uint8, UTF-8 JSON.

    Returns:
        dict: The description.

    Raises:
        ValueError: If it is no such description, or one of another format.
    """
    try:
        description = json.loads(bytes(state.cpu().tolist()).decode())
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f'the description in this checkpoint is not readable: {error}') from error
    if not isinstance(description, dict) or description.get('format') != CHECKPOINT_FORMAT:
        raise ValueError(f'this checkpoint has the format {description.get("format")!r}; expected {CHECKPOINT_FORMAT!r}')
    return description


def _normalisation(preprocess):
    return dict(type='CLIPDataPreprocessor', non_blocking=True,
                mean=[255 * value for value in preprocess.mean],
                std=[255 * value for value in preprocess.std])


def _build_if_active(config, default_type):
    """Build a loss, or return None where it is absent or weighs nothing, so that nothing is computed for it."""
    if config is None:
        return None
    loss = MODELS.build({'type': default_type, **config})
    return loss if loss.active else None


def _build_point_losses(config):
    """Build the point-wise losses that weigh something."""
    configs = [config] if isinstance(config, dict) else list(config or ())
    types = [entry.get('type', 'PointAlignLoss') for entry in configs]
    twice = sorted({str(kind) for kind in types if types.count(kind) > 1})
    if twice:
        # They would have the same names in the log, and one would take the other's place in the sum.
        raise ValueError(f"point_loss holds {' and '.join(twice)} more than once; expected each type once at most")
    losses = [_build_if_active(entry, 'PointAlignLoss') for entry in configs]
    return nn.ModuleList(loss for loss in losses if loss is not None)


def _without_vision(model):
    """Return the CLIP model without its vision tower, which the backbone owns now."""
    model.visual = None
    return model


def _drop_frozen_weights(module, state_dict, prefix, local_metadata):
    for name in _frozen_names(module):
        state_dict.pop(prefix + name, None)


def _forgive_frozen_weights(module, incompatible_keys):
    # In place, since the caller's own list is what becomes a warning or an error.
    frozen = set(_frozen_names(module))
    incompatible_keys.missing_keys[:] = [key for key in incompatible_keys.missing_keys if key not in frozen]


def _indices_of(data_samples):
    """Return ``sample_idx`` of samples, None where one does not say; who lends features made sure that it is unique."""
    indices = [getattr(sample, 'sample_idx', None) for sample in data_samples or [None]]
    return None if None in indices else indices


def _frozen_names(module):
    return [f'backbone.zero_shot.{name}' for name in module.backbone.zero_shot.state_dict()]


def _name_base(base):
    return f"{base['architecture']} ({base['pretrained']}, weights {base['sha256'][:12]})"


def _shorten(names):
    return ', '.join(map(str, list(names)[:3])) + (', ...' if len(names) > 3 else '')
