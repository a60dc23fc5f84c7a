"""Where the configs lie: inside the installed package, as OpenMMLab packages have them, or beside it in a checkout."""

import os
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parents[1]
CONFIG_FOLDERS = (PACKAGE_ROOT / '.mim' / 'configs', PACKAGE_ROOT.parent / 'configs')


def config_folder() -> Path:
    """Return the folder of the configs, ``_base_`` and ``default_runtime.py`` among them.

    Returns:
        Path: The first of :data:`CONFIG_FOLDERS` that holds them, links followed; the last one if none does.
    """
    holding = [folder for folder in CONFIG_FOLDERS if (folder / '_base_').is_dir()]  # others may install a folder `configs`
    return (holding or CONFIG_FOLDERS[-1:])[0].resolve()


def existing_config(path: str | Path, what: str = 'config') -> Path:
    """Return the path of a config that a user names: a file, or else one of this project's, by its name alone.

    Args:
        path (str | Path): As given, or relative to the folder of the configs, with or without ``configs/`` before it, which
            works outside a checkout too.
        what (str): What it is, for the message.

    Returns:
        Path: To a file.

    Raises:
        FileNotFoundError: If it is neither.
    """
    path = Path(path)
    if os.path.isfile(path):  # False for names that no system takes, too
        return path
    if path.is_absolute():
        raise FileNotFoundError(f'{what} {path} does not exist')
    found = _config_of_name(path)
    if found is None:
        where = f'looked from {Path.cwd()}, and among the configs of mmpretrain_mps in {config_folder()}'
        raise FileNotFoundError(f'{what} {path} does not exist ({where})')
    return found


def config_beside(file: str | Path, name: str) -> Path:
    """Return the path of a config that a file names, relative to itself, or else by the name of one of this project's.

    Args:
        file (str | Path): That names it.
        name (str): As it stands there.

    Returns:
        Path: The one beside the file if there is neither.
    """
    beside = Path(file).parent / name
    return beside if os.path.isfile(beside) else _config_of_name(Path(name)) or beside


def _config_of_name(name):
    """Return the config of this project of that name, with or without ``configs/`` before it; None if there is none."""
    name = name.relative_to('configs') if name.parts[:1] == ('configs',) else name
    # Nothing else is found by a name: what lies elsewhere is named by its path, and may be refused for it.
    is_inside = not name.is_absolute() and '..' not in name.parts
    return config_folder() / name if is_inside and os.path.isfile(config_folder() / name) else None


def find_tool(name: str) -> Path:
    """Return the path of a script of ``tools/``, inside the installed package or beside it in a checkout; see :data:`CONFIG_FOLDERS`."""
    places = [folder.parent / 'tools' / name for folder in CONFIG_FOLDERS]
    return next((place for place in places if place.is_file()), places[-1]).resolve()


def find_config(name: str) -> Path:
    """Return the path of a config of this project.

    Args:
        name (str): Relative to the folder of the configs.

    Raises:
        FileNotFoundError: If it is not there, and neither are the others.
    """
    path = config_folder() / name
    if not path.is_file():
        raise FileNotFoundError(
            f'the config {name} was found in none of {", ".join(map(str, CONFIG_FOLDERS))}; install the '
            'package with its configs, or from a checkout by `pip install -e .`'
        )
    return path
