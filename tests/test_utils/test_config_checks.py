"""What is wrong with the numbers and names of a config is said before anything is built."""

import inspect

import pytest
from mmengine.config import Config
from tiny_run import ROOT, call

from mmpretrain_mps.utils.config import apply_options
from mmpretrain_mps.utils.config_checks import check_new_keys, check_values
from mmpretrain_mps.utils.config_files import read_config_file

TRAIN, DIGITS = ROOT / 'tools' / 'train.py', ROOT / 'configs' / 'mps_mini_16shot_digits.py'


@pytest.fixture(scope='module')
def digits():
    return read_config_file(DIGITS)


@pytest.mark.parametrize(
    'name, value, expected',
    [
        ('optim_wrapper.optimizer.lr', -0.1, 'finite number from 0 on'),
        ('optim_wrapper.optimizer.lr', float('nan'), 'finite number'),
        ('optim_wrapper.optimizer.lr', None, 'finite number'),
        ('optim_wrapper.optimizer.lr', 'high', 'finite number'),
        (
            'model.head.loss',
            dict(type='CrossEntropyLoss', loss_weight=-1),
            r'model.head.loss.loss_weight is -1, expected a finite',
        ),
        ('train_dataloader.batch_size', 0, 'from 1 on'),
        ('train_dataloader.batch_size', 2.5, 'whole number from 1 on'),
        ('train_dataloader.batch_size', True, 'whole number from 1 on'),
        ('val_dataloader.num_workers', -1, 'from 0 on'),
        ('train_cfg.max_epochs', 0, r'--zero-shot tests CLIP before any training'),
        ('train_cfg.max_epochs', 1.5, 'whole number'),
        ('model.logit_scale', 0, 'above 0'),
        ('model.logit_scale', float('inf'), 'above 0'),
        ('randomness.seed', -1, '0 to 4294967295'),
        ('randomness.seed', 2**32, '0 to 4294967295'),
        ('randomness.seed', 1.5, 'whole number'),
        ('randomness.seed', 'x', 'whole'),
    ],
)
def test_numbers_that_nothing_is_trained_with_are_named(digits, name, value, expected):
    cfg = Config(digits.to_dict())
    cfg.merge_from_dict({name: value})
    with pytest.raises(ValueError, match=expected) as caught:
        check_values(cfg)
    assert str(caught.value).startswith(name) and repr(value) in str(caught.value) or 'loss_weight' in str(caught.value)


def test_every_config_here_passes():
    for path in [*sorted((ROOT / 'configs').glob('*.py')), *sorted((ROOT / 'configs').glob('*/*_mini_*.py'))]:
        check_values(read_config_file(path))
    check_values(dict(a=[dict(seed=None, lr=[0.1, 0.2])], logit_scale=None, seed=0, lr=0, num_workers=0))


@pytest.mark.parametrize(
    'name, value, message',
    [
        ('model.type', 'MPSClassifer', "model.type is 'MPSClassifer', but nothing of that name is registered"),
        ('model.gram_loss.type', 'GramAlinLoss', r"\(did you mean 'GramAlignLoss'"),
        ('custom_hooks.0.type', 'Nix', "custom_hooks.0.type is 'Nix'"),
        ('train_dataloader.dataset.dataset.type', 'Digit', "'Digits'"),
        ('optim_wrapper.optimizer.type', 'Adamm', r"did you mean 'Adam"),
        ('param_scheduler.1.type', 'CosinLR', 'param_scheduler.1.type'),
    ],
)
def test_types_that_are_not_registered_are_named_with_their_place(digits, name, value, message):
    cfg = Config(digits.to_dict())
    cfg.merge_from_dict({name: value})
    with pytest.raises(ValueError, match=message):
        check_values(cfg)


