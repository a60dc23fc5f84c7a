"""CLIP-Adapter, Tip-Adapter-F and AMU-Tuning written down as plainly as their formulas, to record numbers of any size.

float64, open_clip's own modules, one-hot values, whole matrices; nothing of this project.
"""

import math

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from mmpretrain.models.backbones import ResNet
from torch import nn

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
AUX_MEAN, AUX_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Recorder:
    """A random CLIP with random prompts, and the arrays that are recorded of it."""

    def __init__(self, classes, prompts, seed, embed=24, vision=(48, 12, 3), text=(40, 20, 2), image_size=24):
        self.generator = torch.Generator().manual_seed(seed)
        (width, head_width, layers), (text_width, text_head, text_layers) = vision, text
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.clip = open_clip.CLIP(
                embed,
                quick_gelu=True,
                vision_cfg=dict(image_size=image_size, layers=layers, width=width, head_width=head_width, patch_size=8),
                text_cfg=dict(
                    context_length=77, vocab_size=30, width=text_width, heads=text_width // text_head, layers=text_layers
                ),
            )
        with torch.no_grad():
            for parameter in self.clip.parameters():
                parameter += 0.05 * torch.randn(parameter.shape, generator=self.generator)
            self.clip.logit_scale.fill_(math.log(70))
        self.arrays = {f'clip.{name}': value.clone() for name, value in self.clip.state_dict().items() if name != 'attn_mask'}
        self.clip = self.clip.double().eval().requires_grad_(False)
        tokens = torch.zeros(classes, prompts, 77, dtype=torch.int64)
        tokens[..., 0] = 28
        tokens[..., 1:6] = torch.randint(1, 28, (classes, prompts, 5), generator=self.generator)
        tokens[..., 6] = 29  # the highest id ends a text
        self.arrays['in.token_ids'], self.image_size, self.classes = tokens, image_size, classes
        self.texts = self.clip.encode_text(tokens.flatten(0, 1)).unflatten(0, (classes, prompts))
        self.prototypes = F.normalize(F.normalize(self.texts, dim=-1).mean(1), dim=-1)

    def pictures(self, name, *count, low=None):
        shape = (*count, 3, self.image_size, self.image_size)
        images = torch.rand(shape, generator=self.generator) if low is not None else torch.randn(shape, generator=self.generator)
        labels = torch.randint(self.classes, count[-1:], generator=self.generator)
        labels[: self.classes] = torch.randperm(self.classes, generator=self.generator)[: len(labels)]
        self.arrays.update({f'in.{name}_images': images, f'in.{name}_labels': labels})
        return images.double(), labels

    def save(self, path, **results):
        self.arrays.update(results)
        np.savez(
            path,
            **{
                name: np.asarray(
                    torch.as_tensor(value)
                    .detach()
                    .to(torch.int64 if torch.as_tensor(value).dtype == torch.int64 else torch.float32)
                )
                for name, value in self.arrays.items()
            },
        )


