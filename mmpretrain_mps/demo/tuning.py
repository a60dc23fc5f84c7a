"""A training in a process of its own: it can be watched and ended, and what it takes or breaks ends with it."""

import multiprocessing
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.metrics import confusion_matrix

from ..apis import FewShotClassifier
from ..utils.errors import user_message

BRANCHES = ('zero_shot', 'tuned', 'fused')
# Processes start from one that has everything imported, and has no threads.
_PROCESSES = multiprocessing.get_context('forkserver')
_PROCESSES.set_forkserver_preload(['mmpretrain_mps.apis', __name__])
SECONDS_TO_END = 5

Labelled = Sequence[tuple[str, str]]
"""Paths of pictures, each with the name of its class."""


class Outcome(NamedTuple):
    """How a training ended."""

    fault: str = ''
    """Why there is no model; '' if there is one."""
    classes: Sequence[str] = ()
    """Names in the order of the confusion matrix."""
    accuracies: dict[str, float] | None = None
    """Share of right answers of each branch on the held-out pictures, 0 to 1; None if there were none."""
    confusion: list[list[int]] | None = None
    """Held-out pictures by their class (rows) and by what was predicted (columns)."""


class Tuning:
    """A training that goes on elsewhere.

    Args:
        settings (dict): Of :class:`FewShotClassifier`.
        train (Labelled): Pictures to train on.
        test (Labelled): Held-out pictures, of the same classes; there may be none.
        model (Path): File that the model is written to; what the training needs for a while is kept beside it.
    """

    def __init__(self, settings: dict, train: Labelled, test: Labelled, model: Path):
        model.parent.mkdir(exist_ok=True)
        self._steps = _PROCESSES.Array('q', 2)
        self._answers, theirs = _PROCESSES.Pipe(duplex=False)
        self._process = _PROCESSES.Process(target=_run, args=(settings, train, test, model, self._steps, theirs))
        self._process.start()
        theirs.close()  # or the end of the process would not be noticed
        self._outcome: Outcome | None = None

    @property
    def steps(self) -> tuple[int, int]:
        """tuple[int, int]: Steps that are done, and those of the whole training; 0 before the first, and without steps."""
        done, total = self._steps[:]
        return done, total

    def outcome(self) -> Outcome | None:
        """Return how it ended, None while it goes on."""
        if self._outcome is None and self._answers.poll():
            try:
                self._outcome = self._answers.recv()
            except EOFError:
                self._process.join()
                self._outcome = Outcome(
                    f'the training was ended from outside (exit status {self._process.exitcode}); often the memory ran out'
                )
        return self._outcome

    def end(self) -> None:
        """End it at once, if it still goes on."""
        self._process.terminate()
        self._process.join(SECONDS_TO_END)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._answers.close()


def _run(settings, train, test, model, steps, answers):
    # What is left over by a training that is ended goes with the folder.
    tempfile.tempdir = str(model.parent)
    # As in any program: those who load pictures start as the config says.
    multiprocessing.set_start_method(None, force=True)

    def progress(done: int, total: int) -> None:
        """Note how far the training is."""
        steps[:] = done, total

    try:
        answers.send(_tune(settings, train, test, model, progress))
    except Exception as error:
        message = user_message(error)
        if message is None:
            traceback.print_exc()
        answers.send(Outcome(message or f'the training failed, the terminal says where: {type(error).__name__}: {error}'))


def _tune(settings, train, test, model, progress):
    classifier = FewShotClassifier(**settings).fit(*zip(*train), progress=progress)
    classifier.save(model)
    classes = classifier.classes_.tolist()
    if not test:
        return Outcome(classes=classes)
    paths, labels = map(list, zip(*test))
    logits = classifier.logits(paths)
    predicted = {name: classifier.classes_[getattr(logits, name).argmax(1).numpy()] for name in BRANCHES}
    return Outcome(
        '',
        classes,
        {name: float(np.mean(predicted[name] == labels)) for name in BRANCHES},
        confusion_matrix(labels, predicted['fused'], labels=classes).tolist(),
    )
