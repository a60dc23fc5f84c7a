"""The method as it is written down, view by view and block by block: what this project's short cuts are measured by.

It reads the weights of an :class:`MPSCLIPClassifier` and computes the same numbers, with the cost that the method's
released trainer has: one pass per view, attention and adapters as plain modules, every output in full. The value path
runs over all tokens from every tuned block on, whether a loss looks at it or not.
"""

import torch
import torch.nn.functional as F
from torch import nn


class ReferenceFormulation(nn.Module):
    """A classifier's training losses and predictions, computed the long way.

    Args:
        classifier (MPSCLIPClassifier): Gives the weights and the settings; both share the parameters.
    """

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier
        self.frozen, self.tuned = classifier.backbone.zero_shot, classifier.backbone.tuned
        blocks = self.frozen.transformer.resblocks
        trunk, adapted, _ = classifier.backbone.group_depths
        self.trunk, self.adapted, self.rest = blocks[:trunk], blocks[trunk : trunk + adapted], blocks[trunk + adapted :]

    def loss(self, views, labels):
        """Compute the weighted losses.

        Args:
            views (Sequence[Tensor]): Normalised pictures ``(B, 3, H, W)`` of each view.
            labels (Tensor): Classes ``(B,)``.

        Returns:
            dict[str, Tensor]: The losses, named as the classifier names them.
        """
        model = self.classifier
        outputs = [self._view(images) for images in views]
        losses = dict(loss_ce=F.cross_entropy(self._fused_logits(outputs), labels))
        gram, sculpt = model.gram_loss, model.sculpt_loss
        losses['loss_gram_global'] = gram.loss_weight * sum(
            mean_gram_difference(tuned[:, 0], frozen[:, 0]) for frozen, tuned, _ in outputs
        )
        losses['loss_gram_local'] = gram.loss_weight * sum(mean_gram_difference(tuned, frozen) for frozen, tuned, _ in outputs)
        text = model.text_prototypes
        text = F.normalize(text, dim=-1) if sculpt.normalize_text else text
        for layer, weight in enumerate(sculpt.layer_weights):
            features = torch.cat([tuned[:, 0] if layer == 0 else chains[-layer] for _, tuned, chains in outputs])
            loss = contrast(features, labels.repeat(len(views)), text, sculpt.temperature * sculpt.temperature_factors[layer])
            losses[f'loss_sculpt_layer{layer}'] = sculpt.loss_weight * weight * loss
        return losses

    def predict(self, images):
        """Return the fused logits ``(B, C)`` of normalised pictures ``(B, 3, H, W)``."""
        tokens = self._run_trunk(images)
        return self._fused_logits([(self._zero_shot(tokens), self._tuned(tokens)[0], None)])

    def _fused_logits(self, outputs):
        text = F.normalize(self.classifier.text_prototypes, dim=-1)
        scale, alpha = self.classifier.logit_scale, self.classifier.head.alpha
        frozen, tuned = (sum(scale * output[branch][:, 0] @ text.T for output in outputs) / len(outputs) for branch in (0, 1))
        return alpha * tuned + (1 - alpha) * frozen

    def _view(self, images):
        """Return all frozen tokens, all tuned tokens and [CLS] of the value path from every tuned block on."""
        tokens = self._run_trunk(images)
        frozen = self._zero_shot(tokens)
        tuned, inputs = self._tuned(tokens)
        return frozen, tuned, [self._value_path(state, start) for start, state in enumerate(inputs)]

    @torch.no_grad()
    def _run_trunk(self, images):
        tokens = self.frozen._embeds(images)
        for block in self.trunk:
            tokens = whole_block(block, tokens)
        return tokens

    @torch.no_grad()
    def _zero_shot(self, tokens):
        for block in [*self.adapted, *self.rest]:
            tokens = whole_block(block, tokens)
        return unit(self.frozen.ln_post(tokens) @ self.frozen.proj)

    def _tuned(self, tokens):
        inputs = []
        for block, adapter in zip(self.adapted, self.tuned.adapters):
            tokens = whole_block(block, tokens) + adapter(tokens)
        for block in self.tuned.blocks:
            inputs.append(tokens)
            tokens = whole_block(block, tokens)
        return unit(self.tuned.ln_post(tokens) @ self.tuned.proj), inputs

    def _value_path(self, tokens, start):
        for block in self.tuned.blocks[start:]:
            attention = block.attn
            joint = F.linear(block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias)
            tokens = tokens + attention.out_proj(joint.chunk(3, dim=-1)[2])
            tokens = tokens + block.mlp(block.ln_2(tokens))
        return unit(self.tuned.ln_post(tokens[:, 0]) @ self.tuned.proj)


def whole_block(block, tokens):
    """Run a residual attention block through its modules."""
    normed = block.ln_1(tokens)
    tokens = tokens + block.attn(normed, normed, normed, need_weights=False)[0]
    return tokens + block.mlp(block.ln_2(tokens))


def unit(features):
    """Scale features to unit norm, in float32."""
    features = features.float()
    return features / features.norm(dim=-1, keepdim=True)


def mean_gram_difference(tuned, frozen):
    """Return the mean absolute difference of the Gram matrices of features ``(..., N, D)``."""
    with torch.autocast(tuned.device.type, enabled=False):
        return (frozen @ frozen.mT - tuned @ tuned.mT).abs().mean()


def contrast(queries, labels, text, temperature):
    """Supervised contrastive loss over one matrix of queries ``(Q, D)`` against queries and texts ``(C, D)``."""
    with torch.autocast(queries.device.type, enabled=False):
        support = torch.cat([queries, text])
        support_labels = torch.cat([labels, torch.arange(len(text), device=labels.device)])
        others = torch.ones(len(queries), len(support), device=queries.device)
        others[:, : len(queries)].fill_diagonal_(0)
        positives = (labels[:, None] == support_labels[None]).float() * others
        cosines = queries @ support.T / temperature
        cosines = cosines - cosines.max(dim=1, keepdim=True).values.detach()
        log_likelihood = cosines - (cosines.exp() * others).sum(1, keepdim=True).log()
        return -((positives * log_likelihood).sum(1) / positives.sum(1).clamp(min=1)).mean()
