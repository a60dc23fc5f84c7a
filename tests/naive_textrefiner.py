"""TextRefiner on CoOp as one would first write it down, to record numbers of any size, without this project's models.

Modules of open_clip and torch, one after the other, in float64; the cache is written by loops. Only the names of the
arrays follow the recorded files.
"""

import copy
import math

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from torch import nn

TERMS = ('global', 'semantic', 'regularisation')


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


class NaiveTrainer(nn.Module):
    """The trained tensors by their recorded names, the cache, and what is made of them."""

    def __init__(self, clip, hp, token_ids, cache):
        super().__init__()
        dims, width = clip.visual.proj.shape[1], clip.token_embedding.weight.shape[1]
        self.clip, self.hp, self.token_ids, self.cache = [clip], hp, token_ids, cache
        self.ctx = nn.Parameter(0.5 * torch.randn(hp['n_ctx'], width))
        self.align = nn.ModuleDict(dict(conv1=nn.Conv2d(dims, dims, 1), bn=nn.BatchNorm2d(dims), conv2=nn.Conv2d(dims, dims, 1)))
        self.extractor = nn.Linear(2 * dims, dims, bias=False)

    def look(self, images):
        """Return all tokens after the projection, and the attention of [CLS] to the patches in the last block."""
        visual = self.clip[0].visual
        x = visual.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], 1) + visual.positional_embedding
        x = visual.ln_pre(x)
        for block in visual.transformer.resblocks:
            normed = block.ln_1(x)
            attended, weights = block.attn(normed, normed, normed, need_weights=True, average_attn_weights=True)
            x = x + attended
            x = x + block.mlp(block.ln_2(x))
        return visual.ln_post(x) @ visual.proj, weights[:, 0, 1:]

    def read_texts(self, token_ids):
        clip = self.clip[0]
        x = clip.token_embedding(token_ids)
        x = torch.cat([x[:, :1], self.ctx.expand(len(x), -1, -1), x[:, 1 + len(self.ctx) :]], 1)
        x = x + clip.positional_embedding
        for block in clip.transformer.resblocks:
            x = block(x, attn_mask=clip.attn_mask)
        ends = clip.ln_final(x)[torch.arange(len(x)), token_ids.argmax(1)]
        return unit(ends @ clip.text_projection)

    def refine(self, texts):
        read = torch.softmax(texts @ self.cache.T, 1) @ self.cache
        return read, texts + self.hp['alpha'] * torch.cat([texts, read], 1) @ self.extractor.weight.T

    def predict(self, images, token_ids):
        refined = self.refine(self.read_texts(token_ids))[1]
        return refined, self.clip[0].logit_scale.exp() * unit(self.look(images)[0][:, 0]) @ refined.T

    def step(self, images, labels):
        """Run forward and write the cache; return everything by its recorded name."""
        hp, scale = self.hp, self.clip[0].logit_scale.exp()
        local, attention = self.look(images)
        hidden = self.align['bn'](self.align['conv1'](local.permute(0, 2, 1)[..., None]))
        aligned = self.align['conv2'](torch.relu(hidden))[..., 0].permute(0, 2, 1)
        top = attention.topk(hp['top_k'], 1).indices
        top_local = torch.stack(
            [torch.cat([picture[:1], picture[1 + patches], picture.mean(0)[None]]) for picture, patches in zip(aligned, top)]
        )
        texts = self.read_texts(self.token_ids)
        read, refined = self.refine(texts)
        features = unit(local[:, 0])
        logits, local_logits = scale * features @ refined.T, scale * top_local @ texts.T
        repeated = torch.tensor([label for label in labels.tolist() for _ in range(top_local.shape[1])])
        losses = {
            'global': F.cross_entropy(logits, labels),
            'semantic': F.cross_entropy(local_logits.flatten(0, 1), repeated),
            'regularisation': (unit(refined) - texts).abs().mean(),
        }
        losses['total'] = (
            losses['global']
            + losses['semantic'] / hp['semantic_divisor']
            + hp['regularisation_weight'] * losses['regularisation']
        )
        out = dict(
            image_raw=local[:, 0],
            image=features,
            local_tokens=local,
            cls_attention=attention,
            top_patches=top,
            aligned_tokens=aligned,
            top_local=top_local,
            text=texts,
            cache_read=read,
            text_refined=refined,
            logits=logits,
            local_logits=local_logits,
            assignment=self.write(aligned.detach()),
        )
        out.update(
            cache_after_write=self.cache,
            bn_running_mean=self.align['bn'].running_mean.clone(),
            bn_running_var=self.align['bn'].running_var.clone(),
        )
        return out, losses

    def write(self, aligned):
        rows = unit(aligned.flatten(0, 1))
        similarities = rows @ self.cache.T
        nearest = similarities.argmax(1)
        entries = []
        for index, entry in enumerate(self.cache):
            mine = [n for n in range(len(rows)) if nearest[n] == index]
            if mine:
                largest = similarities[:, index].max()
                total = sum(torch.exp(similarities[n, index] - largest) * rows[n] for n in mine)
                entry = self.hp['momentum'] * entry + (1 - self.hp['momentum']) * total
            entries.append(unit(entry))
        self.cache = torch.stack(entries)
        return nearest.view(aligned.shape[:2])

    def trained(self):
        return dict(self.named_parameters())


