import json
import socket
import threading
import zipfile
from collections import OrderedDict

import open_clip
import pytest
import torch
from open_clip.factory import add_model_config
from safetensors.torch import save_file
from tiny_clip import TINY_CONFIG, save_tiny_clip

from mmpretrain_mps.models.loading import clip_loader
from mmpretrain_mps.models.loading.clip_loader import clip_preprocess, load_clip, require_weights
from mmpretrain_mps.models.loading.names import TORCHSCRIPT, is_torchscript, resolve_names, trained_with_quick_gelu


@pytest.fixture
def tiny_architecture(tmp_path, monkeypatch):
    """An architecture of open_clip's own kind, by name, without QuickGELU."""
    config = dict(TINY_CONFIG, quick_gelu=False)
    monkeypatch.setattr(open_clip.factory, '_MODEL_CONFIG_PATHS', list(open_clip.factory._MODEL_CONFIG_PATHS))
    monkeypatch.setattr(open_clip.factory, '_MODEL_CONFIGS', dict(open_clip.factory._MODEL_CONFIGS))
    (tmp_path / 'ViT-Tiny.json').write_text(json.dumps(config))
    add_model_config(tmp_path / 'ViT-Tiny.json')
    return 'ViT-Tiny'


@pytest.fixture
def weights():
    torch.manual_seed(0)
    return {name: value.contiguous() for name, value in open_clip.CLIP(**TINY_CONFIG).state_dict().items()}


def visual_weights(clip):
    return {f'visual.{name}': value for name, value in clip.model.visual.state_dict().items()}


def assert_loaded(clip, weights):
    assert all(torch.equal(value, weights[name]) for name, value in visual_weights(clip).items())


@pytest.mark.parametrize('form', ['state_dict', 'safetensors', 'training_checkpoint', 'half'])
def test_reads_the_local_files_that_open_clip_reads(form, tiny_architecture, weights, tmp_path):
    path = tmp_path / ('model.safetensors' if form == 'safetensors' else 'model.pt')
    if form == 'safetensors':
        save_file(weights, path)
    elif form == 'training_checkpoint':
        torch.save(dict(epoch=3, name='run', state_dict={f'module.{name}': value for name, value in weights.items()}), path)
    elif form == 'half':
        weights = {name: value.half() for name, value in weights.items()}
        torch.save(OrderedDict(weights), path)
        weights = {name: value.float() for name, value in weights.items()}
    else:
        torch.save(OrderedDict(weights), path)
    clip = load_clip(tiny_architecture, str(path))
    assert_loaded(clip, weights)
    assert not clip.model.training


class Archive(torch.nn.Module):
    """Holds weights under CLIP's names, as a script that can be saved."""

    def __init__(self, weights):
        super().__init__()
        for name, value in weights.items():
            self._hold(name.split('.'), value)

    def _hold(self, path, value):
        module = self
        for part in path[:-1]:
            if part not in dict(module.named_children()):
                module.add_module(part, torch.nn.Module())
            module = getattr(module, part)
        module.register_buffer(path[-1], value)

    def forward(self, x: torch.Tensor):
        return x


def test_reads_openais_own_archives_with_quick_gelu(tiny_architecture, weights, tmp_path):
    halves = {name: value.half() for name, value in weights.items()}
    entries = dict(halves, input_resolution=torch.tensor(16), context_length=torch.tensor(77), vocab_size=torch.tensor(49408))
    path = tmp_path / 'ViT-Tiny.pt'
    torch.jit.save(torch.jit.script(Archive(entries)), path)
    with pytest.raises(ValueError, match=f'none that OpenAI published; .*pretrained={TORCHSCRIPT}'):
        load_clip(tiny_architecture, str(path))
    clip = load_clip(tiny_architecture, f'{TORCHSCRIPT}{path}')
    assert_loaded(clip, {name: value.float() for name, value in halves.items()})
    assert clip.quick_gelu
    block = clip.model.visual.transformer.resblocks[0]
    assert isinstance(block.mlp.gelu, open_clip.transformer.QuickGELU)


@pytest.mark.parametrize(
    'name', ['ViT-B-16', 'ViT-B/16', 'ViT-B-16-quickgelu', 'ViT-B-32', 'ViT-L-14', 'ViT-L/14', 'ViT-L-14-336']
)
@pytest.mark.parametrize('tag', ['openai', 'OpenAI'])
def test_openais_weights_get_quick_gelu_whichever_way_they_are_named(name, tag):
    resolved, weights = resolve_names(name, tag)
    config, _ = clip_loader._read_config(name, tag)
    assert config.get('quick_gelu') or trained_with_quick_gelu(resolved, weights)


