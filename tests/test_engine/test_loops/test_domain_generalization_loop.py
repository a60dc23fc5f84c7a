import csv
import json
import multiprocessing

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample
from tiny_clip import save_tiny_clip
from torch.utils.data import Dataset

from mmpretrain_mps.models import MPSCLIPClassifier
from mmpretrain_mps.models.classifiers.test_features import NO_FEATURES
from mmpretrain_mps.models.losses.gram_align_loss import gram_distances

# Two classes of one name, as ImageNet has them.
NAMES = ('cat', 'crane', 'dog', 'house', 'tree', 'crane')


@DATASETS.register_module()
class TestPictures(Dataset):
    """Noise, labelled in turn."""

    __test__ = False

    def __init__(self, length=23, classes=NAMES, seed=0, **metainfo):
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randint(256, (length, 3, 16, 16), generator=generator, dtype=torch.uint8)
        self.metainfo = dict(classes=tuple(classes), templates=('a photo of a {}.',), **metainfo)

    def __len__(self):
        return len(self.images)

    def label(self, index):
        return index % len(self.metainfo['classes'])

    def __getitem__(self, index):
        sample = DataSample(metainfo=dict(sample_idx=index)).set_gt_label(self.label(index))
        return dict(inputs=self.images[index], data_samples=sample)


@DATASETS.register_module()
class UntouchablePictures(Dataset):
    """Fails the test if it is built."""

    def __init__(self):
        raise AssertionError('the source was read although a target is missing')


@DATASETS.register_module()
class MissingPictures(Dataset):
    def __init__(self, place='/no/such/folder'):
        raise FileNotFoundError(f'{place} does not exist')


@pytest.fixture(scope='module')
def architecture(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp('clip') / 'tiny')


def build_model(architecture):
    torch.manual_seed(0)
    model = MPSCLIPClassifier(
        architecture,
        None,
        backbone=dict(group_depths=(2, 2, 2)),
        head=dict(alpha=0.5),
        class_names=NAMES,
        templates=['a photo of a {}.'],
    )
    with torch.no_grad():
        for parameter in model.backbone.tuned.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return model.eval()


def build_runner(model, work_dir, targets, source=None, **arguments):
    loader = dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
        dataset=source or dict(type='TestPictures'),
    )
    launcher, hooks = arguments.pop('launcher', 'none'), arguments.pop('custom_hooks', None)
    evaluator = arguments.pop('test_evaluator', dict(type='BranchAccuracy'))
    cfg = Config(dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None)))
    return Runner(
        model,
        str(work_dir),
        test_dataloader=loader,
        test_evaluator=evaluator,
        custom_hooks=hooks,
        test_cfg=dict(type='DomainGeneralizationLoop', targets=targets, **arguments),
        default_scope='mmpretrain',
        log_level='WARNING',
        launcher=launcher,
        experiment_name=f'{work_dir.name}{id(model)}',
        cfg=cfg,
    )


@torch.no_grad()
def logits_of(model, dataset):
    images = model.data_preprocessor(dict(inputs=dataset.images, data_samples=[]))['inputs']
    return model.branch_logits(images)[0]


def accuracy(scores, dataset):
    labels = torch.tensor([dataset.label(index) for index in range(len(dataset))])
    return 100 * (scores.argmax(1) == labels).double().mean().item()


def test_a_target_with_fewer_classes_is_scored_among_these_by_their_numbers(architecture, tmp_path):
    model = build_model(architecture)
    # Names alone would not tell which crane is which.
    target = dict(type='TestPictures', classes=('crane', 'dog', 'crane'), source_indices=(5, 2, 1), seed=1, length=40)
    metrics = build_runner(model, tmp_path, dict(fewer=target)).test()
    dataset = TestPictures(**{key: value for key, value in target.items() if key != 'type'})
    logits = logits_of(model, dataset)
    for name in ('fused', 'tuned', 'zero_shot'):
        among_three = getattr(logits, name)[:, [5, 2, 1]]
        assert metrics[f'fewer/accuracy/{name}'] == pytest.approx(accuracy(among_three, dataset))
    confidence, predicted = logits.fused[:, [5, 2, 1]].softmax(1).max(1)
    assert metrics['fewer/ece/fused'] != metrics['ece/fused'] and 0 < metrics['fewer/ece/fused'] < 100
    report = json.loads((tmp_path / 'domain_generalization.json').read_text())
    assert [(row['classes'], row['head']) for row in report['sets']] == [(6, 'source'), (3, 'cut')]


