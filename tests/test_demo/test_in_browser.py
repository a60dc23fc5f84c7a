"""The page as somebody uses it, in a headless Chromium."""

import csv
import io
import threading
import time
from urllib.parse import urlsplit

import pytest
from browser import find_browser, open_browser
from own_pictures import NAMES, digits, write_pictures
from PIL import Image

from mmpretrain_mps.demo import Server, server

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_browser() is None, reason='there is no Chromium or Chrome here')]
# Text that would show up as a tag if it were not escaped.
EVIL = '<img src=x onerror=document.title="evil">'


@pytest.fixture(scope='module')
def address():
    with pytest.MonkeyPatch.context() as patch:  # starting takes the whole process offline
        patch.setattr(server.hub, 'HF_HUB_OFFLINE', False)
        patch.setenv('HF_HUB_OFFLINE', '0')
        page = Server(dict(architecture='mps-mini', pretrained='embedded'), 'cpu')
        thread = threading.Thread(target=page.run)
        thread.start()
        yield page.address
        page.close()
        thread.join()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp('pictures') / 'mine', 6)


@pytest.fixture
def browser(address):
    with open_browser(find_browser()) as page:
        page.show(address, 1200, 900, 'light')
        until(page, 'document.body.dataset.ready === "yes"')
        yield page
        hosts = {urlsplit(request).netloc for request in page.requests if not request.startswith(('data:', 'blob:'))}
        assert hosts == {urlsplit(address).netloc}
        # What is refused, and what cannot be sent, is noted by the console, too.
        assert [text for text in page.complaints if not text.startswith('Failed to load resource')] == []


def until(page, condition, seconds=240):
    """Wait until an expression of JavaScript holds."""
    for _ in range(5 * seconds):
        if page.evaluate(condition):
            return
        time.sleep(0.2)
    raise RuntimeError(f'{condition} does not come true; the page says: {page.evaluate("document.body.innerText")}')


def choose(page, selector, paths):
    """Choose files in an input, as its dialog does."""
    found = page.send('Runtime.evaluate', expression=f'document.querySelector({selector!r})')['result']['objectId']
    page.send('DOM.setFileInputFiles', objectId=found, files=[str(path) for path in paths])


def drop(page, selector, paths):
    """Drop files from elsewhere onto an element."""
    x, y = page.evaluate(
        f'(() => {{ const element = document.querySelector({selector!r});'
        'element.scrollIntoView({block: "center"}); const box = element.getBoundingClientRect();'
        'return [box.x + box.width / 2, box.y + box.height / 2]; })()'
    )
    data = dict(items=[], files=[str(path) for path in paths], dragOperationsMask=1)
    for kind in ('dragEnter', 'dragOver', 'drop'):
        page.send('Input.dispatchDragEvent', type=kind, x=x, y=y, data=data)


def text(page, selector):
    return page.evaluate(f'document.querySelector({selector!r}).innerText')


def click(page, selector):
    page.evaluate(f'document.querySelector({selector!r}).click()')


def set_value(page, selector, value):
    page.evaluate(
        f'(() => {{ const input = document.querySelector({selector!r}); input.value = {value!r};'
        'input.dispatchEvent(new Event("change")); })()'
    )


def tune(page, method='linear_probe', epochs=''):
    set_value(page, 'select', method)
    set_value(page, '[name=epochs]', epochs)
    click(page, '#start')
    until(page, 'document.querySelector("#cancel").hidden')


def test_from_pictures_to_predictions(browser, folder, tmp_path):
    for place, name in enumerate(('one', 'two'), 1):
        set_value(browser, f'.card:nth-child({place}) .name', name)
    drop(browser, '.card:nth-child(1) .drop', sorted((folder / 'one').iterdir())[:4])
    choose(browser, '.card:nth-child(2) .drop input', sorted((folder / 'two').iterdir()))
    until(browser, 'document.querySelectorAll(".card img").length === 10')
    click(browser, '.card:nth-child(2) .pictures button')
    assert [text(browser, f'.card:nth-child({place}) .count') for place in (1, 2)] == ['4 pictures', '5 pictures']
    tune(browser, 'clip_adapter', '3')
    assert 'The model tells 2 classes apart: one, two.' in text(browser, '#model-note')
    assert (
        browser.evaluate(
            '[...document.querySelectorAll(".confusion td")].map(cell => Number(cell.innerText) || 0)'
            '.reduce((sum, number) => sum + number)'
        )
        == 3
    )  # 1 of 4, 2 of 5

    (tmp_path / 'broken.png').write_bytes(b'\x89PNG\r\n\x1a\n')
    new = [*sorted((folder / 'two').iterdir())[:2], tmp_path / 'broken.png']
    drop(browser, '#classify .button', new)
    until(browser, 'document.querySelectorAll(".prediction").length === 3')
    assert 'this picture cannot be read' in text(browser, '.prediction:nth-child(3)')
    lines = text(browser, '.prediction:nth-child(1)').split('\n')
    assert lines[2] == new[0].name and [cell for line in lines for cell in line.split('\t') if '-' in cell or 'u' in cell] == [
        'zero-shot',
        'tuned',
        'fused',
    ]
    table = browser.evaluate('fetch(document.querySelector("#csv").href).then(answer => answer.text())')
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row['path'] for row in rows] == [path.name for path in new]
    title = text(browser, '.prediction:nth-child(1) h3')
    assert title == f'{rows[0]["label"]}, {100 * float(rows[0]["probability"]):.1f} %'


