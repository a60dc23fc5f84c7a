import copy

import pytest
import torch
import torch.nn.functional as F
from many_ranks import run_ranks
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmpretrain.structures import DataSample
from tiny_clip import NAMES, save_tiny_clip

from mmpretrain_mps.models import CoOpClassifier, TCPTextRefinerClassifier, TextRefinerClassifier
from mmpretrain_mps.models.caches.view_bank import BankLayout, ViewBank
from mmpretrain_mps.models.classifiers.textrefiner import LocalFeatures

SMALL = dict(cache_size=6, num_patches=3)
TRAINED = {
    'context',
    *(
        f'refiner.{name}'
        for name in (
            'aligner.first.weight',
            'aligner.first.bias',
            'aligner.norm.weight',
            'aligner.norm.bias',
            'aligner.second.weight',
            'aligner.second.bias',
            'extractor.weight',
        )
    ),
}
STATE = {
    'refiner.cache.entries',
    *(f'refiner.aligner.norm.{name}' for name in ('running_mean', 'running_var', 'num_batches_tracked')),
}
GENERATOR = torch.Generator().manual_seed(5)
PICTURES = torch.randn(6, 3, 16, 16, generator=GENERATOR)
LABELS = torch.tensor([0, 1, 2, 2, 1, 0])


def samples(labels=LABELS):
    return [DataSample().set_gt_label(label) for label in labels]


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    """16 patches of 4 x 4 pixels."""
    return save_tiny_clip(tmp_path_factory.mktemp('clip'), patch_size=4, layers=2)


@pytest.fixture(scope='module')
def build(clip):
    """Build a classifier from seed 0; those that were built before are copied."""
    built = {}

    def build_classifier(kind=TextRefinerClassifier, **options):
        key = kind, repr(options)
        if key not in built:
            torch.manual_seed(0)
            built[key] = kind(clip, None, **{'class_names': NAMES, **SMALL, **options})
        return copy.deepcopy(built[key])

    return build_classifier


def sum_of(losses):
    return sum(value for name, value in losses.items() if 'loss' in name)


def optimizer_of(model, rate=0.05):
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=rate, momentum=0.9, weight_decay=5e-4)


def take_steps(model, optimizer, count):
    totals = []
    for _ in range(count):
        total = sum_of(model([PICTURES], samples(), mode='loss'))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    return totals


def test_it_trains_and_what_is_frozen_stays(build):
    model = build().train()
    before = copy.deepcopy(model)
    totals = take_steps(model, optimizer_of(model), 12)
    assert totals[-1] < 0.9 * totals[0]
    for kind, expected in (('named_parameters', TRAINED), ('named_buffers', STATE)):
        old, new = (dict(getattr(owner, kind)()) for owner in (before, model))
        assert {name for name in new if not torch.equal(old[name], new[name])} == expected
    assert (model.refiner.cache.entries - before.refiner.cache.entries).norm() > 0.1


def test_the_context_starts_as_released_and_the_count_of_trained_numbers_is_the_one_of_the_release(build):
    model = build()
    assert model.context.shape == (4, 8)
    word_ids = model._clip_of_texts().make_tokenizer()(['a photo of a'])[0, 1:5]
    assert torch.equal(model.context, model.text_tower.model.token_embedding.weight[word_ids])
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    # With D = W = 512 this is 1,052,672.
    count = lambda dims, width: 4 * width + 2 * (dims * dims + dims) + 2 * dims + 2 * dims * dims  # noqa: E731
    assert trained == count(8, 8) and count(512, 512) == 1052672


@pytest.mark.parametrize(
    'loss, reached',
    [
        ('loss_ce', {'context', 'refiner.extractor.weight'}),
        ('loss_distill', {'context', 'refiner.extractor.weight'}),
        ('loss_local', TRAINED - {'refiner.extractor.weight'}),
    ],
)
def test_each_loss_reaches_what_it_should(build, loss, reached):
    model = build()
    model([PICTURES], samples(), mode='loss')[loss].backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()} == reached


