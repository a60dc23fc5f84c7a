"""What lies in the work directory of a training: finished, half-finished, or incomplete."""

import math
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from ..utils.config_files import read_config_text
from ..utils.files import AnyPath, parse_json, read_text
from ..utils.shape import count, fault_of, number

# Blocks of mmengine's log that describe the machine, and one entry that fills a screen.
_ENVIRONMENT_START, _ENVIRONMENT_END = 'System environment:', 'Runtime environment:'
_TOO_LONG = 'PyTorch compiling details'


def _position(value):
    """a number from 0 on"""
    return number(value) and 0 <= value < 2**53


def _epoch(value):
    """a number of epochs above 0"""
    return number(value) and 1e-9 < value < 2**53


# What readers count on, in a line of the log of scalars and in a test on several sets.
RECORD = {'step': _position, 'iter?': _position, 'epoch?': _epoch}
DOMAINS = {
    'sets': [{'name': str, 'pictures': count, 'classes': count, 'accuracy': {'*': number}, 'ece': {'*': number}}],
    'means?': {'*': number},
}


class WorkDir(NamedTuple):
    """What was found; everything but the folder may be absent."""

    folder: Path
    config: Config | None
    checkpoint: Path | None
    records: list
    """Lines of the log of scalars, those of a resumed run without what it ran again."""
    test_metrics: dict
    """Figures of the newest test."""
    domains: dict
    """Content of ``domain_generalization.json``: the newest test on several sets."""
    environment: dict
    """What the training said of its machine."""
    missing: dict
    """Name of a field to the reason why it is not there."""

    @property
    def training(self) -> list[dict]:
        """Records of the training."""
        return [record for record in self.records if is_of_training(record)]

    @property
    def validation(self) -> list[dict]:
        """Records of validations."""
        return [record for record in self.records if not is_of_training(record)]

    @property
    def iterations_per_epoch(self) -> int | None:
        """None if the training does not count epochs, or has not said anything yet."""
        # Iterations (e - 1) n + 1 to e n belong to epoch e; the last one of an epoch is logged, and gives n itself.
        counted = [record for record in self.training if record.get('epoch') and record.get('iter')]
        return max((math.ceil(record['iter'] / record['epoch']) for record in counted), default=None)

    @property
    def unit(self) -> str:
        """What the horizontal axis of a course counts."""
        return 'iteration' if self.iterations_per_epoch is None else 'epoch'

    def course(self, name: str, validation: bool = False) -> tuple[list[float], list[float]]:
        """Return how a figure of training steps or validations developed: positions in :attr:`unit`, and values.

        Figures that are no number are nan.
        """
        # Validation counts steps in what the training loop counts: epochs, or iterations.
        per_unit = 1 if validation else self.iterations_per_epoch or 1
        records = [record for record in (self.validation if validation else self.training) if name in record]
        return [record['step'] / per_unit for record in records], [_number(record[name]) for record in records]

    def names(self, validation: bool = False) -> list[str]:
        """Return the names of all figures of training steps or validations, in the order of the log."""
        records = self.validation if validation else self.training
        return list(dict.fromkeys(name for record in records for name in record))


def is_of_training(record: dict) -> bool:
    """Whether a line of the log of scalars is about training steps."""
    return 'iter' in record or 'lr' in record


def read_work_dir(folder: AnyPath, checkpoint: AnyPath | None = None) -> WorkDir:
    """Look at everything that a training and its tests left in a folder, and say why something is not there.

    A named checkpoint is taken instead of the last one in the folder; it must exist.
    """
    folder, missing = Path(folder), {}
    if checkpoint is not None and not Path(checkpoint).is_file():
        raise FileNotFoundError(f'checkpoint {checkpoint} does not exist (looked from {Path.cwd()})')
    domains = _parse(_text_of(folder / 'domain_generalization.json'))
    found = dict(
        config=_read_config(folder, missing),
        checkpoint=Path(checkpoint) if checkpoint is not None else _find_checkpoint(folder, missing),
        records=_read_records(folder, missing),
        test_metrics=_read_test_metrics(folder),
        domains={} if fault_of(domains, DOMAINS) else domains,
        environment=_read_environment(folder, missing),
    )
    return WorkDir(folder, missing=missing, **found)


