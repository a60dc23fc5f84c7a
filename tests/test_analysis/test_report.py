"""Reports and plots of the three kinds of folders, as files and in a browser."""

import re
from pathlib import Path

import pytest
from browser import find_browser, open_browser
from page_reader import read_page
from reported import CLASS_NAMES, ROOT, cell, copy_of, flags, make_grid, make_study, rim, write_records

from mmpretrain_mps.analysis import report
from mmpretrain_mps.analysis.contents import plots_of
from mmpretrain_mps.analysis.page import make_page
from mmpretrain_mps.analysis.report import sections_of, write_plots, write_report
from mmpretrain_mps.analysis.style import render

KINDS = ('training', 'grid', 'study')
# Of the texts that show pictures.
PICTURES = [
    (text, name)
    for text in ('README.md', 'docs/evidence.md')
    for name in re.findall(r'!\[[^]]*\]\(([^)]*\.png)\)', (ROOT / text).read_text(encoding='utf-8'))
]


@pytest.fixture(scope='module')
def folders(digits_work_dir, tmp_path_factory):
    """A folder of each kind."""
    parent = tmp_path_factory.mktemp('kinds')
    results = [
        cell(shots, seed, 60.0 + shots + seed, recipe)
        for shots in (1, 4)
        for seed in (1, 2)
        for recipe in ('<b>&"', 'a recipe with a name that is long')
    ]
    return dict(training=digits_work_dir, grid=make_grid(parent / 'grid', results), study=make_study(parent / 'study'))


@pytest.fixture(scope='module')
def contents(folders):
    """Title and sections of each."""
    return {kind: sections_of(flags(folder)) for kind, folder in folders.items()}


@pytest.fixture(scope='module')
def files(folders, tmp_path_factory):
    """The report of each."""
    parent = tmp_path_factory.mktemp('reports')
    return {kind: write_report(flags(folder, out=str(parent / f'{kind}.html'))) for kind, folder in folders.items()}


@pytest.fixture(scope='module')
def pages(files):
    return {kind: read_page(file.read_text(encoding='utf-8')) for kind, file in files.items()}


@pytest.mark.parametrize('kind', KINDS)
def test_a_report_needs_nothing_but_itself(files, pages, kind):
    page = pages[kind]
    addresses = page.loads()
    assert addresses and all(address.startswith(('data:', '#')) for address in addresses)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {'script', 'iframe', 'object', 'embed', 'base', 'form'}
    assert [attributes['href'] for attributes in page.attributes('link')] == ['data:,']
    assert not any(name.startswith('on') for _, attributes in page.tags for name in attributes)
    (style,) = re.findall(r'<style>(.*?)</style>', files[kind].read_text(encoding='utf-8'), re.S)
    assert 'color-scheme' in style and not re.search(r'url\(|@import', style)
    # Nor do the pictures: what they refer to lies in them.
    for image in page.attributes('img'):
        refers = re.findall(rb'(?:href|src)="([^"]{0,40})', page.decode(image['src']))
        assert all(address.startswith((b'#', b'data:')) for address in refers)


def test_a_report_of_a_training_has_tables_plots_config_and_environment(pages):
    page = pages['training']
    assert page.text.count('Training training') == 2  # title and heading
    assert [section['id'] for section in page.attributes('section')] == [
        'accuracy',
        'training',
        'gromov-wasserstein',
        'gram',
        'maps',
        'predictions',
        'drift',
        'separability',
        'checkpoint',
        'config',
        'environment',
    ]
    assert len(page.attributes('img')) == 21 and len(page.attributes('table')) == 7
    assert 'gram_loss=' in page.text and 'What the checkpoint says of itself' in page.text
    assert 'Of the training, from its log' in page.text and 'Versions that made this report' in page.text


@pytest.mark.parametrize(
    'kind, title, names',
    [
        ('grid', 'Grid grid', ['cells', 'accuracy', 'curves', 'recipes', 'separability', 'config', 'environment']),
        ('study', 'A study', ['claims', 'comparison', 'shots-1', 'shots-4', 'selection', 'config', 'environment']),
    ],
)
def test_a_report_of_a_grid_or_a_study_has_its_sections(pages, kind, title, names):
    page = pages[kind]
    assert page.text.count(title) == 2
    assert [section['id'] for section in page.attributes('section')] == names
    assert page.attributes('img') and page.attributes('table')


