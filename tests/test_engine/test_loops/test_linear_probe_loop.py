import json
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from many_ranks import run_ranks
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample
from sklearn.linear_model import LogisticRegression
from tiny_clip import NAMES, save_tiny_clip
from tiny_run import ROOT, call
from torch.utils.data import Dataset

from mmpretrain_mps.benchmark.cell_run import run_cell
from mmpretrain_mps.benchmark.grid import find_config, make_cells
from mmpretrain_mps.models import LinearProbeClassifier


@DATASETS.register_module()
class ColouredPictures(Dataset):
    """Noise on a colour for each class; as many views as asked for."""

    def __init__(self, length=11, seed=0, views=0, classes=NAMES, **metainfo):
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randint(128, (length, 3, 16, 16), generator=generator, dtype=torch.uint8)
        for index, image in enumerate(self.images):
            image[index % len(classes) % 3] += 60
        self.views, self.metainfo = views, dict(classes=classes, templates=('a {}.',), **metainfo)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image, label = self.images[index], index % len(self.metainfo['classes'])
        return dict(inputs=[image] * self.views if self.views else image, data_samples=DataSample().set_gt_label(label))


@pytest.fixture(scope='module')
def architecture(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp('clip') / 'tiny')


def build_runner(architecture, folder, train=None, targets=None, launcher='none', **more):
    common = dict(batch_size=4, num_workers=0, collate_fn=dict(type='default_collate'))
    shuffled = dict(sampler=dict(type='FewShotSampler', shuffle=True))
    test = dict(**common, sampler=dict(type='DefaultSampler', shuffle=False), dataset=dict(type='ColouredPictures', seed=1))
    config = dict(
        train_dataloader={**common, **shuffled, 'dataset': dict(type='ColouredPictures'), **(train or {})},
        train_cfg=dict(type='LinearProbeLoop', C=5.0),
        test_dataloader=test,
        optim_wrapper=dict(
            type='OptimWrapper', constructor='TrainableOptimWrapperConstructor', optimizer=dict(type='SGD', lr=0.1)
        ),
        test_evaluator=dict(type='BranchAccuracy'),
        test_cfg=dict(type='DomainGeneralizationLoop', targets=targets),
        custom_hooks=[
            dict(type='ClassNamesHook'),
            dict(type='TemperatureHook'),
            dict(type='EqualBatchesHook'),
            dict(type='PlainCheckpointHook'),
        ],
        default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook')),
        randomness=dict(seed=3),
    )
    return Runner(
        LinearProbeClassifier(architecture, None),
        str(folder),
        default_scope='mmpretrain',
        log_level='ERROR',
        experiment_name=uuid4().hex,
        launcher=launcher,
        cfg=Config(dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None))),
        **{**config, **more},
    )


def test_it_fits_to_every_training_picture_once_saves_and_tests(architecture, tmp_path):
    runner = build_runner(architecture, tmp_path)
    runner.train()
    model = runner.model
    dataset = ColouredPictures()
    with torch.no_grad():
        (features,) = model.extract_feat(model.data_preprocessor(dict(inputs=dataset.images, data_samples=[]))['inputs'])
    reference = LogisticRegression(C=5.0, max_iter=1000).fit(features.double(), [index % 3 for index in range(11)])
    torch.testing.assert_close(model.probe_weight.double(), torch.from_numpy(reference.coef_), rtol=1e-2, atol=1e-3)
    assert (runner.epoch, runner.iter, model.fit_of['pictures']) == (1, 3, 11)
    metrics = runner.test()

    again = build_runner(architecture, tmp_path, load_from=str(tmp_path / 'epoch_1.pth'))
    assert again.test() == metrics
    resumed = build_runner(architecture, tmp_path, resume=True)
    resumed.train()
    assert torch.equal(resumed.model.probe_weight, model.probe_weight) and resumed.epoch == 1


