"""Whole macros in ImageJ, with nobody there to answer: errors are raised, printed lines come back as they come."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from stormseg_ij.bridge.imagej import ImageJ
from stormseg_ij.bridge.java import java_errors, one_line
from stormseg_ij.bridge.unattended import HEADLESS, Console, Screen, Watcher
from stormseg_ij.errors import BridgeError, SettingsError

SUFFIXES = (".ijm", ".txt")
"""Of macro files, as ImageJ knows them."""

INSTALL_XVFB = "install Xvfb (apt-get install xvfb), and stormseg macro uses it"

_THREAD = (
    "Run$_Macro$"  # commands look for their options in threads named Run$_..., aborting ends those named ...Macro$
)
_CANCELED = "Macro canceled"  # ij.Macro.MACRO_CANCELED, the message of the exception that ends a macro
_LOOK_SECONDS = 0.1
_END_SECONDS = 5.0
_LONGEST_SOURCE = 80

_one_at_a_time = threading.Lock()


def read_macro(path: Path) -> str:
    """Read a macro file.

    Raises
    ------
    SettingsError
        If its name is not that of a macro.
    BridgeError
        If it cannot be read.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"{path} is no macro; give a file that ends in {' or '.join(SUFFIXES)}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BridgeError(f"cannot read the macro {path}: {error.strerror}; check its name") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")  # as ImageJ itself reads them


def run_macro_file(
    ij: ImageJ, path: Path, argument: str = "", *, say: Callable[[str], None] | None = None
) -> str | None:
    """Run a macro file as `run_macro` does; ``getInfo("macro.filepath")`` gives its path.

    Raises
    ------
    SettingsError, BridgeError
        As `read_macro` and `run_macro`.
    """
    import scyjava

    source = read_macro(path)
    with java_errors(f"run {path.name}"):
        field = scyjava.jimport("ij.plugin.Macro_Runner").class_.getDeclaredField("filePath")
        field.setAccessible(True)
        field.set(None, str(path.resolve()))
    return run_macro(ij, source, argument, name=path.name, say=say)


def run_macro(
    ij: ImageJ, source: str, argument: str = "", *, name: str = "macro", say: Callable[[str], None] | None = None
) -> str | None:
    """Run the text of a macro and wait for its end; nobody need be there.

    Dialogs that would wait for a person are closed and end the macro; so does a command that fails, where ImageJ itself
    would go on with what it has. ImageJ without a window runs macros in batch mode.

    Parameters
    ----------
    ij : ImageJ
        With a window, of Fiji, or started with ``macros=True``.
    source : str
    argument : str
        What the macro's ``getArgument()`` gives.
    name : str
        For messages.
    say : callable, optional
        Takes what the macro prints, one or more lines at a time without the last line's end.

    Returns
    -------
    str or None
        What the macro returns.

    Raises
    ------
    BridgeError
        If the macro fails, ends with ``exit("message")`` or asks a person; with its name, line and message.
    """
    if not ij.macros:
        raise BridgeError(f"this ImageJ runs no macro ({name}): start it with macros=True, or with a window")
    import scyjava

    with _one_at_a_time, java_errors(f"run {name}"), ThreadPoolExecutor(1) as executor:
        interpreter = scyjava.jimport("ij.macro.Interpreter")()
        watcher: Watcher = (Console if ij.headless else Screen)(
            say or (lambda _: None), lambda: _set(interpreter, "done", True)
        )
        with watcher:
            running = executor.submit(_interpret, interpreter, source, argument, watcher)
            try:
                _wait(running, watcher)
            except KeyboardInterrupt:
                _stop(interpreter, running, watcher)
                raise
        complaint = _complaint(interpreter, running.exception(), watcher)
        if complaint is not None:
            raise BridgeError(_placed(complaint, interpreter, source, name)) from running.exception()
        returned = _get(interpreter, "returnValue")
        return None if returned is None else str(returned)


