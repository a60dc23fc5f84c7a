"""A report as HTML: everything escaped, everything within."""

import base64

import pytest
from page_reader import read_page

from mmpretrain_mps.analysis.contents import Listing, Missing, Plot, Section, Table, plots_of
from mmpretrain_mps.analysis.page import data_address, make_page
from mmpretrain_mps.analysis.style import panel

EVIL = '<b>&"\'</b><script>alert(1)</script>'


def plot(name='plot', caption='A plot.'):
    return Plot(name, caption, lambda: panel(name)[0])


def test_whatever_a_name_looks_like_it_is_shown_as_it_is():
    page = read_page(
        make_page(
            EVIL,
            [
                Section(
                    'one',
                    f'section {EVIL}',
                    [
                        f'paragraph {EVIL}',
                        plot(caption=f'caption {EVIL}'),
                        Listing(f'summary {EVIL}', f'text {EVIL}'),
                        Missing(f'notice {EVIL}'),
                        Table(f'table {EVIL}', [f'heading {EVIL}'], [[f'cell {EVIL}']]),
                    ],
                )
            ],
        )
    )
    assert {tag for tag, _ in page.tags} <= {
        'html',
        'head',
        'meta',
        'link',
        'title',
        'style',
        'body',
        'header',
        'h1',
        'nav',
        'ul',
        'li',
        'a',
        'main',
        'section',
        'h2',
        'p',
        'div',
        'figure',
        'picture',
        'source',
        'img',
        'figcaption',
        'details',
        'summary',
        'pre',
        'strong',
        'table',
        'thead',
        'tbody',
        'tr',
        'th',
        'td',
    }
    for what in ('section', 'paragraph', 'caption', 'summary', 'text', 'notice', 'table', 'heading', 'cell'):
        assert f'{what} {EVIL}' in page.text
    assert page.text.count(EVIL) >= 12  # the title twice, and that of the section in the navigation, too
    (image,) = page.attributes('img')
    assert image['alt'] == f'caption {EVIL}'


def test_each_section_can_be_reached_and_holds_its_parts_in_order():
    sections = [Section('one', 'First', ['before', plot('a'), plot('b'), 'between', plot('c')]), Section('two', 'Second', [])]
    html = make_page('Title', sections)
    page = read_page(html)
    assert [link['href'] for link in page.attributes('a')] == ['#one', '#two']
    assert [section['id'] for section in page.attributes('section')] == ['one', 'two']
    assert [figure['id'] for figure in page.attributes('figure')] == ['plot-a', 'plot-b', 'plot-c']
    # Neighbours share a grid; what comes between them starts another.
    assert html.count('<div class="plots">') == 2
    assert html.index('before') < html.index('plot-b') < html.index('between') < html.index('plot-c')
    assert [part.name for part in plots_of(sections)] == ['a', 'b', 'c']


def test_each_plot_has_a_picture_for_light_and_one_for_dark_screens():
    page = read_page(make_page('Title', [Section('one', 'First', [plot()])]))
    (source,) = page.attributes('source')
    (image,) = page.attributes('img')
    assert source['media'] == '(prefers-color-scheme: dark)'
    light, dark = (page.decode(address) for address in (image['src'], source['srcset']))
    assert light.startswith(b'<?xml') and dark.startswith(b'<?xml') and light != dark
    assert b'#ffffff' in light and b'#16191d' in dark


def test_a_policy_forbids_to_fetch_or_to_run_anything():
    page = read_page(make_page('Title', []))
    (policy,) = (meta['content'] for meta in page.attributes('meta') if meta.get('http-equiv') == 'Content-Security-Policy')
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_figures_stand_in_one_line_and_long_texts_are_broken():
    tables = [Table('wide', ['a', 'b', 'c'], [['1', '2', '3'], ['4', '5', '6']]), Table('narrow', ['a', 'b'], [['1', '2']])]
    page = read_page(make_page('Title', [Section('one', 'First', tables)]))
    assert [table.get('class') for table in page.attributes('table')] == ['figures', None]
    assert len(page.attributes('tr')) == 5 and [heading['scope'] for heading in page.attributes('th')] == ['col'] * 5


@pytest.mark.parametrize('extension, kind', [('png', 'image/png'), ('svg', 'image/svg+xml')])
def test_a_picture_is_told_with_its_type(extension, kind):
    head, _, content = data_address(b'\x00\xff', extension).partition(',')
    assert head == f'data:{kind};base64' and base64.b64decode(content) == b'\x00\xff'
