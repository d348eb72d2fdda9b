"""Training images simulated on the fly by processes beside the trainer."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from stormseg_ij.errors import SettingsError, StormsegError
from stormseg_ij.examples import Example, make_example
from stormseg_ij.models.info import ModelInfo
from stormseg_ij.settings import TrainSettings
from stormseg_ij.shapes import Form, read_templates
from stormseg_ij.simulate import TRAINING_TEXTURES, VALIDATION_TEXTURES, simulate

_KEPT_EPOCHS = 16  # an image is trained on for so many epochs
_VALIDATION_IMAGES = 24
_CELL_FRACTION = 0.35
_DIAMETERS_PX = (22.0, 90.0)  # what is larger is reduced before the network sees it, and looks the same then
_SIZE_DIAMETERS, _SIZES_PX = 10.0, (192, 640)


@dataclass(frozen=True)
class _Order:
    """Which image to make."""

    seed: tuple[int, ...]
    textures: tuple[str, ...]
    info: ModelInfo


class Stream:
    """A window of simulated examples that moves on with the epochs; a context manager.

    Its processes import the script that is run: in one of your own, work below ``if __name__ == "__main__":``.

    In epoch e the images are those numbered from (e - 15) n to (e + 1) n - 1, n new ones in each. An image depends on
    the seed and its number only: a resumed training sees what it would have seen.

    Parameters
    ----------
    info : ModelInfo
    settings : TrainSettings
        Its `simulate` new images per epoch, made by `workers` processes; shapes of nuclei from its `shapes` too.

    Raises
    ------
    ImageError
        If the folder of shapes holds none.

    """

    def __init__(self, info: ModelInfo, settings: TrainSettings) -> None:
        self._info, self._settings = info, settings
        templates = read_templates(Path(settings.shapes)) if settings.shapes else ()
        self._pool = ProcessPoolExecutor(
            settings.workers, multiprocessing.get_context("spawn"), initializer=_begin_worker, initargs=(templates,)
        )
        self._pending: dict[int, Future[Example | None]] = {}
        self._ready: dict[int, Example | None] = {}
        self._epoch, self._examples = -1, list[Example]()
        self._kept = [self._make(4, i, VALIDATION_TEXTURES) for i in range(_VALIDATION_IMAGES)]

    @property
    def kept(self) -> list[Example]:
        """Return the examples for validation, with textures that no training image has; waits until they are made."""
        return [example for example in map(_result, self._kept) if example is not None]

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes after the images that they are at; the others are not made."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def examples(self, epoch: int) -> list[Example]:
        """Return the examples of an epoch, counted from 0; the next ones are begun."""
        if epoch != self._epoch:
            number = self._settings.simulate
            window = range(max(0, epoch + 1 - _KEPT_EPOCHS) * number, (epoch + 1) * number)
            self._order(range(window.start, window.stop + number))  # one epoch ahead
            self._ready = {i: self._ready[i] if i in self._ready else _result(self._pending.pop(i)) for i in window}
            self._examples = [example for example in self._ready.values() if example is not None]
            if not self._examples:
                raise SettingsError(f"--simulate {number}: no nucleus in these images; give a larger number")
            self._epoch = epoch
        return self._examples

    def _order(self, numbers: range) -> None:
        for i in numbers:
            if i not in self._ready and i not in self._pending:
                self._pending[i] = self._make(5, i, TRAINING_TEXTURES)

    def _make(self, purpose: int, i: int, textures: tuple[str, ...]) -> Future[Example | None]:
        with _one_line():
            return self._pool.submit(_make, _Order((self._settings.seed, purpose, i), textures, self._info))


def _result(future: Future[Example | None]) -> Example | None:
    with _one_line():
        return future.result()


@contextmanager
def _one_line() -> Iterator[None]:
    """Tell the end of a worker in one line: a submission meets it as well as a result."""
    try:
        yield
    except BrokenProcessPool as error:
        cause = "a process that simulates images was ended from outside, perhaps for want of memory"
        raise StormsegError(f"{cause}; go on with --resume --workers 1") from error


_templates: tuple[Form, ...] = ()  # of a worker process


def _begin_worker(templates: tuple[Form, ...]) -> None:
    """Let Ctrl-C end the trainer, which ends this process; end it also where the trainer was killed."""
    global _templates  # noqa: PLW0603 (a process of its own, which gets its shapes once)
    _templates = templates
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent.sentinel,), daemon=True).start()


def _leave_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _make(order: _Order) -> Example | None:
    """Simulate one image, of any kind and size."""
    rng = np.random.default_rng(order.seed)
    kind = "cell" if rng.random() < _CELL_FRACTION else "tissue"
    diameter = float(np.exp(rng.uniform(*np.log(_DIAMETERS_PX))))
    size = int(np.clip(_SIZE_DIAMETERS * diameter, *_SIZES_PX))
    result = simulate(rng, kind=kind, size=size, diameter=diameter, textures=order.textures, templates=_templates)
    return make_example(result.image, result.labels, order.info)
