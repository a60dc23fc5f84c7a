import open_clip
import pytest
import torch
from recorded_operators import RecordOperators
from tiny_clip import shake
from tiny_text import PROMPT_WORDS, make_clip, run_plainly
from torch.utils.flop_counter import FlopCounterMode

from mmpretrain_mps.models.adapters.low_rank import LowRankUpdates
from mmpretrain_mps.models.backbones.linear import force_onednn
from mmpretrain_mps.models.text import (
    POSITIONS,
    TextTower,
    context_template,
    count_tokens,
    insert_context,
    num_shared_positions,
    text_tower,
    tokenize_prompts,
)
from mmpretrain_mps.models.text.prototypes import encode_prototypes

EXACT = dict(rtol=1e-10, atol=1e-10)
tokenizer = open_clip.get_tokenizer('ViT-B-16')


def random(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def prompts(num_context, names=PROMPT_WORDS):
    return tokenize_prompts(tokenizer, names, context_template(num_context)), count_tokens(tokenizer, names)


def assert_same(model, embed, tensors, ends, shared, deep=None, chunk_size=None):
    """Compare features, and gradients for ``tensors``, with the plain execution.

    ``embed`` makes the embeddings of ``tensors``, ``deep`` the deep vectors.
    """
    tower = TextTower(model, chunk_size)
    deep = deep or (lambda *_: None)
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    features = tower(embed(*leaves), ends, shared, deep(*leaves))
    weights = random(*features.shape, seed=5)
    gradients = torch.autograd.grad((features * weights).sum(), leaves)
    expected, _ = run_plainly(model, embed(*leaves), ends, deep(*leaves))
    torch.testing.assert_close(features, expected, **EXACT)
    for ours, plain in zip(gradients, torch.autograd.grad((expected * weights).sum(), leaves)):
        assert plain.abs().max() > 1e-3
        torch.testing.assert_close(ours, plain, **EXACT)


@pytest.mark.parametrize('chunk_size', [None, 1, 3])
@pytest.mark.parametrize('classes', [None, len(PROMPT_WORDS)])
@pytest.mark.parametrize('position', POSITIONS)
def test_contexts_in_all_positions_equal_the_plain_execution(position, classes, chunk_size):
    model = make_clip()
    token_ids, name_lengths = prompts(5)
    context = random(*([classes] if classes else []), 5, 16)

    def embed(context):
        return insert_context(model.token_embedding(token_ids), name_lengths, context, position)

    shared = num_shared_positions(context, position)
    assert shared == (1 if classes else {'end': 6, 'middle': 3, 'front': 1}[position])
    for promised in {0, 1, shared}:
        assert_same(model, embed, [context], token_ids.argmax(1), promised, chunk_size=chunk_size)


@pytest.mark.parametrize('chunk_size', [None, 2])
@pytest.mark.parametrize('shared', [0, 1, 3, 5])
@pytest.mark.parametrize(
    'which',
    [
        'shared',
        'classes',
        'shared then classes',
        'classes then shared',
        'behind the prefix',
        'beyond some ends',
        'in the first block',
        'in the last block',
        'from the start',
    ],
)
def test_deep_vectors_equal_the_plain_execution(which, shared, chunk_size):
    model = make_clip()
    token_ids, name_lengths = prompts(4)
    common, own = random(4, 16, seed=2), random(len(PROMPT_WORDS), 4, 16, seed=3)
    deep = {
        'shared': lambda _, common, own: {1: (1, common), 2: (1, common[:2] + own[0, :2])},
        'classes': lambda _, common, own: {1: (1, own * common)},
        'shared then classes': lambda _, common, own: {1: (1, common), 2: (1, own)},
        'classes then shared': lambda _, common, own: {1: (2, own), 2: (1, common)},
        'behind the prefix': lambda _, common, own: {1: (5, own[:, :1]), 2: (5, common[:1])},
        'beyond some ends': lambda _, common, own: {1: (6, own), 2: (6, common)},
        'in the first block': lambda _, common, own: {0: (2, own[:, :2]), 1: (1, common)},
        'in the last block': lambda _, common, own: {2: (3, own[:, :3] + common[0])},
        'from the start': lambda _, common, own: {1: (0, common), 2: (0, own)},
    }[which]
    assert_same(
        model,
        lambda context, *_: insert_context(model.token_embedding(token_ids), name_lengths, context),
        [random(4, 16), common, own],
        token_ids.argmax(1),
        shared,
        deep,
        chunk_size,
    )


@pytest.mark.parametrize(
    'clip',
    [
        dict(quick_gelu=False),
        dict(custom=True),
        dict(text=dict(ls_init_value=0.1)),
        dict(text=dict(layers=1)),
        dict(custom=True, text=dict(pool_type='eos', eos_id=49407)),
        dict(custom=True, text=dict(proj_bias=True)),
    ],
    ids=str,
)
def test_other_causal_towers_equal_the_plain_execution(clip):
    model = make_clip(**clip)
    token_ids, name_lengths = prompts(2)
    table = getattr(model, 'text', model).token_embedding
    assert_same(
        model, lambda context: insert_context(table(token_ids), name_lengths, context), [random(2, 16)], token_ids.argmax(1), 3
    )


@pytest.mark.parametrize('chunk_size', [None, 2])
def test_low_rank_updates_of_the_blocks_equal_weights_that_contain_them(chunk_size):
    model, changed = make_clip(), make_clip()
    updates = LowRankUpdates(model.transformer.resblocks, parts='qkvo', dropout=0.0).double()
    with torch.no_grad():
        for index, update in updates.blocks.items():
            attention = changed.transformer.resblocks[int(index)].attn
            for part, rows in dict(zip('qkv', attention.in_proj_weight.chunk(3)), o=attention.out_proj.weight).items():
                update.B[part].copy_(random(*update.B[part].shape))
                rows += update.scale * update.B[part] @ update.A[part]
    token_ids, name_lengths = prompts(3)
    embeddings = insert_context(model.token_embedding(token_ids), name_lengths, random(3, 16))
    features = TextTower(model, chunk_size)(embeddings, token_ids.argmax(1), 4)
    torch.testing.assert_close(features, run_plainly(changed, embeddings, token_ids.argmax(1))[0], **EXACT)
    features.sum().backward()
    # In the last block only keys and values of the prefix count, and queries of the end tokens.
    assert all(update.B[part].grad.abs().max() > 0 for update in updates.blocks.values() for part in 'qkvo')


def test_what_is_computed_again_drops_the_same_inputs(monkeypatch):
    model = make_clip()
    updates = LowRankUpdates(model.transformer.resblocks, dropout=0.5).double().train()
    shake(updates)
    token_ids, name_lengths = prompts(3)
    gradients = []
    for function in (text_tower.checkpoint, lambda function, *arguments, use_reentrant: function(*arguments)):
        monkeypatch.setattr(text_tower, 'checkpoint', function)
        torch.manual_seed(0)
        embeddings = insert_context(model.token_embedding(token_ids), name_lengths, random(3, 16))
        (TextTower(model, 2)(embeddings, token_ids.argmax(1)) * random(4, 6)).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in updates.parameters()])
        updates.zero_grad()
    torch.testing.assert_close(*gradients, **EXACT)


