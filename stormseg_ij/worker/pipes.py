"""Appose's protocol on pipes of its own, so that nothing else that runs here can disturb it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO


class Pipes:
    """What Appose reads lines from and prints lines to, in place of standard input and output.

    Parameters
    ----------
    incoming, outgoing : int
        File descriptors.
    at_end : callable
        Called when no more lines can come.
    """

    def __init__(self, incoming: int, outgoing: int, at_end: Callable[[], None]) -> None:
        self._lines = os.fdopen(incoming, encoding="utf-8", errors="replace")
        self._outgoing = outgoing
        self._at_end = at_end
        self._lock = threading.Lock()
        self.reader: int | None = None

    @classmethod
    def taken_over(cls, at_end: Callable[[], None]) -> Pipes:
        """Take standard input and output away from all other code.

        What that prints, also in C, goes to standard error; what it reads is empty. On Windows this also keeps the
        import of compiled packages from waiting for the thread that reads (numpy issue 24290).
        """
        incoming, outgoing = os.dup(0), os.dup(1)
        sys.stdout.flush()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        return cls(incoming, outgoing, at_end)

    def input(self) -> str:
        """Return the next line that is not empty, as Python's own `input`.

        Raises
        ------
        EOFError
            After the last one.
        """
        self.reader = threading.get_ident()
        while line := self._line():
            if line.strip():
                return line.rstrip("\n")
        self._at_end()
        raise EOFError

    def print(self, *values: object, file: TextIO | None = None, **options: Any) -> None:  # noqa: ANN401 (print's)
        """Print as Python's own `print`; a line of the protocol goes out whole, whichever threads print."""
        if file is not None:
            print(*values, file=file, **options)
            return
        rest = memoryview((" ".join(str(value) for value in values) + "\n").encode())
        with self._lock:
            while rest:
                rest = rest[os.write(self._outgoing, rest) :]

    def _line(self) -> str:
        try:
            return self._lines.readline()
        except OSError:
            return ""  # a broken pipe is an end too
