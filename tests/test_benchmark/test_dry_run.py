"""A grid looked at without running it."""

import pytest
from mmengine.config import Config
from tiny_digits import CONFIG_FOLDER, write_config

from mmpretrain_mps.benchmark.dry_run import Needs, dry_run, steps_of, without_inputs
from mmpretrain_mps.benchmark.grid import find_config, make_cells, read_cell_config
from mmpretrain_mps.benchmark.parts import PartsCheck
from mmpretrain_mps.models.loading import clip_loader
from mmpretrain_mps.utils.methods import read_method


@pytest.fixture(autouse=True)
def without_network(monkeypatch):
    monkeypatch.setattr(clip_loader, 'reachable', lambda host: False)
    monkeypatch.setattr(clip_loader, '_cached_weights', lambda tag: ['the cache'])


def run(cells, folder, **flags):
    lines = []
    return dry_run(folder, cells, lines.append, **flags), lines


def dtd_cells(root, shots=(1, 16), seeds=(1, 2), recipes=None):
    config = find_config('DTD', 'paper', CONFIG_FOLDER)
    return make_cells([config], shots, seeds, recipes, dict(data_root=str(root)))


def test_a_sound_grid_is_ready_and_nothing_is_written(tmp_path):
    config = write_config(tmp_path)
    before = sorted(tmp_path.rglob('*'))
    status, lines = run(make_cells([config], [1, 2], [3], {'a': {}, 'b': {'model.head.alpha': 0.1}}), tmp_path / 'out')
    assert status == 0
    assert lines[:2] == ['tiny_digits: a, b; shots 1 2; seeds 3 (4 runs)', '4 runs, 0 done before, 4 to run']
    assert lines[-1] == 'dry run: ready, all parts are sound and all that is needed is there'
    assert sorted(tmp_path.rglob('*')) == before


def test_missing_weights_and_data_are_named_once_each(tmp_path):
    status, lines = run(dtd_cells(tmp_path, recipes={'full': {}, 'ce': {'model.gram_loss.loss_weight': 0}}), tmp_path)
    missing = [line for line in lines if line.startswith('MISSING')]
    assert status == 1 and len(missing) == 2
    assert missing[0].startswith("MISSING: weights 'openai' of ViT-B-16: looked for the cache")
    assert missing[1] == f'MISSING: DTD below {tmp_path}: the folder {tmp_path}/dtd does not exist'
    assert lines[-1] == 'dry run: NOT ready, 2 missing, see above'


def test_data_that_is_there_is_said_to_be(tmp_path):
    (tmp_path / 'dtd' / 'images').mkdir(parents=True)
    (tmp_path / 'dtd' / 'split_zhou_DescribableTextures.json').write_text('{}')
    _, lines = run(dtd_cells(tmp_path), tmp_path)
    assert f'there: DTD below {tmp_path}' in lines
    assert lines[-1] == 'dry run: NOT ready, 1 missing, see above'


def test_weights_of_an_auxiliary_network_are_needed_too(tmp_path, monkeypatch):
    monkeypatch.setattr('torch.hub.get_dir', lambda: str(tmp_path))
    model, needs = read_method('amu_tuning').model, Needs()
    needs.look_for(Config(dict(model=model)))
    assert 'of the auxiliary network: looked for' in needs.missing[1] and 'cannot be reached' in needs.missing[1]
    model.auxiliary_weights.checkpoint = str(tmp_path / 'file.pth')
    (tmp_path / 'file.pth').touch()
    needs.look_for(Config(dict(model=model)))
    assert needs.found == [f"weights '{tmp_path}/file.pth' of the auxiliary network"]


def test_missing_targets_are_skipped_unless_somebody_insists():
    cfg = Config(
        dict(
            test_cfg=dict(
                targets=dict(
                    a=dict(type='CLIPImageNetA', data_root='/nowhere'),
                    v2=dict(type='CLIPImageNetV2', data_root='/nowhere'),
                    off=None,
                )
            )
        )
    )
    needs = Needs()
    cfg.test_cfg.requested = ['v2']
    needs.look_for(cfg)
    assert needs.skipped == ['ImageNet-A below /nowhere: the data root /nowhere does not exist']
    assert needs.missing == ['ImageNet-V2 below /nowhere: the data root /nowhere does not exist']


def test_the_time_is_estimated_from_a_measured_step_alone(tmp_path):
    # 47 classes: 47 pictures in 2 batches of 32, or 752 in 24; 50 epochs; two seeds: 2 * 50 * (2 + 24) = 2600 steps.
    cells = dtd_cells(tmp_path)
    assert [steps_of(read_cell_config(cell), cell.shots) for cell in cells] == [100, 100, 1200, 1200]
    _, lines = run(cells, tmp_path, step_seconds=0.5, jobs=2)
    assert '2600 training steps of 0.5 s, 2 runs at a time: about 10 min 50 s, without testing' in lines
    assert not any('training steps' in line for line in run(cells, tmp_path)[1])
    # A linear probe looks at each picture once.
    probe = make_cells([find_config('DTD', 'linear_probe', CONFIG_FOLDER)], [1, 16], [1])
    assert [steps_of(read_cell_config(cell), cell.shots) for cell in probe] == [2, 24]
    _, lines = run(make_cells([write_config(tmp_path)], [1], [1]), tmp_path, step_seconds=0.5)
    assert 'no estimate: how many pictures tiny_digits.py trains on is not known without the data' in lines