def test_sequences_of_one_length_and_of_their_full_length_equal_the_plain_execution():
    model = make_clip(text=dict(context_length=9))
    assert_same(model, lambda embeddings: embeddings, [random(3, 9, 16)], [8, 8, 8], 0)
    assert_same(model, lambda embeddings: embeddings, [random(3, 9, 16)], [8, 0, 3], 0)


def test_the_outputs_of_all_blocks_equal_the_plain_execution_up_to_the_ends():
    model = make_clip()
    token_ids, name_lengths = prompts(3)
    embeddings = insert_context(model.token_embedding(token_ids), name_lengths, random(3, 16))
    deep = {1: (1, random(3, 16, seed=7)), 2: (2, random(len(token_ids), 2, 16, seed=8))}
    ends = token_ids.argmax(1).tolist()
    outputs = list(TextTower(model).block_outputs(embeddings, ends, 4, deep))
    _, expected = run_plainly(model, embeddings, ends, deep)
    assert len(outputs) == 3
    for ours, plain in zip(outputs, expected):
        assert ours.shape[1] == max(ends) + 1
        for label, end in enumerate(ends):
            torch.testing.assert_close(ours[label, : end + 1], plain[label, : end + 1], **EXACT)


@pytest.mark.parametrize('clip', [dict(), dict(custom=True, text=dict(pool_type='eos', eos_id=49407))], ids=str)
def test_texts_as_they_are_equal_open_clips_encoding(clip):
    model = make_clip(**clip)
    for texts in (['a photo of a pug.', 'a photo of a lily.', 'a photo'], ['a pug', 'a pug'], ['', 'a'], ['one text']):
        token_ids = tokenizer(texts)
        torch.testing.assert_close(TextTower(model).encode_text(token_ids), model.encode_text(token_ids), **EXACT)


