"""Files from others, read so that none can hang, flood the memory, run code, or say one thing twice."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import yaml

AnyPath = str | Path

# What is longer is no list of pictures, names or settings; one of all of ImageNet takes 150 MB.
MAX_BYTES = 2**30
MAX_DEPTH = 100
# Nodes of a YAML file with its aliases written out: nine levels of nine aliases would be 400 million.
MAX_NODES = 1_000_000
_KINDS = (
    (stat.S_ISDIR, 'a folder'),
    (stat.S_ISFIFO, 'a named pipe'),
    (stat.S_ISSOCK, 'a socket'),
    (stat.S_ISCHR, 'a device'),
    (stat.S_ISBLK, 'a device'),
)
_OTHER_BOMS = ((b'\xff\xfe\0\0', 'UTF-32'), (b'\0\0\xfe\xff', 'UTF-32'), (b'\xff\xfe', 'UTF-16'), (b'\xfe\xff', 'UTF-16'))

if TYPE_CHECKING:
    from yaml.composer import Composer as _Composer
else:
    _Composer = object


def open_regular(path: AnyPath, hint: str = '') -> BinaryIO:
    """Open a file for reading, and nothing that only looks like one: pipes and devices may never end.

    Args:
        path (str | Path): The file; links are followed.
        hint (str): Where the file is published; ends the message when it is missing.

    Returns:
        BinaryIO: To be closed by the caller.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no regular file, or may not be read.
    """
    try:
        # Without O_NONBLOCK, a pipe would wait here for somebody to write to it.
        handle = os.open(path, os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0) | getattr(os, 'O_BINARY', 0))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f'{path} does not exist.' + (f' Published: {hint}' if hint else '')) from None
    except (OSError, ValueError) as error:  # the latter for a NUL in the name
        raise ValueError(_why_unreadable(path, error)) from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise ValueError(f'{path} is {kind_of(mode)}, expected a file.')
    return os.fdopen(handle, 'rb')


def kind_of(mode: int) -> str:
    """Say what is no regular file, by the ``st_mode`` of its status."""
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), 'no file')


def read_bytes(path: AnyPath, hint: str = '', limit: int = MAX_BYTES) -> bytes:
    """Read a whole file; raises as :func:`open_regular`, and ValueError if it is longer than ``limit`` bytes."""
    with open_regular(path, hint) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f'{path} is longer than {limit} bytes, expected less.')
    return content


def read_text(path: AnyPath, hint: str = '', errors: str = 'strict') -> str:
    """Read a UTF-8 file, with or without a byte order mark; every end of line becomes a newline.

    Args:
        path (str | Path): The file.
        hint (str): Where the file is published; ends the message when it is missing.
        errors (str): What becomes of bytes that are no UTF-8, as in ``bytes.decode``.

    Returns:
        str: The text.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no regular file, too long, or no UTF-8 text.
    """
    content = read_bytes(path, hint)
    for mark, encoding in _OTHER_BOMS:
        if content.startswith(mark):
            raise ValueError(f'{path} is no UTF-8 text: it starts with the mark of {encoding}. Save it as UTF-8.')
    try:
        text = content.decode('utf-8-sig', errors)
    except UnicodeDecodeError as error:
        line = content.count(b'\n', 0, error.start) + 1
        raise ValueError(
            f'{path} is no UTF-8 text: line {line} has the byte 0x{content[error.start]:02x}, as Latin-1 and '
            'Windows-1252 write some letters. Save it as UTF-8.'
        ) from None
    return text.replace('\r\n', '\n').replace('\r', '\n') if '\r' in text else text


def read_json(path: AnyPath, hint: str = '', errors: str = 'strict') -> Any:
    """Read a JSON file; raises as :func:`read_text` and :func:`parse_json`."""
    return parse_json(read_text(path, hint, errors), path)


def parse_json(text: str, source: Any) -> Any:
    """Parse JSON in which no object has a key twice: Python would take the last one, without a word.

    Args:
        text (str): The JSON.
        source (object): Where it is from; opens every message.

    Returns:
        object: What it says.

    Raises:
        ValueError: If it is no JSON, has a key twice, or is nested without end.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except RecursionError:
        raise ValueError(f'{source} is no JSON that can be read: it is nested too deeply.') from None
    except ValueError as error:  # JSONDecodeError, a key that comes twice, and numbers of thousands of digits
        raise ValueError(f'{source} is no JSON: {error}') from None


