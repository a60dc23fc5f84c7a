"""Whole runs of Tip-Adapter, Tip-Adapter-F and AMU-Tuning on digits."""

import os
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from many_ranks import run_ranks
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from tiny_clip import save_tiny_clip
from tiny_digits import CONFIG_FOLDER

from mmpretrain_mps.datasets.pre_drawn_views import START_STREAM, PreDrawnViews
from mmpretrain_mps.engine import command_line
from mmpretrain_mps.engine.launch import fit_wrapper
from mmpretrain_mps.models import PromptableViT
from mmpretrain_mps.utils import apply_options

BASES = ('_base_/methods/{method}.py', '_base_/datasets/digits.py', 'default_runtime.py')
# A random CLIP puts features close together; a smaller scale lets the bias have a say.
LAYER = {'train_cfg.passes': 3, 'train_cfg.search.steps': (6, 5), 'model.logit_scale': 20.0}
AUXILIARY = {'model.auxiliary.base_channels': 4, 'model.auxiliary.stem_channels': 4, 'model.auxiliary_weights': None}


@HOOKS.register_module()
class InterruptBeforeEpoch(Hook):
    def __init__(self, epoch):
        self.epoch = epoch

    def before_train_epoch(self, runner):
        if runner.epoch == self.epoch:
            raise KeyboardInterrupt


def build_runner(clip, work_dir, method='tip_adapter_f', options=(), validate=True, **entries):
    """Build a runner of 20 pictures for 3 epochs from the method's own base file."""
    path = Path(work_dir, 'config.py')
    path.parent.mkdir(parents=True, exist_ok=True)
    bases = [str(CONFIG_FOLDER / name.format(method=method)) for name in BASES]
    path.write_text(
        f"_base_ = {bases}\narchitecture, pretrained = 'mps-mini', 'embedded'\n"
        'model = dict(architecture=architecture, pretrained=pretrained)\n'
        'train_dataloader = dict(batch_size={{_base_.batch_size}}, '
        'dataset=dict(views=dict(num_views=1)))\n'
    )
    cfg = Config.fromfile(path)
    length = {} if method == 'tip_adapter' else {'train_cfg.max_epochs': 3}
    apply_options(
        cfg,
        {
            'architecture': clip,
            'pretrained': None,
            'num_shots': 2,
            'train_dataloader.batch_size': 8,
            **length,
            **({} if method == 'clip_adapter' else LAYER),
            **(AUXILIARY if method == 'amu_tuning' else {}),
            **dict(options),
        },
    )
    for loader, shots in (('val_dataloader', 3), ('test_dataloader', 2)):
        cfg[loader].dataset = dict(
            type='FewShotDataset', subset='val', num_shots=shots, seed=1, dataset=dict(cfg[loader].dataset, subset='val')
        )
    cfg.merge_from_dict(dict(work_dir=str(work_dir), log_level='ERROR', experiment_name=os.urandom(8).hex()))
    if not validate:
        command_line.without_validation(cfg)
    cfg.merge_from_dict(entries)
    if cfg.launcher != 'none':
        fit_wrapper(cfg)
    return Runner.from_cfg(cfg)


@pytest.fixture(autouse=True)
def unformatted(monkeypatch):
    """mmengine formats the text of the whole config for every checkpoint and log, which takes longer than these
    runs."""
    monkeypatch.setattr('mmengine.config.config.FormatCode', lambda text, **_: (text, True))


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp('clip') / 'tiny')


@pytest.fixture
def make(clip, tmp_path):
    return lambda name='run', **settings: build_runner(clip, tmp_path / name, **{'launcher': 'none', **settings})


def last_state(runner):
    path = Path(runner.work_dir, 'last_checkpoint').read_text()
    return torch.load(path, weights_only=True)['state_dict']


def test_tip_adapter_takes_no_step_and_its_memory_is_the_mean_of_drawn_views(make):
    runner = make(method='tip_adapter')
    with mock.patch.object(type(runner.model), 'train_step', side_effect=AssertionError('a step was taken')):
        runner.train()
    dataset, model = runner.train_dataloader.dataset, runner.model
    views = PreDrawnViews(dataset.pipeline, 3, len(dataset), dataset.augment_seed, START_STREAM)
    for label in (0, 7):
        indices = [index for index, found in enumerate(dataset.get_gt_labels()) if found == label]
        for key, index in zip(model.cache_keys[label], indices, strict=True):
            (pictures,) = model.data_preprocessor(dict(inputs=[views.load(dataset.get_data_info(index))], data_samples=None))[
                'inputs'
            ]
            torch.testing.assert_close(key, F.normalize(model.backbone(pictures).cls.mean(0), dim=0))
    assert (runner.epoch, runner.iter) == (1, 3) and last_state(runner)['cache_keys'].shape == (10, 2, 8)