def record(
    path,
    width=32,
    heads=2,
    depth=3,
    patch=8,
    size=32,
    text_width=24,
    text_heads=3,
    text_depth=2,
    length=20,
    embed=16,
    batch=5,
    classes=4,
    others=3,
    n_ctx=4,
    cache_size=7,
    alpha=0.2,
    momentum=0.8,
    top_k=5,
    divisor=50.0,
    weight=20.0,
    log_scale=3.0,
    steps=3,
    epochs=10,
    seed=0,
):
    """Write a file of recorded numbers."""
    hp = dict(
        vision_heads=heads,
        text_heads=text_heads,
        patch_size=patch,
        n_ctx=n_ctx,
        cache_size=cache_size,
        alpha=alpha,
        momentum=momentum,
        top_k=top_k,
        semantic_divisor=divisor,
        regularisation_weight=weight,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip = open_clip.CLIP(
            embed_dim=embed,
            quick_gelu=True,
            vision_cfg=dict(image_size=size, layers=depth, width=width, head_width=width // heads, patch_size=patch),
            text_cfg=dict(context_length=length, vocab_size=30, width=text_width, heads=text_heads, layers=text_depth),
        )
        with torch.no_grad():
            for parameter in clip.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
            clip.logit_scale.fill_(log_scale)
        images, labels = torch.randn(batch, 3, size, size), torch.randint(classes, (batch,))
        token_ids, new_token_ids = draw_tokens(classes, n_ctx, length), draw_tokens(others, n_ctx, length)
        trainer = NaiveTrainer(clip, hp, token_ids, unit(torch.rand(cache_size, embed)))
        with torch.no_grad():
            for parameter in trainer.align['bn'].parameters():
                parameter += 0.3 * torch.randn_like(parameter)
    # What is recorded is float32 at the start.
    arrays = {f'clip.{name}': value for name, value in clip.state_dict().items() if name != 'attn_mask'}
    arrays.update({f'hp.{name}': torch.tensor(value) for name, value in hp.items()})
    arrays.update({f'in.param.{name}': value.clone() for name, value in trainer.trained().items()})
    arrays.update(
        {
            'in.images': images,
            'in.labels': labels,
            'in.token_ids': token_ids,
            'in.eot': token_ids.argmax(1),
            'in.new_token_ids': new_token_ids,
            'in.cache': trainer.cache,
        }
    )
    clip.double().requires_grad_(False)
    clip.attn_mask = clip.attn_mask.double()
    trainer.double().cache, images = trainer.cache.double(), images.double()
    arrays.update(record_results(trainer, images, labels, new_token_ids, steps))
    rates = [1e-5] + [0.002 * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2 for epoch in range(1, epochs)]
    arrays[f'sched.lr.E{epochs}'] = torch.tensor(rates)
    as_numpy = {name: value.detach().numpy() for name, value in arrays.items()}
    np.savez(path, **{name: value.astype(np.float32) if value.dtype == np.float64 else value for name, value in as_numpy.items()})


def draw_tokens(classes, n_ctx, length):
    """Draw prompts: start 1, placeholders 5, a name of 1 to 4 tokens, full stop 6, end 29 (the largest), then zeros."""
    token_ids = torch.zeros(classes, length, dtype=torch.int64)
    for row in token_ids:
        name = torch.randint(7, 29, (torch.randint(1, 5, ()).item(),)).tolist()
        prompt = [1] + [5] * n_ctx + name + [6, 29]
        row[: len(prompt)] = torch.tensor(prompt)
    return token_ids


def record_results(start, images, labels, new_token_ids, steps):
    arrays = {}
    for term in ('total', *TERMS):
        trainer = copy.deepcopy(start)
        out, losses = trainer.step(images, labels)
        losses[term].backward()
        if term == 'total':
            arrays.update({f'out.{name}': value for name, value in out.items()})
            arrays.update({f'loss.{name}': value for name, value in losses.items()})
            arrays.update({f'grad.{name}': value.grad for name, value in trainer.trained().items()})
        else:
            arrays[f'grad_{term}.ctx'] = trainer.ctx.grad
    refined, logits = start.predict(images, start.token_ids)
    arrays.update(
        {
            'out.test_text_refined': refined,
            'out.test_logits': logits,
            'out.new_test_logits': start.predict(images, new_token_ids)[1],
        }
    )
    for prefix, decay, extra in (('traj', 5e-4, 1), ('traj_wd0.25', 0.25, 0)):
        trainer = copy.deepcopy(start)
        optimizer = torch.optim.SGD(trainer.parameters(), lr=0.002, momentum=0.9, weight_decay=decay)
        totals, terms, caches = [], [], []
        for step in range(steps + extra):
            losses = trainer.step(images, labels)[1]
            totals.append(losses['total'].detach())
            weights = (1, 1 / trainer.hp['semantic_divisor'], trainer.hp['regularisation_weight'])
            terms.append(torch.stack([losses[name].detach() * by for name, by in zip(TERMS, weights)]))
            if step < steps:
                caches.append(trainer.cache)
                optimizer.zero_grad()
                losses['total'].backward()
                optimizer.step()
            if step == steps - 1:
                arrays.update({f'{prefix}.final.{name}': p.detach().clone() for name, p in trainer.trained().items()})
                after = trainer.predict(images, trainer.token_ids)[1]
        arrays[f'{prefix}.total'] = torch.stack(totals)
        if extra:
            arrays.update(
                {
                    f'{prefix}.weighted_terms': torch.stack(terms),
                    f'{prefix}.cache_after_step': torch.stack(caches),
                    f'{prefix}.test_logits_after': after,
                }
            )
    return arrays