def test_the_sweep_at_the_model_s_alpha_is_the_fused_accuracy(architecture, tmp_path):
    model = build_model(architecture)
    metrics = build_runner(model, tmp_path, {}).test()
    sweep = json.loads((tmp_path / 'domain_generalization.json').read_text())['alpha_sweep']
    assert 'must not be used to select' in sweep['use']
    assert sweep['accuracy']['source']['0.5'] == metrics['accuracy/fused']
    assert sweep['accuracy']['source']['0.0'] == metrics['accuracy/zero_shot']
    assert sweep['accuracy']['source']['1.0'] == metrics['accuracy/tuned']
    assert not any(name.startswith('alpha_sweep') for name in metrics)
    assert not any(name.startswith('mean') for name in metrics)


def test_other_classes_get_prototypes_of_their_own_and_the_model_s_come_back(architecture, tmp_path):
    model = build_model(architecture)
    before = model.text_prototypes.clone()
    new = dict(type='TestPictures', classes=('lake', 'sea'), seed=2)
    same = dict(type='TestPictures', seed=0)
    metrics = build_runner(model, tmp_path, dict(new=new, same=same)).test()
    assert torch.equal(model.text_prototypes, before) and model.class_names == NAMES
    assert metrics['same/accuracy/fused'] == metrics['accuracy/fused']
    other = build_model(architecture)
    other.set_classes(['lake', 'sea'], ['a photo of a {}.'])
    dataset = TestPictures(classes=('lake', 'sea'), seed=2)
    assert metrics['new/accuracy/fused'] == pytest.approx(accuracy(logits_of(other, dataset).fused, dataset))
    report = json.loads((tmp_path / 'domain_generalization.json').read_text())
    assert [row['head'] for row in report['sets']] == ['source', 'encoded', 'source']


def test_indices_into_another_source_are_not_followed(architecture, tmp_path):
    # The target was made for a source of other classes: its names are encoded, not rows taken that mean something else.
    target = dict(type='TestPictures', classes=('lake', 'sea'), source_indices=(0, 900))
    build_runner(build_model(architecture), tmp_path, dict(other=target)).test()
    report = json.loads((tmp_path / 'domain_generalization.json').read_text())
    assert report['sets'][1]['head'] == 'encoded'


def test_the_prototypes_come_back_after_an_error(architecture):
    model = build_model(architecture)
    before = model.text_prototypes
    with pytest.raises(RuntimeError), model.with_classes(dict(text_prototypes=before[:2]), ['a', 'b']):
        assert model.class_names == ('a', 'b') and len(model.text_prototypes) == 2
        raise RuntimeError
    assert model.text_prototypes is before and model.class_names == NAMES
    with (
        pytest.raises(ValueError, match='2 rows of text_prototypes were given for 1 class names'),
        model.with_classes(dict(text_prototypes=before[:2]), ['a']),
    ):
        pass


