"""Precisions of a GPU, and what tells numbers of one device and precision from others; without a GPU."""

import hashlib
import json

import numpy as np
import open_clip
import pytest
import torch

from mmpretrain_mps.models.caches.identity import model_facts
from mmpretrain_mps.models.caches.prototype_cache import prototype_key
from mmpretrain_mps.models.computation import precision
from mmpretrain_mps.models.computation.precision import amp_dtype, computed_on, float32_products, set_float32_precision


def flags():
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture(autouse=True)
def unchanged():
    before = flags()
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_strict_products_are_whole_in_matrix_products_and_convolutions_alike():
    set_float32_precision('tf32')
    assert flags() == (True, True)
    set_float32_precision('strict')
    assert flags() == (False, False)


def test_for_a_while_and_back_also_after_an_error():
    set_float32_precision('strict')
    with pytest.raises(KeyError), float32_products('tf32'):
        assert flags() == (True, True)
        raise KeyError
    assert flags() == (False, False)


def test_the_cpu_multiplies_whole_numbers_whatever_is_set():
    left, right = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0))
    products = []
    for name in precision.FLOAT32_PRECISIONS:
        with float32_products(name):
            products.append(left @ right)
    assert torch.equal(*products)


def test_another_precision_is_refused():
    with pytest.raises(ValueError, match=r"float32_precision is 'TF32', expected 'strict' .* or 'tf32'"):
        set_float32_precision('TF32')


@pytest.mark.parametrize(
    'device, capability, expected',
    [
        ('cpu', None, torch.bfloat16),
        ('cuda', (7, 5), torch.float16),
        ('cuda', (8, 0), torch.bfloat16),
        ('cuda', (9, 0), torch.bfloat16),
        ('mps', None, torch.float16),
    ],
)
def test_mixed_precision_is_bfloat16_where_the_device_has_it(monkeypatch, device, capability, expected):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: capability)
    assert amp_dtype(device) is expected
    assert amp_dtype(device, 'float16') is torch.float16


def test_a_type_of_no_mixed_precision_is_refused():
    with pytest.raises(ValueError, match=r"dtype is 'float64', expected one of \['bfloat16', 'float16'\] or None"):
        amp_dtype('cuda', 'float64')


def test_another_gpu_and_another_precision_are_told_apart(monkeypatch):
    gpu, found = torch.device('cuda'), []
    monkeypatch.setattr(torch, 'is_autocast_enabled', lambda kind: False)
    for name in ('NVIDIA H100', 'NVIDIA A100'):
        monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device, name=name: name)
        for kind in precision.FLOAT32_PRECISIONS:
            with float32_products(kind):
                found.append(computed_on(gpu))
    monkeypatch.setattr(torch, 'is_autocast_enabled', lambda kind: True)
    for dtype in (torch.float16, torch.bfloat16):
        monkeypatch.setattr(torch, 'get_autocast_dtype', lambda kind, dtype=dtype: dtype)
        found.append(computed_on(gpu))
    assert len({json.dumps(facts) for facts in found}) == 6


def test_on_the_cpu_the_precision_of_gpus_is_no_part_of_it():
    with float32_products('tf32'):
        there = computed_on(torch.device('cpu'))
    assert there == computed_on(torch.device('cpu'))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert computed_on(torch.device('cpu')) != there


def test_names_of_kept_features_and_prototypes_hold_it(monkeypatch, build, tiny_clip):
    model, clip, tokenizer = build(), open_clip.create_model(tiny_clip).eval(), open_clip.get_tokenizer(tiny_clip)
    names = []
    for facts in (['cuda', None, 'NVIDIA H100', False, False], ['cuda', None, 'NVIDIA H100', True, True]):
        for module in ('identity', 'prototype_cache'):
            monkeypatch.setattr(f'mmpretrain_mps.models.caches.{module}.computed_on', lambda device: facts)
        names.append(
            (
                hashlib.sha256(json.dumps(model_facts(model)).encode()).hexdigest(),
                prototype_key(clip, tokenizer, ['cat'], ['a {}.'], False),
            )
        )
    assert all(np.array(names[0]) != np.array(names[1]))
