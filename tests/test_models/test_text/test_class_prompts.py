import open_clip
import pytest
import torch
from tiny_text import PROMPT_WORDS, make_clip

from mmpretrain_mps.models.text import TextTower, tokenize_prompts
from mmpretrain_mps.models.text.class_prompts import ClassPrompts

TOKENIZER = open_clip.get_tokenizer('ViT-B-32')


@pytest.fixture
def tower():
    return TextTower(make_clip())


def test_prompts_are_cut_behind_the_longest_and_share_what_stands_before_the_names(tower):
    token_ids = tokenize_prompts(TOKENIZER, PROMPT_WORDS, 'a photo of a {}.').int()
    embeddings, ends, shared = ClassPrompts(tower).of(token_ids)
    assert ends == token_ids.argmax(1).tolist() and shared == 5
    assert torch.equal(embeddings, tower.embed(token_ids)[:, : max(ends) + 1])


@pytest.mark.parametrize('words, shared', [(('face',), 7), (('face', 'face'), 7), (('face', 'face it'), 6)])
def test_at_most_what_stands_before_the_first_end_is_shared(tower, words, shared):
    prompts = ClassPrompts(tower).of(tokenize_prompts(TOKENIZER, words, 'a photo of a {}.').int())
    assert prompts.shared == shared and min(prompts.ends) >= shared


def test_they_are_looked_up_again_only_for_other_classes(tower, monkeypatch):
    token_ids = tokenize_prompts(TOKENIZER, PROMPT_WORDS, 'a photo of a {}.').int()
    prompts, looked_up, embed = ClassPrompts(tower), [], tower.embed
    monkeypatch.setattr(tower, 'embed', lambda ids: looked_up.append(len(ids)) or embed(ids))
    assert prompts.of(token_ids) is prompts.of(token_ids)
    prompts.of(token_ids[[1, 2]])
    prompts.of(token_ids)
    with torch.no_grad():
        token_ids[0] = token_ids[1]
    assert torch.equal(prompts.of(token_ids).embeddings[0], prompts.of(token_ids).embeddings[1])
    assert looked_up == [4, 2, 4, 4]


def test_what_was_looked_up_in_inference_mode_can_be_trained_with(tower):
    token_ids = tokenize_prompts(TOKENIZER, PROMPT_WORDS, 'a photo of a {}.').int()
    prompts = ClassPrompts(tower)
    with torch.inference_mode():
        prompts.of(token_ids)
    factor = torch.ones(16, dtype=torch.float64, requires_grad=True)
    (prompts.of(token_ids).embeddings * factor).sum().backward()
    assert factor.grad.abs().sum() > 0
