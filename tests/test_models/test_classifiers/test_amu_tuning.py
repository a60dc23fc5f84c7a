import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmpretrain.models.backbones import ResNet
from mmpretrain.structures import DataSample
from tiny_clip import NAMES, save_tiny_clip

from mmpretrain_mps.engine.preflight import check_inputs
from mmpretrain_mps.models import AMUTuningClassifier
from mmpretrain_mps.models.fusion.uncertainty import uncertainty
from mmpretrain_mps.models.loading import clip_loader

NETWORK = dict(type='ResNet', depth=50, base_channels=4, stem_channels=4)
GENERATOR = torch.Generator().manual_seed(4)
PIXELS = torch.randint(0, 256, (6, 3, 16, 16), generator=GENERATOR, dtype=torch.uint8)
SAMPLES = [DataSample().set_gt_label(index % 3) for index in range(6)]
SHOTS, LABELS = torch.randn(7, 3, 16, 16, generator=GENERATOR), torch.tensor([2, 0, 1, 2, 0, 2, 2])
URL = 'https://weights.example/folder/network.pth'


@pytest.fixture(scope='session')
def network():
    """A small ResNet whose features are not all alike."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = ResNet(depth=50, base_channels=4, stem_channels=4)
        net.init_weights()
    net.eval()
    return net


@pytest.fixture(scope='session')
def weights(network, tmp_path_factory):
    """A file as MoCo v3 of Facebook has them: a prefix, and a projector that nobody wants."""
    path = tmp_path_factory.mktemp('auxiliary') / 'network.pth'
    state = {f'module.base_encoder.{name}': value for name, value in network.state_dict().items()}
    torch.save(
        dict(
            state_dict={
                **state,
                'module.base_encoder.fc.0.weight': torch.zeros(3, 3),
                'module.momentum_encoder.conv1.weight': torch.zeros(1),
            },
            epoch=1000,
        ),
        path,
    )
    return dict(checkpoint=str(path), prefix='module.base_encoder')


@pytest.fixture
def build(tiny_clip, weights):
    return lambda **settings: AMUTuningClassifier(
        tiny_clip, None, **{'auxiliary': NETWORK, 'auxiliary_weights': weights, 'class_names': NAMES, **settings}
    )


@pytest.fixture
def started(build):
    def start(**settings):
        model = build(**settings)
        model.start_from(model.start_features(SHOTS), LABELS)
        return model

    return start


def prepared(model):
    return model.data_preprocessor(dict(inputs=[PIXELS], data_samples=None))['inputs'][0]


def test_the_other_network_sees_the_same_crop_in_its_own_normalisation(build, network):
    model = build()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = network((PIXELS / 255 - mean) / std)[-1].mean((2, 3))
    found = model.frozen_features(prepared(model))
    torch.testing.assert_close(found.auxiliary, expected, rtol=1e-4, atol=1e-4)
    assert found.auxiliary.shape == (6, 128) and found.auxiliary.std(0).max() > 1e-3
    torch.testing.assert_close(found.cls, model.backbone(prepared(model)).cls)


def test_the_layer_starts_from_class_sums_over_the_mean_number_of_pictures(started):
    model = started()
    unit = F.normalize(model.auxiliary(SHOTS), dim=-1)
    for label in range(3):
        torch.testing.assert_close(model.auxiliary_weight[label], unit[label == LABELS].sum(0) / (7 / 3))


@pytest.mark.parametrize('kind', ['none', 'moment'])
def test_logits_and_losses_are_those_of_the_formula(started, kind):
    model = started(uncertainty=kind, uncertainty_power=0.3, fused_weight=0.7, head=dict(alpha=0.8))
    images = prepared(model)
    features = model.frozen_features(images)
    z = 100 * F.normalize(features.cls, dim=-1) @ F.normalize(model.text_prototypes, dim=-1).T
    b = F.normalize(features.auxiliary, dim=-1) @ model.auxiliary_weight.T
    a = (b - b.mean(1, keepdim=True)) / b.std(1, keepdim=True)
    fused = z + 0.8 * uncertainty(z, kind, 0.3) * a
    torch.testing.assert_close(model(images), fused)
    losses = model([images], SAMPLES, mode='loss')
    labels = torch.arange(6) % 3
    torch.testing.assert_close(losses['loss_ce'], 0.7 * F.cross_entropy(fused, labels))
    torch.testing.assert_close(losses['loss_auxiliary'], 0.3 * F.cross_entropy(a, labels))
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is not None] == ['auxiliary_weight']


def test_the_second_branch_can_be_switched_off(started):
    model = started(fused_weight=1.0)
    assert {name for name in model([prepared(model)], SAMPLES, mode='loss') if 'loss' in name} == {'loss_ce'}


def test_kept_features_hold_those_of_both_networks(started):
    model = started()
    views = [prepared(model), prepared(model).flip(-1)]
    kept = model.frozen_features(torch.cat(views))
    assert kept.cls.shape == (12, 8) and kept.auxiliary.shape == (12, 128)
    for name, loss in model(views, SAMPLES, mode='loss').items():
        torch.testing.assert_close(model(kept, SAMPLES, mode='loss')[name], loss)


def test_the_other_network_stays_what_it_is(started, network):
    model = started()
    before = model.auxiliary.sha256()
    model.init_weights()  # as mmengine does when a training starts
    model.train()
    model([prepared(model)], SAMPLES, mode='loss')
    model.auxiliary._fingerprint = None
    assert model.auxiliary.sha256() == before and not any(module.training for module in model.auxiliary.modules())
    assert not any(parameter.requires_grad for parameter in model.auxiliary.parameters())


def test_a_search_is_over_the_power_where_there_is_one(started):
    model = started(uncertainty='moment')
    features, labels = model.frozen_features(prepared(model)), torch.arange(6) % 3
    for row, power in enumerate((0.2, 0.9)):
        for column, alpha in enumerate((0.1, 4.0)):
            model.set_fusion(power, alpha)
            expected = (model(prepared(model)).argmax(1) == labels).sum()
            assert model.count_right(features, labels, [0.2, 0.9], [0.1, 4.0])[row, column] == expected
    assert model.inner_matters and not started(uncertainty='none').inner_matters


def test_other_classes_are_refused_and_some_of_its_own_are_standardised_among_themselves(started):
    model = started()
    (texts,) = model.encode_classes([(('river', 'lake'), ('a {}.',))])
    with pytest.raises(ValueError, match='AMUTuningClassifier predicts the classes that it was trained on'):
        with model.with_classes(texts, ('river', 'lake')):
            pass
    images = prepared(model)
    raw = F.normalize(model.auxiliary(images), dim=-1) @ model.auxiliary_weight[[2, 0]].T
    with model.with_class_subset([2, 0]):
        found = model.auxiliary_logits(model.auxiliary(images))
    torch.testing.assert_close(found, (raw - raw.mean(1, keepdim=True)) / raw.std(1, keepdim=True))
    assert not model.predicts_any_classes


def test_a_checkpoint_is_small_and_loads_back(started, build):
    model = started()
    state = model.state_dict()
    assert set(state) == {'auxiliary_weight', 'text_prototypes', 'fusion_point', '_extra_state'}
    other = build(class_names=None)
    other.load_state_dict(state)
    assert torch.equal(other(prepared(other)), model(prepared(model)))
    with pytest.raises(ValueError, match="class 0 is 'fox' in the new list"):
        other.set_classes(('fox', 'dog', 'sparrow'))


def test_a_checkpoint_of_other_auxiliary_weights_or_settings_or_clip_is_refused(started, tmp_path, weights):
    state = started().state_dict()
    with pytest.raises(ValueError, match='the checkpoint was tuned with auxiliary_sha256='):
        started(auxiliary_weights=None).load_state_dict(state)
    with pytest.raises(ValueError, match='uncertainty=moment, but this model has none'):
        started(uncertainty='none').load_state_dict(state)
    other = AMUTuningClassifier(
        save_tiny_clip(tmp_path / 'other', seed=1), None, class_names=NAMES, auxiliary=NETWORK, auxiliary_weights=weights
    )
    with pytest.raises(ValueError, match='set architecture and pretrained'):
        other.load_state_dict(state)


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(uncertainty='kurtosis'), "uncertainty must be one of .* but is 'kurtosis'"),
        (dict(fused_weight=1.5), 'fused_weight=1.5'),
        (dict(moment_scale=0), 'moment_scale=0'),
        (dict(uncertainty_power=0), 'uncertainty_power must be a number above 0'),
    ],
)
def test_senseless_settings_are_refused(build, settings, message):
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_it_predicts_nothing_before_it_has_seen_pictures(build):
    model = build()
    with pytest.raises(ValueError, match='has seen no training pictures'):
        model(prepared(model))
    with pytest.raises(ValueError, match='2 of 3 classes have no training picture'):
        model.start_from(torch.randn(1, 128), torch.tensor([1]))


# Weights of the other network.


def test_a_missing_file_is_one_clear_error(build, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        build(auxiliary_weights=dict(checkpoint=str(tmp_path / 'none.pth')))
    assert 'none.pth of the auxiliary network does not exist; set model.auxiliary_weights' in str(caught.value)


def test_weights_that_cannot_be_fetched_are_known_before_any_work(tiny_clip, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(clip_loader, 'reachable', lambda host: False)
    model = dict(type='AMUTuningClassifier', architecture=tiny_clip, pretrained=None, auxiliary=NETWORK)
    for weights, host in ((dict(auxiliary_weights=dict(checkpoint=URL)), 'weights.example'), ({}, 'download.openmmlab.com')):
        with pytest.raises(FileNotFoundError) as caught:
            check_inputs(Config(dict(model={**model, **weights})), ())
        assert f'{host} cannot be reached to fetch https://{host}/' in str(caught.value)
        assert f'looked for {tmp_path}/checkpoints/' in str(caught.value)
    check_inputs(Config(dict(model=dict(model, auxiliary_weights=None))), ())


def test_weights_are_fetched_once_to_where_mmengine_puts_downloads(build, weights, monkeypatch, tmp_path):
    fetched = []

    def fetch(url, path, progress):
        fetched.append(url)
        torch.save(torch.load(weights['checkpoint'], weights_only=True), path)

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(clip_loader, 'reachable', lambda host: True)
    monkeypatch.setattr(torch.hub, 'download_url_to_file', fetch)
    expected = build().auxiliary.sha256()
    for _ in range(2):
        model = build(auxiliary_weights=dict(checkpoint=URL, prefix='module.base_encoder'))
        assert model.auxiliary.sha256() == expected
    assert fetched == [URL] and (tmp_path / 'checkpoints' / 'network.pth').is_file()


@pytest.mark.parametrize(
    'content, prefix, message',
    [
        ('state', '', "lack 'conv1.weight'; names in the file are"),
        ('state', 'backbone', "with the prefix 'backbone.' do not fit"),
        ('wide', 'module.base_encoder', r"have 'conv1.weight' of shape \(8, 3, 7, 7\) instead of \(4, 3, 7, 7\)"),
        ('text', '', r'\(10 bytes\) is not readable as a file of weights'),
        ('list', '', 'holds no weights by name'),
    ],
)
def test_files_that_do_not_fit_are_refused_by_what_is_wrong(build, weights, tmp_path, content, prefix, message):
    path = tmp_path / 'file.pth'
    state = torch.load(weights['checkpoint'], weights_only=True)
    if content == 'text':
        path.write_text('no weights')
    else:
        state['state_dict']['module.base_encoder.conv1.weight'] = torch.zeros(8 if content == 'wide' else 4, 3, 7, 7)
        torch.save([1, 2] if content == 'list' else state, path)
    with pytest.raises(ValueError, match=message):
        build(auxiliary_weights=dict(checkpoint=str(path), prefix=prefix))