def _interpret(interpreter: Any, source: str, argument: str, watcher: Watcher) -> None:  # noqa: ANN401
    """Do what ImageJ's own runner of macros does, in this thread."""
    import scyjava

    watcher.thread = scyjava.jimport("java.lang.Thread").currentThread()
    watcher.thread.setName(_THREAD)
    try:
        if isinstance(watcher, Console):
            interpreter.run(source, argument)
        else:
            _set(interpreter, "argument", argument)
            interpreter.run(source)  # batch mode ends with it
    finally:
        scyjava.jimport("ij.Macro").setOptions(None)
        scyjava.jimport("ij.WindowManager").setTempCurrentImage(None)
        scyjava.jimport("java.lang.Thread").detach()  # this thread ends; Java would count it for ever


def _wait(running: Future[None], watcher: Watcher) -> None:
    while not running.done():
        with suppress(TimeoutError):
            running.exception(timeout=_LOOK_SECONDS)
        watcher.look()


def _stop(interpreter: Any, running: Future[None], watcher: Watcher) -> None:  # noqa: ANN401 (an Interpreter)
    """End the macro and the command it is in, as the Escape key does."""
    import scyjava

    _set(interpreter, "done", True)
    imagej = scyjava.jimport("ij.IJ")
    imagej.setKeyDown(scyjava.jimport("java.awt.event.KeyEvent").VK_ESCAPE)
    if watcher.thread is not None:
        watcher.thread.interrupt()  # it may wait
    with suppress(TimeoutError):
        running.exception(timeout=_END_SECONDS)
    imagej.resetEscape()


def _complaint(interpreter: Any, error: BaseException | None, watcher: Watcher) -> str | None:  # noqa: ANN401
    """Return why the macro did not run to its end; None where it did, or left by ``exit()``."""
    import jpype

    reason = interpreter.getErrorMessage()
    if watcher.failure:
        return watcher.failure
    if reason is not None:
        return str(reason)
    if error is None:
        return None
    if not isinstance(error, jpype.JException):
        raise error
    if not str(error).endswith(_CANCELED):
        return str(error)
    if watcher.message:
        return watcher.message
    left = str(error.getStackTrace()[0].getMethodName()) == "exit"
    return None if left else "it was canceled, or asks a person"


def _placed(complaint: str, interpreter: Any, source: str, name: str) -> str:  # noqa: ANN401 (an Interpreter)
    """Make one line of what is wrong and where, and of what to do about a missing display."""
    import jpype

    number = int(_get(interpreter, "lineNumber")) if interpreter.getErrorMessage() is not None else 0
    if not number:
        with suppress(jpype.JException):  # it failed before it had lines
            number = int(interpreter.getLineNumber())
    lines = source.splitlines()
    text = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    text = text if len(text) <= _LONGEST_SOURCE else f"{text[:_LONGEST_SOURCE]}..."
    where = f"{name}, line {number}" if text else name
    if HEADLESS in complaint or "headless" in complaint:
        return f"{where}: {text or 'it'} needs a display; {INSTALL_XVFB}"
    said = " ".join(complaint.split()) or one_line(RuntimeError(complaint))
    return f"{where}: {said}" + (f" ({text})" if text and not text.startswith("exit") else "")


def _get(interpreter: Any, field: str) -> Any:  # noqa: ANN401 (an Interpreter, and what its field holds)
    return _field(interpreter, field).get(interpreter)


def _set(interpreter: Any, field: str, value: object) -> None:  # noqa: ANN401 (an Interpreter)
    _field(interpreter, field).set(interpreter, value)


def _field(interpreter: Any, name: str) -> Any:  # noqa: ANN401 (a java.lang.reflect.Field)
    """Return a field that ImageJ's own classes read and write."""
    field = interpreter.getClass().getDeclaredField(name)
    field.setAccessible(True)
    return field
