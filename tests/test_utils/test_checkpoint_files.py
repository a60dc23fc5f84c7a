"""Plain data out, foreign pickles refused."""

from collections import OrderedDict, deque, namedtuple
from enum import IntEnum
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmpretrain_mps.utils import check_checkpoint, read_checkpoint, to_plain
from mmpretrain_mps.utils.checkpoint import history_from_plain


class Foreign:
    """Unpickling this would need its class."""


def save(value, folder):
    path = folder / 'file.pth'
    torch.save(value, path)
    return path


def test_what_is_plain_loads_under_weights_only(tmp_path):
    pair = namedtuple('pair', 'a b')
    kind = IntEnum('kind', 'A')
    value = dict(
        number=np.float64(0.5),
        flag=np.bool_(True),
        array=np.arange(3),
        path=Path('x/y'),
        queue=deque([1, 2]),
        pair=pair(1, np.int64(2)),
        kind=kind.A,
        nothing=None,
        parameter=torch.nn.Parameter(torch.ones(2)),
        history=HistoryBuffer([1.0, 2.0], [1, 1]),
    )
    loaded = torch.load(save(to_plain(value), tmp_path), weights_only=True)
    assert loaded['number'] == 0.5 and type(loaded['number']) is float and loaded['flag'] is True
    assert loaded['array'].tolist() == [0, 1, 2]
    assert (loaded['path'], loaded['queue'], loaded['pair'], loaded['kind']) == (str(Path('x/y')), [1, 2], (1, 2), 1)
    assert type(loaded['parameter']) is torch.Tensor


class OnDevice:
    """A tensor on a GPU, which numpy cannot read."""

    def __init__(self, tensor):
        self.tensor = tensor

    def numpy(self):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def cpu(self):
        return self.tensor


def test_a_log_history_that_was_read_to_a_gpu_comes_back(tmp_path):
    plain = to_plain(HistoryBuffer([1.0, 2.0], [1, 1]))
    plain['history_buffer'].update({name: OnDevice(plain['history_buffer'][name]) for name in ('values', 'counts')})
    assert history_from_plain(plain).mean(2) == 1.5


def test_a_log_history_survives_the_way_through_a_file(tmp_path):
    history = HistoryBuffer(max_length=50)
    for value in (0.1, 0.2, 0.4):
        history.update(value)
    back = history_from_plain(torch.load(save(to_plain(history), tmp_path), weights_only=True))
    assert back.mean(2) == history.mean(2) and back.max_length == 50
    for ours, theirs in zip(back.data, history.data):
        assert ours.dtype == theirs.dtype and (ours == theirs).all()
    back.update(0.8)
    assert back.current() == 0.8


def test_a_state_dict_keeps_its_order_and_the_versions_of_its_modules():
    state = torch.nn.BatchNorm1d(2).state_dict()
    plain = to_plain(state)
    assert isinstance(plain, OrderedDict) and list(plain) == list(state) and plain._metadata == state._metadata


def test_an_object_without_a_plain_form_is_named():
    with pytest.raises(TypeError, match=r"meta\['a'\]\[1\] is a .*Foreign, which has no plain form"):
        to_plain({'a': [1, Foreign()]}, 'meta')


def test_a_foreign_pickle_is_refused_with_its_reason(tmp_path):
    path = save({'model': Foreign()}, tmp_path)
    with pytest.raises(ValueError, match=r'file\.pth is refused: it is not plain data.*GLOBAL .*Foreign') as caught:
        check_checkpoint(path)
    assert 'add_safe_globals' not in str(caught.value)


def test_code_in_a_pickle_does_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return Path.touch, (tmp_path / 'ran',)

    path = save(Attack(), tmp_path)
    with pytest.raises(ValueError, match='is refused'):
        read_checkpoint(path)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('content', [b'', b'hello world', b'PK\x03\x04 and then nothing'])
def test_a_broken_file_is_named_with_its_size(tmp_path, content):
    path = tmp_path / 'broken.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf'broken\.pth \({len(content)} bytes\) cannot be read'):
        check_checkpoint(path)


def test_half_a_checkpoint_is_refused(tmp_path):
    path = save({'weight': torch.zeros(1000)}, tmp_path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match='incomplete'):
        check_checkpoint(path)


def test_a_missing_file_is_answered_with_what_lies_beside_it(tmp_path):
    save({}, tmp_path)
    with pytest.raises(FileNotFoundError, match=r'epoch_9\.pth does not exist; its folder has file\.pth'):
        check_checkpoint(tmp_path / 'epoch_9.pth')


def test_a_file_of_one_tensor_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match='holds a Tensor, expected a dict'):
        read_checkpoint(save(torch.zeros(1), tmp_path))
