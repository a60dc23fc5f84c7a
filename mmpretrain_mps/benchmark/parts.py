"""The parts of a config, built as far as they need neither weights nor data."""

import inspect
import json
import os.path as osp

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
)

from ..datasets.catalog import DatasetSpec
from ..datasets.transforms import with_views
from ..models.classifiers import CLIPClassifier
from ..models.classifiers.linear_probe_classifier import refuse_losses
from ..models.classifiers.test_features import TestFeatures
from ..models.loading.clip_loader import vision_tower_without_weights
from .files import listed

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
CLASSIFIER = 'MPSCLIPClassifier'
PROBE = 'LinearProbeClassifier'
# What the classifiers take a part for that does not say its type; the backbone they say themselves.
DEFAULT_TYPES = dict(head='LogitsFusionHead', gram_loss='GramAlignLoss', sculpt_loss='HierarchicalSculptLoss')
DEFAULT_LOOPS = dict(val_cfg='ValLoop', test_cfg='TestLoop')
# Any number does: what is looked for are names and values that a schedule refuses.
EPOCH_LENGTH = 10


class PartsCheck:
    """Builds the parts of configs, equal ones once."""

    def __init__(self):
        self._faults = {}

    def faults_of(self, cfg: Config) -> list[str]:
        """Build what a complete config describes; return a text per part that cannot be built, with the place in the config.

        These are model parts, on a vision tower without numbers, data pipelines, optimizer, schedules, hooks and metrics. Data
        sets, samplers, loops and the hooks of libraries, which need data or a runner, are looked up, and the names of their
        arguments compared.
        """
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            found = [(where, self._fault(*part)) for where, *part in _parts_of(cfg.to_dict())]
        return [f'{where}: {fault}' for where, fault in found if fault]

    def _fault(self, build, section, *more):
        key = build, json.dumps(section, sort_keys=True, default=repr), more
        if key not in self._faults:
            try:
                build(section, *more)
                self._faults[key] = None
            except Exception as error:  # a part may refuse its arguments in any way
                self._faults[key] = f'{type(error).__name__}: {error}'
        return self._faults[key]


def _parts_of(cfg):
    """Yield the place, the function that builds it, and its arguments, of every part of a config."""
    yield 'model', _build_model_parts, cfg['model']
    for name in LOADERS:
        if cfg.get(name):
            sampler = cfg[name].get('sampler') or dict(type='DefaultSampler')
            yield f'{name}.sampler', _check_arguments, sampler, DATA_SAMPLERS, 'dataset'
            for dataset in datasets_of(cfg[name]['dataset']):
                yield f'{name}.dataset', _check_arguments, dataset, DATASETS
                if dataset.get('views'):
                    yield f'{name}.dataset.views', _build_views, dataset
                for index, transform in enumerate(dataset.get('pipeline') or ()):
                    yield f'{name}.dataset.pipeline.{index}', TRANSFORMS.build, transform
    for name, target in ((cfg.get('test_cfg') or {}).get('targets') or {}).items():
        for dataset in datasets_of((target or {}).get('dataset', target)):
            yield f'test_cfg.targets.{name}', _check_arguments, dataset, DATASETS
    if cfg.get('optim_wrapper'):
        yield 'optim_wrapper', _build_optimizer, cfg['optim_wrapper']
    for index, schedule in enumerate(listed(cfg.get('param_scheduler') or [])):
        length = (cfg.get('train_cfg') or {}).get('max_epochs' if schedule.get('by_epoch', True) else 'max_iters')
        yield f'param_scheduler.{index}', _build_schedule, {**({'end': length} if length else {}), **schedule}
    if cfg.get('train_cfg'):
        loop = {**cfg['train_cfg']}
        if 'type' not in loop:
            loop['type'] = 'EpochBasedTrainLoop' if loop.pop('by_epoch', True) else 'IterBasedTrainLoop'
        yield 'train_cfg', _check_arguments, loop, LOOPS, 'runner', 'dataloader'
    for name, default in DEFAULT_LOOPS.items():
        if cfg.get(name) is not None:
            loop = {'type': default, **cfg[name]}
            yield name, _check_arguments, loop, LOOPS, 'runner', 'dataloader', 'evaluator'
    for name, hook in (cfg.get('default_hooks') or {}).items():
        if hook is not None:
            yield f'default_hooks.{name}', _build_hook, hook
    for index, hook in enumerate(cfg.get('custom_hooks') or ()):
        yield f'custom_hooks.{index}', _build_hook, hook
    for name in ('val_evaluator', 'test_evaluator'):
        evaluator = cfg.get(name) or []
        whole = isinstance(evaluator, dict) and 'metrics' in evaluator
        for metric in listed(evaluator['metrics'] if whole else evaluator):
            yield name, _build_metric, metric, cfg['model']['type']


