"""How unsure zero-shot predictions are, and logits on a common scale: the fusion of AMU-Tuning.

`AMU-Tuning <https://arxiv.org/abs/2404.08958>`_, Section 3.
"""

import math

import torch

UNCERTAINTIES = ('none', 'moment', 'entropy', 'energy', 'max', 'max-min', 'var', 'top5')
# The fourth moment of a certain prediction among 1000 classes is 996; the release divides by this whatever their
# number.
MOMENT_SCALE = 250.0


def uncertainty(
    logits: torch.Tensor, kind: str = 'moment', power: float = 0.4, moment_scale: float = MOMENT_SCALE
) -> torch.Tensor:
    r"""Measure how unsure predictions are; without parameters and without gradient.

    With :math:`p = \mathrm{softmax}(\ell)` and the power :math:`k`: ``'none'`` 1; ``'moment'`` :math:`(m_4 / s)^{-k}`
    with :math:`m_4 = \mathrm{mean}_c ((p_c - \bar p) / \mathrm{std}\, p)^4`; ``'entropy'`` :math:`\exp(k H(p) / \log
    C)`; ``'energy'`` :math:`(\max p + 2 \log \sum_c e^{p_c / 2})^{-k}`, as the released code computes it (a
    log-sum-exp would not add the maximum once more); ``'max'`` :math:`(\max p)^{-k}`; ``'max-min'``
    :math:`(\max p - \min p)^{-k}`; ``'var'`` the standard deviation of :math:`p`, without the power; ``'top5'`` the
    largest minus the fifth largest, to the power :math:`-k`. Standard deviations are unbiased. The paper has the moment
    of the logits, the released code, which is followed here, that of the probabilities.

    Args:
        logits (Tensor): Zero-shot logits ``(..., C)``.
        kind (str): One of :data:`UNCERTAINTIES`.
        power (float): :math:`k`, unitless.
        moment_scale (float): :math:`s`, unitless. :math:`m_4` is below ``C``: with few classes that of the release
            makes every prediction unsure.

    Returns:
        Tensor: ``(..., 1)``; a factor on the logit bias.

    Raises:
        ValueError: If the kind is unknown, or there are too few classes for it.
    """
    _check_uncertainty(kind, logits.shape[-1])
    if kind == 'none':
        return logits.new_ones(*logits.shape[:-1], 1)
    p = logits.detach().softmax(-1)
    if kind == 'moment':
        centred = (p - p.mean(-1, keepdim=True)) / p.std(-1, keepdim=True)
        return (centred.pow(4).mean(-1, keepdim=True) / moment_scale).pow(-power)
    if kind == 'entropy':
        return (power * torch.special.entr(p).sum(-1, keepdim=True) / math.log(p.shape[-1])).exp()
    if kind == 'energy':
        return (p.amax(-1, keepdim=True) + 2 * (p / 2).logsumexp(-1, keepdim=True)).pow(-power)
    if kind == 'var':
        return p.std(-1, keepdim=True)
    highest = p.amax(-1, keepdim=True)
    if kind == 'max-min':
        highest = highest - p.amin(-1, keepdim=True)
    elif kind == 'top5':
        highest = highest - p.topk(5, dim=-1).values[..., 4:]
    return highest.pow(-power)


def standardize(logits: torch.Tensor) -> torch.Tensor:
    """Subtract the mean over the classes and divide by the unbiased standard deviation, with the gradient of both.

    Args:
        logits (Tensor): ``(..., C)``.

    Returns:
        Tensor: Same shape.

    Raises:
        ValueError: If there is one class only.
    """
    if logits.shape[-1] < 2:
        raise ValueError('logits of 1 class have no spread to be divided by; expected 2 classes or more')
    return (logits - logits.mean(-1, keepdim=True)) / logits.std(-1, keepdim=True)


def _check_uncertainty(kind, num_classes):
    if kind not in UNCERTAINTIES:
        raise ValueError(f'the uncertainty must be one of {UNCERTAINTIES}, but is {kind!r}')
    least = 5 if kind == 'top5' else 1 if kind == 'none' else 2
    if num_classes < least:
        raise ValueError(f'the uncertainty {kind!r} needs {least} classes or more, but there are {num_classes}')