@pytest.mark.parametrize('method', ['tip_adapter', 'tip_adapter_f'])
def test_what_was_searched_is_the_best_on_the_validation_pictures_and_is_saved(make, method):
    runner = make(method=method)
    before = runner.model.inner, runner.model.head.alpha
    runner.train()
    model = runner.model
    labels, frozen = [], []
    for batch in runner.val_dataloader:
        data = model.data_preprocessor(batch)
        frozen.append(model.frozen_features(data['inputs']).cls)
        labels += [int(sample.gt_label) for sample in data['data_samples']]
    features, labels = type(model.frozen_features(data['inputs']))(torch.cat(frozen)), torch.tensor(labels)
    assert len(labels) == 30  # min(3, 4) of each class

    def right(beta, alpha):
        return int(model.count_right(features, labels, [beta], [alpha]))

    betas, alphas = ([0.1 + i * (end - 0.1) / steps for i in range(steps)] for end, steps in ((12, 6), (10, 5)))
    found = [(right(beta, alpha), -i, -j) for i, beta in enumerate(betas) for j, alpha in enumerate(alphas)]
    most, i, j = max(found)
    assert len({count for count, *_ in found}) > 1
    assert (model.inner, model.head.alpha) == (betas[-i], alphas[-j]) != before
    assert last_state(runner)['fusion_point'].tolist() == [betas[-i], alphas[-j]]
    assert runner.val_loop.run()['accuracy/fused'] == pytest.approx(100 * most / 30)


def test_training_is_with_the_numbers_of_the_config(make):
    runner = make(options={'model.beta': 2.0, 'model.head.alpha': 0.5})
    seen = []
    original = type(runner.model).losses
    with mock.patch.object(
        type(runner.model), 'losses', lambda self, batch: seen.append((self.inner, self.head.alpha)) or original(self, batch)
    ):
        runner.train()
    assert seen == [(2.0, 0.5)] * 9


def test_a_resumed_run_ends_as_an_uninterrupted_one_and_starts_from_no_picture_again(make):
    whole = make('whole', options={'train_cfg.best_epoch_on': 'val'})
    whole.train()
    hooks = [*whole.cfg.custom_hooks, dict(type='InterruptBeforeEpoch', epoch=2)]
    broken = make('broken', options={'train_cfg.best_epoch_on': 'val'}, custom_hooks=hooks)
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = make('broken', options={'train_cfg.best_epoch_on': 'val'}, resume=True)
    with mock.patch('mmpretrain_mps.engine.loops.feature_start_loop.mean_over_views', side_effect=AssertionError):
        resumed.train()
    assert resumed.epoch == 3
    torch.testing.assert_close(last_state(resumed), last_state(whole), rtol=0, atol=0)


def test_a_checkpoint_is_tested_with_what_was_searched(make, clip):
    runner = make()
    runner.train()
    metrics = runner.test()
    path = Path(runner.work_dir, 'last_checkpoint').read_text()
    again = make('again', load_from=path)
    assert again.test() == metrics
    assert again.model.fusion_point.tolist() == runner.model.fusion_point.tolist()


@pytest.mark.parametrize('method', ['tip_adapter_f', 'amu_tuning', 'clip_adapter'])
def test_a_view_bank_runs_the_frozen_networks_for_its_views_alone(make, method):
    runner = make(method=method, options={'view_bank': 2}, validate=False)
    bank = {}
    original = type(runner.model).losses

    def losses(self, batch):
        bank.update({name: tuple(part.shape[1:]) for name, part in batch._asdict().items() if part is not None})
        return original(self, batch)

    pictures, forward = [], PromptableViT.forward

    def counted(self, images, *args, **kwargs):
        pictures.append(len(images))
        return forward(self, images, *args, **kwargs)

    with mock.patch.object(type(runner.model), 'losses', losses), mock.patch.object(PromptableViT, 'forward', counted):
        runner.train()
    expected = dict(labels=(), cls=(8,))
    assert bank == (dict(expected, auxiliary=(128,)) if method == 'amu_tuning' else expected)
    # One view to plan by, at most two of each of 20 pictures; three each that keys start from; 30 to search on.
    more = dict(tip_adapter_f=3 * 20 + 30, amu_tuning=30, clip_adapter=0)
    assert sum(pictures) <= 1 + 2 * 20 + more[method]


def test_amu_tuning_trains_its_layer_from_class_means_and_searches_its_power(make):
    runner = make(method='amu_tuning', options={'train_cfg.passes': 1})
    runner.train()
    state = last_state(runner)
    assert set(state) == {'auxiliary_weight', 'text_prototypes', 'fusion_point', '_extra_state'}
    assert state['auxiliary_weight'].shape == (10, 128)
    power, alpha = state['fusion_point'].tolist()
    assert power in [0.1 + i * 0.9 / 6 for i in range(6)] and alpha in [0.1 + j * 2.9 / 5 for j in range(5)]


def test_without_an_epoch_that_is_better_the_first_of_equals_is_kept(make):
    runner = make(options={'train_cfg.best_epoch_on': 'val', 'train_cfg.search': None})
    layers, counts = [], iter([4, 7, 7])

    def count(self, features, labels, inners, alphas):
        layers.append(self.cache_keys.detach().clone())
        return torch.full((1, 1), next(counts))

    with mock.patch.object(type(runner.model), 'count_right', count):
        runner.train()
    assert torch.equal(runner.model.cache_keys, layers[1]) and not torch.equal(layers[1], layers[2])
    assert torch.equal(last_state(runner)['cache_keys'], layers[1])


