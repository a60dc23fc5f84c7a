"""What the page's program does, without a browser."""

import csv
import io
import json
import time
from unittest import mock

import numpy as np
import pytest
from own_pictures import NAMES, digits
from PIL import Image
from tiny_run import ROOT

from mmpretrain_mps.apis import FewShotClassifier
from mmpretrain_mps.demo import app, tabs

CLIP = dict(architecture='mps-mini', pretrained='embedded')
OPTIONS = dict(method='linear_probe', shots=None, epochs=None, test_share=0.3)


def png(picture):
    """Return a picture as the bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, 'PNG')
    return file.getvalue()


def files(number, start=0, names=NAMES):
    """Return class -> [(bytes, file name)]."""
    found = {name: [] for name in names}
    for picture, name in zip(*digits(number, start, names)):
        found[name].append((png(picture), f'{len(found[name])}.png'))
    return found


class Page:
    """A tab, as the page's script uses it."""

    def __init__(self, client):
        self.client = client
        self.word = client.post('/tabs').json['tab']

    def address(self, name):
        return f'/tabs/{self.word}/{name}'

    def tune(self, names, train, test=(), **options):
        """Order a training; ``train`` and ``test`` are lists of files of each class."""
        data = dict(order=json.dumps(dict(names=names, options={**OPTIONS, **options})))
        for subset, groups in dict(train=train, test=test).items():
            for place, group in enumerate(groups):
                data[f'{subset}-{place}'] = [(io.BytesIO(content), name) for content, name in group]
        return self.client.post(self.address('tuning'), data=data)

    def wait(self):
        """Return the outcome of the training."""
        for _ in range(600):
            found = self.client.get(self.address('tuning')).json
            if not found.get('running'):
                return found
            time.sleep(0.2)
        raise RuntimeError('the training does not end')

    def classify(self, group):
        return self.client.post(
            self.address('predictions'), data=dict(pictures=[(io.BytesIO(content), name) for content, name in group])
        )

    def load(self, content, name='mine.pth'):
        return self.client.post(self.address('model.pth'), data=dict(model=(io.BytesIO(content), name)))


@pytest.fixture(scope='module')
def known_tabs():
    known = tabs.Tabs(CLIP, 'cpu')
    yield known
    known.end_all()


@pytest.fixture(scope='module')
def client(known_tabs):
    return app.make_app(known_tabs).test_client()


@pytest.fixture
def page(client):
    return Page(client)


@pytest.fixture(scope='module')
def tuned(client):
    """A page with a model, and the outcome of its training."""
    page, pictures = Page(client), files(6)
    answer = page.tune(list(pictures), list(pictures.values()))
    assert answer.status_code == 202, answer.json
    return page, page.wait()


def test_a_training_tells_what_it_found_on_held_out_pictures(tuned):
    _, outcome = tuned
    assert outcome['fault'] == '' and outcome['classes'] == ['one', 'three', 'two']
    confusion = np.array(outcome['confusion'])
    assert confusion.sum(axis=1).tolist() == [2, 2, 2]  # 30 % of six, by class
    assert outcome['accuracies']['fused'] == pytest.approx(confusion.trace() / 6)
    assert set(outcome['accuracies']) == {'zero_shot', 'tuned', 'fused'}


def test_its_model_is_that_of_the_same_training_elsewhere(tuned, tmp_path):
    page, outcome = tuned
    content = page.client.get(page.address('model.pth'))
    assert content.headers['Content-Disposition'] == 'attachment; filename=model.pth'
    (tmp_path / 'model.pth').write_bytes(content.data)
    theirs = FewShotClassifier.load(tmp_path / 'model.pth', device='cpu', verbose=0)
    # The pictures that `mps-clip train` keeps of such a folder are those that are held out here.
    for name, group in files(6).items():
        (tmp_path / 'mine' / name).mkdir(parents=True)
        for content, file in group:
            (tmp_path / 'mine' / name / f'{int(file[0]):06d}').with_suffix('.png').write_bytes(content)
    with mock.patch('mmengine.config.config.FormatCode', lambda text, **_: (text, True)):
        ours = FewShotClassifier(**CLIP, method='linear_probe', device='cpu', verbose=0).fit(tmp_path / 'mine')
    report = ours.report(tmp_path / 'mine')
    assert report == {
        'pictures': 6,
        **{f'accuracy/{name}': pytest.approx(100 * outcome['accuracies'][name]) for name in ('zero_shot', 'tuned', 'fused')},
    }
    new = [picture for picture, _ in zip(*digits(3, 30))]
    np.testing.assert_allclose(theirs.predict_proba(new), ours.predict_proba(new), atol=1e-6)

    answer = page.classify([(png(picture), f'{place}.png') for place, picture in enumerate(new)]).json
    assert answer['classes'] == ['one', 'three', 'two']
    assert [row['name'] for row in answer['rows']] == [f'{n}.png' for n in range(9)]
    np.testing.assert_allclose([row['fused'] for row in answer['rows']], ours.predict_proba(new), atol=1e-6)
    logits = ours.logits(new)
    for branch in ('zero_shot', 'tuned'):
        np.testing.assert_allclose([row[branch] for row in answer['rows']], getattr(logits, branch).softmax(1), atol=1e-5)


