"""What the documentation site needs beside Markdown: hooks of MkDocs, and an extension for docstrings; see mkdocs.yml.

Pages link to files of the repository as they do on a code host. On the site such a file has no place of its own, so that it is
copied below ``files/``. Notebooks become pages. Roles of reStructuredText in docstrings become Markdown.
"""

import json
import posixpath
import re
from pathlib import Path

import griffe
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r'(\]\()((?:\.\./)+[^)#\s]+)')
CODE = re.compile(r'(```.*?```|`[^`\n]*`)', re.DOTALL)


def on_files(files, config):
    """Put a page in the place of every notebook."""
    for notebook in [file for file in files if file.src_uri.endswith('.ipynb')]:
        files.remove(notebook)
        text = notebook_page(json.loads(Path(notebook.abs_src_path).read_text(encoding='utf-8')))
        files.append(File.generated(config, posixpath.splitext(notebook.src_uri)[0] + '.md', content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Copy what a page links to outside of docs/, and let the links lead to the copies."""
    folder = posixpath.dirname(page.file.src_uri)
    markdown = re.sub(r'(\]\([^)\s]*)\.ipynb\b', r'\1.md', markdown)

    def copied(match):
        path = posixpath.normpath(posixpath.join('docs', folder, match[2]))
        if path.startswith('docs/'):
            return match[0]
        source = ROOT / path
        if path.startswith('../') or not source.is_file():
            raise PluginError(f'{page.file.src_uri} links to {match[2]}, expected a file of the repository')
        target = f'files/{path}' + ('' if source.suffix in ('.png', '.svg', '.json') else '.txt')
        if files.get_file_from_path(target) is None:
            files.append(File.generated(config, target, content=source.read_bytes()))
        return match[1] + posixpath.relpath(target, folder or '.')

    return ''.join(part if number % 2 else LINK.sub(copied, part) for number, part in enumerate(CODE.split(markdown)))


def on_page_content(html, **_):
    """Let wide tables scroll by themselves instead of the whole page."""
    return html.replace('<table>', '<div class="wide"><table>').replace('</table>', '</table></div>')


def notebook_page(notebook):
    """Write the cells of a notebook, and what they printed, as Markdown.

    Args:
        notebook (dict): As its file has it.

    Returns:
        str: A page.
    """
    parts = []
    for cell in notebook['cells']:
        text = ''.join(cell['source'])
        parts.append(f'```python\n{text}\n```' if cell['cell_type'] == 'code' else text)
        for output in cell.get('outputs', ()):
            data = output.get('data', {})
            shown = ''.join(output.get('text') or data.get('text/plain') or '').rstrip()
            parts.append(
                f'![output](data:image/png;base64,{data["image/png"].strip()})'
                if 'image/png' in data
                else f'```text\n{shown}\n```'
            )
    return '\n\n'.join(parts) + '\n'


class PlainMarkdown(griffe.Extension):
    """Docstrings of this project use a few roles and directives of reStructuredText, which Markdown does not know."""

    def on_instance(self, *, obj, **_):
        """Rewrite the docstring of an object in place."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text):
    """Rewrite roles, links, formulas and literal blocks of reStructuredText.

    Args:
        text (str): A docstring.

    Returns:
        str: The same as Markdown.
    """
    text = re.sub(r'^( *)\.\. math::[ \n]*(.*?)(?=\n *\n|\Z)', _formula, text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r':math:`([^`]*)`', _inline_formula, text)
    text = re.sub(r':[a-z]+:`~?([^`]*)`', lambda match: f'`{match[1].removeprefix("mmpretrain_mps.")}`', text)
    text = re.sub(r'`([^`<]*?)\s*<(https?://[^>]*)>`_+', lambda match: f'[{" ".join(match[1].split())}]({match[2]})', text)
    return re.sub(r'::$', ':', text, flags=re.MULTILINE)


def _inline_formula(match):
    # Where a line begins with <math>, Markdown takes it for a block.
    return f'<span>{convert(match[1])}</span>'


def _formula(match):
    body = re.sub(r'\s+', ' ', match[2]).strip()
    return f'{match[1]}<div class="formula">{convert(body, display="block")}</div>'
