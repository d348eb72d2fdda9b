"""Starts the worker: ``python -E -P -X utf8 -u -m stormseg_ij.worker``, by Fiji."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import threading
from typing import Any

from stormseg_ij.worker.pipes import Pipes

_LONGEST_SAVING_SECONDS = 5.0

_NEEDED = ("numpy", "scipy.ndimage", "scipy.sparse.csgraph", "skimage.segmentation", "roifile")
"""Compiled packages that commands import when they need them; TensorFlow takes too long."""

_leaving = threading.Lock()


def main() -> None:
    """Serve Fiji's tasks until Fiji ends."""
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(encoding="ascii", errors="backslashreplace")  # Java reads it in the computer's encoding
    pipes = Pipes.taken_over(leave)
    _take_signals()
    for name in _NEEDED:
        importlib.import_module(name)
    importlib.import_module("stormseg_ij.worker.work")
    _serve(pipes)


def leave(status: int = 0) -> None:
    """End this process at once, whatever runs in it; what waits to be saved is saved first."""
    if not _leaving.acquire(blocking=False):
        return
    try:
        saving = threading.Thread(target=_save, name="stormseg-leaving", daemon=True)
        saving.start()
        saving.join(_LONGEST_SAVING_SECONDS)
    finally:
        os._exit(status)


def _save() -> None:
    from stormseg_ij.worker import arrays

    if (work := sys.modules.get("stormseg_ij.worker.work")) is not None:
        work.WORK.flush(_LONGEST_SAVING_SECONDS - 1.0)
    arrays.unlink_all()


def _take_signals() -> None:
    """Leave Ctrl-C and a closed terminal to Fiji: where it ends, this process sees the end of its input."""
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: leave())


def _serve(pipes: Pipes) -> None:
    """Run Appose's own loop, with its reading and printing on our pipes."""
    from appose import python_worker

    class Tasks(dict[str, Any]):
        """The running tasks: Appose looks through them in one thread while another adds some."""

        def items(self) -> Any:  # noqa: ANN401 (of another type than a dict's)
            return list(super().items())

    def ended(what: threading.ExceptHookArgs) -> None:
        """Print what ended a thread; without the one that reads, nothing would ever happen again."""
        threading.__excepthook__(what)
        if what.thread is not None and what.thread.ident == pipes.reader:
            leave(status=1)

    threading.excepthook = ended
    python_worker.input, python_worker.print = pipes.input, pipes.print
    worker = python_worker.Worker()
    worker.tasks = Tasks()
    worker.run()


if __name__ == "__main__":
    main()