def test_broken_pictures_have_a_fault_and_the_table_says_so(tuned):
    page, _ = tuned
    good = files(1, 40, ['two'])['two'][0][0]
    rows = page.classify([(good, 'a,b.png'), (good[:60], '<b>.png')]).json['rows']
    assert rows[0]['fault'] == '' and 'fused' not in rows[1] and rows[1]['fault']
    answer = page.client.get(page.address('predictions.csv'))
    assert answer.mimetype == 'text/csv' and 'attachment' in answer.headers['Content-Disposition']
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert [line['path'] for line in table] == ['a,b.png', '<b>.png'] and table[1]['label'] == '' and table[1]['fault']
    assert list(table[0]) == [
        'path',
        'label',
        'probability',
        'zero_shot_label',
        'zero_shot_probability',
        'tuned_label',
        'tuned_probability',
        'fault',
    ]
    assert float(table[0]['probability']) == pytest.approx(max(rows[0]['fused']), abs=1e-6)
    assert table[0]['label'] == ['one', 'three', 'two'][int(np.argmax(rows[0]['fused']))]


def test_tabs_share_nothing_and_a_model_goes_from_one_to_the_other_as_a_file(tuned, client):
    page, other = tuned[0], Page(client)
    picture = files(1, 50, ['one'])['one']
    assert other.classify(picture).json['error'] == 'there is no model yet; tune one, or load one'
    assert client.get(other.address('model.pth')).status_code == 404
    assert client.get(other.address('tuning')).json == {'running': False}
    assert other.load(client.get(page.address('model.pth')).data).json == {'classes': ['one', 'three', 'two']}
    assert other.classify(picture).json == page.classify(picture).json
    client.post(other.address('end'))
    assert 'this page is not known any more' in other.classify(picture).json['error']
    assert page.classify(picture).status_code == 200


def test_a_file_that_is_no_model_is_named_as_the_user_names_it(tuned):
    page, _ = tuned
    answer = page.load(b'no checkpoint', 'holiday.pth')
    assert answer.status_code == 400 and 'holiday.pth' in answer.json['error'] and '/tmp' not in answer.json['error']
    assert page.classify(files(1)['one']).status_code == 200  # the model from before stays


def test_pictures_to_test_on_take_the_place_of_held_out_ones(page):
    train, test = files(2), files(3, 20)
    assert page.tune(list(train), list(train.values()), list(test.values()), method='zero_shot').status_code == 202
    assert [sum(row) for row in page.wait()['confusion']] == [3, 3, 3]


def test_without_pictures_to_test_on_there_is_a_model_but_no_figure(page):
    train = files(1)
    page.tune(list(train), list(train.values()), method='zero_shot')
    outcome = page.wait()
    assert outcome['fault'] == '' and outcome['confusion'] is None and outcome['classes'] == ['one', 'three', 'two']


def test_the_same_picture_twice_in_a_class_counts_once(page):
    train = {name: group * 2 for name, group in files(2).items()}
    page.tune(list(train), list(train.values()), method='zero_shot', test_share=0.5)
    assert [sum(row) for row in page.wait()['confusion']] == [1, 1, 1]


ONE, TWO = (files(2)[name] for name in ('one', 'two'))