def test_the_files_hold_the_metrics_and_their_means(architecture, tmp_path):
    targets = dict(
        one=dict(type='TestPictures', seed=1),
        two=dict(type='TestPictures', seed=2, length=7),
        gone=dict(type='MissingPictures', place='/data/gone'),
    )
    metrics = build_runner(build_model(architecture), tmp_path, targets).test()
    for metric in ('accuracy/fused', 'accuracy/tuned', 'ece/zero_shot'):
        values = [metrics[metric], metrics[f'one/{metric}'], metrics[f'two/{metric}']]
        assert metrics[f'mean_of_targets/{metric}'] == pytest.approx((values[1] + values[2]) / 2)
        assert metrics[f'mean_of_all/{metric}'] == pytest.approx(sum(values) / 3)
    report = json.loads((tmp_path / 'domain_generalization.json').read_text())
    assert report['skipped'] == {'gone': '/data/gone does not exist'}
    assert [(row['name'], row['pictures']) for row in report['sets']] == [('source', 23), ('one', 23), ('two', 7)]
    rows = list(csv.DictReader((tmp_path / 'domain_generalization.csv').open()))
    assert [row['set'] for row in rows] == ['source', 'one', 'two', 'mean_of_targets', 'mean_of_all']
    assert float(rows[1]['accuracy_tuned']) == metrics['one/accuracy/tuned']
    assert float(rows[4]['ece_fused']) == metrics['mean_of_all/ece/fused']
    sweep = list(csv.DictReader((tmp_path / 'domain_generalization_alpha_sweep.csv').open()))
    assert len(sweep) == 3 * 11 and all('must not be used to select' in row['use'] for row in sweep)
    table = (tmp_path / 'domain_generalization.md').read_text()
    fused = next(line for line in table.splitlines() if line.startswith('| fused (alpha 0.5)'))
    assert [cell.strip() for cell in fused.split('|')[2:-1]] == [
        f'{metrics[name]:.2f}'
        for name in (
            'accuracy/fused',
            'one/accuracy/fused',
            'two/accuracy/fused',
            'mean_of_targets/accuracy/fused',
            'mean_of_all/accuracy/fused',
        )
    ]
    assert '- gone: /data/gone does not exist' in table and '15 bins of equal width' in table


@pytest.mark.parametrize('requested', ['gone', ['there', 'gone'], 'all'])
def test_a_requested_target_that_is_missing_is_an_error_before_the_source_is_read(architecture, tmp_path, requested):
    targets = dict(there=dict(type='TestPictures'), gone=dict(type='MissingPictures', place='/data/gone'))
    runner = build_runner(
        build_model(architecture), tmp_path, targets, source=dict(type='UntouchablePictures'), requested=requested
    )
    with pytest.raises(FileNotFoundError, match='requested targets are missing; gone: /data/gone does not exist'):
        runner.test()


def test_a_target_switched_off_is_not_looked_for(architecture, tmp_path):
    metrics = build_runner(build_model(architecture), tmp_path, dict(off=None)).test()
    assert not any(name.startswith('off') for name in metrics)


def test_asking_for_what_is_no_target_is_an_error_that_lists_the_targets(architecture, tmp_path):
    runner = build_runner(build_model(architecture), tmp_path, dict(one=dict(type='TestPictures')), requested='on')
    with pytest.raises(ValueError, match="'on' are not in test_cfg.targets, which has 'one'"):
        runner.test()


def test_a_target_of_which_a_part_is_there_is_an_error_and_not_skipped(architecture, tmp_path):
    (tmp_path / 'pictures').mkdir()
    target = dict(type='CustomDataset', data_root=str(tmp_path), data_prefix='pictures', ann_file='list.txt', pipeline=[])
    runner = build_runner(build_model(architecture), tmp_path / 'work', dict(half=target))
    with pytest.raises(FileNotFoundError, match='target half is there only in part.*list.txt'):
        runner.test()


