"""What zero-shot features depend on, told apart."""

import functools
import importlib
import os
import re

import numpy as np
import pytest
from mmengine.dataset import Compose
from six_pictures import Pictures, build_classifier

from mmpretrain_mps.models.caches import identity


@pytest.fixture
def build(tmp_path):
    return functools.partial(build_classifier, tmp_path)


@pytest.fixture
def model(build):
    return build()


def test_the_facts_of_the_model_tell_weights_normalisation_and_activation_apart(build):
    facts = [identity.model_facts(build()), identity.model_facts(build(seed=1))]
    for change in (
        lambda model: model.data_preprocessor.mean.add_(1),
        lambda model: setattr(model.data_preprocessor, '_channel_conversion', True),
        lambda model: setattr(model, 'quick_gelu', not model.quick_gelu),
    ):
        model = build()
        change(model)
        facts.append(identity.model_facts(model))
    assert len({str(fact) for fact in facts}) == 5
    assert identity.model_facts(build()) == facts[0]


@pytest.mark.parametrize('value', [np.array([object()]), lambda: 1, iter([1])], ids=['objects', 'lambda', 'iterator'])
def test_what_cannot_be_seen_has_no_plain_form(value):
    with pytest.raises(TypeError):
        identity.plain(dict(value=value))


TRANSFORM = """
from mmcv.transforms import BaseTransform
FACTOR = 1
class Base(BaseTransform):
    shift = 1
class Step(Base):
    limits = dict(low=0)
    def __init__(self):
        self.own = 1
    def transform(self, results):
        return results
def step(results, scale=1):
    return results
"""


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """Write a module that is no part of this package, older than this process, and import it."""

    def make(source=TRANSFORM, age=3600):
        folder = tmp_path / os.urandom(8).hex()
        folder.mkdir()
        (folder / 'other_transforms.py').write_text(source)
        modified = os.stat(folder).st_mtime - age
        os.utime(folder / 'other_transforms.py', (modified, modified))
        with monkeypatch.context() as patch:
            patch.syspath_prepend(folder)
            patch.delitem(identity.sys.modules, 'other_transforms', raising=False)
            module = importlib.import_module('other_transforms')
        monkeypatch.setitem(identity.sys.modules, 'other_transforms', module)
        return module

    return make


def key_of(model, step):
    return identity.zero_shot_key(model, Pictures(pipeline=[step]), 'pictures', 'full')


def test_the_code_and_class_attributes_of_foreign_transforms_are_in_the_key(model, foreign):
    first = key_of(model, foreign().Step())
    assert first is not None and key_of(model, foreign().Step()) == first
    keys = {first}
    for old, new in [
        ('return results\ndef', 'return dict(results)\ndef'),
        ('low=0', 'low=1'),
        ('shift = 1', 'shift = 2'),
        ('FACTOR = 1', 'FACTOR = 2'),
        ('self.own = 1', 'self.own = 2'),
    ]:
        keys.add(key_of(model, foreign(TRANSFORM.replace(old, new)).Step()))
    module = foreign()
    module.Base.shift = 3  # set from outside: the source stays
    keys.add(key_of(model, module.Step()))
    assert len(keys) == 7 and None not in keys
    functions = [key_of(model, foreign(source).step) for source in (TRANSFORM, TRANSFORM.replace('scale=1', 'scale=2'))]
    assert None not in functions and functions[0] != functions[1]


def test_foreign_code_that_cannot_be_had_or_changed_since_gives_no_key(model, foreign):
    made = type('Step', (foreign().Step,), dict(__module__='other_transforms', __qualname__='Made'))
    assert key_of(model, made()) is None
    assert key_of(model, foreign(age=-3600).Step()) is None
    module = foreign()
    module.Step.pattern = re.compile('x')
    assert key_of(model, module.Step()) is None


def test_a_foreign_model_is_another_one_by_its_code(build, foreign):
    source = 'from mmpretrain_mps.models import DualBranchViT\nclass Other(DualBranchViT):\n    pass'
    keys = set()
    for more in ('', '\n    factor = 2'):
        model = build()
        keys.add(key_of(model, np.flip))
        model.backbone.__class__ = foreign(source + more).Other
        keys.add(key_of(model, np.flip))
    assert len(keys) == 3 and None not in keys


class Text(str):
    pass


def test_what_partials_and_methods_hold_is_seen():
    values = [
        functools.partial(np.flip, axis=0),
        functools.partial(np.flip, axis=1),
        functools.partial(np.flip, 0),
        Compose([]).__call__,
        Compose([np.flip]).__call__,
    ]
    assert len({str(identity.plain(value)) for value in values}) == len(values)
    with pytest.raises(TypeError, match='a Text has no plain form'):
        identity.plain(Text('a'))