def test_losses_are_those_of_the_definition(build):
    model = build(alpha=0.4, local_weight=0.3, distill_weight=7.0)
    losses = model([PICTURES], samples(), mode='loss')
    model = build(alpha=0.4, local_weight=0.3, distill_weight=7.0)  # whose cache is not written yet
    found = model.backbone(PICTURES, tokens=True, attention=True)
    texts = F.normalize(CoOpClassifier.text_features(model), dim=-1)
    read = (texts @ model.refiner.cache.entries.T).softmax(1) @ model.refiner.cache.entries
    refined = texts + 0.4 * F.linear(torch.cat([texts, read], 1), model.refiner.extractor.weight)
    aligned = model.refiner.aligner(found.tokens)
    local, repeated = [], []
    for picture, attention, label in zip(aligned, found.attention, LABELS):
        top = attention[1:].argsort(descending=True)[:3]
        local += [picture[0], *(picture[1 + patch] for patch in top), picture.mean(0)]
        repeated += [label] * 5
    scale = model.logit_scale
    expected = dict(
        loss_ce=F.cross_entropy(scale * F.normalize(found.cls, dim=-1) @ refined.T, LABELS),
        loss_local=0.3 * F.cross_entropy(scale * torch.stack(local) @ texts.T, torch.stack(repeated)),
        loss_distill=7 * (F.normalize(refined, dim=-1) - texts).abs().mean(),
    )
    assert {name for name in losses if 'loss' in name} == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)


def test_weights_of_zero_switch_terms_off(build):
    model = build(local_weight=0, distill_weight=0)
    losses = model([PICTURES], samples(), mode='loss')
    assert {name for name in losses if 'loss' in name} == {'loss_ce'}
    start = copy.deepcopy(model.refiner)
    take_steps(model, optimizer_of(model), 2)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {'context', 'refiner.extractor.weight'}
    assert torch.equal(model.refiner.aligner.first.weight, start.aligner.first.weight)
    # What the aligner makes of tokens still fills the cache.
    assert not torch.equal(model.refiner.cache.entries, start.cache.entries)


def test_without_its_terms_it_is_coop(build, clip):
    refined = build(alpha=0, local_weight=0, distill_weight=0)
    plain = CoOpClassifier(clip, None, num_context=4, context_init='a photo of a', class_names=NAMES)
    for model in (refined, plain):
        take_steps(model, optimizer_of(model), 3)
    # Up to rounding: the last block runs for all tokens in one, for [CLS] alone in the other.
    torch.testing.assert_close(refined.context, plain.context)
    torch.testing.assert_close(refined.eval()(PICTURES), plain.eval()(PICTURES))


def test_views_count_as_pictures_and_kept_features_take_their_place(build):
    views = [PICTURES, PICTURES.flip(-1)]
    expected = build()(views, samples(), mode='loss')
    model = build()
    frozen = model.frozen_features(torch.cat(views))
    assert [tuple(part.shape) for part in frozen] == [(12, 8), (12, 17, 8), (12, 3)]
    assert not any(part.requires_grad for part in frozen)
    losses = model(frozen, samples(), mode='loss')
    assert all(torch.equal(losses[name], value) for name, value in expected.items())
    together = build()([torch.cat(views)], samples(LABELS.repeat(2)), mode='loss')
    assert all(torch.equal(together[name], value) for name, value in expected.items())


def test_a_view_bank_takes_half_with_half_tokens_and_loses_little(build):
    exact, half = build(), build(half_tokens=True)
    found = half.frozen_features(PICTURES)
    assert (found.cls.dtype, found.tokens.dtype, found.top_patches.dtype) == (torch.float32, torch.float16, torch.int64)
    layout = BankLayout(LocalFeatures(*(part[:1] for part in found)), torch.ones(6, 1, dtype=torch.bool))
    assert layout.bytes_per_view == 4 * 8 + 2 * 17 * 8 + 8 * 3
    bank = ViewBank(layout)
    bank.write(0, found)
    kept = bank.read(torch.arange(6), torch.zeros(6, 1, dtype=torch.int64), 'cpu')
    expected = exact([PICTURES], samples(), mode='loss')
    losses = half(kept, samples(), mode='loss')
    assert torch.equal(losses['loss_ce'], expected['loss_ce'])
    torch.testing.assert_close(losses['loss_local'], expected['loss_local'], rtol=5e-3, atol=0)
    torch.testing.assert_close(half.refiner.cache.entries, exact.refiner.cache.entries, rtol=0, atol=5e-3)


