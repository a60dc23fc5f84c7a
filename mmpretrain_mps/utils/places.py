"""Where the configs lie: inside the installed package, as OpenMMLab packages have them, or beside it in a checkout."""

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