@pytest.mark.parametrize(
    'name, message',
    [
        ('test_evaluator.foo', "test_evaluator of the type BranchAccuracy takes no 'foo'"),
        ('test_cfg.target', r"of the type DomainGeneralizationLoop takes no 'target' \(did you mean 'targets'"),
        ('default_hooks.checkpoint.intervall', r"AtomicCheckpointHook takes no 'intervall' \(did you mean 'interval'"),
        ('default_hooks.chekpoint.interval', r"default_hooks takes no 'chekpoint' \(did you mean 'checkpoint'"),
        ('test_cfg.targets.mnits.root', r"test_cfg.targets takes no 'mnits' \(did you mean 'mnist'"),
        ('custom_hooks.0.foo', "custom_hooks.0 of the type ShortCutsHook takes no 'foo'"),
        ('param_scheduler.1.tmax', r"of the type CosineAnnealingLR takes no 'tmax' \(did you mean 'T_max'"),
        ('param_scheduler.9.T_max', "param_scheduler has the items 0 to 1, but not '9'"),
        ('visualizer.foo', "UniversalVisualizer takes no 'foo'"),
        ('env_cfg.cudnn_bench', "did you mean 'cudnn_benchmark'"),
        ('auto_scale_lr.enble', r"auto_scale_lr takes no 'enble' \(did you mean 'enable'"),
        ('model.head.alhpa', r"LogitsFusionHead takes no 'alhpa' \(did you mean 'alpha'"),
        ('train_dataloader.dataset.num_shot', r"FewShotDataset takes no 'num_shot' \(did you mean 'num_shots'"),
    ],
)
def test_names_that_nothing_would_read_are_refused(digits, name, message):
    with pytest.raises(ValueError, match=f'--cfg-options: .*{message}'):
        apply_options(Config(digits.to_dict()), {name: 1})


@pytest.mark.parametrize(
    'options',
    [
        {'test_cfg.targets.more.type': 'Digits', 'test_cfg.targets.more.subset': 'val'},
        {'default_hooks.ema': dict(type='EMAHook')},
        {'optim_wrapper.clip_grad': dict(max_norm=1)},
        {'optim_wrapper.paramwise_cfg': dict(norm_decay_mult=0)},
        {'optim_wrapper.optimizer.nesterov': True},
        {'default_hooks.checkpoint.save_optimizer': False},
        {'env_cfg.resource_limit': 9},
        {'train_dataloader.drop_last': True},
        {'train_dataloader.sampler.seed': 3},
        {'model.quick_gelu': True},
        {'model.init_cfg': None},
        {'test_cfg.targets': None},
        {'train_cfg.val_begin': 2},
        {'param_scheduler.1.eta_min': 1e-5},
        {'model.backbone.adapters': False},
        {'param_scheduler.1.verbose': True},
        {'model.data_preprocessor': dict(type='ClsDataPreprocessor')},
        {'compile': True},
        # What comes in the place of a data set takes other arguments.
        {'train_dataloader.dataset.dataset.type': 'PictureTable', 'train_dataloader.dataset.dataset.table': 'pictures.csv'},
    ],
)
def test_names_that_something_reads_pass(digits, options):
    cfg = Config(digits.to_dict())
    check_new_keys(cfg, options)
    apply_options(cfg, options)


def test_every_argument_of_what_a_config_names_passes(digits):
    """Of the model, the data set and each hook, as their own signatures have them."""
    from mmpretrain.registry import DATASETS, HOOKS, MODELS

    parts = [
        ('model', MODELS),
        ('train_dataloader.dataset', DATASETS),
        ('train_dataloader.dataset.dataset', DATASETS),
        *((f'custom_hooks.{number}', HOOKS) for number in range(len(digits.custom_hooks))),
    ]
    for place, registry in parts:
        node = digits
        for key in place.split('.'):
            node = node[int(key)] if key.isdigit() else node[key]
        named = [
            name
            for name, argument in inspect.signature(registry.get(node.type).__init__).parameters.items()
            if argument.kind not in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL) and name != 'self'
        ]
        check_new_keys(digits, {f'{place}.{name}': 1 for name in named})


@pytest.mark.parametrize(
    'option, message',
    [
        ('seed=-1', 'error: seed is -1, expected a whole number'),
        ('num_shots.x=3', 'error: --cfg-options cannot be put into'),
        ('optim_wrapper.optimizer.lr=None', 'error: optim_wrapper.optimizer.lr is None, expected a finite number from 0 on'),
    ],
)
def test_the_tool_says_so_in_one_line_before_it_builds(tmp_path, capsys, option, message):
    assert call(TRAIN, DIGITS, '--work-dir', tmp_path, '--cfg-options', option) == 2
    printed = capsys.readouterr()
    assert message in printed.err and 'System environment' not in printed.out
