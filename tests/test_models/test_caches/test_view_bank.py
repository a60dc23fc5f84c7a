import errno
import os
from types import SimpleNamespace
from typing import NamedTuple

import open_clip
import pytest
import torch
from tiny_clip import shake
from torch._subclasses import FakeTensorMode

from mmpretrain_mps.models import DualBranchViT
from mmpretrain_mps.models.backbones.dual_branch_vit import FrozenFeatures
from mmpretrain_mps.models.backbones.linear import force_onednn
from mmpretrain_mps.models.caches import view_bank
from mmpretrain_mps.models.caches.view_bank import BankLayout, ViewBank, available_memory, format_bytes

SHOWN = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])


class Kept(NamedTuple):
    floats: torch.Tensor
    positions: torch.Tensor


def features(count, stem=True):
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(count, *shape, generator=generator)  # noqa: E731
    return FrozenFeatures(draw(5, 16) if stem else None, draw(5, 16).bfloat16(), draw(1, 8))


def gradients(model, inputs, samples):
    model.zero_grad()
    losses = model(inputs, samples, mode='loss')
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    return (
        {name: value.detach() for name, value in losses.items()},
        {name: p.grad for name, p in model.named_parameters() if p.requires_grad},
    )


@pytest.mark.parametrize('storage', ['ram', 'disk', 'device'])
@pytest.mark.parametrize('stem', [True, False])
def test_views_come_back_as_they_were_computed_view_by_view(storage, stem, tmp_path):
    layout, kept = BankLayout(features(1, stem), SHOWN), features(5, stem)
    bank = ViewBank(layout, storage, tmp_path / 'run')
    bank.write(0, FrozenFeatures(*(None if part is None else part[:2] for part in kept)))
    bank.write(2, FrozenFeatures(*(None if part is None else part[2:] for part in kept)))
    found = bank.read(torch.tensor([2, 0]), torch.tensor([[1, 2], [0, 2]]), 'cpu')
    rows = [3, 0, 4, 1]  # rows 0, 1 are views 0, 2 of picture 0; rows 2 to 4 those of picture 2
    for part, expected in zip(found, kept):
        assert (part is None) == (expected is None)
        assert part is None or part.dtype == expected.dtype and torch.equal(part, expected[rows])
    assert not list(tmp_path.rglob('*.part'))  # a file without a name: nothing can be left behind


def test_integers_stay_exact_where_floats_are_rounded():
    kept = Kept(torch.randn(5, 4), torch.tensor([[255, 256], [257, 575], [1, 2], [3, 4], [5, 6]]))
    layout = BankLayout(Kept(kept.floats[:1], kept.positions[:1]), SHOWN, 'bfloat16')
    assert layout.bytes_per_view == 2 * 4 + 8 * 2
    bank = ViewBank(layout)
    bank.write(0, kept)
    found = bank.read(torch.tensor([2, 0]), torch.tensor([[1], [0]]), 'cpu')
    assert torch.equal(found.positions, kept.positions[[3, 0]])
    assert torch.equal(found.floats, kept.floats[[3, 0]].bfloat16().float())


def test_a_view_outside_of_the_plan_is_an_error():
    bank = ViewBank(BankLayout(features(1), SHOWN))
    with pytest.raises(LookupError, match='its plan does not hold'):
        bank.read(torch.tensor([0]), torch.tensor([[0, 1]]), 'cpu')


def test_the_size_is_the_one_of_the_tensors_and_half_of_it_in_half_precision():
    layout = BankLayout(features(1), SHOWN)
    assert layout.num_views == 5 and layout.bytes_per_view == 4 * 5 * 16 + 2 * 5 * 16 + 4 * 8 == 512
    assert layout.num_bytes == sum(kept.nbytes for kept in ViewBank(layout)._parts.values()) == 2560
    assert layout.describe() == (
        '3 pictures x 3 views, 5 of them used; stem 5 x 16 float32 + shared 5 x 16 bfloat16 + '
        'zero_shot 1 x 8 float32 = 0.5 kB per view, 2.56 kB together'
    )
    half = BankLayout(features(1), SHOWN, 'float16')
    assert half.bytes_per_view == 2 * (5 * 16 + 5 * 16 + 8)
    bank, kept = ViewBank(half), features(5)
    bank.write(0, kept)
    found = bank.read(torch.tensor([0]), torch.tensor([[2]]), 'cpu')
    assert found.stem.dtype == torch.float32 and torch.equal(found.stem[0], kept.stem[1].half().float())