def datasets_of(dataset: dict | None) -> list[dict]:
    """Return a data set's config and those that it wraps, the outermost first."""
    return [] if dataset is None else [dataset, *datasets_of(dataset.get('dataset'))]


def described_data(dataset: dict) -> tuple[DatasetSpec | None, str]:
    """Return what is known before files are read of a data set, which may wrap another: entry in the catalog, and data root."""
    innermost = datasets_of(dataset)[-1]
    kind = innermost.get('type')
    found = DATASETS.get(kind) if isinstance(kind, str) else kind
    return getattr(found, 'SPEC', None), osp.expanduser(innermost.get('data_root') or '')


def _build_model_parts(model):
    kind = _look_up(MODELS, model['type'])
    _check_arguments(model, MODELS)
    if model['type'] == PROBE:
        refuse_losses(model)  # whose message says more
    is_ours = isinstance(kind, type) and issubclass(kind, CLIPClassifier)
    if is_ours:
        _check_inherited_arguments(kind, model)
    defaults, parts = dict(DEFAULT_TYPES, backbone=kind.default_backbone) if is_ours else {}, {}
    for name, part in model.items():
        section = {'type': defaults.get(name), **part} if isinstance(part, dict) else {}
        if not section.get('type'):
            continue
        if 'visual' in inspect.signature(_look_up(MODELS, section['type'])).parameters:
            section['visual'] = vision_tower_without_weights(model['architecture'], model.get('pretrained'))
        parts[name] = MODELS.build(section)
    if model['type'] == CLASSIFIER and {'backbone', 'sculpt_loss'} <= set(parts):
        deepest = max(parts['sculpt_loss'].intermediate_starts, default=0)
        depth = parts['backbone'].num_tuned_blocks
        if deepest > depth:
            raise ValueError(f'sculpt_loss starts {deepest} blocks before the end, but only {depth} blocks are tuned')


def _build_views(dataset):
    for transform in with_views(dataset['dataset'].get('pipeline') or (), **dataset['views']):
        TRANSFORMS.build(transform)


def _build_hook(hook):
    """Build a hook of this package, for what its values are worth; others may want a runner's logger or visualizer."""
    hook = {name: value for name, value in hook.items() if name != 'priority'}  # which is for the runner
    _check_arguments(hook, HOOKS)
    if _look_up(HOOKS, hook['type']).__module__.startswith(f'{__package__.partition(".")[0]}.'):
        HOOKS.build(hook)


def _build_metric(metric, model):
    """Build a metric; one of the model's features asks no more of them than the model has."""
    wanted = TestFeatures.of(getattr(METRICS.build(metric), 'test_features', ()))
    kind = _look_up(MODELS, model)
    if isinstance(kind, type) and issubclass(kind, CLIPClassifier):
        kind.refuse_layers(wanted)


def _build_optimizer(wrapper):
    _look_up(OPTIM_WRAPPERS, wrapper.get('type', 'OptimWrapper'))
    _look_up(OPTIM_WRAPPER_CONSTRUCTORS, wrapper.get('constructor', 'DefaultOptimWrapperConstructor'))
    return OPTIMIZERS.build({**wrapper['optimizer'], 'params': [torch.nn.Parameter(torch.zeros(1))]})


def _build_schedule(schedule):
    given = dict(optimizer=torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0), epoch_length=EPOCH_LENGTH)
    return PARAM_SCHEDULERS.build({'end': EPOCH_LENGTH, **schedule}, default_args=given)


def _look_up(registry, kind):
    found = registry.get(kind) if isinstance(kind, str) else kind
    if found is None:
        raise KeyError(f'{kind} is not in the registry {registry.name}')
    return found


def _check_arguments(section, registry, *given):
    """Look a class up and compare the names of its arguments, of which the runner gives some by itself."""
    arguments = {name: None for name in (*section, *given) if name not in ('type', '_scope_')}
    inspect.signature(_look_up(registry, section['type'])).bind(**arguments)


def _check_inherited_arguments(kind, section):
    """Compare names with the arguments of a class and of those that it hands further ones on to."""
    known = set()
    for ancestor in kind.__mro__:
        if '__init__' not in vars(ancestor):
            continue
        parameters = inspect.signature(ancestor.__init__).parameters.values()
        known |= {parameter.name for parameter in parameters}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    strangers = [name for name in section if name not in known | {'type'}]
    if strangers:
        raise TypeError(f'{kind.__name__} takes no {", ".join(map(repr, strangers))}')