@pytest.mark.parametrize('kind, shown', [('training', CLASS_NAMES), ('grid', ('<b>&"',)), ('study', ('CE & <MAR>',))])
def test_names_with_signs_of_html_are_shown_as_they_are(pages, kind, shown):
    assert all(name in pages[kind].text for name in shown)
    assert not any(tag in ('b', 'mar') for tag, _ in pages[kind].tags)


@pytest.mark.parametrize('kind', KINDS)
def test_all_plots_differ_between_light_and_dark_and_are_on_their_paper(pages, kind):
    images, sources = pages[kind].attributes('img'), pages[kind].attributes('source')
    assert len(images) == len(sources)
    for image, source in zip(images, sources):
        light, dark = pages[kind].decode(image['src']), pages[kind].decode(source['srcset'])
        assert b'fill: #ffffff' in light and b'fill: #16191d' in dark and b'fill: #16191d' not in light


@pytest.mark.parametrize('kind', KINDS)
def test_equal_folders_give_equal_reports(contents, files, kind):
    assert make_page(*contents[kind]) == files[kind].read_text(encoding='utf-8')


@pytest.mark.parametrize('kind', KINDS)
def test_nothing_in_a_plot_is_cut_off_by_its_edge(contents, kind):
    plots = plots_of(contents[kind][1])
    assert {plot.name: rim(render(plot, 'light', 'png')) for plot in plots} == {plot.name: {(255, 255, 255)} for plot in plots}


def test_nothing_in_the_plots_of_a_real_study_is_cut_off_by_its_edge():
    for plot in plots_of(sections_of(flags(ROOT / 'results' / 'digits_study'))[1]):
        assert rim(render(plot, 'dark', 'png')) == {(0x16, 0x19, 0x1D)}


@pytest.mark.parametrize('text, name', PICTURES)
def test_the_plots_of_the_texts_are_there_and_whole(text, name):
    assert rim((ROOT / text).parent.joinpath(name).read_bytes()) == {(255, 255, 255)}


def test_plots_are_written_for_both_screens_as_pictures_and_as_drawings(folders, tmp_path):
    first, second = (write_plots(flags(folders['study'], out=str(tmp_path / name))) for name in 'ab')
    names = [
        f'{name}-{style}.{extension}'
        for name in ('study-shots', 'study-differences', 'study-trade-off')
        for style in ('light', 'dark')
        for extension in ('png', 'svg')
    ]
    assert [file.name for file in first] == names and {file.parent for file in first} == {tmp_path / 'a'}
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    assert sorted(path.name for path in (tmp_path / 'a').iterdir()) == sorted(names)  # nothing half written is left


def test_single_plots_can_be_asked_for_and_are_those_of_the_report(folders, contents, tmp_path):
    files = write_plots(flags(folders['training'], out=str(tmp_path), only=['tsne-after', 'gram-difference']))
    assert [file.name for file in files][::4] == ['tsne-after-light.png', 'gram-difference-light.png']
    assert len(files) == 8
    plots = {plot.name: plot for plot in plots_of(contents['training'][1])}
    for name in ('tsne-after', 'gram-difference'):
        assert (tmp_path / f'{name}-dark.svg').read_bytes() == render(plots[name], 'dark', 'svg')


@pytest.mark.parametrize('only', [['study-shot'], ['study-shots', 'study-shot']])
def test_an_unknown_plot_is_told_with_those_that_there_are_and_nothing_is_written(folders, tmp_path, only):
    with pytest.raises(ValueError, match="gives no plot 'study-shot'; it gives study-shots, study-differences, stu"):
        write_plots(flags(folders['study'], out=str(tmp_path / 'out'), only=only))
    assert not (tmp_path / 'out').exists()


def test_by_default_files_lie_in_the_folder_itself(folders, tmp_path):
    folder = copy_of(folders['study'], tmp_path)
    assert write_report(flags(folder)) == folder / 'report.html'
    assert write_plots(flags(folder, only=['study-shots']))[0] == folder / 'plots' / 'study-shots-light.png'
    # What was written is no obstacle to writing it again.
    assert write_report(flags(folder)).read_bytes() == (folder / 'report.html').read_bytes()


def test_the_name_in_the_title_is_that_of_the_folder_also_from_within(folders, monkeypatch):
    monkeypatch.chdir(folders['grid'])
    assert sections_of(flags('.'))[0] == 'Grid grid'


