"""What belongs to a tab of the browser, and what can be done with it."""

import contextlib
import csv
import hashlib
import io
import secrets
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..apis import FewShotClassifier
from ..apis.calibration import probabilities_of
from ..datasets.picture_files import MAX_PIXELS
from ..datasets.pictures import divide_class
from ..datasets.split_readers import readable_name
from ..datasets.transforms.loading import decoding_fault
from ..utils.methods import read_method
from .tuning import BRANCHES, Tuning

# Each may hold a model. A browser that crashes does not say that its tabs are gone.
MAX_TABS = 16
SUBSETS = ('train', 'test')
_OPTIONS = ('method', 'shots', 'epochs', 'test_share')
_COLUMNS = (
    'path',
    'label',
    'probability',
    *(f'{branch}_{what}' for branch in BRANCHES[:2] for what in ('label', 'probability')),
    'fault',
)
# Models are built with settings that belong to the whole process, and two at once would only share the cores.
_computing = threading.Lock()


class Tab:
    """Pictures, model and predictions of one tab, in a folder of its own.

    Args:
        clip (dict): ``architecture`` and ``pretrained``.
        device (str): As in :class:`FewShotClassifier`.

    Attributes:
        lock (Lock): Held by whoever uses it: requests come in threads.
    """

    def __init__(self, clip: dict, device: str):
        self.clip, self.device = clip, device
        self.lock = threading.Lock()
        self._folder = Path(tempfile.mkdtemp(prefix='mmpretrain_mps-demo-'))
        self._tuning: Tuning | None = None
        self._classifier: Any = None
        self._names: dict[str, str] = {}
        self._rows: list[dict] = []

    @property
    def model(self) -> Path:
        """Path: File of the model; missing if there is none."""
        return self._folder / 'model.pth'

    def end(self) -> None:
        """End the training, and remove all files."""
        self.cancel()
        shutil.rmtree(self._folder, ignore_errors=True)

    def tune(self, names: Sequence[str], uploads: dict[str, list[list]], options: dict[str, Any]) -> None:
        """Start a training.

        Args:
            names (Sequence[str]): Of the classes.
            uploads (dict): 'train' and 'test' to the files of each class, as werkzeug has them.
            options (dict): ``method``; ``shots`` and ``epochs``, None for all and for those of the recipe; ``test_share``, the
                share of each class that is held out where no class has pictures to test on, 0 to 0.9.

        Raises:
            ValueError: If a training goes on, or something does not fit; says what.
        """
        if self._tuning:
            raise ValueError('a training goes on; cancel it, or wait')
        settings, share = _settings_of(options)
        names = _checked_names(names)
        pictures = self._keep_pictures(names, uploads)
        empty = [name for name, paths in pictures['train'].items() if not paths]
        if empty:
            raise ValueError(f'there are no pictures in {_listed(empty)}; each class needs one at least, better four or more')
        if share and not any(pictures['test'].values()):
            parts = {name: divide_class(paths, share, 0, f'0/{name}') for name, paths in pictures['train'].items()}
            pictures = {subset: {name: part[place] for name, part in parts.items()} for subset, place in zip(SUBSETS, (0, 2))}
        train, test = ([(path, name) for name, paths in pictures[subset].items() for path in paths] for subset in SUBSETS)
        settings = dict(self.clip, device=self.device, verbose=0, **settings)
        self._tuning = Tuning(settings, train, test, self._folder / 'new' / 'model.pth')

    def progress(self) -> dict[str, Any]:
        """Return how far the training is, and take the model once it is there.

        Returns:
            dict: ``running``, ``steps`` (done, all), and the :class:`Outcome` once it has ended.
        """
        if self._tuning is None:
            return dict(running=False)
        steps, outcome = self._tuning.steps, self._tuning.outcome()
        if outcome is None:
            return dict(running=True, steps=steps)
        if not outcome.fault:
            self._take(self._folder / 'new' / 'model.pth')
        self.cancel()
        return dict(running=False, steps=steps, **outcome._replace(fault=self._in_their_words(outcome.fault))._asdict())

    def cancel(self) -> None:
        """End the training, if there is one, and forget its pictures; the model from before stays."""
        if self._tuning:
            self._tuning.end()
            self._tuning = None
        for name in (*SUBSETS, 'new'):
            shutil.rmtree(self._folder / name, ignore_errors=True)

    def load(self, upload: Any) -> list[str]:
        """Take a model that was saved.

        Args:
            upload (FileStorage): The file.

        Returns:
            list[str]: Names of its classes.

        Raises:
            ValueError: If it is none.
        """
        path = self._folder / 'loaded.pth'
        upload.save(path)
        self._names = {str(path): upload.filename}
        try:
            self._take(path)
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(self._in_their_words(str(error))) from error
        return list(map(str, self._classifier.classes_.tolist()))

    def _take(self, path):
        with _computing:
            self._classifier = FewShotClassifier.load(path, self.device, verbose=0)
        path.replace(self.model)
        self._rows = []

    def classify(self, uploads: Sequence[Any]) -> dict[str, Any]:
        """Classify pictures.

        Args:
            uploads (Sequence[FileStorage]): The files.

        Returns:
            dict: ``classes``, names; ``rows``, one per picture: ``name``, and ``fault`` if it cannot be read, else
            probabilities ``(C,)`` by branch.

        Raises:
            ValueError: If there is no model, or no picture.
        """
        if self._classifier is None:
            raise ValueError('there is no model yet; tune one, or load one')
        if not uploads:
            raise ValueError('there are no pictures to classify')
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            rows = {
                path: dict(name=name, fault=decoding_fault(path, MAX_PIXELS)) for path, name in _keep(uploads, folder).items()
            }
            good = {path: row for path, row in rows.items() if not row['fault']}
            if good:
                with _computing:
                    logits = self._classifier.logits(list(good))
                for branch in BRANCHES:
                    # A calibration is one of the prediction.
                    temperature = self._classifier.temperature_ if branch == 'fused' else 1.0
                    shares = probabilities_of(getattr(logits, branch).numpy(), temperature)
                    for row, row_shares in zip(good.values(), shares.tolist()):
                        row[branch] = row_shares
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._rows = list(rows.values())
        return dict(classes=list(map(str, self._classifier.classes_.tolist())), rows=self._rows)

    def table(self) -> str:
        """Return the last predictions as CSV: columns of ``mps-clip predict``, and those of the branches."""
        file = io.StringIO(newline='')
        writer = csv.DictWriter(file, _COLUMNS, restval='', lineterminator='\n')
        writer.writeheader()
        for row in self._rows:
            line = dict(path=row['name'], fault=row['fault'])
            for branch in BRANCHES if not row['fault'] else ():
                best = max(row[branch])
                prefix = '' if branch == 'fused' else f'{branch}_'
                line[f'{prefix}label'] = self._classifier.classes_[row[branch].index(best)]
                line[f'{prefix}probability'] = f'{best:.6f}'
            writer.writerow(line)
        return file.getvalue()

    def _keep_pictures(self, names, uploads):
        """Write all pictures; return subset -> name -> paths."""
        self._names, seen = {}, {}
        kept = {subset: {} for subset in SUBSETS}
        for subset in SUBSETS:
            for place, (name, files) in enumerate(zip(names, uploads[subset])):
                written = _keep(files, self._folder / subset / str(place), f'{name}/')
                self._names.update(written)
                kept[subset][name] = [path for path in written if self._is_new(path, (subset, name), seen)]
        return kept

    def _is_new(self, path, place, seen):
        """Whether a picture was not there before; twice within a class is once, elsewhere it is a contradiction."""
        other, other_place = seen.setdefault(hashlib.sha256(Path(path).read_bytes()).digest(), (path, place))
        if other_place != place:
            where = 'in two classes' if other_place[1] != place[1] else 'both to train and to test on'
            raise ValueError(f'the same picture is {where}: {self._names[other]} and {self._names[path]}')
        return other == path

    def _in_their_words(self, message):
        """Name files as the user does."""
        for path, name in self._names.items():
            message = message.replace(path, name)
        return message


