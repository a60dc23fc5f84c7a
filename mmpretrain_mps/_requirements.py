"""Check of the installed dependencies, before anything imports them."""

from collections.abc import Callable, Sequence
from importlib import metadata

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

# Each row: distributions that provide the module (any one is enough) and the versions that work.
SUPPORTED = (
    (('torch',), '>=2.8'),
    (('mmengine', 'mmengine-lite'), '>=0.10.5,<0.11'),
    (('mmcv', 'mmcv-lite'), '>=2.0,<2.4'),
    (('mmpretrain',), '>=1.2,<1.3'),
    (('open_clip_torch',), '>=3,<4'),
)


def check_requirements(
    supported: Sequence[tuple[tuple[str, ...], str]] = SUPPORTED, version_of: Callable[[str], str] = metadata.version
) -> None:
    """Raise one ImportError that lists every dependency that is missing or has a version that does not work.

    Args:
        supported (Sequence[tuple]): ``(distribution names, version specifier)``; any one of the names satisfies it.
        version_of (Callable[[str], str]): Looks the installed version of a distribution up.

    Raises:
        ImportError: With one line per faulty dependency: its name, what was found and what is needed.
    """
    faults = []
    for names, specifier in supported:
        found = _first_installed(names, version_of)
        wanted = f'needs {" or ".join(names)} {specifier}'
        if found is None:
            faults.append(f'{wanted}, but none is installed')
        elif not _satisfies(found[1], specifier):
            faults.append(f'{wanted}, but {found[0]} {found[1]} is installed')
    if faults:
        raise ImportError(
            'mmpretrain_mps cannot be used with the installed packages:\n  '
            + '\n  '.join(faults)
            + "\nInstall it with `pip install -c constraints.txt -e .` from the project's root."
        )


def _first_installed(names, version_of):
    for name in names:
        try:
            return name, version_of(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _satisfies(version, specifier):
    try:
        # Local builds (`2.8.0+cu128`) and release candidates count as the release they belong to.
        return SpecifierSet(specifier).contains(Version(version).base_version)
    except InvalidVersion:
        return False
