from pathlib import Path

import pytest
from benchmark_files import FILES
from benchmark_trees import make_tree, put
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, MODELS
from tiny_clip import save_tiny_clip

from mmpretrain_mps.benchmark.cell_run import run_cell
from mmpretrain_mps.benchmark.grid import find_config, make_cells
from mmpretrain_mps.datasets.catalog import CATALOG
from mmpretrain_mps.utils.config import propagate

CONFIGS = Path(__file__).parents[2] / 'configs'
VARIANTS = {
    'ImageNet-V2': 'imagenet_v2',
    'ImageNet-Sketch': 'imagenet_sketch',
    'ImageNet-A': 'imagenet_a',
    'ImageNet-R': 'imagenet_r',
}


def compose(tmp_path, name, **options):
    """Put a data set together with the model, a schedule and the runtime, as a user's config does."""
    path = tmp_path / 'config.py'
    bases = [
        CONFIGS / '_base_' / 'datasets' / f'{name}.py',
        CONFIGS / '_base_' / 'models' / 'clip_vitb16.py',
        CONFIGS / '_base_' / 'schedules' / 'paper_50e.py',
        CONFIGS / 'default_runtime.py',
    ]
    path.write_text(f'_base_ = {[str(base) for base in bases]!r}\n')
    cfg = Config.fromfile(path)
    propagate(cfg, options)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg[loader] is not None:
            assert 'persistent_workers' in cfg[loader] and cfg[loader].collate_fn.type == 'default_collate'
            cfg[loader].update(num_workers=0, persistent_workers=False)
    return cfg


def build(loader):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return Runner.build_dataloader(loader, seed=1)


@pytest.mark.parametrize('name', FILES)
def test_each_config_trains_and_tests_on_its_own_data_set(tmp_path, monkeypatch, name):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    make_tree(tmp_path / 'root', name)
    cfg = compose(tmp_path, FILES[name], data_root=str(tmp_path / 'root'), num_shots=2, seed=3)
    train, test = build(cfg.train_dataloader), build(cfg.test_dataloader)
    assert train.dataset.metainfo['dataset_name'] == test.dataset.metainfo['dataset_name'] == name
    assert (train.dataset.metainfo['num_shots'], train.dataset.metainfo['seed'], cfg.randomness.seed) == (2, 3, 3)
    assert len(train.dataset) == 2 * len(train.dataset.metainfo['classes'])
    assert train.batch_size == (64 if name == 'ImageNet' else 32) and test.batch_size == 100
    if name == 'ImageNet':
        assert cfg.val_dataloader is cfg.val_evaluator is None
    else:
        val = build(cfg.val_dataloader).dataset
        assert len(val) == 8 and val.metainfo['split_id'] == test.dataset.metainfo['split_id']


@pytest.mark.parametrize('name', VARIANTS)
def test_shifted_sets_are_tested_on_after_training_on_imagenet(tmp_path, monkeypatch, name):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    make_tree(tmp_path / 'root', 'ImageNet')
    make_tree(tmp_path / 'root', name)
    cfg = compose(tmp_path, 'imagenet', data_root=str(tmp_path / 'root'), num_shots=1)
    train, test = build(cfg.train_dataloader).dataset, DATASETS.build(cfg.targets[VARIANTS[name]])
    assert (train.metainfo['dataset_name'], test.metainfo['dataset_name']) == ('ImageNet', name)
    ids = [train.metainfo['class_ids'][i] for i in test.metainfo['source_indices']]
    assert tuple(ids) == test.metainfo['class_ids']


def test_every_data_set_of_the_table_has_a_config():
    assert {**FILES, **VARIANTS}.keys() == CATALOG.keys()


def test_a_training_batch_is_two_views_and_a_test_batch_is_one(tmp_path):
    make_tree(tmp_path / 'root', 'DTD')
    cfg = compose(tmp_path, 'dtd', data_root=str(tmp_path / 'root'), num_shots=1)
    train, test = next(iter(build(cfg.train_dataloader))), next(iter(build(cfg.test_dataloader)))
    assert [view.shape for view in train['inputs']] == [(4, 3, 224, 224)] * 2
    assert test['inputs'].shape == (12, 3, 224, 224)