def test_a_folder_of_folders_is_opened_by_choosing_and_by_dropping(browser, folder):
    for open_folder in (lambda: choose(browser, '#folder', [folder]), lambda: drop(browser, '#classes h2', [folder])):
        open_folder()
        until(browser, 'document.querySelectorAll("#cards .card").length === 3')
        names = browser.evaluate('[...document.querySelectorAll(".name")].map(input => input.value)')
        assert names == sorted(NAMES) and text(browser, '#folder-note') == '3 classes opened'
        assert text(browser, '.card:nth-child(3) .count') == '6 pictures'
        for _ in names:
            click(browser, '.remove')


def test_a_folder_that_is_divided_brings_its_own_pictures_to_test_on(browser, tmp_path):
    write_pictures(tmp_path / 'mine' / 'train', 2)
    write_pictures(tmp_path / 'mine' / 'test', 3, start=20)
    (tmp_path / 'mine' / 'train' / 'one' / 'notes.txt').write_text('no picture')
    drop(browser, '#classes h2', [tmp_path / 'mine'])
    until(browser, 'document.querySelectorAll("#cards .card").length === 3')
    assert text(browser, '.card:nth-child(1) .count') == '2 pictures, 3 to test on'
    assert text(browser, '#folder-note').startswith('3 classes opened; 1 file passed over')
    tune(browser, 'zero_shot')
    cells = browser.evaluate('[...document.querySelectorAll(".confusion td")].map(cell => Number(cell.innerText) || 0)')
    assert [sum(cells[start : start + 3]) for start in (0, 3, 6)] == [3, 3, 3]


def test_names_are_text_whatever_they_look_like(browser, tmp_path):
    for place, name in enumerate((EVIL, 'two'), 1):
        set_value(browser, f'.card:nth-child({place}) .name', name)
    picture = tmp_path / '<b>&amp;.png'
    Image.fromarray(digits(1)[0][0]).save(picture)
    choose(browser, '.card:nth-child(1) .drop input', [picture])
    choose(browser, '.card:nth-child(2) .drop input', [picture])
    tune(browser)
    assert text(browser, '#tune > .fault') == f'the same picture is in two classes: {EVIL}/<b>&amp;.png and two/<b>&amp;.png'
    assert browser.evaluate('document.title') == 'mps-clip: tune CLIP on your pictures'
    assert browser.evaluate('document.querySelectorAll("img[src=x], b").length') == 0


def test_each_mistake_is_one_message_which_goes_once_it_is_mended(browser, folder):
    tune(browser)
    assert text(browser, '#tune > .fault') == 'class 1 has no name; CLIP reads it, so a plain word does best'
    choose(browser, '#new', [folder / 'one' / '000.png'])
    until(browser, '!document.querySelector("#classify > .fault").hidden')
    assert text(browser, '#classify > .fault') == 'there is no model yet; tune one, or load one'
    choose(browser, '#new', [folder / 'gone.png'])
    until(browser, 'document.querySelector("#classify > .fault").innerText.includes("a file was moved or changed")')
    drop(browser, '#classes h2', [folder])
    until(browser, 'document.querySelectorAll("#cards .card").length === 3')
    tune(browser)
    assert browser.evaluate('document.querySelector("#tune > .fault").hidden')
    assert 'The model tells 3 classes apart' in text(browser, '#model-note')


def test_a_training_is_watched_and_cancelled(browser, folder):
    drop(browser, '#classes h2', [folder])
    until(browser, 'document.querySelectorAll("#cards .card").length === 3')
    set_value(browser, 'select', 'clip_adapter')
    set_value(browser, '[name=epochs]', '100000')
    click(browser, '#start')
    until(browser, 'document.querySelector("progress").value > 0')
    assert text(browser, '#progress').strip().startswith('step ')
    assert browser.evaluate('document.querySelector("#start").disabled')
    click(browser, '#cancel')
    until(browser, 'document.querySelector("#cancel").hidden')
    assert text(browser, '#model-note') == 'Cancelled.' and not browser.evaluate('document.querySelector("#start").disabled')


def test_a_model_is_saved_and_loaded_in_another_tab(browser, address, folder, tmp_path):
    drop(browser, '#classes h2', [folder])
    until(browser, 'document.querySelectorAll("#cards .card").length === 3')
    tune(browser)
    content = browser.evaluate(
        'fetch(document.querySelector("#save").href).then(answer => answer.arrayBuffer())'
        '.then(buffer => Array.from(new Uint8Array(buffer)))'
    )
    (tmp_path / 'mine.pth').write_bytes(bytes(content))
    with open_browser(find_browser()) as other:
        other.show(address, 390, 800, 'dark')
        until(other, 'document.body.dataset.ready === "yes"')
        assert other.evaluate('document.querySelector("#save").hidden')
        choose(other, '#load', [tmp_path / 'mine.pth'])
        until(other, '!document.querySelector("#model-note").hidden')
        assert text(other, '#model-note') == 'The model tells 3 classes apart: one, three, two.'
        choose(other, '#new', sorted((folder / 'two').iterdir())[:1])
        until(other, 'document.querySelectorAll(".prediction").length === 1')
        # Nothing is wider than the screen of a phone.
        assert other.evaluate('document.documentElement.scrollWidth') == 390
