"""The small network beside the mini CLIP: how it is trained, and the weights that are delivered."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from mmengine.config import Config
from tiny_run import ROOT, call

from mmpretrain_mps import mini_clip
from mmpretrain_mps.mini_clip import self_supervision, zero_shot
from mmpretrain_mps.mini_clip.batches import BatchMaker
from mmpretrain_mps.models.loading.auxiliary import AuxiliaryNetwork, ChannelStatistics

TOOL = ROOT / 'tools' / 'pretrain_mini_auxiliary.py'
SMALL = self_supervision.RECIPE._replace(
    steps=2, warmup=1, drawn_digits=4, font_digits=2, letters=3, symbols=3, shapes=4, drawn_per_digit=2
)
HALVES = ChannelStatistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    return self_supervision.train(SMALL, tmp_path_factory.mktemp('trained'))


def test_a_training_moves_all_weights_and_repeats_with_its_seed(trained, tmp_path):
    after, before = trained.network.state_dict(), trained.before.state_dict()
    assert all(not torch.equal(after[name], before[name]) for name in after)
    assert len(trained.losses) == 2 and np.isfinite(trained.losses).all() and not trained.network.training
    torch.manual_seed(9)
    again = self_supervision.train(SMALL, tmp_path / 'again')
    assert all(torch.equal(value, again.network.state_dict()[name]) for name, value in after.items())
    other = self_supervision.train(SMALL._replace(seed=1), tmp_path / 'other')
    assert not torch.equal(other.before.conv1.weight, trained.before.conv1.weight)


def test_no_label_reaches_the_training():
    views = self_supervision.Views(BatchMaker(SMALL, split='train_basic'), steps=2)
    assert len(views) == 2 and set(views[0]) == {'inputs', 'data_samples'} and views[0]['data_samples'] is None
    assert [view.shape for view in views[0]['inputs']] == [(16, 3, 32, 32)] * 2


def test_weights_are_written_in_half_precision_and_read_back(trained, tmp_path):
    self_supervision.save(trained.network, tmp_path / 'network.safetensors')
    state, found = trained.network.state_dict(), self_supervision.load(tmp_path / 'network.safetensors').state_dict()
    assert all(
        torch.equal(found[name], value.half().float())
        for name, value in state.items()
        if not name.endswith('num_batches_tracked')
    )


def test_weights_that_half_precision_cannot_hold_are_refused(tmp_path):
    network = self_supervision.load(mini_clip.auxiliary_weights())
    network.bn1.running_var[0] = 1e5
    with pytest.raises(ValueError, match='1 arrays do not fit half precision, the first is backbone.bn1.running_var'):
        self_supervision.save(network, tmp_path / 'network.safetensors')
    assert not (tmp_path / 'network.safetensors').exists()


def test_scores_are_accuracies_of_pictures_that_were_left_out():
    labels = np.arange(50) % 2
    apart = torch.from_numpy(np.stack([labels, 1 - labels], 1) + np.random.RandomState(0).randn(50, 2) / 50)
    # All but the odd ones out lie on the other side of their own class: nine of ten are right by the mean.
    odd = apart.clone()
    odd[:5] = apart[:5].flip(1)
    found = self_supervision.scores(dict(apart=apart, odd=odd), labels)
    assert found['apart'] == dict(nearest_class_mean=100, nearest_neighbour=100, linear_probe=100)
    assert found['odd']['nearest_class_mean'] == 90


# What is delivered.


def by_hand(pictures):
    """Compute the pooled features of the delivered weights with plain functions of torch."""
    state = {name: value.float() for name, value in safetensors.torch.load_file(mini_clip.auxiliary_weights()).items()}

    def convolve(x, conv, norm, stride=1):
        kernel = state[f'backbone.{conv}.weight']
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        mean, var, weight, bias = (
            state[f'backbone.{norm}.{part}'].view(-1, 1, 1) for part in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    x = convolve(pictures, 'conv1', 'bn1').relu()
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            name, stride = f'layer{layer}.{block}', 2 - block
            short = convolve(x, f'{name}.downsample.0', f'{name}.downsample.1', stride) if block == 0 else x
            x = convolve(x, f'{name}.conv1', f'{name}.bn1', stride).relu()
            x = (convolve(x, f'{name}.conv2', f'{name}.bn2') + short).relu()
    return x.mean((2, 3))


def test_the_delivered_network_sees_pixels_from_minus_one_to_one_whatever_clip_sees():
    pixels = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    given = ChannelStatistics((0.4, 0.3, 0.2), (0.3, 0.2, 0.1))
    weights = dict(checkpoint='embedded', prefix='backbone')
    network = AuxiliaryNetwork(self_supervision.NETWORK, weights, given, HALVES, (32, 32))
    found = network((pixels - torch.tensor(given.mean).view(3, 1, 1)) / torch.tensor(given.std).view(3, 1, 1))
    expected = by_hand(2 * pixels - 1)
    assert network.dims == 128 and expected.std(0).max() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('data', ['digits', 'custom'])
def test_amu_tuning_of_the_mini_clip_takes_it(data):
    folder = ROOT / 'configs' / 'amu_tuning'
    model = Config.fromfile(folder / f'amu_tuning_mini_16shot_{data}.py').model
    assert model.auxiliary == self_supervision.NETWORK and model.auxiliary_weights.checkpoint == 'embedded'
    assert ChannelStatistics(model.auxiliary_mean, model.auxiliary_std) == HALVES
    large = Config.fromfile(folder / f'amu_tuning_vitb16_16shot_{data.replace("digits", "imagenet")}.py').model
    assert large.auxiliary == dict(type='ResNet', depth=50) and 'auxiliary_mean' not in large


def test_the_card_tells_what_the_delivered_weights_do():
    card = json.loads((ROOT / 'results' / 'mini_auxiliary_card.json').read_text())
    path = mini_clip.auxiliary_weights()
    assert (card['bytes'], card['config']) == (path.stat().st_size, json.loads(json.dumps(self_supervision.moco_v3())))
    assert card['recipe'] == self_supervision.RECIPE._asdict()
    assert all(value.dtype == torch.float16 for value in safetensors.torch.load_file(path).values())
    images, labels = zero_shot.digits_images()
    rows = zero_shot.digits_halves()['train']
    vectors = F.normalize(by_hand(zero_shot.preprocess(images[rows])), dim=-1)
    found, recorded = self_supervision.scores(dict(x=vectors), labels[rows])['x'], card['digits_train_half_percent']
    assert all(found[judge] == pytest.approx(recorded['after'][judge], abs=0.5) for judge in found)
    assert all(recorded['after'][judge] > recorded['before'][judge] for judge in found)


def test_the_tool_writes_weights_and_a_card(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(self_supervision, 'RECIPE', SMALL)
    assert call(TOOL, '--out', tmp_path, '--steps', '3') == 0
    card = json.loads((tmp_path / 'card.json').read_text())
    assert card['bytes'] == (tmp_path / 'auxiliary_resnet18.safetensors').stat().st_size < 1.5e6
    assert card['recipe']['steps'] == 3 and set(card['digits_train_half_percent']) == {'before', 'after', 'pixels'}
    assert (tmp_path / 'card.json').read_text() in capsys.readouterr().out


def test_a_training_that_ends_before_the_learning_rate_has_risen_is_refused(tmp_path, capsys):
    assert call(TOOL, '--out', tmp_path / 'out', '--steps', '50') == 2
    assert '--steps 50: expected more than the 50 in which the learning rate rises' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
