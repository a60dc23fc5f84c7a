"""A page as a browser would read it, without one."""

import base64
from html.parser import HTMLParser

# Tags that have no end.
LONE = ('meta', 'link', 'img', 'source')
# Attributes by which a page loads something.
LOADING = ('src', 'srcset', 'href', 'data', 'poster', 'action', 'background')


class Page(HTMLParser):
    """Tags in their order, and the text between them; tags that do not match are an error."""

    def __init__(self):
        super().__init__()
        self.tags, self.text, self._open = [], '', []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in LONE:
            self._open.append(tag)

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            raise ValueError(f'</{tag}> ends nothing, at {self.getpos()}')

    def handle_data(self, data):
        self.text += data

    def attributes(self, tag):
        """Return the attributes of all tags of a kind."""
        return [attributes for other, attributes in self.tags if other == tag]

    def loads(self):
        """Return all addresses that the page names."""
        return [attributes[name] for _, attributes in self.tags for name in LOADING if name in attributes]

    @staticmethod
    def decode(address):
        """Return what a ``data:`` address holds."""
        return base64.b64decode(address.partition('base64,')[2], validate=True)


def read_page(html):
    """Parse a whole document."""
    page = Page()
    page.feed(html)
    page.close()
    if page._open:
        raise ValueError(f'{page._open} do not end')
    return page