def test_other_weights_keep_gelu(tmp_path):
    assert not trained_with_quick_gelu('ViT-B-16', 'laion2b_s34b_b88k')
    torch.save({}, tmp_path / 'laion.pt')
    assert not trained_with_quick_gelu('ViT-B-16', str(tmp_path / 'laion.pt'))


def test_a_file_named_after_openai_gets_quick_gelu_and_a_flag_overrides(tiny_architecture, weights, tmp_path):
    path = tmp_path / 'vit_openai.pt'
    torch.save(weights, path)
    assert load_clip(tiny_architecture, str(path)).quick_gelu
    assert not load_clip(tiny_architecture, str(path), quick_gelu=False).quick_gelu


def test_a_cached_download_of_openai_gets_quick_gelu(tmp_path):
    folder = tmp_path / 'models--timm--vit_base_patch16_clip_224.openai' / 'snapshots' / 'abc'
    folder.mkdir(parents=True)
    torch.save({}, folder / 'open_clip_model.pt')
    assert trained_with_quick_gelu('ViT-B-16', str(folder / 'open_clip_model.pt'))


def test_weights_of_another_shape_are_an_error_that_names_both(tiny_architecture, weights, tmp_path):
    weights['visual.proj'] = torch.zeros(3, 3)
    torch.save(weights, tmp_path / 'other.pt')
    with pytest.raises(ValueError, match="other.pt' could not be loaded into 'ViT-Tiny'.*visual.proj"):
        load_clip(tiny_architecture, str(tmp_path / 'other.pt'))


