"""Recorded numbers of PromptSRC and CLIP-LoRA."""

import re
from pathlib import Path

import numpy as np
import pytest

from mmpretrain_mps.evaluation.parity import compare, method_of_file

DATA = Path(__file__).resolve().parents[2] / 'data' / 'methods'
RESULTS = dict(promptsrc=124, clip_lora=277)


@pytest.fixture(scope='module', params=sorted(RESULTS))
def method(request):
    return request.param


def load(method):
    with np.load(DATA / f'{method}.npz') as archive:
        return dict(archive)


def failed(path):
    return [row.name for row in compare(path) if not row.passed]


def test_every_recorded_number_of_the_released_code_is_reproduced(method):
    rows = list(compare(DATA / f'{method}.npz'))
    assert len(rows) == len({row.name for row in rows}) == RESULTS[method]
    assert not [row for row in rows if not row.passed]
    assert method_of_file(DATA / f'{method}.npz') == method


def test_gradient_checkpointing_changes_no_number(method):
    assert all(row.passed for row in compare(DATA / f'{method}.npz', dict(backbone=dict(checkpointing=True))))


CHANGED = dict(
    promptsrc=(
        'main.loss.scl_text',
        'main.grad.scl_image.vision.1',
        'full.traj_prompts.text.3',
        'gpa.final.vision.2',
        'teacher.text_all_raw',
        'main.mid.text_block3',
        'main.mid.vision_block0',
        'sched.lr0.0025.E20',
        'gpa.recipe.E20.mean6.std10',
        'main.wd5.traj_loss',
        'shallow.ctx_words',
        'main.min_abs_diff',
    ),
    clip_lora=(
        'loss.total',
        'grad.transformer.resblocks.0.attn.k_proj.w_lora_A',
        'traj.lr',
        'out.cosine_test',
        'grad.nodropout.visual.transformer.resblocks.5.attn.q_proj.w_lora_B',
        'mid.text_last',
        'mid.vision_block0',
        'merged.transformer.resblocks.1.attn.v_proj.weight',
        'vision_only.logits_train',
        'traj_large.after4.visual.transformer.resblocks.3.attn.q_proj.w_lora_A',
    ),
)


def test_numbers_that_are_off_or_of_unknown_name_are_noticed(method, tmp_path):
    arrays = load(method)
    for name in CHANGED[method]:
        values = np.array(arrays[name], dtype=np.float32)
        values.flat[-1] += max(5e-4, 3e-4 * np.abs(values).max())
        arrays[name] = values
    arrays['out.unheard_of'] = np.zeros(2, np.float32)
    np.savez(tmp_path / 'off.npz', **arrays)
    assert sorted(failed(tmp_path / 'off.npz')) == sorted([*CHANGED[method], 'out.unheard_of'])


def test_a_mask_given_to_another_projection_is_noticed_where_masks_count(tmp_path):
    arrays = load('clip_lora')
    queries, keys = (f'in.dropout_keep.transformer.resblocks.2.attn.{part}_proj' for part in 'qk')
    arrays[queries], arrays[keys] = arrays[keys], arrays[queries]
    np.savez(tmp_path / 'swapped.npz', **arrays)
    names = failed(tmp_path / 'swapped.npz')
    assert {'out.text_features_train', 'loss.total', 'traj.total'} <= set(names)
    assert not [name for name in names if re.search('nodropout|_test$|merged|vision_only|image', name)]


def test_another_depth_of_prompts_is_noticed_in_that_case_alone(tmp_path):
    arrays = load('promptsrc')
    arrays['meta.full'] = np.array([4, 3, 4, 5])
    arrays.pop('full.prompts.vision.5')
    np.savez(tmp_path / 'shallower.npz', **arrays)
    names = failed(tmp_path / 'shallower.npz')
    assert {'full.image_features', 'full.loss.ce', 'full.grad.total.vision.5'} <= set(names)
    assert all(name.startswith('full.') for name in names) and 'full.text_features' not in names


def test_a_file_that_lacks_an_input_is_refused(tmp_path):
    arrays = load('promptsrc')
    arrays.pop('in.labels')
    np.savez(tmp_path / 'less.npz', **arrays)
    with pytest.raises(ValueError, match=r"lacks the arrays \['in.labels'\]"):
        list(compare(tmp_path / 'less.npz'))


def test_without_vision_prompts_the_comparison_runs_too(tmp_path):
    arrays = load('promptsrc')
    arrays['meta.shallow'] = np.array([4, 0, 1, 0])
    np.savez(tmp_path / 'text_only.npz', **arrays)
    rows = {row.name: row for row in compare(tmp_path / 'text_only.npz')}
    # Texts do not depend on vision prompts; pictures are those of the teacher.
    assert rows['shallow.text_features'].passed and rows['shallow.loss.scl_text'].passed
    assert not rows['shallow.image_features'].passed and not rows['shallow.grad.total.vision.0'].passed
    assert rows['shallow.loss.scl_image'].difference == pytest.approx(arrays['shallow.loss.scl_image'])


def test_heads_that_reproduce_no_feature_are_said_to_be_unknown(tmp_path):
    arrays = load('clip_lora')
    arrays['out.image_features_test'] = -arrays['out.image_features_test']
    np.savez(tmp_path / 'heads.npz', **arrays)
    with pytest.raises(ValueError, match='no number of heads that divides the width 64'):
        list(compare(tmp_path / 'heads.npz'))