def test_a_disk_without_enough_space_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(view_bank.shutil, 'disk_usage', lambda folder: SimpleNamespace(free=2000))
    with pytest.raises(ValueError, match='takes 2.56 kB, but .* has 2.00 kB left'):
        ViewBank(BankLayout(features(1), SHOWN), 'disk', tmp_path)
    assert [format_bytes(number) for number in (12, 1.5e6, 206e9)] == ['12 bytes', '1.50 MB', '206.00 GB']


@pytest.mark.skipif(not hasattr(os, 'posix_fallocate'), reason='no posix_fallocate here')
def test_the_file_has_its_space_before_it_is_filled(tmp_path, monkeypatch):
    stats, original = [], torch.from_file
    monkeypatch.setattr(
        view_bank.torch, 'from_file', lambda path, **kwargs: stats.append(os.stat(path)) or original(path, **kwargs)
    )
    ViewBank(BankLayout(features(1), torch.ones(100, 10, dtype=torch.bool)), 'disk', tmp_path)
    assert [stat.st_size for stat in stats] == [1000 * 320, 1000 * 160, 1000 * 32]
    assert all(512 * stat.st_blocks >= stat.st_size for stat in stats)


@pytest.mark.parametrize('number, error', [(errno.ENOSPC, ValueError), (errno.EDQUOT, ValueError), (errno.EIO, OSError)])
def test_a_disk_that_another_process_filled_meanwhile_is_refused(tmp_path, monkeypatch, number, error):
    free = iter([5000, 1000])

    def allocate(handle, start, size):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(view_bank.shutil, 'disk_usage', lambda folder: SimpleNamespace(free=next(free)))
    monkeypatch.setattr(view_bank.os, 'posix_fallocate', allocate, raising=False)
    message = 'takes 2.56 kB, but .* has 1.00 kB left' if error is ValueError else os.strerror(number)
    with pytest.raises(error, match=message):
        ViewBank(BankLayout(features(1), SHOWN), 'disk', tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_system_that_cannot_reserve_space_is_used_all_the_same(tmp_path, monkeypatch):
    def allocate(handle, start, size):
        raise OSError(errno.EOPNOTSUPP, 'not supported')

    monkeypatch.setattr(view_bank.os, 'posix_fallocate', allocate, raising=False)
    ViewBank(BankLayout(features(1), SHOWN), 'disk', tmp_path).write(0, features(5))


def test_more_than_the_memory_that_is_available_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(view_bank, 'available_memory', lambda: 2000)
    with pytest.raises(ValueError, match='takes 2.56 kB of memory, but only 2.00 kB are available; .* storage=disk'):
        ViewBank(BankLayout(features(1), SHOWN))
    ViewBank(BankLayout(features(1), SHOWN), 'disk', tmp_path)  # pages of a file can be written back
    monkeypatch.setattr(view_bank, 'available_memory', lambda: None)
    ViewBank(BankLayout(features(1), SHOWN))


def test_on_the_device_views_are_picked_there_and_the_host_has_none():
    bank = ViewBank(BankLayout(features(1), SHOWN), 'device', device='meta')  # another device that every machine has
    bank.write(0, features(5))
    assert all(kept.device.type == 'meta' for kept in bank._parts.values())
    found = bank.read(torch.tensor([2, 0]), torch.tensor([[1, 2], [0, 2]]), 'meta')
    for part, expected in zip(found, features(5)):
        assert part is None or part.device.type == 'meta' and part.shape == (4, *expected.shape[1:])


@pytest.mark.parametrize('free, place', [(4 * 2560, 'device'), (4 * 2560 - 1, 'ram')])
def test_a_gpu_is_chosen_where_the_bank_takes_a_quarter_of_what_is_free_at_most(monkeypatch, free, place):
    layout = BankLayout(features(1), SHOWN)
    monkeypatch.setattr(view_bank, 'free_on_device', lambda device: free)
    assert view_bank.choose_storage(layout, 'cuda:0') == place
    assert view_bank.choose_storage(layout, 'cpu') == 'ram'


def test_more_than_a_gpu_has_free_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(view_bank, 'free_on_device', lambda device: 2000)
    with pytest.raises(
        ValueError, match='takes 2.56 kB of the memory of cuda:0, but only 2.00 kB are .*storage=ram or storage=disk'
    ):
        view_bank.check_space(BankLayout(features(1), SHOWN), 'device', tmp_path, 'cuda:0')


def test_the_available_memory_is_what_the_system_says(tmp_path):
    (tmp_path / 'meminfo').write_text('MemTotal:  9 kB\nMemFree:  1 kB\nMemAvailable:   3 kB\n')
    assert available_memory(tmp_path / 'meminfo') == 3072
    elsewhere = available_memory(tmp_path / 'missing')
    assert elsewhere is None or elsewhere >= 2**20


def test_vit_b_16_on_imagenet_with_16_shots_is_counted_right():
    with FakeTensorMode(), force_onednn(False):  # shapes and types without numbers
        model = open_clip.CLIP(**open_clip.get_model_config('ViT-B-16'))
        backbone = DualBranchViT(model.visual)
        sample = backbone.frozen_features(torch.empty(1, 3, 224, 224), patch_tokens=True)
    layout = BankLayout(sample, torch.ones(16_000, 8, dtype=torch.bool))
    assert layout.bytes_per_view == 4 * 197 * (768 + 768 + 512)
    assert layout.num_bytes == 16_000 * 8 * 1_613_824  # 207 GB


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(backbone=dict(adapters=False)),
        dict(backbone=dict(checkpointing=True)),
        dict(gram_loss=dict(local_weight=0)),
        dict(gram_loss=None),
        dict(gram_loss=None, head=dict(alpha=1.0)),
        dict(sculpt_loss=None),
    ],
    ids=str,
)
def test_losses_and_gradients_of_frozen_features_are_those_of_the_pictures_bit_for_bit(build, batch, options):
    model, (views, samples) = shake(build(**options)), batch
    expected = gradients(model, views, samples)
    frozen = model.frozen_features(torch.cat(views))
    assert (frozen.stem is None) == (options == dict(backbone=dict(adapters=False)))
    if options == dict(gram_loss=dict(local_weight=0)):
        assert frozen.zero_shot.shape == (8, 1, 8)
    if 'head' in options:
        assert frozen.zero_shot is None
    for part, direct in zip(gradients(model, frozen, samples), expected):
        assert list(part) == list(direct) and all(torch.equal(part[name], direct[name]) for name in part)