@pytest.mark.parametrize('name', ['custom', 'custom_table'])
def test_own_pictures_need_nothing_but_their_folder(tmp_path, name):
    root = tmp_path / 'mine'
    for i in range(10):
        put(str(root / ('cat', 'dog')[i % 2] / f'{i}.jpg'))
    rows = [f'{("cat", "dog")[i % 2]}/{i}.jpg,{("Katze", "Hund")[i % 2]}' for i in range(10)]
    put(str(root / 'cat' / 'void.jpg'), '')
    put(str(root / 'pictures.csv'), '\n'.join(['path,label', *rows, 'cat/void.jpg,Katze']))
    with pytest.raises(ValueError, match=r'1 of 11 files are no pictures: cat/void.jpg \(empty file\)'):
        build(compose(tmp_path, name, data_root=str(root), num_shots=2).train_dataloader)
    cfg = compose(tmp_path, name, data_root=str(root), num_shots=2, skip_invalid=True)
    train, test = build(cfg.train_dataloader).dataset, build(cfg.test_dataloader).dataset
    assert (len(train), len(test)) == (4, 4)
    assert train.metainfo['split_id'] == test.metainfo['split_id']
    assert train.metainfo['classes'] == (('cat', 'dog') if name == 'custom' else ('Hund', 'Katze'))


@pytest.mark.parametrize('name', ['custom', 'custom_table'])
def test_a_forgotten_folder_is_asked_for(tmp_path, name):
    with pytest.raises((ValueError, FileNotFoundError), match='data_root'):
        build(compose(tmp_path, name).train_dataloader)


def test_own_pictures_for_the_embedded_model_differ_in_their_transforms_alone():
    full, mini = (Config.fromfile(CONFIGS / '_base_' / 'datasets' / f'{name}.py') for name in ('custom', 'custom_mini'))
    assert mini.train_dataloader.dataset.dataset.type == 'PictureFolder'
    views = mini.train_dataloader.dataset.dataset.pipeline[1].transforms[0]
    assert (views.architecture, views.pretrained, views.flip_prob) == ('mps-mini-pictograms', 'embedded', 0)
    assert mini.test_dataloader.dataset.pipeline[1].architecture == 'mps-mini-pictograms'
    assert full.test_dataloader.dataset.pipeline[1].architecture == 'ViT-B-16'


def test_every_config_at_the_top_names_what_exists():
    for path in sorted(CONFIGS.glob('mps_*.py')):
        cfg = Config.fromfile(path)
        assert MODELS.get(cfg.model.type) is not None, path
        sets = [cfg.train_dataloader.dataset.dataset, cfg.test_dataloader.dataset, *cfg.test_cfg.get('targets', {}).values()]
        assert all(DATASETS.get(dataset.type) is not None for dataset in sets), path


def test_cross_data_set_evaluation_has_the_ten_others_below_one_root():
    cfg = Config.fromfile(CONFIGS / 'mps_vitb16_16shot_imagenet_crossdata.py')
    propagate(cfg, dict(data_root='/elsewhere'))
    targets = cfg.test_cfg.targets
    assert {target.type for target in targets.values()} == {f'CLIP{name}' for name in FILES if name != 'ImageNet'}
    assert {target.data_root for target in targets.values()} == {'/elsewhere'}


def test_the_linear_probe_of_imagenet_runs_and_is_tested_on_every_shifted_set(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    # mmengine lays the text of the whole config out for every checkpoint and log, which takes longer than this run.
    monkeypatch.setattr('mmengine.config.config.FormatCode', lambda text, **_: (text, True))
    for name in ('ImageNet', *VARIANTS):
        make_tree(tmp_path / 'root', name)
    options = {
        'data_root': str(tmp_path / 'root'),
        'architecture': save_tiny_clip(tmp_path / 'clip'),
        'pretrained': None,
        'log_level': 'ERROR',
        'test_cfg.requested': 'all',
        **{f'{part}_dataloader.num_workers': 0 for part in ('train', 'test')},
    }
    (cell,) = make_cells([find_config('ImageNet', 'linear_probe', CONFIGS)], [2], [1], options=options, with_targets=True)
    result = run_cell(tmp_path / 'runs', cell)
    assert (result['epoch'], result['train_pictures'], result['test_pictures']) == (1, 14, 7)
    assert {f'{name}/accuracy/tuned' for name in VARIANTS.values()} <= set(result['metrics'])
    assert result['metrics']['accuracy/tuned'] == result['metrics']['accuracy/fused']
