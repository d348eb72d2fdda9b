"""Java's exceptions as errors of one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from stormseg_ij.errors import BridgeError


@contextmanager
def java_errors(doing: str) -> Iterator[None]:
    """Turn Java's exceptions into BridgeError."""
    import jpype

    try:
        yield
    except jpype.JException as error:
        if "OutOfMemoryError" in type(error).__name__:
            more = "start stormseg with more: --heap-mb N (in Python heap_mb=N)"
            raise BridgeError(f"ImageJ could not {doing}: Java's memory is too small; {more}") from error
        raise BridgeError(f"ImageJ could not {doing}: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its name where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".;") if text else type(error).__name__


def on_event_thread(work: Callable[[], None], *, visible: bool = True) -> None:
    """Do work in the thread that paints windows, where lists that are shown must be changed; wait for it.

    Parameters
    ----------
    work : callable
        Short, and raises nothing.
    visible : bool
        False does it in this thread: what is not on a screen needs no other.
    """
    import scyjava

    queue = scyjava.jimport("java.awt.EventQueue")
    if not visible or queue.isDispatchThread():
        work()
        return
    with java_errors("change its windows"):
        queue.invokeAndWait(proxy("java.lang.Runnable", run=work))


def proxy(interface: str, **methods: Callable[..., Any]) -> Any:  # noqa: ANN401 (a Java object)
    """Make a Java object whose methods are Python functions.

    Parameters
    ----------
    interface : str
        Name of the Java interface.
    **methods : callable
        All of its methods, by Java's names. What they raise becomes a Java exception.
    """
    import jpype

    return jpype.JProxy(interface, dict=methods)
