"""Every method by its name: fitted on a few pictures, saved, loaded, exported, given further classes where it can take them."""

from unittest import mock

import numpy as np
import pytest
import torch
from own_pictures import digits

from mmpretrain_mps.apis import FewShotClassifier
from mmpretrain_mps.utils.methods import method_names

SHORT = dict(train_cfg__max_epochs=1)
SETTINGS = {
    'amu_tuning': dict(SHORT, train_cfg__search=None),
    'clip_lora': dict(train_cfg__max_iters=1),
    'linear_probe': {},
    'tac': dict(SHORT, model__num_clusters=2),
    'tip_adapter': dict(train_cfg__passes=1),
    'tip_adapter_f': dict(SHORT, train_cfg__passes=1),
    'zero_shot': {},
}
# They have learned something of each class.
OF_CLASSES = ('amu_tuning', 'linear_probe')
# What they compute beside a plain CLIP and a linear layer.
NOT_PLAIN = {
    'amu_tuning': 'a second network',
    'clip_adapter': 'its adapter, a network',
    'ivlp': 'its prompt vectors',
    'mps': r'its adapters run beside the blocks 4 to 7 .*=\(8, 0, 4\) it has none',
    'promptsrc': 'its prompt vectors',
    'tac': 'its prompt vectors',
    'tip_adapter': 'its memory',
    'tip_adapter_f': 'its memory',
}


@pytest.fixture(scope='module', autouse=True)
def unformatted():
    """mmengine formats the text of the whole config again and again, which takes longer than these runs."""
    with mock.patch('mmengine.config.config.FormatCode', lambda text, **_: (text, True)):
        yield


def fitted(method, pictures, labels):
    settings = SETTINGS.get(method, SHORT)
    return FewShotClassifier('mps-mini', 'embedded', method, device='cpu', verbose=0, **settings).fit(pictures, labels)


@pytest.mark.parametrize('method', method_names())
def test_it_is_fitted_saved_loaded_and_given_classes(method, tmp_path):
    pictures, labels = digits(2)
    classifier = fitted(method, pictures, labels)
    found = classifier.logits(pictures)
    assert found.fused.shape == (6, 3) and all(part.isfinite().all() for part in found)
    np.testing.assert_allclose(found.zero_shot_features.norm(dim=1), 1, rtol=1e-4)
    classifier.save(tmp_path / 'model.pth')
    loaded = FewShotClassifier.load(tmp_path / 'model.pth', device='cpu', verbose=0)
    assert loaded.method == method and all(map(torch.equal, loaded.logits(pictures), found))
    if method in OF_CLASSES:
        with pytest.raises(ValueError, match='has learned something of each of its 3 classes'):
            loaded.add_classes(['four'])
        return
    more = loaded.add_classes(['four', 'five']).logits(pictures)
    assert loaded.classes_.tolist() == ['one', 'three', 'two', 'four', 'five'] and more.fused.shape == (6, 5)
    # What was learned of the others stays, but for what refines all texts together.
    torch.testing.assert_close(more.fused[:, :3], found.fused, rtol=1e-4, atol=1e-3)
    with pytest.raises(ValueError, match="the class 'four' is there already"):
        loaded.add_classes(['four'])
    loaded.save(tmp_path / 'more.pth')
    again = FewShotClassifier.load(tmp_path / 'more.pth', device='cpu', verbose=0)
    assert all(map(torch.equal, again.logits(pictures), more))


@pytest.mark.slow  # the exporters take ten seconds and more of each
@pytest.mark.parametrize('method', method_names())
def test_its_files_predict_what_it_does(method, tmp_path):
    pictures, labels = digits(2)
    classifier = fitted(method, pictures, labels)
    for name, form in (('model.onnx', 'onnx'), ('model.pt2', 'torch_export'), ('model.safetensors', 'open_clip')):
        if form == 'open_clip' and method in NOT_PLAIN:
            with pytest.raises(ValueError, match=f'{method} cannot be written as a plain CLIP: .*{NOT_PLAIN[method]}'):
                classifier.export(tmp_path / name, form, pictures)
        else:  # which compares them
            assert classifier.export(tmp_path / name, form, pictures)[0] == tmp_path / name
