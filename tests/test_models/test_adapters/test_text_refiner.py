import math

import pytest
import torch
import torch.nn.functional as F

from mmpretrain_mps.models.adapters.text_refiner import LocalCache, TextRefiner, TokenAligner, find_top_patches, select_local

SIZE, DIMS = 5, 6


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def cache():
    torch.manual_seed(0)
    return LocalCache(SIZE, DIMS, momentum=0.7).double()


def write_by_loops(entries, features, momentum):
    """Write feature by feature and entry by entry, in plain numbers."""
    features = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in features.tolist()]
    entries = entries.tolist()
    similarities = [[sum(x * y for x, y in zip(row, entry)) for entry in entries] for row in features]
    written = []
    for index, entry in enumerate(entries):
        largest = max(row[index] for row in similarities)
        total, hit = [0.0] * len(entry), False
        for row, feature in zip(similarities, features):
            if row.index(max(row)) == index:
                hit = True
                total = [sum_ + math.exp(row[index] - largest) * x for sum_, x in zip(total, feature)]
        new = [momentum * x + (1 - momentum) * y for x, y in zip(entry, total)] if hit else entry
        written.append([x / math.sqrt(sum(y * y for y in new)) for x in new])
    return torch.tensor(written)


def test_the_cache_starts_with_positive_entries_of_unit_norm():
    cache = LocalCache(200, 16)
    assert (cache.entries >= 0).all() and torch.allclose(cache.entries.norm(dim=-1), torch.ones(200))
    # Of uniform numbers the cosine is (1/2)^2 / (1/3).
    cosines = cache.entries @ cache.entries.T
    assert abs((cosines.sum() - 200) / (200 * 199) - 0.75) < 0.02
    assert list(cache.state_dict()) == ['entries'] and not list(cache.parameters())


@pytest.mark.parametrize('rows', [1, 3, 40])
def test_writing_is_what_loops_over_features_and_entries_do(cache, generator, rows):
    for _ in range(3):
        features = 3 * torch.randn(rows, DIMS, generator=generator) + 0.5
        expected = write_by_loops(cache.entries.float(), features, 0.7)
        cache = cache.float()
        cache.write(features)
        assert torch.allclose(cache.entries, expected, atol=1e-6)


def test_writing_by_hand():
    cache = LocalCache(3, 2, momentum=0.5)
    cache.entries.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    # Two go to the first entry, the second of which is less similar to it; one goes to the second; none to the third.
    cache.write(torch.tensor([[2.0, 0.0], [0.8, 0.6], [0.0, 5.0]]))
    first = torch.tensor([1.0, 0.0]) + torch.tensor([1.0, 0.0]) + math.exp(-0.2) * torch.tensor([0.8, 0.6])
    expected = torch.stack([F.normalize(first, dim=0), torch.tensor([0.0, 1.0]), torch.tensor([-1.0, 0.0])])
    assert torch.allclose(cache.entries, expected, atol=1e-6)


def test_the_largest_similarity_of_an_entry_counts_those_that_go_elsewhere():
    cache = LocalCache(2, 2, momentum=0.5)
    cache.entries.copy_(torch.tensor([[1.0, 0.0], [0.8, 0.6]]))
    between = torch.tensor([0.96, 0.28])  # 0.96 from the first, 0.936 from the second
    features = torch.stack([torch.tensor([0.8, -0.6]), between, between + 1e-4 * torch.tensor([0.28, -0.96])])
    cache.write(torch.cat([features, torch.tensor([[0.0, 1.0]])]))
    # [0, 1] goes to the second with 0.6, but the weights there are relative to 0.936 and a little less.
    own = 0.5 * torch.tensor([0.8, 0.6]) + 0.5 * math.exp(0.6 - 0.936) * torch.tensor([0.0, 1.0])
    assert torch.allclose(cache.entries[1], F.normalize(own, dim=0), atol=1e-4)


def test_order_does_not_matter_to_what_is_written(cache, generator):
    cache = cache.float()
    features, start = torch.randn(30, DIMS, generator=generator), cache.entries.clone()
    cache.write(features)
    first = cache.entries.clone()
    cache.entries.copy_(start)
    cache.write(features[torch.randperm(30, generator=generator)])
    assert torch.allclose(cache.entries, first, atol=1e-6) and not torch.allclose(first, start, atol=1e-2)


def test_texts_read_by_attention_without_temperature(cache, generator):
    cache = cache.float()
    texts = F.normalize(torch.randn(4, DIMS, generator=generator), dim=-1)
    read = cache.read(texts)
    for text, found in zip(texts, read):
        weights = [math.exp(float(text @ entry)) for entry in cache.entries]
        expected = sum(weight / sum(weights) * entry for weight, entry in zip(weights, cache.entries))
        assert torch.allclose(found, expected, atol=1e-6)


