"""Leaving Python: Java never keeps it waiting, and signals stay Python's."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress

_EXIT_WAIT_SECONDS = 3.0


def leave() -> None:
    """Close windows and end ImageJ's threads, so that shutting Java down does not wait for them forever."""
    import jpype
    import jpype.config
    import scyjava

    with suppress(jpype.JException):
        for window in scyjava.jimport("java.awt.Window").getWindows():
            window.dispose()
    with suppress(jpype.JException, TypeError):
        scyjava.jimport("ij.util.ThreadUtil").threadPoolExecutor.shutdownNow()
    thread = scyjava.jimport("java.lang.Thread")
    end = time.monotonic() + _EXIT_WAIT_SECONDS
    while any(t != thread.currentThread() and not t.isDaemon() for t in thread.getAllStackTraces().keySet()):
        if time.monotonic() > end:
            jpype.config.destroy_jvm = False  # a thread that does not end: leave it behind instead of waiting for it
            break
        time.sleep(0.02)


def give_signals_to_python() -> None:
    """Put Python's handlers back, which Java replaced: Ctrl-C interrupts waiting code at once, and SIGTERM ends us."""
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        handler = None if number is None else signal.getsignal(number)
        if number is not None and handler is not None:
            signal.signal(number, handler)
