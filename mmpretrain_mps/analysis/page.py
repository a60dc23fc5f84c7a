"""A report as one HTML file that needs nothing else."""

import base64
from html import escape

from .contents import Listing, Missing, Plot, Table
from .style import STYLES, render

_TYPES = {'svg': 'image/svg+xml', 'png': 'image/png'}
# Nothing may be fetched or run, whatever a name in a config looks like.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_CSS = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1a1a1a; --faint: #5c6166; --line: #d3d7db;
  --shade: #f3f5f7; --link: #005f96; --warn: #8a4b00; --warn-shade: #fdf3e4; }
@media (prefers-color-scheme: dark) { :root { --paper: #16191d; --ink: #e6e6e6; --faint: #a4abb3; --line: #3a4048;
  --shade: #20252b; --link: #7cc0ee; --warn: #f0bd6b; --warn-shade: #2e2618; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-top: .5rem; border-top: 1px solid var(--line); }
p, li { max-width: 46rem; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; padding: 0; margin: 1rem 0; list-style: none; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); gap: 1.5rem;
  align-items: start; margin: 1rem 0; }
figure { margin: 0; }
figure img { display: block; width: 100%; height: auto; }
figure.table { margin: 1.25rem 0; }
figcaption { color: var(--faint); font-size: .9rem; max-width: 46rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td { max-width: 34rem; overflow-wrap: anywhere; }
.figures td { max-width: none; overflow-wrap: normal; white-space: nowrap; }
.missing { padding: .5rem .75rem; border-left: 4px solid var(--warn); background: var(--warn-shade); }
.missing strong { color: var(--warn); }
pre { overflow-x: auto; padding: .75rem; background: var(--shade); font-size: .8rem; line-height: 1.4; }
summary { cursor: pointer; }
"""


def make_page(title, sections):
    """Write a report as HTML: all text escaped, all pictures within, no script.

    Args:
        title (str): Of the report.
        sections (Sequence[Section]): Its parts.

    Returns:
        str: The document.
    """
    links = ''.join(f'<li><a href="#{section.name}">{escape(section.title)}</a></li>' for section in sections)
    bodies = '\n'.join(
        f'<section id="{section.name}">\n<h2>{escape(section.title)}</h2>\n{_body(section)}\n</section>' for section in sections
    )
    return f'''<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{_CSS}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{bodies}
</main>
</body>
</html>
'''


def _body(section):
    """Write the parts; plots that follow each other stand side by side where there is room."""
    lines, in_plots = [], False
    for part in section.parts:
        if isinstance(part, Plot) != in_plots:
            lines.append('</div>' if in_plots else '<div class="plots">')
            in_plots = not in_plots
        lines.append(_part(part))
    return '\n'.join(lines + (['</div>'] if in_plots else []))


def _part(part):
    if isinstance(part, Plot):
        return _figure(part)
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Listing):
        return f'<details><summary>{escape(part.summary)}</summary><pre>{escape(part.text)}</pre></details>'
    if isinstance(part, Missing):
        return f'<p class="missing"><strong>Note:</strong> {escape(part.text)}</p>'
    return f'<p>{escape(part)}</p>'


def _figure(plot):
    light, dark = (data_address(render(plot, style, 'svg'), 'svg') for style in STYLES)
    return (
        f'<figure id="plot-{escape(plot.name)}"><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(plot.caption)}"></picture><figcaption>{escape(plot.caption)}</figcaption>'
        '</figure>'
    )


def _table(table):
    headings = ''.join(f'<th scope="col">{escape(heading)}</th>' for heading in table.headings)
    rows = ''.join(f'<tr>{"".join(f"<td>{escape(cell)}</td>" for cell in row)}</tr>\n' for row in table.rows)
    # Figures stand in one line each, and scroll; descriptions of two columns are broken.
    kind = ' class="figures"' if len(table.headings) > 2 else ''
    return (
        f'<figure class="table"><figcaption>{escape(table.caption)}</figcaption>'
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(table.caption)}"><table{kind}>'
        f'<thead><tr>{headings}</tr></thead>\n<tbody>{rows}</tbody></table></div></figure>'
    )


def data_address(content, extension):
    """Return a ``data:`` address that holds the content of a picture.

    Args:
        content (bytes): Of the file.
        extension (str): ``'png'`` or ``'svg'``.

    Returns:
        str: For ``src``.
    """
    return f'data:{_TYPES[extension]};base64,{base64.b64encode(content).decode()}'