def test_nothing_is_written_outside_of_training(build):
    model = build().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model([PICTURES], samples(), mode='loss')
    model.predict(PICTURES)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_predictions_keep_the_refined_texts_until_something_changes(build, monkeypatch):
    model, runs = build().eval(), []
    encode = type(model).text_features
    monkeypatch.setattr(type(model), 'text_features', lambda self: runs.append(0) or encode(self))
    first = model(PICTURES)
    assert torch.equal(model(PICTURES), first) and len(runs) == 1
    # A step without one of the optimizer, as accumulation has it, changes the cache alone.
    model.train().refiner.cache.write(torch.randn(20, 8, generator=torch.Generator().manual_seed(1)))
    second = model.eval()(PICTURES)
    assert len(runs) == 2 and not torch.equal(second, first)
    texts = model.cached_class_features()
    torch.testing.assert_close(second, model.logit_scale * F.normalize(model.backbone(PICTURES).cls, dim=-1) @ texts.T)
    assert (texts.norm(dim=-1) - 1).abs().max() > 1e-3  # as released


def test_a_checkpoint_holds_little_and_loads_back(build):
    model = build()
    take_steps(model, optimizer_of(model), 3)
    state = model.state_dict()
    assert set(state) == {*TRAINED, *STATE, 'text_prototypes', 'token_ids', 'name_lengths', '_extra_state'}
    empty = build(class_names=None)
    empty.load_state_dict(state)
    assert empty.class_names == tuple(NAMES)
    assert torch.equal(empty.eval()(PICTURES), model.eval()(PICTURES))


def test_a_checkpoint_of_other_settings_or_another_base_is_refused(build, tmp_path, clip):
    state = build().state_dict()
    for option, value, theirs in (('alpha', 0.5, 0.2), ('cache_size', 7, 6), ('num_context', 2, 4)):
        more = dict(context_init=None) if option == 'num_context' else {}
        with pytest.raises(ValueError, match=f'tuned with {option}={theirs}, but this model has {value}'):
            build(**{option: value, **more}).load_state_dict(state)
    with pytest.raises(ValueError, match='tuned with method=textrefiner, but this model has coop'):
        CoOpClassifier(clip, None, num_context=4, class_names=NAMES).load_state_dict(state)
    other = save_tiny_clip(tmp_path / 'other', seed=1, patch_size=4, layers=2)
    with pytest.raises(ValueError, match='was tuned from .* but this model is built on'):
        TextRefinerClassifier(other, None, class_names=NAMES, **SMALL).load_state_dict(state)


def test_new_classes_and_subsets_read_the_same_cache(build):
    model = build()
    take_steps(model, optimizer_of(model), 3)
    logits = model.eval()(PICTURES)
    names = (*NAMES[1:], 'white river')
    (texts,) = model.encode_classes([(names, ('a photo of a {}.',))])
    with model.with_classes(texts, names):
        of_others = model(PICTURES)
    torch.testing.assert_close(of_others[:, :2], logits[:, 1:])
    with model.with_class_subset([2, 0]):
        torch.testing.assert_close(model(PICTURES), logits[:, [2, 0]])
    assert torch.equal(model(PICTURES), logits)
    fresh = build(class_names=names)
    fresh.load_state_dict(
        {name: value if name in TRAINED | STATE else fresh.state_dict()[name] for name, value in model.state_dict().items()}
    )
    torch.testing.assert_close(fresh.eval()(PICTURES), of_others)


def test_resuming_is_exact(build):
    through = build()
    optimizer = optimizer_of(through)
    take_steps(through, optimizer, 2)
    saved = copy.deepcopy((through.state_dict(), optimizer.state_dict()))
    expected = take_steps(through, optimizer, 3)
    torch.manual_seed(99)  # another start
    resumed = TextRefinerClassifier(through.architecture, None, class_names=NAMES, **SMALL)
    resumed.load_state_dict(saved[0])
    optimizer = optimizer_of(resumed)
    optimizer.load_state_dict(saved[1])
    assert take_steps(resumed, optimizer, 3) == expected
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in through.state_dict().items())


