import torch

from mmpretrain_mps.models.caches.fingerprint import fingerprint


def test_depends_on_names_shapes_and_values_alone():
    weights = dict(a=torch.arange(6.0).reshape(2, 3), b=torch.ones(2))
    same = dict(b=torch.ones(2, dtype=torch.float16), a=torch.arange(6.0).reshape(3, 2).T.contiguous().T.reshape(2, 3))
    assert fingerprint(weights) == fingerprint(same)
    assert fingerprint(weights) != fingerprint(dict(weights, b=torch.tensor([1.0, 1.0 + 1e-6])))
    assert fingerprint(weights) != fingerprint(dict(a=weights['a'], c=weights['b']))
    assert fingerprint(weights) != fingerprint(dict(weights, a=weights['a'].reshape(3, 2)))