def test_metrics_of_features_see_every_set_and_the_model_is_left_as_it_was(architecture, tmp_path):
    model = build_model(architecture)
    targets = dict(
        cut=dict(type='TestPictures', classes=('dog', 'crane'), source_indices=(2, 5), length=9, seed=1),
        new=dict(type='TestPictures', classes=('lake', 'sea', 'pond'), length=7, seed=3),
    )
    runner = build_runner(
        model,
        tmp_path,
        targets,
        custom_hooks=[dict(type='TestFeaturesHook')],
        test_evaluator=[dict(type='GramDistortion', p=2), dict(type='ClassSeparability')],
    )
    metrics = runner.test()
    assert model.test_features == NO_FEATURES
    images = [TestPictures().images, TestPictures(length=9, seed=1).images, TestPictures(length=7, seed=3).images]
    for prefix, pictures in zip(('', 'cut/', 'new/'), images):
        pictures = model.data_preprocessor(dict(inputs=pictures, data_samples=[]))['inputs']
        with torch.no_grad():
            features = model.backbone(pictures, patch_tokens=True)
        assert metrics[f'{prefix}gram/global'] == pytest.approx(
            gram_distances(features.tuned[:, 0], features.zero_shot[:, 0], 2).item(), rel=1e-3
        )
        assert metrics[f'{prefix}gram/local'] == pytest.approx(
            gram_distances(features.tuned, features.zero_shot, 2).mean().item(), rel=1e-3
        )
        assert all(
            isinstance(metrics[f'{prefix}separability/{branch}/{layer}/silhouette'], float)
            for branch in ('tuned', 'zero_shot')
            for layer in ('output', 'before_end_1', 'before_end_2')
        )
    report = json.loads((tmp_path / 'domain_generalization.json').read_text())
    assert report['sets'][1]['others']['gram/global'] == metrics['cut/gram/global']
    assert not any(name.startswith(('accuracy', 'ece', 'alpha')) for name in report['sets'][0]['others'])
    table = (tmp_path / 'domain_generalization.md').read_text()
    row = next(line for line in table.splitlines() if 'gram/local' in line)
    assert [cell.strip() for cell in row.split('|')[2:-1]] == [
        f'{metrics[f"{prefix}gram/local"]:.4g}' for prefix in ('', 'cut/', 'new/')
    ]


def test_names_that_results_use_are_refused(architecture, tmp_path):
    runner = build_runner(build_model(architecture), tmp_path, dict(source=dict(type='TestPictures')))
    with pytest.raises(ValueError, match="holds 'source'; expected other names"):
        runner.test()


# With more pictures than one of them takes: the choice must not depend on which process has which.
FEATURE_METRICS = dict(
    custom_hooks=[dict(type='TestFeaturesHook')],
    test_evaluator=[dict(type='BranchAccuracy'), dict(type='GramDistortion', max_pictures=5), dict(type='ClassSeparability')],
)


def run_one_of_two(rank, folder, model, targets):
    dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    metrics = build_runner(model, folder / 'work', targets, launcher='pytorch', **FEATURE_METRICS).test()
    (folder / f'metrics{rank}.json').write_text(json.dumps(metrics))
    dist.destroy_process_group()


def test_two_processes_count_every_picture_once(architecture, tmp_path, monkeypatch):
    # Odd numbers of pictures, so that a process repeats one to fill its last batch up.
    targets = dict(
        cut=dict(type='TestPictures', classes=('dog', 'crane'), source_indices=(2, 5), length=9, seed=1),
        new=dict(type='TestPictures', classes=('lake', 'sea', 'pond'), length=7, seed=3),
    )
    model = build_model(architecture)
    alone = build_runner(model, tmp_path / 'alone', targets, **FEATURE_METRICS).test()
    assert 'new/gram/local' in alone and 'cut/separability/tuned/output/silhouette' in alone
    monkeypatch.setenv('LOCAL_RANK', '0')
    # Forked, so that nothing has to be imported again; no thread pool exists with one thread.
    context = multiprocessing.get_context('fork')
    processes = [
        context.Process(target=run_one_of_two, args=(rank, tmp_path, build_model(architecture), targets)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    for rank in range(2):
        assert json.loads((tmp_path / f'metrics{rank}.json').read_text()) == pytest.approx(alone)
    assert (tmp_path / 'work' / 'domain_generalization.md').is_file()
