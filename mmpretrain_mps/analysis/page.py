"""A report as one HTML file that needs nothing else."""

import base64
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader

from .contents import Plot, Section
from .style import render

_TYPES = {'svg': 'image/svg+xml', 'png': 'image/png'}


def make_page(title: str, sections: Sequence[Section]) -> str:
    """Write a report as HTML: all text escaped, all pictures within, no script."""
    pages = Environment(loader=PackageLoader(__package__), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    contents = [(section, [(type(part).__name__, part) for part in section.parts]) for section in sections]
    return pages.get_template('report.html').render(title=title, contents=contents, picture=_picture)


def _picture(plot: Plot, style: str) -> str:
    return data_address(render(plot, style, 'svg'), 'svg')


def data_address(content: bytes, extension: str) -> str:
    """Return a ``data:`` address that holds the content of a picture, ``'png'`` or ``'svg'``."""
    return f'data:{_TYPES[extension]};base64,{base64.b64encode(content).decode()}'