@pytest.mark.parametrize(
    'given, error, message',
    [
        (dict(folder='nowhere'), FileNotFoundError, r'folder nowhere does not exist \(looked from '),
        (dict(folder='file'), NotADirectoryError, 'file is a file; expected the folder of a training, a grid or a study'),
        (
            dict(folder='empty'),
            ValueError,
            'empty is neither the work directory of a training .* nor the folder of a grid .* or study',
        ),
        (dict(folder='training', max_pictures=1), ValueError, '--max-pictures is 1, expected 2 or more'),
        (dict(folder='training', checkpoint='gone.pth'), FileNotFoundError, r'checkpoint gone\.pth does not exist'),
        (
            dict(folder='grid', checkpoint='x.pth'),
            ValueError,
            '--checkpoint is for the work directory of a training, but grid holds a grid',
        ),
        (dict(folder='study', checkpoint='x.pth'), ValueError, 'but study holds a study'),
        (dict(folder='broken_grid'), ValueError, r'results\.json is no JSON'),
        (dict(folder='broken_study'), ValueError, r'study\.json has the format None'),
    ],
)
def test_what_cannot_be_looked_at_is_refused_with_a_reason(tmp_path, monkeypatch, given, error, message):
    monkeypatch.chdir(tmp_path)
    Path('file').write_text('')
    Path('empty').mkdir()
    write_records('training', dict(step=1, iter=1, loss=1.0))
    make_grid(Path('grid'), [cell(1, 1, 70.0)])
    make_study(Path('study'))
    for name, file, text in (('broken_grid', 'results.json', '{'), ('broken_study', 'study.json', '{}')):
        Path(name).mkdir()
        Path(name, file).write_text(text)
    for write in (write_report, write_plots):
        with pytest.raises(error, match=message):
            write(flags(**given))
    assert not list(tmp_path.rglob('*.html')) and not list(tmp_path.rglob('*.png'))


def test_a_place_that_cannot_be_written_to_is_told_before_anything_is_computed(folders, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError('nothing was to be computed')

    monkeypatch.setattr(report, 'sections_of', never)
    with pytest.raises(ValueError, match='is a folder, expected a file to write'):
        write_report(flags(folders['study'], out=str(tmp_path)))
    (tmp_path / 'file').write_text('')
    with pytest.raises(NotADirectoryError, match='file is a file, expected a folder'):
        write_plots(flags(folders['study'], out=str(tmp_path / 'file')))


@pytest.fixture(scope='module')
def browser_page():
    browser = find_browser()
    if browser is None:
        pytest.skip('no Chromium is installed (on Debian: apt-get install chromium)')
    with open_browser(browser) as page:
        yield page


@pytest.mark.parametrize('kind', KINDS)
def test_a_browser_shows_every_picture_in_its_scheme_and_complains_of_nothing(browser_page, files, kind):
    shown = {}
    for scheme, width in (('light', 1400), ('dark', 360)):
        browser_page.show(files[kind].as_uri(), width, 900, scheme)
        pictures = browser_page.evaluate(
            '[...document.images].map(image => [image.complete && image.naturalWidth > 0, image.currentSrc])'
        )
        assert pictures and all(complete for complete, _ in pictures)
        shown[scheme] = [address for _, address in pictures]
        # Wide tables scroll in their own place: a page that scrolls sideways cannot be read on a phone.
        assert browser_page.evaluate('document.documentElement.scrollWidth') <= width
    page = read_page(files[kind].read_text(encoding='utf-8'))
    assert shown['light'] == [image['src'] for image in page.attributes('img')]
    assert shown['dark'] == [source['srcset'] for source in page.attributes('source')]
    assert browser_page.evaluate('getComputedStyle(document.body).backgroundColor') == 'rgb(22, 25, 29)'
    assert browser_page.complaints == []
    assert all(address.startswith(('file://', 'data:')) for address in browser_page.requests)
    assert browser_page.evaluate('document.scripts.length') == 0


def test_the_browser_would_complain(browser_page, tmp_path):
    file = tmp_path / 'faulty.html'
    file.write_text('<meta charset="utf-8"><script>console.error("a fault"); throw new Error("another")</script>')
    before = len(browser_page.complaints)
    browser_page.show(file.as_uri(), 800, 600, 'light')
    complaints = ' '.join(browser_page.complaints[before:])
    del browser_page.complaints[before:]
    assert 'a fault' in complaints and 'another' in complaints