def test_prototypes_come_from_the_kept_model_and_from_the_tower_itself():
    model = make_clip()
    expected = encode_prototypes(model, tokenizer, PROMPT_WORDS, ['a {}.', 'the {}.'])
    tower = TextTower(model)
    torch.testing.assert_close(encode_prototypes(tower.model, tokenizer, PROMPT_WORDS, ['a {}.', 'the {}.']), expected)
    torch.testing.assert_close(encode_prototypes(tower, tokenizer, PROMPT_WORDS, ['a {}.', 'the {}.']), expected)


def test_autocast_agrees_with_double_precision():
    model, single = make_clip(), make_clip(dtype=torch.float32)
    token_ids, name_lengths = prompts(4)
    context = random(4, 16)
    expected = run_plainly(model, insert_context(model.token_embedding(token_ids), name_lengths, context), token_ids.argmax(1))[0]
    tower = TextTower(single)
    embeddings = insert_context(tower.embed(token_ids), name_lengths, context.float().requires_grad_())
    with torch.autocast('cpu', torch.bfloat16):
        features = tower(embeddings, token_ids.argmax(1), 5)
    assert features.dtype == torch.bfloat16
    torch.testing.assert_close(features.double(), expected, rtol=0.05, atol=0.05 * expected.abs().max().item())


def test_only_tokens_that_count_are_multiplied():
    model, num_context, width, depth = make_clip(), 16, 16, 3
    names = [f'{"very " * extra}old pug' for extra in range(6)]
    token_ids, name_lengths = prompts(num_context, names)
    ends, shared = token_ids.argmax(1).tolist(), 1 + num_context
    tower = TextTower(model)
    embeddings = insert_context(tower.embed(token_ids), name_lengths, random(num_context, width))
    with FlopCounterMode(display=False) as counter, force_onednn(False):
        tower(embeddings, ends, shared)
    counts = counter.get_flop_counts()['Global']
    multiplied = sum(counts[operator] for operator in (torch.ops.aten.addmm, torch.ops.aten.mm) if operator in counts)
    # Multiply-adds per token: 3 W^2 for queries, keys and values, 9 W^2 for the rest of a block. The last block needs
    # keys and values of all tokens, and the rest of the end tokens alone.
    own = sum(end + 1 - shared for end in ends)
    assert own == sum(name_lengths) + 2 * len(names)
    tokens = (depth - 1) * 12 * (own + shared) + 3 * (own + shared) + 9 * len(names)
    assert multiplied == 2 * (tokens * width**2 + len(names) * width * 6)
    with FlopCounterMode(display=False) as plain:
        run_plainly(model, embeddings, ends)
    assert counter.get_total_flops() * 8 < plain.get_total_flops()