class Tabs:
    """All tabs, each known by a word that cannot be guessed.

    Args:
        clip (dict): As in :class:`Tab`.
        device (str): As in :class:`Tab`.
    """

    def __init__(self, clip: dict, device: str):
        self.clip, self.device = clip, device
        self._tabs: OrderedDict[str, Tab] = OrderedDict()
        self._lock = threading.Lock()

    def add(self) -> str:
        """Make a tab and return its word; the one that was not used for longest goes if there are too many."""
        word = secrets.token_urlsafe(16)
        with self._lock:
            self._tabs[word] = Tab(self.clip, self.device)
            oldest = self._tabs.popitem(last=False)[1] if len(self._tabs) > MAX_TABS else None
        if oldest:
            oldest.end()
        return word

    @contextlib.contextmanager
    def use(self, word: str) -> Iterator[Tab]:
        """Yield a tab, which nobody else uses meanwhile.

        Raises:
            ValueError: If there is none of that word.
        """
        with self._lock:
            if word not in self._tabs:
                raise ValueError(
                    f'this page is not known any more: the program was started anew, or {MAX_TABS} others were '
                    'opened since; reload it'
                )
            self._tabs.move_to_end(word)
            tab = self._tabs[word]
        with tab.lock:
            yield tab

    def end(self, word: str) -> None:
        """End a tab, if there is one of that word."""
        with self._lock:
            tab = self._tabs.pop(word, None)
        if tab:
            tab.end()

    def end_all(self) -> None:
        """End all tabs."""
        for word in list(self._tabs):
            self.end(word)


