"""What the recipes of CoOp and TCP come to on each data set."""

import argparse

import pytest
from benchmark_files import FILES
from tiny_digits import CONFIG_FOLDER

from mmpretrain_mps.datasets.catalog import find_spec
from mmpretrain_mps.engine import command_line

# Behind the context, and the text of the frozen model.
TCP_TEXTS = dict(
    ImageNet=('{}.', 'a photo of a {}.'),
    Caltech101=('{}.', 'a photo of a {}.'),
    OxfordPets=('{}, a type of pet.', 'a photo of a {}, a type of pet.'),
    StanfordCars=('{}, a type of car', 'a photo of a {}.'),
    Flowers102=('{}, a type of flower.', 'a photo of a {}, a type of flower.'),
    Food101=('{}, a type of food.', 'a photo of a {}, a type of food.'),
    FGVCAircraft=('{}, a type of aircraft.', 'a photo of an aircraft {}.'),
    SUN397=('{}.', 'a photo of a {}.'),
    DTD=('{} texture.', 'a photo of a {}, a type of texture.'),
    EuroSAT=('{}.', 'a centered satellite photo of {}.'),
    UCF101=('person doing {}.', 'a photo of a person doing {}.'),
)


def read(dataset, method, *options, recipe=None, config='mps_vitb16_16shot_{}.py'):
    parser = argparse.ArgumentParser()
    command_line.add_common_flags(parser)
    flags = ['--method', method, *(['--recipe', recipe] if recipe else []), *(['--cfg-options', *options] if options else [])]
    return command_line.read_config(str(CONFIG_FOLDER / config.format(FILES[dataset])), parser.parse_args(flags))


@pytest.mark.parametrize('dataset', FILES)
def test_tcp_has_two_texts_of_each_data_set(dataset):
    model = read(dataset, 'tcp').model
    templates = (model.knowledge_template,) if model.knowledge_template else find_spec(dataset).templates
    assert (model.prompt_template, *templates) == TCP_TEXTS[dataset]
    assert (model.num_context, model.class_aware_block, model.knowledge_weight) == (4, 8, 8.0)


def test_other_data_sets_keep_their_own_texts_where_tcp_is_transferred():
    model = read('ImageNet', 'tcp', config='mps_vitb16_16shot_{}_crossdata.py').model
    assert model.knowledge_template is None and list(model.templates) == ['a photo of a {}.']


def test_the_embedded_model_has_fewer_blocks():
    assert read('ImageNet', 'tcp', config='mps_mini_16shot_digits.py').model.class_aware_block == 2


def test_coop_starts_from_words_where_classes_are_new():
    few_shot = read('Caltech101', 'coop').model
    assert (few_shot.num_context, few_shot.context_init, few_shot.class_position) == (16, None, 'end')
    new = read('Caltech101', 'coop', config='mps_vitb16_16shot_{}_base2new.py')
    assert (new.model.num_context, new.model.context_init, new.train_cfg.max_epochs) == (4, 'a photo of a', 200)


@pytest.mark.parametrize('method', ['mps', 'coop', 'tcp', 'clip_adapter', 'textrefiner', 'promptsrc', 'ivlp', 'tac'])
def test_an_incomplete_batch_is_left_out_as_released(method):
    """Unless there is no other batch, which only the run knows."""

    def drops(dataset, shots, recipe='official', **more):
        cfg = read(dataset, method, f'num_shots={shots}', recipe=recipe, **more)
        return cfg.train_dataloader.get('drop_last', False)

    assert all(drops(dataset, 1) for dataset in FILES)
    assert all(drops('EuroSAT', shots) for shots in (1, 2, 4, 8, 16))
    assert not drops('DTD', 16, recipe=None)
