"""What a report consists of, whatever it is written as."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure


class Plot(NamedTuple):
    """One panel, drawn when it is needed and in the colours of a page."""

    name: str
    """Stem of its files, and unique in a report."""
    caption: str
    """What is seen, and how to read it."""
    draw: Callable[[], Figure]
    """Called within :func:`.style.in_style`."""


class Table(NamedTuple):
    """Text in rows."""

    caption: str
    headings: list[str]
    rows: list[list[str]]
    """Of texts, one per heading."""


class Listing(NamedTuple):
    """Long text that is shown on demand, line by line as it is."""

    summary: str
    text: str


class Missing(NamedTuple):
    """What cannot be shown, why, and what would help."""

    text: str


class Section(NamedTuple):
    """A part of a report."""

    name: str
    """Letters and hyphens, unique in a report."""
    title: str
    parts: list
    """Of paragraphs (str), :class:`Plot`, :class:`Table`, :class:`Listing` and :class:`Missing`."""


def plots_of(sections: Sequence[Section]) -> list[Plot]:
    """List the plots of a report in their order."""
    return [part for section in sections for part in section.parts if isinstance(part, Plot)]