def test_any_prompt_learner_can_be_refined_and_keeps_its_own_losses(build):
    model = build(TCPTextRefinerClassifier, class_aware_block=0, num_context=2)
    losses = model([PICTURES], samples(), mode='loss')
    assert {name for name in losses if 'loss' in name} == {'loss_ce', 'loss_local', 'loss_distill', 'loss_knowledge'}
    totals = take_steps(model, optimizer_of(model), 12)
    assert totals[-1] < totals[0]
    state = model.state_dict()
    assert {'meta_net.linear1.weight', 'context', 'refiner.cache.entries'} <= set(state)
    loaded = build(TCPTextRefinerClassifier, class_aware_block=0, num_context=2)
    loaded.load_state_dict(state)
    assert torch.equal(loaded.eval()(PICTURES), model.eval()(PICTURES))


def test_mixed_precision_keeps_state_in_float32(build):
    model = build()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model([PICTURES], samples(), mode='loss')
    sum_of(losses).backward()
    exact = build()([PICTURES], samples(), mode='loss')
    for name in ('loss_ce', 'loss_local', 'loss_distill'):
        torch.testing.assert_close(losses[name], exact[name], rtol=0.1, atol=0)
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    assert model.refiner.cache.entries.dtype == torch.float32


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(num_patches=17), 'num_patches must lie between 0 and the 16 patches of local-dir.*, but is 17'),
        (dict(num_patches=-1), 'num_patches must lie between'),
        (dict(local_weight=-1.0), 'needs weights >= 0.*local_weight=-1.0'),
        (dict(distill_weight=float('nan')), 'needs weights >= 0.*distill_weight=nan'),
        (dict(momentum=2), 'momentum from 0 to 1'),
        (dict(alpha=-1), 'alpha, the weight of the correction'),
        (dict(cache_size=0), '1 or more entries'),
    ],
)
def test_impossible_settings_are_refused(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def train_share(rank, num_ranks, clip, shares, gather='all'):
    """Train a few steps on this process's share of each batch."""
    torch.manual_seed(0)
    model = TextRefinerClassifier(clip, None, class_names=NAMES, gather=gather, **SMALL).train()
    wrapped = MMDistributedDataParallel(model, device_ids=None, broadcast_buffers=False) if num_ranks > 1 else model
    optimizer = OptimWrapper(optimizer_of(model))
    mine = slice(sum(shares[:rank]), sum(shares[: rank + 1]))
    generator, totals = torch.Generator().manual_seed(7), []
    for _ in range(3):
        pictures = torch.randint(0, 256, (6, 3, 16, 16), generator=generator, dtype=torch.uint8)
        data = dict(inputs=[pictures[mine]], data_samples=samples(LABELS[mine]))
        totals.append(wrapped.train_step(data, optimizer)['loss'].detach())
    state = {name: value for name, value in model.state_dict().items() if name in TRAINED | STATE}
    return dict(totals=torch.stack(totals), state=state)


def train_all(rank, num_ranks, clip):
    return dict(
        even=train_share(rank, num_ranks, clip, [3, 3]),
        uneven=train_share(rank, num_ranks, clip, [4, 2]),
        alone=train_share(rank, num_ranks, clip, [3, 3], gather='none'),
    )


def test_two_processes_equal_one_and_share_one_cache(clip, tmp_path):
    one, ranks = train_share(0, 1, clip, [6]), run_ranks(train_all, 2, tmp_path / 'run', clip)
    for result in (rank[shares] for rank in ranks for shares in ('even', 'uneven')):
        torch.testing.assert_close(result['totals'], one['totals'], rtol=1e-5, atol=0)
        for name, value in one['state'].items():
            torch.testing.assert_close(result['state'][name], value, rtol=1e-4, atol=1e-5)
    for shares in ('even', 'uneven', 'alone'):
        first, second = (rank[shares]['state'] for rank in ranks)
        assert torch.equal(first['refiner.cache.entries'], second['refiner.cache.entries'])
        assert torch.equal(first['context'], second['context'])
    alone = [rank['alone']['state']['refiner.aligner.norm.running_mean'] for rank in ranks]
    assert not torch.allclose(*alone)  # the statistics are then of each process's own pictures
