"""The documentation: the site builds without a warning, links lead somewhere, and the notebook runs."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from tiny_digits import ROOT, environment

PAGES = sorted([ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', ROOT / 'projects' / 'README.md', *(ROOT / 'docs').rglob('*.md')])
NEEDED = ('mkdocs', 'material', 'mkdocstrings', 'latex2mathml')
needs_docs = pytest.mark.skipif(not all(map(find_spec, NEEDED)), reason="needs pip install -e '.[docs]'")


def text_of(page):
    return page.read_text(encoding='utf-8')


def without_code(text):
    return re.sub(r'^( *)```.*?^\1```', '', text, flags=re.DOTALL | re.MULTILINE)


def anchors_of(page):
    """Return what a code host makes of the headings of a page."""
    headings = re.findall(r'^#+ (.*)', without_code(text_of(page)), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_to_a_file_and_a_heading(page):
    for link in re.findall(r'\]\(([^)\s]+)\)', without_code(text_of(page))):
        if not re.match(r'[a-z]+:', link):
            path, _, anchor = link.partition('#')
            target = (page.parent / path).resolve() if path else page
            assert target.exists() and target.is_relative_to(ROOT), link
            assert not anchor or anchor in anchors_of(target), link


def test_every_config_that_a_text_names_is_there():
    named = {(text.name, path) for text in PAGES for path in re.findall(r'configs/[\w/]+\.(?:py|ya?ml)', text_of(text))}
    assert len(named) > 50
    assert [(text, path) for text, path in sorted(named) if not (ROOT / path).is_file() and 'NAME' not in path] == []


def test_the_readme_is_short_and_has_at_most_one_small_table_of_methods():
    lines = text_of(ROOT / 'README.md').splitlines()
    assert len(lines) <= 150
    block = text_of(ROOT / 'README.md').partition('<!-- methods_short -->')[2].partition('<!-- /methods_short -->')[0]
    assert len([line for line in block.splitlines() if line.startswith('|')]) - 2 <= 12


def test_the_long_description_has_no_links_that_lead_nowhere():
    code = "import setuptools; setuptools.setup = lambda **given: print(given['long_description']); exec(open('setup.py').read())"
    done = subprocess.run(
        [sys.executable, '-c', f"__file__ = 'setup.py'; {code}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert 'MPS-Tuning' in done.stdout
    assert [link for link in re.findall(r'\]\(([^)\s]+)\)', done.stdout) if not link.startswith('https:')] == []


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp('site')
    done = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(folder)],
        cwd=ROOT,
        env=environment(NO_MKDOCS_2_WARNING='1'),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and 'WARNING' not in done.stderr, done.stderr[-3000:]
    return folder


@needs_docs
def test_every_page_is_on_the_site_and_fetches_nothing(site):
    pages = {path.relative_to(ROOT / 'docs').with_suffix('.html') for path in PAGES if path.is_relative_to(ROOT / 'docs')}
    assert all((site / page).is_file() for page in {*pages, 'tutorial.html'})
    for page in site.rglob('*.html'):
        tags = re.findall(r'<(?:script|img|iframe|link)\b[^>]*>', text_of(page))
        loaded = [tag for tag in tags if re.search(r'\b(?:src|href)="?(?:https?:)?//', tag)]
        assert [tag for tag in loaded if 'rel="canonical"' not in tag] == [], page


@needs_docs
def test_the_reference_shows_docstrings_without_their_markup(site):
    for page in sorted((site / 'reference').glob('*.html')):
        text = re.sub(r'<pre.*?</pre>', '', text_of(page), flags=re.DOTALL)
        assert text.count('doc-object-name') and not re.search(r':(?:class|func|meth|attr|data|math):`|\.\. math', text), page
    losses = text_of(site / 'reference' / 'parts.html')
    assert '<math' in losses and '2508.12877' in losses


@pytest.mark.slow
def test_the_notebook_runs_cell_by_cell_and_prints_what_it_shows(tmp_path):
    cells = json.loads(text_of(ROOT / 'docs' / 'tutorial.ipynb'))['cells']
    code = [cell for cell in cells if cell['cell_type'] == 'code']
    assert [cell['execution_count'] for cell in code] == list(range(1, len(code) + 1))
    program = '\n\n'.join(''.join(cell['source']) for cell in code)
    done = subprocess.run(
        [sys.executable, '-c', program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        env=environment(MPLBACKEND='agg', MMPRETRAIN_MPS_CACHE='off'),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'model.pth').is_file()
    shown = ''.join(line for cell in code for output in cell['outputs'] for line in output.get('text', ()))
    # Other processors may round otherwise, so that a picture on the edge changes sides.
    for before, now in zip(re.findall(r'([\d.]+) %', shown), re.findall(r'([\d.]+) %', done.stdout), strict=True):
        assert abs(float(before) - float(now)) < 5


@pytest.mark.slow
def test_the_page_about_own_pictures_leads_to_a_table_of_predictions(tmp_path):
    page = text_of(ROOT / 'docs' / 'own_pictures.md').partition('## 4.')[0]
    (program,) = re.findall(r'```python\n# make_pictures.py\n(.*?)```', page, re.DOTALL)
    (tmp_path / 'make_pictures.py').write_text(program, encoding='utf-8')
    commands = '\n'.join(re.findall(r'```bash\n(.*?)```', page, re.DOTALL))
    around = environment(MMPRETRAIN_MPS_CACHE='off')
    around['PATH'] = f'{os.path.dirname(sys.executable)}:{around["PATH"]}'
    done = subprocess.run(['bash', '-ec', commands], cwd=tmp_path, env=around, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = text_of(tmp_path / 'predictions.csv').splitlines()
    assert rows[0] == 'path,label,probability,fault' and len(rows) == 13