@pytest.mark.parametrize(
    'names, train, test, options, message',
    [
        (['one'], [ONE], [], {}, 'there are fewer than two classes; expected two or more'),
        (['one', ' '], [ONE, TWO], [], {}, 'class 2 has no name'),
        (['one', 'two', 'three'], [ONE, TWO, []], [], {}, "there are no pictures in 'three'; each class needs one at least"),
        (['a_b', 'one', 'a b '], [ONE, TWO, TWO], [], {}, "several classes are called 'a b'; expected different names"),
        (['one', 'two'], [ONE, TWO + ONE[:1]], [], {}, 'the same picture is in two classes: one/0.png and two/0.png'),
        (
            ['one', 'two'],
            [ONE, TWO],
            [[], TWO[:1]],
            {},
            'the same picture is both to train and to test on: two/0.png and two/0.png',
        ),
        (['one', 'two'], [ONE, TWO], [], dict(shots=0), 'shots is 0, expected a whole number from 1 on, or nothing'),
        (['one', 'two'], [ONE, TWO], [], dict(epochs=2), 'linear_probe has no epochs to choose; leave them empty'),
        (['one', 'two'], [ONE, TWO], [], dict(test_share=1), 'the share of pictures to test on is 1, expected 0 to 0.9'),
        (['one', 'two'], [ONE, TWO], [], dict(colour='red'), 'expected method, shots, epochs, test_share'),
        (['one', 2], [ONE, TWO], [], {}, 'expected texts'),
    ],
)
def test_each_mistake_is_one_message_before_a_training_starts(page, names, train, test, options, message):
    answer = page.tune(names, train, test, **options)
    assert answer.status_code == 400 and message in answer.json['error']
    assert page.client.get(page.address('tuning')).json == {'running': False}


@pytest.mark.parametrize(
    'names, train, options, message',
    [
        (['one', 'two'], [ONE, [*TWO, (b'\x89PNG\r\n\x1a\n', 'holiday.png')]], {}, 'pictures cannot be read: two/holiday.png ('),
        (['one', 'tabby'], [ONE, TWO], {}, "no meaning for 'tabby'"),
        (['one', 'two'], [ONE, TWO], dict(method='coup', epochs=None), "there is no method 'coup'"),
    ],
)
def test_what_the_training_refuses_is_one_message_too(page, names, train, options, message):
    assert page.tune(names, train, test_share=0, **options).status_code == 202
    fault = page.wait()['fault']
    # Of no file of the tab's own; where this project lies may be told.
    assert message in fault and '/tmp' not in fault.replace(str(ROOT), '') and 'Traceback' not in fault


def test_a_training_is_watched_and_cancelled_and_leaves_nothing_behind(page, known_tabs):
    train = files(4)
    page.tune(list(train), list(train.values()), method='clip_adapter', epochs=100000)
    assert page.tune(list(train), list(train.values())).json['error'].startswith('a training goes on')
    for _ in range(600):
        found = page.client.get(page.address('tuning')).json
        if found['running'] is False or found['steps'][0] > 2:
            break
        time.sleep(0.2)
    done, total = found['steps']
    assert found['running'] and 2 < done < total and total % 100000 == 0
    with known_tabs.use(page.word) as tab:
        process, folder = tab._tuning._process, tab._folder
    assert process.is_alive() and list((folder / 'new').iterdir())
    assert page.client.delete(page.address('tuning')).json == {'running': False}
    assert not process.is_alive() and not list(folder.iterdir())
    page.client.post(page.address('end'))
    assert not folder.exists()


def test_a_training_that_is_killed_is_a_message(page, known_tabs):
    train = files(4)
    page.tune(list(train), list(train.values()), method='clip_adapter', epochs=100000)
    with known_tabs.use(page.word) as tab:
        tab._tuning._process.kill()
    assert page.wait()['fault'] == ('the training was ended from outside (exit status -9); often the memory ran out')


def test_the_tab_that_was_not_used_for_longest_goes_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(tabs, 'MAX_TABS', 2)
    known = tabs.Tabs(CLIP, 'cpu')
    first, second = known.add(), known.add()
    with known.use(first) as tab:
        kept = tab._folder
    with known.use(second) as tab:
        gone = tab._folder
    with known.use(first):
        pass
    third = known.add()
    with pytest.raises(ValueError, match='reload it'), known.use(second):
        pass
    assert kept.exists() and not gone.exists() and len({first, second, third}) == 3
    known.end_all()
    assert not kept.exists()
