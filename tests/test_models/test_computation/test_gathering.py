import pytest
import torch
from many_ranks import run_ranks
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from tiny_steps import STEPS, build_shaken, pictures

from mmpretrain_mps.models.computation.gathering import gather_batch

# How the pictures of one step are dealt out; the first of a shorter share is another class than the last.
SHARES = {2: {'even': [4, 4], 'uneven': [5, 3]}, 4: {'even': [2, 2, 2, 2], 'uneven': [3, 2, 2, 1]}}
POINT_WISE = dict(
    gram_loss=None,
    head=dict(alpha=1.0),
    point_loss=[dict(distance='l2', patch_weight=0.5), dict(type='LogitConsistencyLoss', loss_weight=0.1)],
)


def train(rank, num_ranks, architecture, shares, equal_batches=False, **overrides):
    """Train some steps as mmengine's loop does; return logged values, first gradients and final weights."""
    model = build_shaken(architecture, **overrides)
    model.equal_batches = equal_batches
    wrapped = MMDistributedDataParallel(model, device_ids=None, broadcast_buffers=False) if num_ranks > 1 else model
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = OptimWrapper(torch.optim.SGD(parameters.values(), lr=0.05, momentum=0.9, weight_decay=5e-4))
    logs, gradients = [], {}

    def keep_first_gradients(*_):
        if not gradients:
            gradients.update({name: p.grad.clone() for name, p in parameters.items()})

    optimizer.optimizer.register_step_pre_hook(keep_first_gradients)
    for data in pictures(sum(shares[:rank]), shares[rank]):
        logs.append({name: torch.as_tensor(value).detach() for name, value in wrapped.train_step(data, optimizer).items()})
    return dict(logs=logs, gradients=gradients, weights={name: p.detach() for name, p in parameters.items()})


def train_all(rank, num_ranks, architecture, even, uneven):
    """All scenarios in one start of the processes."""
    return dict(
        even=train(rank, num_ranks, architecture, even),
        uneven=train(rank, num_ranks, architecture, uneven),
        sizes_known=train(rank, num_ranks, architecture, even, equal_batches=True),
        alone=train(rank, num_ranks, architecture, even, gather='none'),
        no_zero_shot=train(rank, num_ranks, architecture, uneven, head=dict(alpha=1.0), gram_loss=None),
        point_wise=train(rank, num_ranks, architecture, uneven, **POINT_WISE),
    )


@pytest.fixture(scope='module')
def one(tiny_clip):
    return dict(
        all=train(0, 1, tiny_clip, [8]),
        no_zero_shot=train(0, 1, tiny_clip, [8], head=dict(alpha=1.0), gram_loss=None),
        point_wise=train(0, 1, tiny_clip, [8], **POINT_WISE),
    )


@pytest.fixture(scope='module', params=[2, 4], ids=['2 processes', '4 processes'])
def many(request, tiny_clip, tmp_path_factory):
    shares = SHARES[request.param]
    return run_ranks(
        train_all, request.param, tmp_path_factory.mktemp('ranks') / 'run', tiny_clip, shares['even'], shares['uneven']
    )


def assert_equal_training(ranks, expected):
    for ours in ranks:
        for logged, reference in zip(ours['logs'], expected['logs']):
            assert set(logged) == set(reference)
            torch.testing.assert_close(logged, reference, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours['gradients'], expected['gradients'], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours['weights'], expected['weights'], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('shares', ['even', 'uneven', 'sizes_known'])
def test_every_loss_gradient_and_weight_is_that_of_one_process_with_the_whole_batch(many, one, shares):
    assert_equal_training([rank[shares] for rank in many], one['all'])


def test_losses_without_the_frozen_branch_are_those_of_one_process_too(many, one):
    assert 'loss_gram_local' not in one['no_zero_shot']['logs'][0]
    assert_equal_training([rank['no_zero_shot'] for rank in many], one['no_zero_shot'])


def test_point_wise_losses_are_those_of_one_process_too(many, one):
    assert {'loss_point_cls', 'loss_point_patch', 'loss_logit_kl'} <= set(one['point_wise']['logs'][0])
    assert_equal_training([rank['point_wise'] for rank in many], one['point_wise'])


def test_without_gathering_the_relations_between_processes_are_lost(many, one):
    def means(term):
        return torch.stack([torch.stack([rank['alone']['logs'][step][term] for rank in many]).mean() for step in range(STEPS)])

    for term in ('loss_gram_global', 'loss_sculpt_layer0', 'loss_sculpt_layer1'):
        reference = torch.stack([logged[term] for logged in one['all']['logs']])
        assert (means(term) - reference).abs().max() > 1e-2, term
    # Terms of single pictures stay averages over all of them; the first step starts from the same weights.
    for term in ('loss_ce', 'loss_gram_local'):
        torch.testing.assert_close(means(term)[0], one['all']['logs'][0][term])
    difference = max(
        (many[0]['alone']['weights'][name] - weight).abs().max().item() for name, weight in one['all']['weights'].items()
    )
    assert difference > 1e-3


def test_a_process_alone_gets_its_tensors_back_as_they_are():
    tensors = [torch.ones(2, 3), None, torch.arange(2)]
    assert all(ours is theirs for ours, theirs in zip(gather_batch(tensors), tensors))


def gather_some(rank, num_ranks):
    rows = torch.full((rank + 1, 2, 2), float(rank), requires_grad=True)
    labels = torch.arange(rank + 1) + 21_841 * rank
    gathered, nothing, all_labels = gather_batch([rows, None, labels])
    (gathered * torch.arange(len(gathered)).view(-1, 1, 1)).sum().backward()
    return dict(rows=gathered.detach(), labels=all_labels, gradient=rows.grad, nothing=nothing is None)


def test_rows_keep_order_type_and_gradient(tmp_path):
    ranks = run_ranks(gather_some, 2, tmp_path)
    for ours in ranks:
        assert ours['rows'][:, 0, 0].tolist() == [0, 1, 1] and ours['rows'].shape == (3, 2, 2)
        assert ours['labels'].tolist() == [0, 21_841, 21_842] and ours['labels'].dtype == torch.int64
        assert ours['nothing']
    assert ranks[0]['gradient'][:, 0, 0].tolist() == [0]
    assert ranks[1]['gradient'][:, 0, 0].tolist() == [2 * 1, 2 * 2]


def test_an_unknown_way_to_gather_is_refused(build):
    with pytest.raises(ValueError, match="gather must be 'all' or 'none', but is 'some'"):
        build(gather='some')