def test_chunks_bound_what_is_kept_for_the_way_back():
    model, names = make_clip(), [f'pug {number}' for number in range(24)]
    token_ids, name_lengths = prompts(4, names)
    context = random(4, 16).requires_grad_()

    def kept_bytes(chunk_size):
        kept = {}

        def keep(tensor):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
            return tensor

        tower = TextTower(model, chunk_size)
        embeddings = insert_context(tower.embed(token_ids), name_lengths, context)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            tower(embeddings, token_ids.argmax(1), 5)
        frozen = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        return sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in frozen)

    assert kept_bytes(4) < kept_bytes(None) / 2.5


def test_only_what_is_learned_gets_gradients_and_the_tower_stays_in_evaluation():
    model = make_clip()
    tower = TextTower(model).train()
    assert not tower.model.training and not any(parameter.requires_grad for parameter in tower.parameters())
    assert model.visual is not None and tower.model.visual is None
    assert tower.model.transformer is model.transformer
    assert (tower.width, tower.embed_dims, tower.depth, tower.context_length) == (16, 6, 3, 77)
    assert (tower.dtype, tower.device) == (torch.float64, torch.device('cpu'))


def test_the_host_is_not_asked_to_wait_when_it_knows_the_ends():
    tower = TextTower(make_clip())
    token_ids, name_lengths = prompts(2)
    embeddings = insert_context(tower.embed(token_ids), name_lengths, random(2, 16), 'middle')
    ends = token_ids.argmax(1).tolist()
    tower(embeddings, ends, 2)
    with RecordOperators() as recorded:
        tower(embeddings, ends, 2)
    assert not {'_local_scalar_dense', 'nonzero', 'item', 'equal'} & set(recorded.names)


@pytest.mark.parametrize(
    'clip, message',
    [
        (dict(text=dict(no_causal_mask=True)), 'the mask of this one is not causal'),
        (dict(text=dict(pool_type='last')), "this one pools by 'last'"),
        (dict(custom=True, text=dict(embed_cls=True, output_tokens=True)), 'this one pools by a class token'),
        (dict(custom=True, text=dict(proj_type='none')), 'this one has no output projection'),
        (dict(text=dict(qk_norm=True)), 'block 0 is a CustomResidualAttentionBlock'),
    ],
    ids=str,
)
def test_towers_that_are_not_causal_or_read_other_tokens_are_refused(clip, message):
    with pytest.raises(ValueError, match=f'causal text towers.*{message}'):
        TextTower(make_clip(**clip))


def test_other_models_are_refused():
    with pytest.raises(ValueError, match='this one is a Linear'):
        TextTower(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match='chunk_size must be 1 or more'):
        TextTower(make_clip(), 0)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(embeddings=torch.zeros(2, 8, 4)), r'takes embeddings \(C, L, 16\), L up to 77.*\(2, 8, 4\)'),
        (dict(embeddings=torch.zeros(2, 78, 16)), 'L up to 77'),
        (dict(ends=[3]), '1 ends'),
        (dict(ends=[3, 8]), 'within 8 positions.*at 3 to 8'),
        (dict(shared=4), 'behind the 4 shared positions'),
        (dict(deep={3: (0, torch.zeros(1, 16))}), 'a block 0 to 2'),
        (dict(deep={1: (0, torch.zeros(3, 1, 16))}), r'are \(3, 1, 16\); expected are \(M, 16\) or \(2, M, 16\)'),
        (dict(deep={1: (0, torch.zeros(1, 15))}), r'are \(1, 15\)'),
        (dict(deep={1: (-1, torch.zeros(1, 16))}), 'at position -1'),
    ],
    ids=str,
)
def test_inputs_that_do_not_fit_are_refused(arguments, message):
    tower = TextTower(make_clip(dtype=torch.float32))
    with pytest.raises(ValueError, match=message):
        tower(**{**dict(embeddings=torch.zeros(2, 8, 16), ends=[3, 4], shared=1), **arguments})
