"""What is typed after --cfg-options arrives as it was typed, or is refused with how to write it."""

import argparse
import math

import pytest
from mmengine.config import Config

from mmpretrain_mps.engine import command_line
from mmpretrain_mps.utils.config import apply_options
from mmpretrain_mps.utils.errors import user_message
from mmpretrain_mps.utils.option_values import OptionsAction, Typed, with_values

CONFIG = dict(
    word='',
    number=1,
    rate=0.5,
    switch=False,
    names=['a'],
    pair=(1, 2),
    section=dict(inner='x', type='T'),
    nothing=None,
    steps=[dict(size=3, name='n')],
)


def value_of(name, text):
    return with_values(Config(CONFIG), {name: Typed(text)})[name]


def parse(*entries):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction)
    return parser.parse_args(['--cfg-options', *entries]).cfg_options


@pytest.mark.parametrize(
    'text',
    [
        '/my pictures',
        '/data/a,b',
        '007',
        'a=b',
        '1e3',
        '',
        ' x ',
        '5',
        '1.5',
        "it's",
        '[0-9]*.jpg',
        'a photo of a {}.',
        'none',
        '~/x',
        'été',
        'C:\\data',
        '(1',
        '{x',
    ],
)
def test_in_place_of_text_all_is_text_as_typed(text):
    assert value_of('word', text) == text and type(value_of('word', text)) is str
    assert value_of('steps.0.name', text) == text


@pytest.mark.parametrize(
    'text, value',
    [
        ('None', None),
        ('True', True),
        ('False', False),
        ("'None'", 'None'),
        ('"007"', '007'),
        ("['a b', 'c, d']", ['a b', 'c, d']),
    ],
)
def test_in_place_of_text_the_constants_of_python_and_quotes_are_what_they_are_there(text, value):
    assert value_of('word', text) == value


@pytest.mark.parametrize(
    'name, text, value',
    [
        ('number', '4', 4),
        ('number', '-1', -1),
        ('rate', '1e6', 1e6),
        ('rate', '1', 1),
        ('rate', '.5', 0.5),
        ('rate', '1e-3', 1e-3),
        ('rate', 'inf', math.inf),
        ('rate', '1e400', math.inf),
        ('switch', 'True', True),
        ('switch', 'true', True),
        ('names', "['a photo of a {}.', 'an image of a {}, centred.']", ['a photo of a {}.', 'an image of a {}, centred.']),
        ('names', '[a,b]', ['a', 'b']),
        ('names', 'a,b', ['a', 'b']),
        ('names', '[]', []),
        ('pair', '(0.1,0.2)', (0.1, 0.2)),
        ('pair', '3,4', [3, 4]),
        ('pair', '[(1,2),(3,4)]', [(1, 2), (3, 4)]),
        ('section', "{'inner': 'a b'}", {'inner': 'a b'}),
        ('section', '{"inner": true}', {'inner': True}),
        ('section', 'None', None),
        ('names', 'None', None),
        ('steps.0.size', '5', 5),
        ('number', '[1,2]', [1, 2]),
        ('nothing', '3', 3),
        ('nothing', '(2,3)', (2, 3)),
        ('nothing', 'a,b,c', ['a', 'b', 'c']),
        ('nothing', '/a,b', '/a,b'),
        ('nothing', 'a b,c', 'a b,c'),
        ('nothing', '007', '007'),
        ('nothing', 'word', 'word'),
        ('nothing', 'None', None),
        ('new.key', 'two words', 'two words'),
        ('new.key', "'5'", '5'),
        ('new.key', 'true', True),
    ],
)
def test_elsewhere_a_text_is_what_it_looks_like(name, text, value):
    found = value_of(name, text)
    assert found == value and type(found) is type(value)


def test_nan_is_a_number():
    assert math.isnan(value_of('rate', 'nan'))


@pytest.mark.parametrize(
    'name, text, message',
    [
        ('number', 'abc', 'number=abc: the config has 1 there, expected a number'),
        ('number', '007', 'expected a number'),
        ('number', 'True', 'expected a number'),
        ('rate', 'high', 'the config has 0.5 there, expected a number'),
        ('rate', "float('nan')", 'expected a number'),
        ('switch', '1', 'expected True or False'),
        ('names', 'a photo of a {}.', 'expected a list, as in'),
        ('names', '5', 'expected a list, as in'),
        ('section', '5', 'expected a mapping, or one of its values: NAME.inner=VALUE'),
        ('section', 'x', 'expected a mapping'),
        ('nothing', '[1,2', 'cannot be read: expected a list or a mapping'),
        ('names', "['a b]", 'cannot be read'),
        ('new', '{a: 1}', 'cannot be read'),
    ],
)
def test_what_does_not_fit_is_refused_in_one_message(name, text, message):
    with pytest.raises(ValueError, match='.*') as caught:
        value_of(name, text)
    assert message in user_message(caught.value)


@pytest.mark.parametrize(
    'entries, message',
    [
        (['foo'], "'foo': expected NAME=VALUE"),
        ([''], "'': expected NAME=VALUE"),
        (['=3'], "'=3': expected NAME=VALUE"),
        (['a=1', 'a=2'], "names a twice, as '1' and '2'"),
    ],
)
def test_options_without_a_name_or_with_one_twice_are_wrong_commands(capsys, entries, message):
    with pytest.raises(SystemExit):
        parse(*entries)
    assert message in capsys.readouterr().err


def test_texts_reach_the_config_and_what_is_written_with_them():
    cfg = Config(dict(data_root='', loader=dict(dataset=dict(data_root='')), train_cfg=dict(max_epochs=50)))
    apply_options(cfg, parse('data_root=/my pictures, all of them', 'train_cfg.max_epochs=3'))
    assert cfg.loader.dataset.data_root == cfg.data_root == '/my pictures, all of them'
    assert cfg.train_cfg.max_epochs == 3


def test_values_of_files_and_programs_are_not_texts_to_be_read():
    assert with_values(Config(CONFIG), dict(number='abc', word=5)) == dict(number='abc', word=5)


def test_the_tools_read_their_flag_so():
    parser = argparse.ArgumentParser()
    command_line.add_common_flags(parser)
    options = parser.parse_args(['--cfg-options', "model.templates=['a {} of glass']"]).cfg_options
    assert options == {'model.templates': "['a {} of glass']"} and type(options['model.templates']) is Typed
