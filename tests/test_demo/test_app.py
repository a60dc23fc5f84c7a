"""Who may ask the page's program, and for what."""

import pytest

from mmpretrain_mps.demo import app, tabs
from mmpretrain_mps.utils.methods import method_names


@pytest.fixture(scope='module')
def client():
    known = tabs.Tabs(dict(architecture='<script>alert(1)</script>', pretrained=None), 'cpu')
    yield app.make_app(known).test_client()
    known.end_all()


def test_the_page_names_nothing_of_elsewhere_and_may_load_nothing_from_there(client):
    answer = client.get('/')
    assert 'http://' not in answer.text and 'https://' not in answer.text and '<script>alert' not in answer.text
    assert '&lt;script&gt;alert(1)&lt;/script&gt;. Pictures and models stay' in answer.text
    assert answer.headers['Content-Security-Policy'].startswith("default-src 'none'; script-src 'self'")
    assert answer.headers['Cache-Control'] == 'no-store'
    for name in ('page.js', 'page.css'):
        text = client.get(f'/static/{name}').text
        assert len(text) > 1000 and '://' not in text and 'innerHTML' not in text


def test_all_methods_can_be_chosen(client):
    text = client.get('/').text
    assert all(f'<option value="{name}"' in text for name in method_names())
    assert '<option value="mps" data-epochs="yes" selected>' in text and '<option value="tip_adapter" data-epochs="">' in text


@pytest.mark.parametrize(
    'headers, status',
    [
        ({}, 201),
        ({'Sec-Fetch-Site': 'same-origin'}, 201),
        ({'Sec-Fetch-Site': 'cross-site'}, 403),
        ({'Sec-Fetch-Site': 'same-site'}, 403),
        ({'Host': 'localhost:8000'}, 201),
        ({'Host': 'elsewhere.example'}, 400),
    ],
)
def test_pages_from_elsewhere_and_other_names_of_this_machine_are_refused(client, headers, status):
    assert client.post('/tabs', headers=headers).status_code == status


@pytest.mark.parametrize(
    'path, method, data, status, message',
    [
        ('/tabs/guessed/tuning', 'get', None, 400, 'this page is not known any more'),
        ('/nowhere', 'get', None, 404, 'not found'),
        ('/tabs/{tab}/tuning', 'post', {}, 400, 'the order cannot be read; expected names and options as JSON'),
        ('/tabs/{tab}/tuning', 'post', dict(order='[1]'), 400, 'the order cannot be read'),
        ('/tabs/{tab}/model.pth', 'post', {}, 400, 'there is no file'),
    ],
)
def test_what_cannot_be_answered_is_one_message(client, path, method, data, status, message):
    word = client.post('/tabs').json['tab']
    answer = getattr(client, method)(path.format(tab=word), data=data)
    assert answer.status_code == status and message in answer.json['error']