def read_yaml(path: AnyPath, as_text: bool = False) -> Any:
    """Read a YAML file of plain data: no Python objects, no key twice, no aliases that multiply.

    Args:
        path (str | Path): The file.
        as_text (bool): Take every value as text: ``no`` and ``1`` stay what is written. Defaults to False.

    Returns:
        object: What it says; None if it is empty.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such YAML.
    """
    return parse_yaml(read_text(path), path, as_text)


def parse_yaml(text: str, source: Any, as_text: bool = False) -> Any:
    """Parse YAML as :func:`read_yaml` does; ``source`` opens every message."""
    try:
        return yaml.load(text, Loader=_TextLoader if as_text else _PlainLoader)
    except yaml.constructor.ConstructorError as error:
        raise ValueError(f'{source} is no YAML of plain data: {_in_one_line(error)}') from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: numbers of thousands of digits
        raise ValueError(f'{source} is no YAML: {_in_one_line(error)}') from None


def list_folder(path: AnyPath) -> list[str]:
    """Return the sorted names in a folder.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it may not be listed.
    """
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f'the folder {path} does not exist.') from None
    except OSError as error:
        raise ValueError(_why_unreadable(path, error)) from None


def _in_one_line(error):
    return ' '.join(str(error).split())


def _why_unreadable(path, error):
    reasons = {
        errno.EACCES: 'it may not be read by this user',
        errno.ELOOP: 'it is a link that leads back to itself',
        errno.ENXIO: 'it is a socket or a device, expected a file',
    }
    return f'{path!s} cannot be read: {reasons.get(getattr(error, "errno", None), error)}.'


def _without_duplicates(pairs):
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'the key {twice!r} occurs more than once in one object')
    return content


class _StrictComposer(_Composer):
    """What the YAML loaders here share: they refuse before anything is built from the nodes."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, unless it is nested too deeply."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.YAMLError(f'it is nested more than {MAX_DEPTH} levels deep')
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        """Compose the document, unless it has too many nodes."""
        node = super().get_single_node()
        if node is not None:
            _count_nodes(node, {})
        return node


class _PlainLoader(_StrictComposer, yaml.SafeLoader):
    """YAML of numbers, text, lists and mappings."""


class _TextLoader(_StrictComposer, yaml.BaseLoader):
    """YAML of text, lists and mappings; a value that is null, without quotes, is none."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping whose plain nulls are None."""
        found = super().construct_mapping(node, deep)
        nothing = {
            key.value
            for key, value in node.value
            if isinstance(value, yaml.ScalarNode) and value.style is None and value.value in ('null', 'Null', 'NULL', '~')
        }
        return {key: None if key in nothing else value for key, value in found.items()}


def _count_nodes(node, known):
    """Return how many nodes there are below one, aliases written out, or refuse them."""
    if id(node) in known:
        if known[id(node)] is None:
            raise yaml.YAMLError(f'the alias in line {node.start_mark.line + 1} holds itself')
        return known[id(node)]
    known[id(node)] = None
    count = 1
    if isinstance(node, yaml.MappingNode):
        _refuse_duplicates(node)
        count += sum(_count_nodes(part, known) for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        count += sum(_count_nodes(part, known) for part in node.value)
    if count > MAX_NODES:
        raise yaml.YAMLError(f'it holds more than {MAX_NODES} values, with its aliases written out')
    known[id(node)] = count
    return count


def _refuse_duplicates(node):
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                raise yaml.YAMLError(f'line {key.start_mark.line + 1} has the key {key.value!r} for the second time')
            seen.add(key.value)