def test_they_are_within_1e_6_where_views_were_computed_in_other_batches(build, batch):
    model, (views, samples) = shake(build()), batch
    parts = [model.frozen_features(view) for picture in torch.stack(views, 1) for view in picture.split(1)]
    bank = ViewBank(BankLayout(parts[0], torch.ones(4, 2, dtype=torch.bool)))
    for row, part in enumerate(parts):
        bank.write(row, part)
    frozen = bank.read(torch.arange(4), torch.tensor([[0, 1]]).repeat(4, 1), 'cpu')
    torch.testing.assert_close(gradients(model, frozen, samples), gradients(model, views, samples), rtol=1e-6, atol=1e-6)


def test_mixed_precision_gets_its_own_types_back(build, batch):
    model, (views, samples) = shake(build()), batch
    with torch.autocast('cpu', torch.bfloat16):
        expected = gradients(model, views, samples)
        frozen = model.frozen_features(torch.cat(views))
        bank = ViewBank(BankLayout(frozen, torch.ones(8, 1, dtype=torch.bool)))
        bank.write(0, frozen)
        found = bank.read(torch.arange(8), torch.zeros(8, 1, dtype=torch.int64), 'cpu')
        results = gradients(model, found, samples)
    assert all(torch.equal(a[name], b[name]) for a, b in zip(results, expected) for name in b)


def test_a_compiled_model_takes_them_too(build, batch):
    torch._dynamo.reset()
    views, samples = batch
    plain, compiled = shake(build()), shake(build(compile=dict(backend='eager', fullgraph=True)))
    with force_onednn(False):
        frozen = plain.frozen_features(torch.cat(views))
        torch.testing.assert_close(gradients(compiled, frozen, samples), gradients(plain, views, samples), rtol=1e-4, atol=1e-5)
        # Pictures still go, as in a validation between the epochs.
        torch.testing.assert_close(compiled(views[0]), plain(views[0]), rtol=1e-4, atol=1e-4)


def test_frozen_features_are_for_training_and_pictures_for_the_rest(build, batch):
    model, (views, samples) = build(), batch
    with pytest.raises(ValueError, match='takes pictures of .* but got a batch of shape'):
        model.frozen_features(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="mode 'predict' takes one view of each picture"):
        model(model.frozen_features(views[0]), samples, mode='predict')
