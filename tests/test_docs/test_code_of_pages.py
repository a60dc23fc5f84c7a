"""The code of docs/ runs as it stands."""

import json
import re
import subprocess
import sys
from unittest import mock

import numpy as np
import onnx
import pytest
from own_pictures import write_pictures
from PIL import Image
from tiny_classifier import largest_difference, shaken
from tiny_clip import save_tiny_clip
from tiny_digits import ROOT

from mmpretrain_mps.export.description import describe_export

# Before the program of the page: nothing of what it does without may be imported.
ALONE = """
import json, sys
class Refuse:
    def find_spec(self, name, *rest):
        if name.split('.')[0] in ('torch', 'torchvision', 'open_clip', 'sklearn', 'scipy', 'cv2') or name.startswith('mm'):
            raise ImportError(f'{name} is not here')
sys.meta_path.insert(0, Refuse())
import classify
found = classify.Classifier('model.onnx').predict(sys.argv[1:])
print(json.dumps({name: values.tolist() for name, values in found.items()}))
"""


def code_of(page):
    return re.findall(r'```python\n(.*?)```', (ROOT / 'docs' / page).read_text(encoding='utf-8'), re.DOTALL)


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    write_pictures(tmp_path / 'pictures' / 'train', 4)
    write_pictures(tmp_path / 'pictures' / 'test', 4, start=20)
    for place, path in enumerate(sorted((tmp_path / 'pictures' / 'test' / 'two').iterdir())):
        path.rename(path.with_name(f'{place:03d}.png'))
    monkeypatch.chdir(tmp_path)
    blocks = code_of('python.md')
    names = {}
    with mock.patch('mmengine.config.config.FormatCode', lambda text, **_: (text, True)):
        for block in blocks:
            exec(block, names)
    printed = capsys.readouterr().out
    assert len(blocks) == 5 and '(12, 3)' in printed.replace('torch.Size([12, 3])', '(12, 3)')
    assert (tmp_path / 'model.pth').is_file() and names['digits'].classes_.tolist() == ['one', 'three', 'two', 'four', 'five']


@pytest.fixture(scope='module')
def architecture(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp('tiny_clip'), layers=3)


def write_all_kinds(folder):
    """Write pictures of all the kinds that a picture may be of, and return their names."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (37, 54, 4), dtype=np.uint8)
    image, turned = Image.fromarray(pixels[..., :3]), Image.Exif()
    turned[0x112] = 6
    image.save(folder / 'turned.jpg', exif=turned)
    image.crop((0, 0, 20, 37)).save(folder / 'high.png')
    image.resize((16, 16)).save(folder / 'size_of_the_model.png')
    Image.fromarray(pixels).save(folder / 'transparent.png')
    Image.fromarray(pixels[..., 0]).save(folder / 'grey.png')
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 200).save(folder / '16_bits.png')
    image.quantize(7).save(folder / 'palette.png', transparency=2)
    image.quantize(9).save(folder / 'palette.gif')
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope='module')
def exported(architecture, tmp_path_factory):
    classifier = shaken(architecture, 'zero_shot')
    file, _ = classifier.export(tmp_path_factory.mktemp('exported') / 'model.onnx')
    return classifier, onnx.load(file)


def prepared_otherwise(classifier, model):
    """Let pictures be squashed, and transparent ones stand on blue; of the file, only what it says of itself changes."""
    load, resize, _ = classifier._pipeline.transforms
    resize.steps, resize.interpolation, load.background = [], 'bilinear', (0, 0, 255)
    resize.preprocess = resize.preprocess._replace(resize_mode='squash')
    about = {entry.key: entry for entry in model.metadata_props}
    about['preprocessing'].value = json.dumps(describe_export(classifier)['preprocessing'])


@pytest.mark.parametrize('otherwise', [False, True])
def test_the_loader_of_the_page_needs_nothing_of_ours(exported, tmp_path, otherwise):
    (classifier, model), (loader, _) = exported, code_of('deployment.md')
    assert len(loader.splitlines()) <= 50
    names = write_all_kinds(tmp_path)
    if otherwise:
        prepared_otherwise(classifier, model)
    files = [str(tmp_path / name) for name in names]
    expected, probabilities = classifier.logits(files), classifier.predict_proba(files)
    onnx.save(model, tmp_path / 'model.onnx')
    (tmp_path / 'classify.py').write_text(loader)
    done = subprocess.run([sys.executable, '-c', ALONE, *names], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert largest_difference(found['logits'], expected.fused) < 1e-4
    assert largest_difference(found['probabilities'], probabilities) < 1e-4
    assert len(np.unique(expected.fused.numpy()[:, 0].round(4))) == len(names)


def test_the_lines_for_open_clip_run(architecture, tmp_path, monkeypatch):
    _, lines = code_of('deployment.md')
    classifier = shaken(architecture, 'zero_shot')
    classifier.export(tmp_path / 'model.safetensors', 'open_clip')
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(lines, names)
    assert names['logits'].shape == (1, 3) and names['files']['logits'] == 'fused'