def test_the_way_back_of_a_read_does_not_see_a_later_write(cache, generator):
    cache = cache.float()
    texts = F.normalize(torch.randn(4, DIMS, generator=generator), dim=-1).requires_grad_()
    (expected,) = torch.autograd.grad(cache.read(texts).square().sum(), texts)
    total = cache.read(texts).square().sum()
    cache.write(torch.randn(30, DIMS, generator=generator))
    total.backward()
    assert torch.equal(texts.grad, expected) and texts.grad.abs().max() > 0


def test_a_written_cache_holds_no_gradient_and_keeps_its_tensor(cache):
    cache = cache.float()
    entries, version = cache.entries, cache.entries._version
    cache.write(torch.randn(3, DIMS, requires_grad=True))
    assert cache.entries is entries and entries._version > version and not entries.requires_grad


@pytest.mark.parametrize('arguments', [dict(size=0), dict(momentum=-0.1), dict(momentum=1.5), dict(momentum=float('nan'))])
def test_a_cache_of_impossible_settings_is_refused(arguments):
    with pytest.raises(ValueError, match='1 or more entries and a momentum from 0 to 1'):
        LocalCache(**{**dict(size=3, embed_dims=4), **arguments})


def test_the_aligner_takes_statistics_over_all_tokens(generator):
    aligner = TokenAligner(DIMS)
    tokens = torch.randn(3, 4, DIMS, generator=generator)
    hidden = tokens @ aligner.first.weight.T + aligner.first.bias
    mean, variance = hidden.mean((0, 1)), hidden.var((0, 1), unbiased=False)
    hidden = torch.relu((hidden - mean) / torch.sqrt(variance + 1e-5))
    assert torch.allclose(aligner(tokens), hidden @ aligner.second.weight.T + aligner.second.bias, atol=1e-5)
    assert torch.allclose(aligner.norm.running_mean, 0.1 * mean, atol=1e-6)
    assert torch.allclose(aligner.norm.running_var, 0.9 + 0.1 * variance * 12 / 11, atol=1e-6)


def test_texts_are_corrected_by_what_they_read(generator):
    refiner = TextRefiner(DIMS, cache_size=SIZE, alpha=0.3)
    texts = F.normalize(torch.randn(4, DIMS, generator=generator), dim=-1)
    weight = refiner.extractor.weight
    expected = texts + 0.3 * (texts @ weight[:, :DIMS].T + refiner.cache.read(texts) @ weight[:, DIMS:].T)
    assert torch.allclose(refiner(texts), expected, atol=1e-6)
    assert (refiner(texts) - texts).norm(dim=-1).min() > 1e-3  # from the start


def test_without_weight_texts_stay(generator):
    texts = F.normalize(torch.randn(4, DIMS, generator=generator), dim=-1)
    assert torch.equal(TextRefiner(DIMS, alpha=0)(texts), texts)
    with pytest.raises(ValueError, match='at least 0, but is -0.1'):
        TextRefiner(DIMS, alpha=-0.1)


def test_half_precision_inside_ends_in_float32(generator):
    refiner = TextRefiner(DIMS)
    texts, tokens = torch.randn(4, DIMS, generator=generator), torch.randn(3, 4, DIMS, generator=generator)
    exact = refiner(texts), refiner.aligner(tokens)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        rough = refiner(texts), refiner.aligner(tokens)
        refiner.cache.write(rough[1].flatten(0, 1))
    for ours, theirs in zip(rough, exact):
        assert ours.dtype == torch.float32 and torch.allclose(ours, theirs, atol=0.05)
    assert torch.allclose(refiner.cache.entries.norm(dim=-1), torch.ones(25))


def test_local_features_are_cls_the_most_attended_patches_and_the_mean():
    attention = torch.tensor([[0.9, 0.01, 0.05, 0.0, 0.04], [0.1, 0.5, 0.2, 0.15, 0.05]])
    top = find_top_patches(attention, 2)
    assert top.tolist() == [[2, 4], [1, 2]]
    tokens = torch.arange(2 * 5 * 3.0).view(2, 5, 3)
    local = select_local(tokens, top)
    assert local.shape == (2, 4, 3)
    assert torch.equal(local[0], torch.stack([tokens[0, 0], tokens[0, 2], tokens[0, 4], tokens[0].mean(0)]))
    assert torch.equal(local[1, 1:3], tokens[1, 1:3])