def test_without_validation_the_search_keeps_its_pictures(make):
    plain, without = make('plain'), make('without', validate=False)
    plain.train(), without.train()
    assert without.val_loop is None
    assert last_state(without)['fusion_point'].tolist() == last_state(plain)['fusion_point'].tolist()


def train_in_a_process(rank, num_ranks, clip, folder):
    options = {'train_dataloader.batch_size': 8 // num_ranks, 'train_cfg.best_epoch_on': 'val'}
    with mock.patch('mmengine.config.config.FormatCode', lambda text, **_: (text, True)):
        runner = build_runner(clip, Path(folder), options=options, launcher='none' if num_ranks == 1 else 'pytorch')
    runner.train()
    model = getattr(runner.model, 'module', runner.model)
    return dict(
        keys=model.cache_keys.detach(),
        counts=model.cache_counts,
        point=model.fusion_point,
        accuracy=runner.val_loop.run()['accuracy/fused'],
    )


def test_two_processes_train_what_one_trains(clip, tmp_path):
    # 20 pictures in batches of 8: the last one is dealt out unevenly; 30 to search on.
    one = train_in_a_process(0, 1, clip, tmp_path / 'one')
    first, second = run_ranks(train_in_a_process, 2, tmp_path / 'ranks', clip, str(tmp_path / 'two'))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(first, one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(options={'train_cfg.passes': 0}), 'passes is 0, expected at least num_views=1'),
        (dict(options={'train_cfg.search.scale': (0, 3)}), 'search needs two ends above 0'),
        (dict(options={'train_cfg.search.pictures': 'train'}), r"must be one of \('val', 'whole_val', 'test'\), but is 'train'"),
        (
            dict(options={'train_cfg.best_epoch_on': 'test'}, test_dataloader=None, test_cfg=None, test_evaluator=None),
            'best_epoch_on needs pictures of test_dataloader, but the config has none',
        ),
        (
            dict(options={'train_dataloader.dataset.num_shots': 1, 'train_dataloader.dataset.views.num_views': 4}),
            'passes is 3, expected at least num_views=4',
        ),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings).train()


def test_a_search_on_test_pictures_is_said_aloud_or_refused(make, monkeypatch):
    runner = make()
    dataset = runner._test_dataloader['dataset']
    shown = make(
        'shown', val_dataloader=dict(dataset=dict(dataset, num_shots=3)), test_dataloader=dict(dataset=dict(dataset, num_shots=3))
    )
    with pytest.raises(ValueError, match='shows the test pictures; give it others, or say train_cfg.search.pict'):
        shown.train()
    aloud, lines = make('aloud', options={'train_cfg.search.pictures': 'test', 'train_cfg.best_epoch_on': 'test'}), []
    monkeypatch.setattr(aloud.logger, 'warning', lines.append)
    aloud.train()
    assert sum('chosen on test pictures' in str(line) for line in lines) == 2


def test_the_whole_split_is_that_which_the_pictures_are_drawn_from(make):
    runner = make(options={'train_cfg.search.pictures': 'whole_val'}, method='tip_adapter')
    runner.train()
    assert len(runner.train_loop.search.pictures) == 355


def test_where_a_config_validates_on_more_the_search_sees_as_many_pictures_as_the_protocol_allows(make):
    runner = make(method='tip_adapter')
    loader = runner._val_dataloader
    loader['dataset'] = loader['dataset']['dataset']  # all 355
    runner.train()
    assert len(runner.train_loop.search.pictures) == 20  # 2 shots of 10 classes


def test_without_validation_pictures_the_numbers_of_the_config_stay_and_a_warning_says_so(make, monkeypatch):
    runner, lines = make(val_dataloader=None, val_cfg=None, val_evaluator=None), []
    monkeypatch.setattr(runner.logger, 'warning', lines.append)
    runner.train()
    assert (runner.model.inner, runner.model.head.alpha) == (5.5, 1.0) and not runner.model.fusion_point.any()
    assert any(
        'there is no search, since the config has no validation pictures: beta 5.5 and alpha 1' in str(line) for line in lines
    )


def test_models_without_such_a_layer_and_other_data_sets_are_refused(make):
    runner = make()
    other = runner.cfg.train_cfg
    with pytest.raises(ValueError, match='starts a layer from features of pictures, but ZeroShotClassifier has none'):
        make(
            'zero',
            model=dict(_delete_=True, type='ZeroShotClassifier', architecture=runner.cfg.architecture, pretrained=None),
            train_cfg=other,
        ).train()
    dataset = dict(runner.cfg.train_dataloader.dataset.dataset, _delete_=True)
    with pytest.raises(ValueError, match='which FewShotDataset does, but the data set is a Digits'):
        make('plain', train_dataloader=dict(dataset=dataset)).train()


def test_a_view_bank_without_steps_is_refused(make):
    with pytest.raises(ValueError, match='CacheLoop takes no steps that views could be cached for'):
        make(method='tip_adapter', options={'view_bank': 4}).train()
