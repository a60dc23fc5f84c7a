"""The method as one would first write it down, to record numbers of any size: slow, plain, and without this project.

Everything is a loop over torch's own modules: two passes for two views, attention by ``nn.MultiheadAttention``, losses
by their definitions. Only the names of the arrays follow the recorded files.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


def norm(x, weights, name):
    return F.layer_norm(x, x.shape[-1:], weights[f'{name}.weight'], weights[f'{name}.bias'], 1e-5)


def mlp(x, weights, name):
    hidden = quick_gelu(F.linear(x, weights[f'{name}.c_fc.weight'], weights[f'{name}.c_fc.bias']))
    return F.linear(hidden, weights[f'{name}.c_proj.weight'], weights[f'{name}.c_proj.bias'])


def block(x, weights, name, heads):
    width = x.shape[-1]
    normed = norm(x, weights, f'{name}.ln_1').transpose(0, 1)
    attended, _ = F.multi_head_attention_forward(
        normed,
        normed,
        normed,
        width,
        heads,
        weights[f'{name}.attn.in_proj_weight'],
        weights[f'{name}.attn.in_proj_bias'],
        None,
        None,
        False,
        0.0,
        weights[f'{name}.attn.out_proj.weight'],
        weights[f'{name}.attn.out_proj.bias'],
        need_weights=False,
    )
    x = x + attended.transpose(0, 1)
    return x + mlp(norm(x, weights, f'{name}.ln_2'), weights, f'{name}.mlp')


def value_block(x, weights, name):
    width = x.shape[-1]
    values = F.linear(
        norm(x, weights, f'{name}.ln_1'),
        weights[f'{name}.attn.in_proj_weight'][2 * width :],
        weights[f'{name}.attn.in_proj_bias'][2 * width :],
    )
    x = x + F.linear(values, weights[f'{name}.attn.out_proj.weight'], weights[f'{name}.attn.out_proj.bias'])
    return x + mlp(norm(x, weights, f'{name}.ln_2'), weights, f'{name}.mlp')


def output(x, weights):
    x = norm(x, weights, 'ln_post') @ weights['proj']
    return x / x.norm(dim=-1, keepdim=True)


def run_view(images, frozen, tuned, shape):
    depth, adapted, copied, heads, patch = shape
    x = F.conv2d(images, frozen['conv1.weight'], stride=patch).flatten(2).transpose(1, 2)
    x = torch.cat([frozen['class_embedding'].expand(len(x), 1, -1), x], 1) + frozen['positional_embedding']
    z = h = norm(x, frozen, 'ln_pre')
    states = {}
    for index in range(depth):
        name = f'transformer.resblocks.{index}'
        z = block(z, frozen, name, heads)
        if index < depth - adapted - copied:
            h = z
        elif index < depth - copied:
            h = block(h, frozen, name, heads) + h @ tuned[f'cross_adapters.{index - depth + adapted + copied}.weight'].T
        else:
            h = block(h, tuned, name, heads)
        states[index] = (z, h)
    result = dict(
        frozen_tokens=output(z, frozen),
        tokens=output(h, tuned),
        trunk=states[depth - adapted - copied - 1][0],
        adapted=states[depth - copied - 1][1],
    )
    one = value_block(states[depth - 2][1], tuned, f'transformer.resblocks.{depth - 1}')
    two = value_block(states[depth - 3][1], tuned, f'transformer.resblocks.{depth - 2}')
    two = value_block(two, tuned, f'transformer.resblocks.{depth - 1}')
    result['one'], result['two'] = output(one, tuned)[:, 0], output(two, tuned)[:, 0]
    return result


def contrast(views, labels, text, temperature):
    items = torch.cat([*views, text])
    classes = torch.cat([labels] * len(views) + [torch.arange(len(text))])
    total = 0
    number = len(views) * len(labels)
    for i in range(number):
        others = [j for j in range(len(items)) if j != i]
        similarities = (items[others] @ items[i]) / temperature
        likelihoods = similarities - similarities.logsumexp(0)
        positive = torch.tensor([bool(classes[j] == classes[i]) for j in others])
        total = total - likelihoods[positive].sum() / max(int(positive.sum()), 1)
    return total / number


def compute(images, labels, text, scale, frozen, tuned, shape, gram_weight, taus):
    views = [run_view(view, frozen, tuned, shape) for view in images]
    unit = text / text.norm(dim=-1, keepdim=True)
    cls = [view['tokens'][:, 0] for view in views]
    cls_frozen = [view['frozen_tokens'][:, 0] for view in views]
    raw, tuned_logits = [scale * c @ unit.T for c in cls_frozen], [scale * c @ unit.T for c in cls]
    logits = 0.3 * sum(tuned_logits) / 2 + 0.7 * sum(raw) / 2
    local = sum((v['frozen_tokens'] @ v['frozen_tokens'].mT - v['tokens'] @ v['tokens'].mT).abs().mean() for v in views)
    world = sum((z @ z.T - u @ u.T).abs().mean() for z, u in zip(cls_frozen, cls))
    ce = F.cross_entropy(logits, labels)
    parts = [
        contrast(features, labels, text, tau)
        for features, tau in zip((cls, [v['one'] for v in views], [v['two'] for v in views]), taus)
    ]
    sculpt = parts[0] + parts[1] + 0.5 * parts[2]
    total = ce + gram_weight * (local + world) + 0.1 * sculpt
    return views, raw, tuned_logits, logits, dict(mar_local=local, mar_global=world, ce=ce), parts, sculpt, total


def record(
    path,
    depth=7,
    adapted=2,
    copied=3,
    width=48,
    heads=3,
    dim=24,
    patch=8,
    size=(24, 16),
    batch=5,
    classes=7,
    gram_weight=1.5,
    taus=(0.1, 0.1, 0.2),
    seed=0,
):
    """Record a file of numbers of the given sizes."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape, scale=1.0):
        return scale * torch.randn(*shape, generator=generator)

    def block_weights(name):
        return {
            f'{name}.ln_1.weight': 1 + noise(width, scale=0.1),
            f'{name}.ln_1.bias': noise(width, scale=0.1),
            f'{name}.attn.in_proj_weight': noise(3 * width, width, scale=width**-0.5),
            f'{name}.attn.in_proj_bias': noise(3 * width, scale=0.1),
            f'{name}.attn.out_proj.weight': noise(width, width, scale=0.5 * width**-0.5),
            f'{name}.attn.out_proj.bias': noise(width, scale=0.1),
            f'{name}.ln_2.weight': 1 + noise(width, scale=0.1),
            f'{name}.ln_2.bias': noise(width, scale=0.1),
            f'{name}.mlp.c_fc.weight': noise(4 * width, width, scale=width**-0.5),
            f'{name}.mlp.c_fc.bias': noise(4 * width, scale=0.1),
            f'{name}.mlp.c_proj.weight': noise(width, 4 * width, scale=0.25 * width**-0.5),
            f'{name}.mlp.c_proj.bias': noise(width, scale=0.1),
        }

    tokens = 1 + size[0] * size[1] // patch**2
    frozen = {
        'conv1.weight': noise(width, 3, patch, patch, scale=0.1),
        'class_embedding': noise(width),
        'positional_embedding': noise(tokens, width, scale=0.3),
        **{
            f'{name}.{part}': (part == 'weight') + noise(width, scale=0.1)
            for name in ('ln_pre', 'ln_post')
            for part in ('weight', 'bias')
        },
    }
    frozen['proj'] = noise(width, dim, scale=width**-0.5)
    for index in range(depth):
        frozen.update(block_weights(f'transformer.resblocks.{index}'))
    copies = [f'transformer.resblocks.{index}.' for index in range(depth - copied, depth)] + ['ln_post.', 'proj']
    tuned = {
        name: value + noise(*value.shape, scale=0.03)
        for name, value in frozen.items()
        if any(name.startswith(copy) for copy in copies)
    }
    tuned.update({f'cross_adapters.{index}.weight': noise(width, width, scale=0.05) for index in range(adapted)})
    images = [noise(batch, 3, *size), noise(batch, 3, *size)]
    labels = torch.randint(0, classes, (batch,), generator=generator)
    text, scale_log = 8 * F.normalize(noise(classes, dim), dim=-1), torch.tensor(math.log(60.0))

    for value in tuned.values():
        value.requires_grad_()
    shape = (depth, adapted, copied, heads, patch)
    arguments = (images, labels, text, scale_log.exp(), frozen, tuned, shape, gram_weight, taus)
    views, raw, tuned_logits, logits, losses, parts, sculpt, total = compute(*arguments)
    total.backward()
    arrays = {f'frozen.{name}': value for name, value in frozen.items()}
    arrays.update({f'tuned.{name}': value.detach().clone() for name, value in tuned.items()})
    arrays.update({'in.labels': labels, 'in.text_features': text, 'in.logit_scale_log': scale_log, 'out.logits': logits})
    one, two, last_trunk, last_adapted = depth - 1, depth - 2, depth - adapted - copied - 1, depth - copied - 1
    for number, view in enumerate(views, 1):
        arrays.update(
            {
                f'in.images_v{number}': images[number - 1],
                f'out.tokens.v{number}': view['tokens'],
                f'out.frozen_tokens.v{number}': view['frozen_tokens'],
                f'out.cls.v{number}': view['tokens'][:, 0],
                f'out.frozen_cls.v{number}': view['frozen_tokens'][:, 0],
                f'out.cls_layer{one}_v.v{number}': view['one'],
                f'out.cls_layer{two}.v{number}': view['two'],
                f'out.raw_logits.v{number}': raw[number - 1],
                f'out.logits_ft.v{number}': tuned_logits[number - 1],
                f'mid.frozen_block{last_trunk}.v{number}': view['trunk'],
                f'mid.tuned_block{last_adapted}.v{number}': view['adapted'],
            }
        )
    arrays['out.test_logits'] = 0.3 * tuned_logits[0] + 0.7 * raw[0]
    arrays.update({f'loss.{name}': value for name, value in losses.items()})
    for name, value, tau in zip(('final', f'layer{one}_v', f'layer{two}'), parts, taus):
        arrays[f'loss.supcon_{name}.tau{tau:g}.rawtext'] = value
    run = f'total.rawtext.con{gram_weight:g}'
    arrays.update({'loss.supcon_sum.rawtext': sculpt, f'loss.{run}': total})
    arrays.update({f'grad.{run}.{name}': value.grad.clone() for name, value in tuned.items()})
    arrays[f'traj.total.sgd_lr0.002_m0.9_wd5e-4.rawtext.con{gram_weight:g}'] = train(arguments, tuned)
    np.savez(path, **{name: value.detach().numpy() for name, value in arrays.items()})


def train(arguments, tuned, steps=3):
    """SGD by hand: momentum 0.9, weight decay 5e-4, rate 0.002."""
    momenta = {name: torch.zeros_like(value) for name, value in tuned.items()}
    totals = []
    for step in range(steps):
        total = compute(*arguments)[-1]
        gradients = torch.autograd.grad(total, list(tuned.values()))
        totals.append(total.detach())
        with torch.no_grad():
            for (name, value), gradient in zip(tuned.items(), gradients):
                momenta[name] = 0.9 * momenta[name] + gradient + 5e-4 * value
                value -= 0.002 * momenta[name]
    return torch.stack(totals)
