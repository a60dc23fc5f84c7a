"""Every method that has a base file goes through everything that is promised of all of them, on a CLIP for tests."""

import argparse
import functools
import gc
import json
import uuid
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import open_clip
import pytest
import reported
import tiny_digits
import torch
from many_ranks import run_ranks
from mmengine.config import DictAction
from tiny_clip import save_tiny_clip
from torch.optim.optimizer import register_optimizer_step_post_hook

from mmpretrain_mps.analysis.contents import Missing
from mmpretrain_mps.analysis.report import sections_of
from mmpretrain_mps.apis import MPSInferencer
from mmpretrain_mps.engine import command_line, launch
from mmpretrain_mps.mini_clip.self_supervision import NETWORK
from mmpretrain_mps.utils.methods import method_names, read_method

# The recipes are for a CLIP of twelve blocks and, AMU-Tuning's, for a network that has to be downloaded.
FITTED = {
    'amu_tuning': {
        'model.auxiliary': NETWORK,
        'model.auxiliary_weights.checkpoint': 'embedded',
        'train_cfg.search.steps': (3, 3),
    },
    'clip_lora': {'train_cfg.max_iters': 4, 'default_hooks.checkpoint.interval': 1},
    'ivlp': {'model.text_depth': 2, 'model.vision_depth': 2},
    'mps': {'model.backbone.group_depths': (2, 2, 2)},
    'promptsrc': {'model.text_depth': 2, 'model.vision_depth': 2, 'model.teacher_templates': 'classes'},
    'tac': {'model.sentences': None},
    'tcp': {'model.class_aware_block': 2},
    'textrefiner': {'model.num_patches': 2},
    'tip_adapter': {'train_cfg.passes': 2, 'train_cfg.search.steps': (3, 3)},
    'tip_adapter_f': {'train_cfg.passes': 2, 'train_cfg.search.steps': (3, 3)},
}
# They have a result after one look at the pictures, and no steps.
WITHOUT_STEPS = ('linear_probe', 'tip_adapter')
# What they learn is learned of each class. In tests of other classes, Tip-Adapter is zero-shot CLIP.
BOUND_TO_CLASSES = ('amu_tuning', 'linear_probe', 'tip_adapter', 'tip_adapter_f')
TEST_NO_OTHER_CLASSES = ('amu_tuning', 'linear_probe')
STEPS = [name for name in method_names() if name not in (*WITHOUT_STEPS, 'zero_shot')]
DATA = """
train_dataloader['dataset']['dataset']['class_subset'] = 'base'
for loader in (val_dataloader, test_dataloader):
    loader['dataset'].update(class_subset='base', indices=30)
del loader
num_shots = 2
train_dataloader['dataset']['num_shots'] = num_shots
task = 'base_to_new'
test_cfg = dict(type='DomainGeneralizationLoop', targets=dict(
    blur=dict(type='CorruptedDigits', corruption='blur', class_subset='base', indices=30),
    new=dict(type='Digits', subset='test', class_subset='new', indices=30)))
"""
PICTURE = np.random.RandomState(0).randint(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture(scope='module', autouse=True)
def quick():
    """Leave out what takes longer than these runs do.

    Texts of whole configs, vocabularies that are read again and again, a collection of garbage for each data set.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.config.config.FormatCode', lambda text, **_: (text, True))
        patch.setattr(open_clip, 'get_tokenizer', functools.lru_cache(open_clip.get_tokenizer))
        patch.setattr(gc, 'collect', lambda generation=2: 0)
        yield


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp('every_method')
    save_tiny_clip(folder / 'clip', text=dict(layers=3, width=8, heads=2))
    return str(tiny_digits.write_config(folder, more=DATA))


def read(config, method, work_dir, flags=(), **options):
    parser = argparse.ArgumentParser()
    command_line.add_common_flags(parser)
    arguments = parser.parse_args(['--method', method, '--work-dir', str(work_dir), *flags])
    content = read_method(method)
    lengths = {'batch_size': 5} if content.train_cfg else {}
    lengths.update({'train_cfg.max_epochs': 2} if 'max_epochs' in (content.train_cfg or {}) else {})
    chosen = {**lengths, **FITTED.get(method, {}), **options}
    arguments.cfg_options = {
        name: DictAction._parse_iterable(value) if isinstance(value, str) else value for name, value in chosen.items()
    }
    cfg = command_line.read_config(config, arguments)
    if arguments.amp:
        command_line.with_mixed_precision(cfg)
    cfg.experiment_name = uuid.uuid4().hex  # mmengine shares histories between runs of one name
    if cfg.train_cfg:
        cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    return cfg


def train(cfg, resume=None):
    if resume:
        command_line.resume_from(cfg, str(resume))
    runner = command_line.build_runner(cfg, ('train_dataloader', 'val_dataloader'))
    runner.train()
    return runner


def load(path):
    return torch.load(path, weights_only=True)


@pytest.fixture(scope='module')
def trained(config, tmp_path_factory):
    """Give the work directory, the config and the last checkpoint of an uninterrupted training, made when first asked for."""

    @functools.cache
    def train_once(method):
        work_dir = tmp_path_factory.mktemp(method)
        cfg = read(config, method, work_dir)
        runner = train(cfg) if cfg.train_cfg else None
        if runner is None:
            return SimpleNamespace(folder=work_dir, cfg=cfg, checkpoint=None, runner=None)
        checkpoint = Path((work_dir / 'last_checkpoint').read_text())
        return SimpleNamespace(folder=work_dir, cfg=cfg, checkpoint=checkpoint, runner=runner)

    return train_once


@pytest.mark.parametrize('method', STEPS)
def test_a_training_that_ended_after_an_epoch_goes_on_bit_for_bit(method, config, trained, tmp_path):
    whole = trained(method)
    train(read(config, method, tmp_path), resume=whole.folder / 'epoch_1.pth')
    ours, expected = load(tmp_path / 'epoch_2.pth'), load(whole.folder / 'epoch_2.pth')
    for part in ('state_dict', 'optimizer'):
        torch.testing.assert_close(ours[part], expected[part], rtol=0, atol=0)
    assert ours['param_schedulers'] == expected['param_schedulers']
    moved = load(whole.folder / 'epoch_1.pth')['state_dict']
    assert any(not torch.equal(value, moved[name]) for name, value in expected['state_dict'].items())


@pytest.mark.parametrize('method', STEPS)
def test_mixed_precision_and_accumulated_steps_train_in_float32(method, config, tmp_path):
    counted = []
    handle = register_optimizer_step_post_hook(lambda *_: counted.append(1))
    runner = train(read(config, method, tmp_path, ['--amp'], **{'optim_wrapper.accumulative_counts': 2}))
    handle.remove()
    state = load((tmp_path / 'last_checkpoint').read_text())
    assert 'Amp' in type(runner.optim_wrapper).__name__ and (runner.iter, len(counted)) == (4, 2)
    trained = {name: p for name, p in runner.model.named_parameters() if p.requires_grad}
    assert trained and all(state['state_dict'][name].dtype == torch.float32 for name in trained)
    assert all(state['state_dict'][name].isfinite().all() for name in trained)


def train_in_a_process(rank, num_ranks, config, method, folder):
    """Train on common batches of 4, and return the trained weights and how many predictions of them are right."""
    # Which picture gets which mask follows from its place in the batch, which is another one in several processes.
    options = {'model.dropout': 0.0} if 'dropout' in read_method(method).model else {}
    cfg = read(
        config, method, folder, ['--launcher', 'pytorch' if num_ranks > 1 else 'none'], batch_size=4 // num_ranks, **options
    )
    if num_ranks > 1:
        launch.fit_wrapper(cfg)
    with mock.patch('mmengine.config.config.FormatCode', lambda text, **_: (text, True)):
        runner = train(cfg)
    model = getattr(runner.model, 'module', runner.model)
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    return dict(
        weights=weights,
        accuracies={name: float(value) for name, value in runner.val_loop.run().items() if name.startswith('accuracy')},
    )


@pytest.mark.parametrize('method', STEPS)
def test_two_processes_train_what_one_trains(method, config, tmp_path):
    one = train_in_a_process(0, 1, config, method, tmp_path / 'one')
    first, second = run_ranks(train_in_a_process, 2, tmp_path / 'ranks', config, method, str(tmp_path / 'two'))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(first['weights'], one['weights'], rtol=1e-4, atol=1e-5)
    assert first['accuracies'] == one['accuracies']


@pytest.mark.parametrize('method', method_names())
def test_a_checkpoint_holds_nothing_of_the_frozen_networks(method, trained):
    runner, checkpoint = trained(method).runner, trained(method).checkpoint
    if checkpoint is None:
        pytest.skip('zero-shot CLIP has no checkpoint')
    state = load(checkpoint)['state_dict']
    frozen = {name for name, parameter in runner.model.named_parameters() if not parameter.requires_grad}
    assert frozen and not frozen & set(state)
    needed = sum(parameter.numel() for parameter in runner.model.parameters() if parameter.requires_grad)
    assert sum(value.numel() for value in state.values()) < needed + 4000  # what is made of five classes, and who made it


@pytest.mark.parametrize('method', method_names())
def test_shifted_pictures_and_new_classes_are_tested_or_refused(method, config, trained, tmp_path):
    cfg = read(config, method, tmp_path)
    cfg.load_from = trained(method).checkpoint and str(trained(method).checkpoint)
    metrics = command_line.build_runner(cfg, ('test_dataloader',)).test()
    accuracies = {name for name in metrics if name.endswith('accuracy/fused')}
    expected = {'accuracy/fused', 'blur/accuracy/fused', 'mean_of_targets/accuracy/fused', 'mean_of_all/accuracy/fused'}
    of_new_classes = {'new/accuracy/fused', 'harmonic_mean/accuracy/fused'}
    assert accuracies == expected | (set() if method in TEST_NO_OTHER_CLASSES else of_new_classes)
    found = json.loads((tmp_path / 'domain_generalization.json').read_text())
    assert ('new' in found['skipped']) == (method in TEST_NO_OTHER_CLASSES)


@pytest.mark.parametrize('method', method_names())
def test_single_pictures_are_classified_also_among_other_classes(method, trained):
    run = trained(method)
    classify = MPSInferencer(run.cfg, run.checkpoint and str(run.checkpoint), device='cpu')
    if run.checkpoint is None:
        classify.set_classes(['zero', 'one'])
    (result,) = classify(PICTURE)
    assert result['pred_class'] == classify.classes[result['pred_label']]
    assert abs(result['pred_scores'].sum() - 1) < 1e-5
    others = ['a cat', 'a dog', 'a horse']
    if method in BOUND_TO_CLASSES:
        with pytest.raises(ValueError, match='classes'):
            classify.set_classes(others)
        return
    classify.set_classes(others)
    assert classify(PICTURE)[0]['pred_class'] in others


@pytest.mark.parametrize('method', method_names())
def test_a_training_has_a_report(method, trained):
    run = trained(method)
    if run.checkpoint is None:
        pytest.skip('zero-shot CLIP is not trained')
    title, sections = sections_of(reported.flags(run.folder))
    assert run.folder.name in title
    shown = {section.name: [part.text for part in section.parts if isinstance(part, Missing)] for section in sections}
    # Features and predictions of held-out pictures are there for each of them; layers are tuned by one alone.
    assert not shown['gram'] + shown['maps'] + shown['predictions']
    assert bool(shown['drift']) == (method != 'mps') and all('tunes no copy' in text for text in shown['drift'])
