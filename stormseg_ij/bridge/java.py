"""Java's exceptions as errors of one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stormseg_ij.errors import BridgeError


@contextmanager
def java_errors(doing: str) -> Iterator[None]:
    """Turn Java's exceptions into BridgeError."""
    import jpype

    try:
        yield
    except jpype.JException as error:
        if "OutOfMemoryError" in type(error).__name__:
            message = f"ImageJ could not {doing}: Java's memory is too small; give more with --heap-mb (heap_mb=)"
            raise BridgeError(message) from error
        raise BridgeError(f"ImageJ could not {doing}: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its name where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".;") if text else type(error).__name__
