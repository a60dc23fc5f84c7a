"""CoOp and TCP written down once more, without any part of this project, to record files of numbers of other sizes."""

import math

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from tiny_text import run_plainly


def make_clip(generator, context=20, vocabulary=30, text=(16, 2, 3), vision=(16, 2, 2), patch=8, image=16, dims=6):
    """Build a random CLIP; ``text`` and ``vision`` are width, heads and blocks."""
    model = open_clip.CLIP(
        embed_dim=dims,
        quick_gelu=True,
        vision_cfg=dict(image_size=image, patch_size=patch, width=vision[0], head_width=vision[0] // vision[1], layers=vision[2]),
        text_cfg=dict(context_length=context, vocab_size=vocabulary, width=text[0], heads=text[1], layers=text[2]),
    )
    for parameter in model.parameters():
        parameter.requires_grad_(False).add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def make_ids(generator, model, classes, placeholders, names):
    """Draw prompts: start, placeholders, as many tokens of a name as ``names`` says, full stop, end, padding."""
    length, last = model.context_length, model.vocab_size - 1
    ids = torch.zeros(classes, length, dtype=torch.int64)
    for row, count in zip(ids, names):
        body = torch.randint(1, last - 1, (count,), generator=generator).tolist()
        filled = [last - 1, *[1] * placeholders, *body, 2, last]
        row[: len(filled)] = torch.tensor(filled)
    return ids


def record_coop(
    path,
    cases=(('a', 3, False, 0), ('b', 2, True, 1), ('c', 3, False, 1), ('d', 1, True, 2)),
    classes=4,
    batch=5,
    seed=0,
    **sizes,
):
    """Write a file like that of the released trainer; a case is name, M, class-specific or not, position."""
    generator = torch.Generator().manual_seed(seed)
    model = make_clip(generator, **sizes)
    arrays = {f'clip.{name}': value for name, value in model.state_dict().items()}
    side = model.visual.image_size[0]
    images, labels = torch.randn(batch, 3, side, side, generator=generator), torch.arange(batch) % classes
    raw = model.encode_image(images)
    arrays.update(
        {
            'in.images': images,
            'in.labels': labels,
            'image_features_raw': raw,
            'image_features': F.normalize(raw, dim=-1),
            'table.vocab_ids': torch.arange(model.vocab_size),
            'meta.heads': torch.tensor(
                [model.visual.transformer.resblocks[0].attn.num_heads, model.transformer.resblocks[0].attn.num_heads]
            ),
        }
    )
    for case, number, own, position in cases:
        names = [1 + (label * 2 + number) % 5 for label in range(classes)]
        ids = make_ids(generator, model, classes, number, names)
        context = 0.2 * torch.randn(*([classes] if own else []), number, model.positional_embedding.shape[1], generator=generator)
        before = (number, number // 2, 0)[position]

        def assemble(vectors):
            rows = []
            for label, count in enumerate(names):
                tokens = model.token_embedding(ids[label])
                mine = vectors[label] if own else vectors
                rows.append(
                    torch.cat(
                        [
                            tokens[:1],
                            mine[:before],
                            tokens[1 + number : 1 + number + count],
                            mine[before:],
                            tokens[1 + number + count :],
                        ]
                    )
                )
            return torch.stack(rows)

        def logits(vectors):
            texts = run_plainly(model, assemble(vectors), ids.argmax(1))[0]
            return model.logit_scale.exp() * F.normalize(raw, dim=-1) @ F.normalize(texts, dim=-1).T, texts

        vectors = context.clone().requires_grad_()
        scores, texts = logits(vectors)
        loss = F.cross_entropy(scores, labels)
        loss.backward()
        arrays[f'meta.{case}'] = torch.tensor([number, int(own), position])
        arrays.update(
            {
                f'{case}.{name}': value
                for name, value in dict(
                    ctx=context,
                    token_ids=ids,
                    name_lens=torch.tensor(names),
                    prompt_embeddings=assemble(context),
                    text_features_raw=texts,
                    text_features=F.normalize(texts, dim=-1),
                    logits=scores,
                    test_logits=scores,
                    loss=loss,
                    grad_ctx=vectors.grad,
                ).items()
            }
        )
        for decay, prefix in ((5e-4, f'{case}.traj_'), (3.0, f'{case}.wd3.traj_')):
            vectors, velocity, losses = context.clone(), 0.0, []
            for _ in range(3):
                vectors.requires_grad_()
                losses.append(F.cross_entropy(logits(vectors)[0], labels))
                (gradient,) = torch.autograd.grad(losses[-1], vectors)
                velocity = 0.9 * velocity + gradient + decay * vectors.detach()
                vectors = vectors.detach() - 0.002 * velocity
            arrays.update(
                {f'{prefix}loss': torch.stack(losses), f'{prefix}ctx': vectors, f'{prefix}test_logits': logits(vectors)[0]}
            )
    arrays['sched.lr0.002.E7'] = rates(7)
    save(path, arrays)


def record_tcp(path, number=2, block=1, weight=3.0, classes=4, batch=5, seed=0, **sizes):
    """Write a file like that of the released trainer."""
    generator = torch.Generator().manual_seed(seed)
    model = make_clip(generator, **sizes)
    width, dims = model.positional_embedding.shape[1], model.text_projection.shape[1]
    side = model.visual.image_size[0]
    images, labels = torch.randn(batch, 3, side, side, generator=generator), torch.arange(batch) % classes
    params = {'ctx': 0.1 * torch.randn(number, width, generator=generator)}
    for name, shape in (
        ('linear1.weight', (dims // 4, dims)),
        ('linear1.bias', (dims // 4,)),
        ('linear2.weight', (number * width, dims // 4)),
        ('linear2.bias', (number * width,)),
    ):
        params[f'meta_net.{name}'] = 0.3 * torch.randn(shape, generator=generator)
    kinds = {}
    for kind, count in (('', classes), ('new_', 3)):
        names = [1 + label % 4 for label in range(count)]
        kinds[kind] = (make_ids(generator, model, count, number, names), make_ids(generator, model, count, 1, names))
    image = F.normalize(model.encode_image(images), dim=-1)

    def forward(params, kind=''):
        ids, frozen_ids = kinds[kind]
        frozen = F.normalize(model.encode_text(frozen_ids), dim=-1)
        hidden = frozen @ params['meta_net.linear1.weight'].T + params['meta_net.linear1.bias']
        hidden = hidden * torch.sigmoid(1.702 * hidden)
        prompts = hidden @ params['meta_net.linear2.weight'].T + params['meta_net.linear2.bias']
        prompts = prompts.view(-1, number, width)
        tokens = model.token_embedding(ids)
        tokens = torch.cat([tokens[:, :1], params['ctx'].expand(len(ids), -1, -1), tokens[:, 1 + number :]], 1)
        raw, states = run_plainly(model, tokens, ids.argmax(1), {block: (1, prompts)})
        text = F.normalize(raw, dim=-1)
        logits = model.logit_scale.exp() * image @ text.T
        return dict(
            frozen=frozen,
            prompts=prompts,
            tokens=tokens,
            raw=raw,
            states=states,
            text=text,
            logits=logits,
            kg=1 - (text * frozen).sum(-1).mean(),
        )

    def terms(params):
        out = forward(params)
        ce = F.cross_entropy(out['logits'], labels)
        return dict(ce=ce, kg=out['kg'], total=ce + weight * out['kg'])

    out, new = forward(params), forward(params, 'new_')
    length = kinds[''][0].argmax(1).max().item() + 1
    heads = [tower.transformer.resblocks[0].attn.num_heads for tower in (model.visual, model)]
    arrays = {
        **{f'clip.{name}': value for name, value in model.state_dict().items()},
        'in.images': images,
        'in.labels': labels,
        'in.token_ids': kinds[''][0],
        'in.zero_shot_token_ids': kinds[''][1],
        'in.new_token_ids': kinds['new_'][0],
        'in.new_zero_shot_token_ids': kinds['new_'][1],
        'in.eot': kinds[''][0].argmax(1),
        **{f'in.param.{name}': value for name, value in params.items()},
        'hp.kg_weight': torch.tensor(weight),
        'hp.inject_block': torch.tensor(block),
        'hp.n_ctx': torch.tensor(number),
        'hp.vision_heads': torch.tensor(heads[0]),
        'hp.text_heads': torch.tensor(heads[1]),
        'out.zero_shot_text': out['frozen'],
        'out.class_prompts': out['prompts'],
        'out.text_raw': out['raw'],
        'out.text': out['text'],
        'out.image_raw': model.encode_image(images),
        'out.image': image,
        'out.logits': out['logits'],
        'out.test_logits': out['logits'],
        'out.new_text': new['text'],
        'out.new_zero_shot_text': new['frozen'],
        'out.new_test_logits': new['logits'],
        'mid.prompt_embeddings': out['tokens'][:, :length],
        'mid.text_last': out['states'][-1][:, :length],
        f'mid.text_block{block}': out['states'][block][:, :length],
        'sched.lr.E5': rates(5),
    }
    for term, prefix in (('total', 'grad'), ('ce', 'grad_ce'), ('kg', 'grad_kg')):
        leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
        values = terms(leaves)
        gradients = torch.autograd.grad(values[term], leaves.values())
        arrays[f'loss.{term}'] = values[term]
        arrays.update({f'{prefix}.{name}': gradient for name, gradient in zip(leaves, gradients)})
    for eps in (1e-3, 1e-8):
        current, moments, totals = dict(params), dict.fromkeys(params, (0.0, 0.0)), []
        for step in range(1, 5):
            leaves = {name: value.clone().requires_grad_() for name, value in current.items()}
            totals.append(terms(leaves)['total'])
            for name, gradient in zip(leaves, torch.autograd.grad(totals[-1], leaves.values())):
                gradient = gradient + 5e-4 * current[name]
                first, second = moments[name]
                first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
                moments[name] = first, second
                scale = (second / (1 - 0.999**step)).sqrt() + eps
                current[name] = current[name] - 0.002 * first / (1 - 0.9**step) / scale
        label = f'adam_eps1e-{3 if eps == 1e-3 else 8}'
        arrays[f'traj.total.{label}'] = torch.stack([*totals, terms(current)['total']])
        arrays.update({f'traj.final.{label}.{name}': value for name, value in current.items()} if eps == 1e-3 else {})
    save(path, arrays)


def rates(epochs):
    """Return 1e-5 in epoch 0, then half a cosine from 0.002."""
    return torch.tensor([1e-5, *(0.001 * (1 + math.cos(math.pi * (epoch - 1) / epochs)) for epoch in range(1, epochs))])


def save(path, arrays):
    np.savez(path, **{name: value.detach().numpy() for name, value in arrays.items()})