def _read_config(folder, missing):
    """Read the config of the newest training, else of whatever was run here."""
    trained = [file.with_name('config.py') for file in _logs_of_scalars(folder)]
    files = [*sorted(folder.glob('*.py')), *filter(Path.is_file, trained)]
    if not files:
        missing['config'] = f'there is no config (*.py) in {folder.name}'
        return None
    try:
        # Read, not run: the folder may be anybody's.
        text = read_text(files[-1])
        return Config(read_config_text(text, files[-1].name), cfg_text=text, filename=str(files[-1]))
    except (ValueError, FileNotFoundError, KeyError) as error:  # KeyError: a name that mmengine reserves
        missing['config'] = f'{files[-1].name} cannot be read as a config: {error}'
        return None


def _find_checkpoint(folder, missing):
    note = folder / 'last_checkpoint'
    # The folder may have been moved since.
    noted = folder / Path(_text_of(note).strip().replace('\0', '') or 'none').name
    if noted.is_file():
        return noted
    files = sorted(folder.glob('*.pth'), key=lambda file: (file.stat().st_mtime_ns, file.name))
    if not files:
        missing['checkpoint'] = f'there is no checkpoint (*.pth) in {folder.name}; name one by --checkpoint'
        return None
    return files[-1]


def _logs_of_scalars(folder):
    """Return the logs of all runs in the folder, oldest first: mmengine names run folders by their time."""
    return sorted(folder.glob('*/vis_data/scalars.json'))


def _read_records(folder, missing):
    files = _logs_of_scalars(folder)
    if not files:
        missing['records'] = f'there is no log of scalars (*/vis_data/scalars.json) in {folder.name}'
        return []
    records = []
    for file in files:
        new = [record for record in map(_parse, _text_of(file).splitlines()) if not fault_of(record, RECORD)]
        # A resumed run goes on from a checkpoint, before the end of the one that was cut off; a fresh one starts over.
        training = [record for record in new if is_of_training(record)]
        first = {True: min((record['step'] for record in training), default=math.inf)}
        # Validations are counted in epochs where there are any, and what was validated after an epoch that is trained
        # again does not stand, whether the new run validates or not.
        again = [record.get('epoch', record['step']) for record in training]
        first[False] = min([*again, *(record['step'] for record in new if not is_of_training(record))], default=math.inf)
        records = [record for record in records if record['step'] < first[is_of_training(record)]] + new
    if not records:
        missing['records'] = f'{files[-1].relative_to(folder)} has no complete line yet'
    return records


def _read_test_metrics(folder):
    """Return the figures of the newest test; mmengine writes them into the folder of the run."""
    for file in sorted(folder.glob('*/*.json'), reverse=True):
        content = _parse(_text_of(file))
        if isinstance(content, dict) and any('accuracy/' in name for name in content):
            return {name: _number(value) for name, value in content.items() if isinstance(value, (int, float))}
    return {}


def _read_environment(folder, missing):
    for file in sorted(folder.glob('*/*.log'), reverse=True):
        _, start, rest = _text_of(file).partition(_ENVIRONMENT_START)
        lines = rest.partition(_ENVIRONMENT_END)[0].splitlines() if start else ()
        # Four spaces exactly: lines of longer descriptions are set otherwise.
        entries = [line.strip().partition(': ') for line in lines if line[:4].isspace() and not line[4:5].isspace()]
        environment = {name: value for name, colon, value in entries if colon and name != _TOO_LONG}
        if environment:
            return environment
    missing['environment'] = f'there is no log (*/*.log) in {folder.name} that describes the machine'
    return {}


def _text_of(file):
    """Return the text of a file, '' where there is none; a pipe is none."""
    try:
        return read_text(file, errors='replace')
    except (ValueError, FileNotFoundError):
        return ''


def _parse(text):
    """Parse JSON, None where it is cut off."""
    try:
        return parse_json(text, 'it')
    except ValueError:
        return None


def _number(value):
    return float(value) if isinstance(value, (int, float)) else math.nan