def steps(weight, batches, total, loss_of):
    """Train by AdamW and a cosine to zero; yield step, rate, loss, gradient and the weight behind the step."""
    optimizer = torch.optim.AdamW([weight], lr=1e-3, eps=1e-4, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    for step in range(total):
        loss, rate = loss_of(*batches[step % len(batches)]), schedule.get_last_lr()[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        yield step, rate, loss.item(), weight.grad.clone(), weight.detach().clone()


def record_clip_adapter(path, seed=0):
    """Record a file as of CLIP-Adapter: 5 classes, 4 training and 9 test pictures, 3 steps."""
    record = Recorder(5, 1, seed)
    record.arrays['in.token_ids'] = record.arrays['in.token_ids'][:, 0]
    (train, labels), (test, _) = record.pictures('train', 4), record.pictures('test', 9)
    weights = [(0.3 * torch.randn(shape, generator=record.generator)) for shape in ((6, 24), (24, 6))]
    names = ('fc.0.weight', 'fc.2.weight')
    features = {'train': record.clip.encode_image(train), 'test': record.clip.encode_image(test)}
    texts, found = F.normalize(record.texts[:, 0], dim=-1), {}

    def adapter(v, first, second):
        return F.relu(F.relu(v @ first.T) @ second.T)

    def logits(v, parameters):
        return 70 * F.normalize(0.3 * adapter(v, *parameters) + 0.7 * v, dim=-1) @ texts.T

    parameters = [nn.Parameter(weight.double()) for weight in weights]
    found['out.adapter.train'] = adapter(features['train'], *parameters)
    for split, v in features.items():
        found.update({f'out.image_features.{split}': v, f'out.ratio0.3.logits.{split}': logits(v, parameters)})
    optimizer = torch.optim.SGD(parameters, lr=0.002, momentum=0.9, weight_decay=5e-4)
    losses, rates = [], [1e-5] + [0.002 * (1 + math.cos(math.pi * (e - 1) / 3)) / 2 for e in (1, 2)]
    for step, rate in enumerate(rates, 1):
        loss = F.cross_entropy(logits(features['train'], parameters), labels)
        optimizer.zero_grad()
        loss.backward()
        if step == 1:
            found.update({f'grad.ratio0.3.{name}': p.grad.clone() for name, p in zip(names, parameters)})
        losses.append(loss.item())
        optimizer.param_groups[0]['lr'] = rate
        optimizer.step()
        found.update({f'traj.ratio0.3.after_step{step}.{name}': p.detach().clone() for name, p in zip(names, parameters)})
    found.update(
        {
            'traj.ratio0.3.loss': losses,
            'traj.ratio0.3.lr': rates,
            'loss.ratio0.3.ce': losses[0],
            'out.ratio0.3.logits.test_after': logits(features['test'], parameters),
            'out.text_features': record.texts[:, 0],
        }
    )
    record.save(path, **{f'in.adapter.{name}': weight for name, weight in zip(names, weights)}, **found)


def record_tip_adapter(path, seed=0):
    """Record a file as of Tip-Adapter: 5 classes of unequal pictures, and a training in batches of 4 and 3."""
    record = Recorder(5, 2, seed)
    views, cache_labels = record.pictures('cache', 2, 11)
    (val, val_labels), (test, test_labels), (train, labels) = (
        record.pictures(name, count) for name, count in (('val', 13), ('test', 8), ('train', 7))
    )

    def unit(images):
        return F.normalize(record.clip.encode_image(images), dim=-1)

    features = record.clip.encode_image(views.flatten(0, 1)).unflatten(0, (2, 11))
    keys, values = F.normalize(features.mean(0), dim=-1), F.one_hot(cache_labels, 5).double()

    def cache(f, keys, beta):
        return torch.exp(-beta * (1 - f @ keys.T)) @ values

    def logits(f, keys, beta, alpha):
        return 100 * f @ record.prototypes.T + alpha * cache(f, keys, beta)

    def search(name, keys):
        betas, alphas = ([0.1 + i * (end - 0.1) / n for i in range(n)] for end, n in ((12, 30), (10, 5)))
        accuracy, best, safe = torch.zeros(30, 5), (0, 0, 0), torch.zeros(30, 5)
        for i, beta in enumerate(betas):
            for j, alpha in enumerate(alphas):
                found = logits(unit(val), keys, beta, alpha)
                top = found.topk(2, dim=1).values
                safe[i, j] = ((top[:, 0] - top[:, 1]) > 1e-3).all()
                accuracy[i, j] = 100 * (found.argmax(1) == val_labels).double().mean()
                best = (beta, alpha, accuracy[i, j].item()) if accuracy[i, j] > best[2] else best
        return {f'search.{name}.accuracy': accuracy, f'search.{name}.best': best, f'search.{name}.safe': safe}

    found = {
        'out.text_prototypes': record.prototypes,
        'out.cache_view_features': features,
        'out.cache_keys': keys,
        'out.cache_values': values,
        'out.val_features': unit(val),
        'out.test_features': unit(test),
        'out.affinity.test': unit(test) @ keys.T,
        'out.cache_logits.test.beta2.0': cache(unit(test), keys, 2.0),
        'out.fused_logits.test.beta2.0.alpha1.5': logits(unit(test), keys, 2.0, 1.5),
        **{
            f'out.zero_shot_logits.{split}': 100 * unit(images) @ record.prototypes.T
            for split, images in (('val', val), ('test', test))
        },
        **search('tip', keys),
    }
    weight, best = nn.Parameter(keys.clone()), (-1, None)
    first = logits(unit(train[:4]), weight, 5.5, 3.0)
    found.update(
        {
            'out.B.train_features': unit(train[:4]),
            'out.B.cache_logits.train': cache(unit(train[:4]), weight, 5.5),
            'out.B.fused_logits.train': first,
        }
    )
    losses, rates = [], []
    batches = [(train[:4], labels[:4]), (train[4:], labels[4:])]
    for step, rate, loss, gradient, after in steps(
        weight, batches, 6, lambda x, y: F.cross_entropy(logits(unit(x), weight, 5.5, 3.0), y)
    ):
        losses.append(loss), rates.append(rate)
        found[f'traj.B.keys_after_step{step + 1}'] = after
        if not step:
            found.update({'loss.B.ce': loss, 'grad.B.keys': gradient})
        right = (logits(unit(test), after, 5.5, 3.0).argmax(1) == test_labels).sum().item()
        if step % 2 and right > best[0]:
            best = right, after
    record.save(
        path,
        **found,
        **{
            'traj.B.loss': losses,
            'traj.B.lr': rates,
            'selected.B.keys': best[1],
            'out.B.fused_logits.test_after': logits(unit(test), weight, 5.5, 3.0),
        },
        **search('B', best[1]),
    )


def record_amu_tuning(path, seed=0):
    """Record a file as of AMU-Tuning: 6 classes, and a training in batches of 3 and 2."""
    record = Recorder(6, 2, seed)
    (views, support), (train, labels), (test, test_labels) = (
        record.pictures(name, *count, low=0) for name, count in (('support', (3, 13)), ('train', (5,)), ('test', (7,)))
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ResNet(depth=50, base_channels=8, stem_channels=8)
        network.init_weights()
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point():
            noise = torch.randn(buffer.shape, generator=record.generator)
            buffer += 0.1 * (noise.abs() if name.endswith('var') else noise)
    record.arrays.update(
        {f'aux.{name}': value.clone() for name, value in network.state_dict().items() if not name.endswith('num_batches_tracked')}
    )
    network.double().eval()

    def normal(images, mean, std):
        return (images - images.new_tensor(mean).view(3, 1, 1)) / images.new_tensor(std).view(3, 1, 1)

    @torch.no_grad()
    def clip(images):
        return record.clip.encode_image(normal(images, MEAN, STD))

    @torch.no_grad()
    def auxiliary(images):
        return F.adaptive_avg_pool2d(network(normal(images, AUX_MEAN, AUX_STD))[-1], 1).flatten(1)

    features = auxiliary(views.flatten(0, 1)).unflatten(0, (3, 13))
    means = F.normalize(features.mean(0), dim=-1)
    first = F.one_hot(support, 6).double().T @ means / (13 / 6)

    def zero_shot(images):
        return 100 * F.normalize(clip(images), dim=-1) @ record.prototypes.T

    def raw(images, weight):
        return F.normalize(auxiliary(images), dim=-1) @ weight.T

    def standard(logits):
        return (logits - logits.mean(1, keepdim=True)) / logits.std(1, keepdim=True)

    def factor(logits, power=0.3):
        p = logits.softmax(1)
        centred = (p - p.mean(1, keepdim=True)) / p.std(1, keepdim=True)
        return ((centred**4).mean(1, keepdim=True) / 250) ** -power

    def losses(images, labels, weight):
        z, a = zero_shot(images), standard(raw(images, weight))
        merge, alone = F.cross_entropy(z + 0.8 * factor(z) * a, labels), F.cross_entropy(a, labels)
        return 0.7 * merge + 0.3 * alone, merge, alone

    found = {
        'out.text_prototypes': record.prototypes,
        'out.support_view_features': features,
        'out.support_features': means,
        'out.adapter_init.fc.weight': first,
        'out.clip_features.test': clip(test),
        'out.aux_features.test': auxiliary(test),
        'out.zero_shot_logits.test': zero_shot(test),
        'out.aux_logits_raw.test': raw(test, first),
        'out.aux_logits.test': standard(raw(test, first)),
        'out.C.zero_shot_logits.train': zero_shot(train[:3]),
        'out.C.aux_logits.train': standard(raw(train[:3], first)),
        'out.C.fused_logits.train': zero_shot(train[:3]) + 0.8 * factor(zero_shot(train[:3])) * standard(raw(train[:3], first)),
    }
    found.update(zip(('loss.C.loss', 'loss.C.loss_merge', 'loss.C.loss_aux'), losses(train[:3], labels[:3], first)))
    weight, best, trace = nn.Parameter(first.clone()), (-1, None), dict(loss=[], lr=[])

    def after_logits(weight):
        z = zero_shot(test)
        return z + 0.8 * factor(z) * standard(raw(test, weight))

    batches = [(train[:3], labels[:3]), (train[3:], labels[3:])]
    for step, rate, loss, gradient, after in steps(weight, batches, 4, lambda x, y: losses(x, y, weight)[0]):
        trace['loss'].append(loss), trace['lr'].append(rate)
        found[f'traj.C.weight_after_step{step + 1}'] = after
        if not step:
            found['grad.C.fc.weight'] = gradient
        right = (after_logits(after).argmax(1) == test_labels).sum().item()
        if step % 2 and right > best[0]:
            best = right, after
    last = after_logits(weight)
    record.save(
        path,
        **found,
        **{f'traj.C.{name}': values for name, values in trace.items()},
        **{
            'selected.C.fc.weight': best[1],
            'out.C.fused_logits.test_after': last,
            'test.C.accuracy_after': 100 * (last.argmax(1) == test_labels).double().mean(),
        },
    )