def _keep(uploads, folder, prefix=''):
    """Write files under numbers, whatever they are called; return path -> name."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {}
    for number, upload in enumerate(uploads):
        path = str(folder / f'{number:06d}')
        upload.save(path)
        names[path] = f'{prefix}{upload.filename}'
    return names


def _settings_of(options):
    """Return what options of the page mean to :class:`FewShotClassifier`, and the share that is held out."""
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown or 'method' not in options:
        raise ValueError(f'the options are {", ".join(options)}, expected {", ".join(_OPTIONS)}')
    for name, least in dict(shots=1, epochs=1).items():
        value = options.get(name)
        if value is not None and not (type(value) is int and value >= least):
            raise ValueError(f'{name} is {value!r}, expected a whole number from {least} on, or nothing')
    share = options.get('test_share', 0)
    if not isinstance(share, (int, float)) or not 0 <= share <= 0.9:
        raise ValueError(f'the share of pictures to test on is {share!r}, expected 0 to 0.9')
    settings = dict(method=options['method'], shots=options.get('shots'))
    if options.get('epochs') is not None:
        if not has_epochs(str(options['method'])):
            raise ValueError(f'{options["method"]} has no epochs to choose; leave them empty')
        settings['train_cfg__max_epochs'] = options['epochs']
    return settings, share


def has_epochs(method: str) -> bool:
    """Whether a method is trained for a number of epochs.

    Args:
        method (str): Its name.

    Raises:
        ValueError: If there is no such method.
    """
    return 'max_epochs' in (read_method(method).train_cfg or {})


def _checked_names(names):
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'the names of the classes are {names!r}, expected texts')
    names = [name.strip() for name in names]
    if not all(names):
        raise ValueError(f'class {names.index("") + 1} has no name; CLIP reads it, so a plain word does best')
    if len(names) < 2:
        raise ValueError('there are fewer than two classes; expected two or more')
    readable = [readable_name(name) for name in names]
    twice = sorted({name for name in readable if readable.count(name) > 1})
    if twice:
        raise ValueError(f'several classes are called {_listed(twice)}; expected different names')
    return names


def _listed(names):
    return ', '.join(map(repr, names[:5])) + (f' and {len(names) - 5} more' if len(names) > 5 else '')
