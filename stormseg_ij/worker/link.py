"""Asks Fiji, and tells it: over the task that runs here, in the words of both sides' contract."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol

from stormseg_ij.errors import BridgeError
from stormseg_ij.worker import arrays

_LEAST_SECONDS = 0.05
"""Between two lines in the status bar, or two moves of the bar: more often nobody sees."""

_LOOK_SECONDS = 1.0
"""Between two looks whether the task that asked is still there."""

_MOST_KEPT = 100


class Task(Protocol):
    """What is needed of a task of Appose."""

    cancel_requested: bool
    _finished: bool

    def update(self, message: str | None = None, *, info: dict[str, Any] | None = None) -> None:
        """Send news to Fiji."""


class Link:
    """The way to Fiji while a task runs.

    A question waits until its answer comes, as long as that takes: the person may have to close a window first. It ends
    with its task: then nobody will answer. Where Fiji ends, so does this process.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._keys = itertools.count(1)
        self._waiting: dict[int, Future[Any]] = {}
        self._task: Task | None = None
        self._stopped = False
        self._kept: list[str] = []
        self._latest: dict[str, dict[str, Any]] = {}
        self._sent: dict[str, float] = {}
        self._timed = False

    @contextmanager
    def over(self, task: Task) -> Iterator[None]:
        """Ask and tell over this task for as long as this lasts; one at a time is the caller's business."""
        with self._lock:
            self._task, self._stopped = task, False
            kept, self._kept = self._kept, []
            for text in kept:
                self.tell("log", text=text)
        try:
            yield
        finally:
            with self._lock:
                self._send_latest()
                self._task = None

    @property
    def stop_wanted(self) -> bool:
        """True once the person pressed Escape."""
        task = self._task
        return self._stopped or (task is not None and task.cancel_requested)

    def stop(self) -> None:
        """Note that Fiji itself saw Escape."""
        self._stopped = True

    def ask(self, do: str, /, **values: Any) -> Any:  # noqa: ANN401 (what JSON can hold, and arrays)
        """Ask Fiji, and wait for the answer.

        Parameters
        ----------
        do : str
            The method.
        **values
            What JSON can hold, arrays, and lists of arrays.

        Returns
        -------
        object
            What JSON can hold, with arrays in it.

        Raises
        ------
        BridgeError
            If Fiji cannot do it, or no task runs.
        """
        with arrays.sent(values) as sent:
            key, answer = next(self._keys), Future[Any]()
            self._waiting[key] = answer
            try:
                with self._lock:
                    if self._task is None:
                        raise BridgeError(
                            f"Fiji takes no question ({do}) when no command runs; start the command again"
                        )
                    self._send_latest()
                    task = self._task
                    task.update(info={"key": key, "do": do, "with": sent})
                return _awaited(answer, task, do)
            finally:
                del self._waiting[key]

    def answer(self, key: int, value: object, fault: str | None) -> None:
        """Take the answer to a question; one that nobody waits for is dropped, and its arrays closed."""
        found, waiting = arrays.received(value), self._waiting.get(key)
        if waiting is None:
            return
        if fault is None:
            waiting.set_result(found)
        else:
            waiting.set_exception(BridgeError(fault))

    def tell(self, do: str, /, **values: Any) -> None:  # noqa: ANN401 (what JSON can hold)
        """Tell Fiji something, after all that was told before."""
        with self._lock:
            if self._task is not None:
                self._send_latest()
                self._task.update(info={"key": None, "do": do, "with": values})

    def log(self, text: str) -> None:
        """Tell a line for the Log, from any thread; it is kept for the next task where none runs."""
        with self._lock:
            if self._task is not None:
                self.tell("log", text=text)
            elif len(self._kept) < _MOST_KEPT:
                self._kept.append(text)
                print(text, file=sys.stderr)  # noqa: T201 (should Fiji end before the next one)

    def tell_latest(self, do: str, /, **values: Any) -> None:  # noqa: ANN401 (what JSON can hold)
        """Tell what the next one of its kind makes obsolete: not more often than a person sees, but the last always."""
        with self._lock:
            self._latest[do] = values
            wait = self._sent.get(do, -1.0) + _LEAST_SECONDS - time.monotonic()
            if wait <= 0.0:
                self._send_latest()
            elif not self._timed:
                self._timed = True
                timer = threading.Timer(wait, self._send_timed)
                timer.daemon = True
                timer.start()

    def _send_timed(self) -> None:
        with self._lock:
            self._timed = False
            self._send_latest()

    def _send_latest(self) -> None:
        """Send what waits to be told."""
        latest, self._latest = self._latest, {}
        if self._task is not None:
            for do, values in latest.items():
                self._sent[do] = time.monotonic()
                self._task.update(info={"key": None, "do": do, "with": values})


def _awaited(answer: Future[Any], task: Task, do: str) -> Any:  # noqa: ANN401 (as Link.ask)
    """Return the answer; raise BridgeError where the task has ended, as when its question could not be sent."""
    while True:
        try:
            return answer.result(_LOOK_SECONDS)
        except TimeoutError:
            if task._finished:
                raise BridgeError(f"the question for {do} did not reach Fiji; start the command again") from None