class Evil:
    """Would write a file while it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, 'w')


def test_files_that_would_run_code_are_refused(tiny_architecture, tmp_path):
    torch.save(dict(state_dict=Evil(str(tmp_path / 'ran'))), tmp_path / 'evil.pt')
    with pytest.raises(ValueError, match="evil.pt' could not be loaded"):
        load_clip(tiny_architecture, str(tmp_path / 'evil.pt'))
    assert not (tmp_path / 'ran').exists()


def test_a_damaged_file_is_refused(tiny_architecture, tmp_path):
    (tmp_path / 'broken.safetensors').write_bytes(b'\x10\0\0\0\0\0\0\0{}')
    with pytest.raises(ValueError, match="broken.safetensors' could not be loaded"):
        load_clip(tiny_architecture, str(tmp_path / 'broken.safetensors'))


def test_missing_weights_are_named_at_once_with_places_and_remedies(monkeypatch, tmp_path):
    monkeypatch.setattr(clip_loader, 'reachable', lambda host: False)
    monkeypatch.setattr(clip_loader, 'try_to_load_from_cache', lambda repository, file: None)
    with pytest.raises(FileNotFoundError) as error:
        load_clip('ViT-B-16', 'openai')
    message = str(error.value)
    assert "'openai' of ViT-B-16 are missing" in message
    assert 'vit_base_patch16_clip_224.openai in ' in message
    assert 'pretrained=/path/to/weights.safetensors' in message


def test_cached_weights_need_no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(clip_loader, 'reachable', lambda host: pytest.fail('asked for a connection'))
    monkeypatch.setattr(clip_loader, 'try_to_load_from_cache', lambda repository, file: str(tmp_path / file))
    require_weights('ViT-B-16', 'openai')


def test_reaching_out_is_bounded_in_time(monkeypatch):
    monkeypatch.setattr(clip_loader, 'REACH_SECONDS', 0.05)
    for variable in ('HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy'):
        monkeypatch.delenv(variable, raising=False)
    answer = threading.Event()

    def never_connect(*args, **kwargs):
        answer.wait(30)
        raise TimeoutError

    monkeypatch.setattr(socket, 'create_connection', never_connect)
    assert not clip_loader.reachable('localhost')
    answer.set()


@pytest.mark.parametrize(
    'architecture, pretrained, error, message',
    [
        ('ViT-B-16', '/nowhere/clip.pt', FileNotFoundError, '/nowhere/clip.pt of ViT-B-16 does not exist'),
        ('ViT-B-16', 'clip.safetensors', FileNotFoundError, 'does not exist'),
        ('ViT-B-16', 'opanai', ValueError, "'opanai' is neither a file nor a tag of ViT-B-16; its tags are .*'openai'"),
        ('ViT-Z-99', 'openai', ValueError, "unknown architecture 'ViT-Z-99'.*'ViT-B-16'.*'mps-mini'"),
        (
            'ViT-B-16',
            'embedded',
            ValueError,
            "belongs to the architectures 'mps-mini' and 'mps-mini-pictograms', not to 'ViT-B-16'",
        ),
        ('mps-mini', 'openai', ValueError, "has the weights 'embedded' alone, not 'openai'"),
        ('local-dir:/nowhere', None, ValueError, 'open_clip_config.json does not exist'),
    ],
)
def test_wrong_names_are_clear_errors(architecture, pretrained, error, message):
    with pytest.raises(error, match=message):
        load_clip(architecture, pretrained)


def test_preprocessing_is_the_models_own(tmp_path):
    openai = clip_preprocess('ViT-B-16', 'openai')
    assert openai.image_size == (224, 224)
    assert openai.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert (openai.interpolation, openai.resize_mode) == ('bicubic', 'shortest')
    assert clip_preprocess('ViT-L-14-336', 'openai').image_size == (336, 336)
    siglip = clip_preprocess('ViT-B-16-SigLIP', 'webli')
    assert siglip.mean == (0.5, 0.5, 0.5) and siglip.resize_mode == 'squash'
    assert clip_preprocess(save_tiny_clip(tmp_path)).image_size == (16, 16)


@pytest.mark.parametrize(
    'architecture, pretrained',
    [('ViT-B-16', 'openai'), ('ViT-B-16-SigLIP', 'webli'), ('ViT-B-32', 'laion2b_s34b_b79k'), ('ViT-L-14-336', 'openai')],
)
def test_preprocessing_equals_what_open_clip_attaches_to_a_model(architecture, pretrained, monkeypatch):
    # The weights are not needed for that; open_clip would fetch them even if they are not loaded.
    monkeypatch.setattr(open_clip.factory, 'download_pretrained', lambda *args, **kwargs: 'unused')
    with torch.device('meta'):
        monkeypatch.setattr(open_clip.factory, '_set_model_device_and_precision', lambda *args, **kwargs: None)
        model = open_clip.create_model(architecture, pretrained, load_weights=False, pretrained_text=False)
    theirs, ours = model.visual.preprocess_cfg, clip_preprocess(architecture, pretrained)
    size = theirs['size']
    assert ours.image_size == (tuple(size) if isinstance(size, (tuple, list)) else (size, size))
    assert (ours.mean, ours.std) == (tuple(theirs['mean']), tuple(theirs['std']))
    assert (ours.interpolation, ours.resize_mode) == (theirs['interpolation'], theirs['resize_mode'])


def test_plain_zip_files_are_no_torchscript(tmp_path):
    with zipfile.ZipFile(tmp_path / 'a.pt', 'w') as archive:
        archive.writestr('archive/data.pkl', b'')
    assert not is_torchscript(tmp_path / 'a.pt')


@pytest.mark.parametrize('spelling', ['vit-b-16', 'ViT-B/16', 'VIT_B_16', 'vitb16', 'vit-b/16'])
def test_the_spelling_of_an_architecture_is_not_what_matters(spelling):
    assert resolve_names(spelling, None) == ('ViT-B-16', None)
    assert resolve_names('vit-b-16-quickgelu', 'x.pt') == ('ViT-B-16-quickgelu', 'x.pt')
    assert clip_loader.clip_preprocess(spelling, None) == clip_loader.clip_preprocess('ViT-B-16', None)
    with pytest.raises(ValueError, match="unknown architecture 'vit-b-61'"):
        clip_loader.require_weights('vit-b-61', None)


@pytest.mark.parametrize(
    'architecture, found',
    [('RN50', 'layers=.3, 4, 6, 3.'), ('ViT-B-16-SigLIP', 'timm_model_name='), ('coca_ViT-B-32', 'attentional_pool=True')],
)
def test_a_tower_that_is_no_plain_vit_is_refused_before_its_weights_are_looked_for(architecture, found):
    with pytest.raises(ValueError, match=f'supported are plain vision transformers.*, but that of {architecture} has {found}'):
        require_weights(architecture, None)


def test_every_name_of_open_clip_stays_itself():
    assert all(resolve_names(name, None)[0] == name for name in open_clip.list_models())