def test_targets_of_other_classes_are_left_out_and_some_of_its_own_are_predicted(architecture, tmp_path):
    targets = dict(
        new=dict(type='ColouredPictures', classes=('lake', 'sea', 'pond')),
        some=dict(type='ColouredPictures', classes=('sparrow', 'cat'), source_indices=(2, 0)),
        same=dict(type='ColouredPictures', seed=1),
    )
    runner = build_runner(architecture, tmp_path, targets=targets)
    runner.train()
    metrics = runner.test()
    assert not any(name.startswith('new/') for name in metrics)
    assert metrics['same/accuracy/tuned'] == metrics['accuracy/tuned']
    dataset, model = ColouredPictures(classes=('sparrow', 'cat')), runner.model
    with torch.no_grad():
        logits = model(model.data_preprocessor(dict(inputs=dataset.images, data_samples=[]))['inputs'])[:, [2, 0]]
    right = (logits.argmax(1) == torch.arange(11) % 2).double().mean().item()
    assert metrics['some/accuracy/tuned'] == pytest.approx(100 * right)
    report = json.loads((tmp_path / 'domain_generalization.json').read_text())
    assert [row['name'] for row in report['sets']] == ['source', 'some', 'same']
    reason = 'LinearProbeClassifier predicts only the classes that it was trained on, and these are others'
    assert report['skipped'] == {'new': reason}
    assert f'- new: {reason}' in (tmp_path / 'domain_generalization.md').read_text()


def fit_in_a_process(rank, num_ranks, architecture, folder):
    runner = build_runner(architecture, Path(folder), launcher='none' if num_ranks == 1 else 'pytorch')
    runner.train()
    model = getattr(runner.model, 'module', runner.model)
    metrics = runner.test()
    return dict(
        weight=model.probe_weight.detach(),
        bias=model.probe_bias.detach(),
        pictures=model.fit_of['pictures'],
        accuracy=metrics['accuracy/tuned'],
    )


def test_two_processes_fit_what_one_fits(architecture, tmp_path):
    # 11 pictures: one process gets a picture for the second time, which must not count.
    one = fit_in_a_process(0, 1, architecture, tmp_path / 'one')
    first, second = run_ranks(fit_in_a_process, 2, tmp_path / 'ranks', architecture, str(tmp_path / 'two'))
    assert torch.equal(first['weight'], second['weight']) and torch.equal(first['bias'], second['bias'])
    torch.testing.assert_close(first, one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    'train, train_cfg, message',
    [
        (dict(dataset=dict(type='ColouredPictures', views=2)), dict(), 'one view of each picture, but got 2'),
        (dict(drop_last=True), dict(), 'drop_last=True'),
        (dict(), dict(C=0), 'needs C > 0 and max_iter >= 1, but got C=0'),
    ],
)
def test_what_it_cannot_fit_to_is_refused(architecture, tmp_path, train, train_cfg, message):
    runner = build_runner(architecture, tmp_path, train, train_cfg=dict(type='LinearProbeLoop', **train_cfg))
    with pytest.raises(ValueError, match=message):
        runner.train()


def test_a_fit_that_is_cut_short_is_reported(architecture, tmp_path, monkeypatch):
    runner, lines = build_runner(architecture, tmp_path, train_cfg=dict(type='LinearProbeLoop', C=1e4, max_iter=1)), []
    monkeypatch.setattr(runner.logger, 'warning', lines.append)
    runner.train()
    assert any('stopped after max_iter=1 iterations, before it converged' in str(line) for line in lines)


def test_the_config_runs_in_the_grid_and_its_checkpoint_in_the_test_tool(tmp_path):
    config = find_config('digits', 'linear_probe', ROOT / 'configs')
    (cell,) = make_cells([config], [2], [1], select='val', options={'log_level': 'ERROR'})
    result = run_cell(tmp_path, cell, keep_checkpoints=True)
    metrics, folder = result['metrics'], tmp_path / cell.folder
    assert (result['epoch'], result['train_pictures']) == (1, 20)
    assert metrics['accuracy/tuned'] == metrics['accuracy/fused'] > 50
    assert (
        call(
            ROOT / 'tools' / 'test.py',
            config,
            folder / 'epoch_1.pth',
            '--work-dir',
            tmp_path / 'test',
            '--out',
            tmp_path / 'metrics.json',
            '--out-item',
            'metrics',
            '--cfg-options',
            'test_cfg.targets=None',
        )
        == 0
    )
    tested = json.loads((tmp_path / 'metrics.json').read_text())
    assert {name: tested[name] for name in metrics if name in tested} == metrics
