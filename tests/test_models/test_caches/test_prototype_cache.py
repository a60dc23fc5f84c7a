import logging
import os
import tracemalloc
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from mmpretrain_mps.models.caches import prototype_cache
from mmpretrain_mps.models.caches.fingerprint import fingerprint
from mmpretrain_mps.models.caches.prototype_cache import VARIABLE, cache_folder, cached_prototypes, prototype_key

NAMES, TEMPLATES = ['cat', 'dog'], ['a {}.', 'one {}']


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path / 'prototypes'


@pytest.fixture(scope='module')
def clip(tiny_clip):
    return open_clip.create_model(tiny_clip).eval(), open_clip.get_tokenizer(tiny_clip)


@pytest.fixture
def no_encoding(monkeypatch):
    """Let no more than one class be encoded: the one that a file is tried by."""
    encode = prototype_cache.encode_prototypes

    def encode_one(model, tokenizer, class_names, *rest):
        assert len(class_names) == 1, 'encoded again'
        return encode(model, tokenizer, class_names, *rest)

    return lambda: monkeypatch.setattr(prototype_cache, 'encode_prototypes', encode_one)


def test_the_second_time_they_are_read(clip, folder, no_encoding):
    first = cached_prototypes(*clip, NAMES, TEMPLATES)
    assert [path.suffix for path in folder.iterdir()] == ['.safetensors']
    no_encoding()
    assert torch.equal(cached_prototypes(*clip, NAMES, TEMPLATES), first)


def test_everything_that_prototypes_depend_on_is_in_the_key(clip):
    model, tokenizer = clip
    keys = {
        prototype_key(model, tokenizer, *rest)
        for rest in [
            (NAMES, TEMPLATES, True),
            (NAMES, TEMPLATES, False),
            (NAMES[::-1], TEMPLATES, True),
            (NAMES, TEMPLATES[:1], True),
            (['cat', 'dogs'], TEMPLATES, True),
            (['a cat.', 'one cat', 'a dog.', 'one dog'], ['{}'], True),
        ]
    }
    assert len(keys) == 6
    weight = model.text_projection
    with torch.no_grad():
        before = weight[0, 0].item()
        weight[0, 0] += 1e-3
        changed = prototype_key(model, tokenizer, NAMES, TEMPLATES, True)
        weight[0, 0] = before
    assert changed not in keys and prototype_key(model, tokenizer, NAMES, TEMPLATES, True) in keys
    assert prototype_key(model, lambda texts: tokenizer(texts) + 1, NAMES, TEMPLATES, True) not in keys


def test_names_and_templates_cannot_take_each_others_place_in_the_key(clip):
    lists = [(['a {}', 'b'], ['{}']), (['b'], ['{}', 'a {}']), (['a {}'], ['{}', 'b{}']), (['b', 'a {}'], ['{}'])]
    assert len({prototype_key(*clip, *pair, True) for pair in lists}) == 4


def test_a_key_of_many_texts_takes_little_memory_and_probes_them_all_over(clip):
    names, templates = [f'class number {n}' for n in range(2000)], [f'photo {n} of a {{}}.' for n in range(80)]
    seen = []
    tracemalloc.start()
    key = prototype_key(clip[0], lambda texts: seen.extend(texts) or torch.zeros(1), names, templates, True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6  # all texts together are 160,000 x 80 bytes
    assert len(set(seen)) == 64
    assert seen[0] == 'photo 0 of a class number 0.' and seen[-1] == 'photo 79 of a class number 1999.'
    # Also what no probe shows is in the key.
    names[1] = 'another'
    assert prototype_key(clip[0], lambda texts: torch.zeros(1), names, templates, True) != key


def test_the_folder_stays_below_its_limit_without_what_was_used_longest_ago(clip, folder, monkeypatch):
    written = []
    for last, name in enumerate(['cat', 'dog', 'cow']):
        cached_prototypes(*clip, [name], TEMPLATES)
        (path,) = set(folder.iterdir()) - set(written)
        written.append(path)
        os.utime(path, (last, last))
    cached_prototypes(*clip, ['cat'], TEMPLATES)  # used again
    monkeypatch.setattr(prototype_cache, 'LIMIT_BYTES', 3 * written[0].stat().st_size)
    cached_prototypes(*clip, ['owl'], TEMPLATES)
    assert len(list(folder.iterdir())) == 3 and written[0].exists() and not written[1].exists()


@pytest.mark.parametrize('damage', ['cut', 'changed', 'empty'])
def test_a_damaged_file_is_computed_again_and_replaced(clip, folder, damage, no_encoding, caplog):
    first = cached_prototypes(*clip, NAMES, TEMPLATES)
    (path,) = folder.iterdir()
    content = path.read_bytes()
    path.write_bytes(
        {'cut': content[:-5], 'changed': content[:-2] + bytes([content[-2] ^ 1]) + content[-1:], 'empty': b''}[damage]
    )
    with caplog.at_level(logging.WARNING):
        assert torch.equal(cached_prototypes(*clip, NAMES, TEMPLATES), first)
    assert path.read_bytes() == content
    no_encoding()
    assert torch.equal(cached_prototypes(*clip, NAMES, TEMPLATES), first)


@pytest.mark.parametrize(
    'forge',
    [
        lambda first: dict(prototypes=torch.randn(first.shape)),
        lambda first: dict(prototypes=first * float('nan')),
        lambda first: dict(prototypes=first[:, :3].clone()),
        lambda first: dict(prototypes=first.flatten()),
        lambda first: dict(prototypes=first.to(torch.int8)),
        lambda first: dict(other=first),
    ],
    ids=['values', 'nan', 'width', 'rank', 'type', 'name'],
)
def test_a_forged_file_with_the_right_hash_is_computed_again(clip, folder, forge, told):
    first = cached_prototypes(*clip, NAMES, TEMPLATES)
    (path,) = folder.iterdir()
    forged = forge(first)
    save_file(forged, path, metadata={'sha256': fingerprint(forged)})
    assert torch.equal(cached_prototypes(*clip, NAMES, TEMPLATES), first)
    assert any('its prototypes are computed again' in message for message in told)
    assert torch.equal(load_file(path)['prototypes'], first)


def test_what_cannot_be_looked_at_is_computed(clip, folder, monkeypatch):
    def is_file(path):
        raise PermissionError(13, 'Permission denied', str(path))

    first = cached_prototypes(*clip, NAMES, TEMPLATES)
    monkeypatch.setattr(Path, 'is_file', is_file)
    assert torch.equal(cached_prototypes(*clip, NAMES, TEMPLATES), first)


def test_a_folder_that_cannot_be_written_to_costs_nothing_but_time(clip, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv(VARIABLE, str(tmp_path / 'file'))
    assert cached_prototypes(*clip, NAMES, TEMPLATES).shape == (2, 8)


def test_the_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert cache_folder() == tmp_path / 'mmpretrain_mps' / 'prototypes'
    monkeypatch.setenv(VARIABLE, str(tmp_path / 'own'))
    assert cache_folder() == tmp_path / 'own' / 'prototypes'
    for value in ('off', '', '0'):
        monkeypatch.setenv(VARIABLE, value)
        assert cache_folder() is None


def test_the_classifier_uses_it_unless_told_not_to(build, folder, no_encoding):
    build(cache_prototypes=False)
    assert not folder.exists()
    first = build().text_prototypes
    assert len(list(folder.iterdir())) == 1
    no_encoding()
    assert torch.equal(build().text_prototypes, first)