@pytest.mark.parametrize(
    'option, value, message',
    [
        ('model.head.alpha', 2, 'model: ValueError: alpha must lie between 0 and 1, but is 2'),
        ('model.headd', {}, "model: TypeError: MPSCLIPClassifier takes no 'headd'"),
        ('model.gram_loss.p', 0, 'model: ValueError: GramAlignLoss needs weights >= 0 and p >= 1'),
        ('model.backbone.group_depths', [4, 4, 5], 'model: ValueError: group_depths must be three counts'),
        ('model.backbone.group_depths', [11, 0, 1], None),
        ('model.sculpt_loss.layer_weights', [1.0] * 6, 'sculpt_loss starts 5 blocks before the end, but only 4 blocks are'),
        ('model.point_loss', dict(type='NoLoss'), 'model: '),
        ('train_dataloader.dataset.type', 'NoDataset', 'train_dataloader.dataset: KeyError'),
        ('train_dataloader.sampler.shufle', True, "sampler: TypeError: got an unexpected keyword argument 'shufle'"),
        (
            'test_dataloader.dataset.pipeline',
            [dict(type='CLIPTestTransform', architecture='no-such', pretrained=None)],
            "test_dataloader.dataset.pipeline.0: ValueError: unknown architecture 'no-such'",
        ),
        ('optim_wrapper.optimizer.momentun', 1, 'optim_wrapper: TypeError'),
        ('optim_wrapper.type', 'NoWrapper', 'optim_wrapper: KeyError'),
        ('param_scheduler.1.T_maxx', 3, 'param_scheduler.1: TypeError'),
        ('train_cfg', dict(type='EpochBasedTrainLoop', by_epoch=True), "unexpected keyword argument 'by_epoch'"),
        ('train_cfg.max_epoch', 3, "train_cfg: TypeError: got an unexpected keyword argument 'max_epoch'"),
        ('test_cfg.type', 'NoLoop', 'test_cfg: KeyError'),
        ('default_hooks.logger.intervall', 3, 'default_hooks.logger: TypeError'),
        ('custom_hooks', [dict(type='NoHook')], 'custom_hooks.0: KeyError'),
        ('test_evaluator', dict(type='BranchAccuracy', topk=3), 'test_evaluator: TypeError'),
    ],
)
def test_a_part_that_cannot_be_built_is_a_fault(tmp_path, option, value, message):
    (cell,) = dtd_cells(tmp_path, [1], [1])
    cfg = read_cell_config(cell)
    cfg.merge_from_dict({option: value})  # as the file may say; options that no part takes are refused before
    faults = PartsCheck().faults_of(cfg)
    assert len(faults) == (message is not None) and all(message in fault for fault in faults)


@pytest.mark.parametrize(
    'option, value',
    [
        ('custom_hooks', [dict(type='FiniteLossHook', priority='LOW')]),
        ('test_evaluator', dict(type='Evaluator', metrics=[dict(type='BranchAccuracy')])),
        ('test_evaluator', dict(metrics=dict(type='BranchAccuracy'))),
        ('train_dataloader.sampler._scope_', 'mmpretrain'),
        ('param_scheduler', [dict(type='CosineAnnealingLR', T_max=30, begin=20)]),  # up to the end of the training
    ],
)
def test_what_the_runner_takes_is_no_fault(tmp_path, option, value):
    (cell,) = dtd_cells(tmp_path, [1], [1])
    cfg = read_cell_config(cell)
    cfg.merge_from_dict({option: value})
    if option == 'test_evaluator':
        cfg.test_evaluator = value
    assert PartsCheck().faults_of(cfg) == []


def test_a_fault_of_many_recipes_is_told_once(tmp_path):
    wrong = {'model.head.alpha': 2}
    status, lines = run(dtd_cells(tmp_path, recipes={'a': wrong, 'b': wrong, 'c': {}}), tmp_path)
    (fault,) = [line for line in lines if line.startswith('FAULT')]
    assert status == 1 and fault.startswith('FAULT: mps_vitb16_16shot_dtd a and 1 more: model: ValueError: alpha')
    assert lines[-1] == 'dry run: NOT ready, 2 missing and 1 faulty, see above'


def test_runs_whose_inputs_are_missing_are_told_apart_from_those_that_can_start(tmp_path):
    digits = make_cells([write_config(tmp_path)], [1], [3])
    ready, hopeless = without_inputs(tmp_path, digits + dtd_cells(tmp_path))
    assert ready == digits
    assert [failure.cell.shots for failure in hopeless] == [1, 1, 16, 16]
    (reason,) = {failure.reason for failure in hopeless}
    assert reason.startswith("it lacks weights 'openai' of ViT-B-16: looked for the cache")
    assert reason.endswith(f'; DTD below {tmp_path}: the folder {tmp_path}/dtd does not exist')
