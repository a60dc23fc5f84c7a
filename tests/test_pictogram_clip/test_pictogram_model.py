"""The delivered pictogram CLIP: files, words, and zero-shot accuracy as its card says."""

import json
from pathlib import Path

import open_clip
import pytest
from safetensors import safe_open

from mmpretrain_mps import mini_clip, pictogram_clip
from mmpretrain_mps.models.loading.clip_loader import load_clip, mini_folder, model_config
from mmpretrain_mps.pictogram_clip import scoring
from mmpretrain_mps.pictograms import index
from mmpretrain_mps.pictograms.packages import read_listing

ROOT = Path(__file__).parents[2]
CARD = json.loads((ROOT / 'results' / 'pictogram_clip_card.json').read_text(encoding='utf-8'))
FOLDER = pictogram_clip.folder()
COMMON = (
    """
dog, cat, horse, cow, sheep, fish, bird, bear, lion, elephant, mouse, fox, car, bus, train, truck, bicycle, boat,
airplane, house, church, tree, flower, leaf, mountain, river, bridge, road, sun, moon, star, cloud, rain, man, woman,
child, person, hand, eye, ear, foot, face, heart, cup, bottle, glass, plate, bowl, fork, knife, spoon, bread, cheese,
apple, banana, lemon, carrot, cake, egg, meat, chair, table, bed, lamp, door, window, clock, book, pen, pencil,
scissors, hammer, saw, key, lock, phone, computer, camera, radio, shoe, hat, shirt, dress, glove, ring, bag, umbrella,
ball, guitar, piano, drum, flag, candle, money, ship, tent, school, hospital, doctor, king, robot, ghost, snake, spider,
bee, one, two, three, four, five
""".replace('\n', ' ')
    .strip()
    .split(', ')
)


@pytest.fixture(scope='module')
def model():
    return load_clip('mps-mini-pictograms', 'embedded').model


def test_files_are_small_and_loaded_as_they_are(model):
    path = FOLDER / 'open_clip_model.safetensors'
    assert path.stat().st_size <= 8e6
    loaded = model.state_dict()
    with safe_open(str(path), 'pt') as saved:
        assert set(saved.keys()) == set(loaded)
        assert all(saved.get_tensor(name).float().equal(loaded[name].float()) for name in saved.keys())
    assert len(model.visual.transformer.resblocks) == 12
    assert CARD['files_bytes']['open_clip_model.safetensors'] == path.stat().st_size


def test_it_is_found_by_its_name():
    assert mini_folder('mps-mini-pictograms') == FOLDER
    assert model_config('mps-mini-pictograms')['vision_cfg']['image_size'] == 48
    with pytest.raises(ValueError, match="'mps-mini-pictograms' has the weights 'embedded' alone, not 'openai'"):
        load_clip('mps-mini-pictograms', 'openai')


def test_common_nouns_are_known_and_unknown_words_refused():
    templates = (*scoring.PICTOGRAM_TEMPLATES, 'a photo of the {}.')
    mini_clip.check_vocabulary([template.format(word) for word in COMMON for template in templates], FOLDER)
    with pytest.raises(ValueError, match="the mini CLIP has no meaning for 'qwertz': .* for example, kinds: 'arrow'"):
        mini_clip.check_vocabulary(['a photo of a qwertz.'], FOLDER)


def test_names_of_both_tasks_are_known():
    names = [*index()['kinds'], *(index()['concepts'][concept]['name'] for concept in index()['things'])]
    mini_clip.check_vocabulary([template.format(name) for name in names for template in scoring.PICTOGRAM_TEMPLATES], FOLDER)


def test_the_card_names_no_style_that_is_tested_on():
    assert CARD['never_seen'] == sorted(index()['sheets']) and not set(CARD['styles']) & set(CARD['never_seen'])
    listing = read_listing()
    known = {**listing['styles'], **listing['icons']}
    tested = {sheet['artist'] for sheet in index()['sheets'].values()}
    for style, content in CARD['styles'].items():
        assert known[style]['role'] == 'pretraining' and known[style]['licence'] == content['licence']
        assert content['artist'] not in tested
        assert (
            f'`@iconify-json/{style}`' in (FOLDER / 'NOTICE.md').read_text() or f'`{style}`' in (FOLDER / 'NOTICE.md').read_text()
        )


def test_preprocess_equals_the_transform_of_open_clip():
    import numpy as np
    from PIL import Image

    transform = open_clip.create_model_and_transforms(f'local-dir:{FOLDER}', require_pretrained=True)[2]
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert (transform(Image.fromarray(image)) - scoring.preprocess(image[None])[0]).abs().max() < 1e-6


@pytest.mark.parametrize(
    'task, domain', [(task, domain) for task, found in CARD['zero_shot_percent']['test'].items() for domain in found]
)
def test_zero_shot_accuracy_is_that_of_the_card(model, task, domain):
    expected = CARD['zero_shot_percent']['test'][task][domain]
    found = scoring.accuracy(model, mini_clip.tokenizer(FOLDER), scoring.TASKS[task](domain=domain, subset='test'))
    assert found['pictures'] == expected['pictures'] and found['classes'] == expected['classes']
    assert found['accuracy'] == pytest.approx(expected['accuracy'], abs=1)
    assert expected['accuracy'] > 2 * 100 / expected['classes']  # above chance
