import argparse
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from mmpretrain_mps.utils.foreign_weights import read_weights

WEIGHTS = {'conv.weight': torch.randn(4, 3), 'bn.num_batches_tracked': torch.tensor(7), 'half': torch.randn(5).half()}


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def same(found):
    assert list(found) == list(WEIGHTS)
    for name, value in WEIGHTS.items():
        assert torch.equal(found[name], value) and found[name].dtype == value.dtype


@pytest.mark.parametrize('zip_format', [True, False])
def test_weights_are_read_and_what_lies_beside_them_is_left_out(tmp_path, zip_format):
    beside = dict(
        message_hub=dict(loss=HistoryBuffer([1.0], [1])),
        args=argparse.Namespace(lr=0.1),
        seed=np.float64(1),
        noise=np.zeros(3),
        optimizer=dict(state={0: dict(momentum=torch.ones(2))}),
        epoch=3,
    )
    torch.save(dict(beside, state_dict=WEIGHTS), tmp_path / 'file.pth', _use_new_zipfile_serialization=zip_format)
    same(read_weights(tmp_path / 'file.pth'))


def test_a_bare_state_dict_and_parameters_are_read(tmp_path):
    torch.save(WEIGHTS, tmp_path / 'bare.pth')
    same(read_weights(tmp_path / 'bare.pth'))
    torch.save(dict(state_dict=dict(weight=torch.nn.Parameter(torch.ones(2)), note='text')), tmp_path / 'parameter.pth')
    assert read_weights(tmp_path / 'parameter.pth')['weight'].tolist() == [1, 1]


def test_a_file_of_safetensors_is_read(tmp_path):
    save_file(WEIGHTS, tmp_path / 'file.safetensors')
    found = read_weights(tmp_path / 'file.safetensors')
    same({name: found[name] for name in WEIGHTS})
    (tmp_path / 'cut.safetensors').write_bytes((tmp_path / 'file.safetensors').read_bytes()[:50])
    with pytest.raises(ValueError, match=r'cut.safetensors \(50 bytes\) is not readable as a file of weights'):
        read_weights(tmp_path / 'cut.safetensors')


@pytest.mark.parametrize('zip_format', [True, False])
def test_code_of_the_file_does_not_run(tmp_path, zip_format):
    content = dict(state_dict=WEIGHTS, evil=Bomb(str(tmp_path / 'made')), call=eval)
    torch.save(content, tmp_path / 'file.pth', _use_new_zipfile_serialization=zip_format)
    same(read_weights(tmp_path / 'file.pth'))
    assert not (tmp_path / 'made').exists()
    (tmp_path / 'plain.pkl').write_bytes(pickle.dumps(Bomb(str(tmp_path / 'made'))))
    with pytest.raises(ValueError, match='plain.pkl'):
        read_weights(tmp_path / 'plain.pkl')
    assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize('content', [[1, 2], dict(state_dict=dict(a=1)), dict(state_dict=[torch.ones(1)]), torch.ones(2)])
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / 'file.pth')
    with pytest.raises(ValueError, match='holds no weights by name, expected a state dict'):
        read_weights(tmp_path / 'file.pth')


def test_what_torch_did_not_write_is_refused(tmp_path):
    (tmp_path / 'file.pth').write_text('no weights at all')
    with pytest.raises(ValueError, match=r'file.pth \(17 bytes\) is not readable as a file of weights'):
        read_weights(tmp_path / 'file.pth')
