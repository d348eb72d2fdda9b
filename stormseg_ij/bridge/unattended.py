"""What ImageJ says while a macro runs and nobody sits in front of it: no message is lost, no dialog waits."""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Callable
from typing import Any

from stormseg_ij.bridge.java import proxy

HEADLESS = "HeadlessException"

_WINDOW_OPENED, _WINDOW_CLOSING = 200, 201  # java.awt.event.WindowEvent
_WINDOW_EVENTS = 64  # java.awt.AWTEvent.WINDOW_EVENT_MASK
_MACRO_ERROR = "ij.macro.Interpreter.showError"
_PYTHON = "org.jpype."
_TABLES = ("ij.IJ.write", "ij.IJ.setColumnHeadings")  # the Results table, which a window would show
_EXCEPTION = re.compile(r"^[\w.$]+(Exception|Error)\b.*", re.MULTILINE)
_LONGEST_TEXT = 200


class Watcher:
    """What both kinds of ImageJ tell in their own ways; a context manager around the run of a macro.

    Parameters
    ----------
    say : callable
        Takes the lines that the macro prints, as they come.
    stop : callable
        Ends the macro before its next statement.

    Attributes
    ----------
    message : str
        The last thing ImageJ would have told a person; the reason, where the macro ends with it.
    failure : str
        What made us end the macro; empty if nothing did.
    thread : java.lang.Thread or None
        Where the macro runs.
    """

    def __init__(self, say: Callable[[str], None], stop: Callable[[], None]) -> None:
        import scyjava

        self.message = self.failure = ""
        self.thread: Any = None
        self._say, self._stop = say, stop
        self._jimport: Callable[[str], Any] = scyjava.jimport

    def __enter__(self) -> Watcher:
        """Begin to listen."""
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        """Listen no longer."""
        raise NotImplementedError

    def look(self) -> None:
        """See what is new; called several times a second."""

    def _told(self, text: str, frames: list[str]) -> None:
        """Take a message for a person; `frames` are the methods that it came through, innermost first."""
        shown = "ij.macro.Functions.showMessage" in frames or "ij.macro.Functions.showMessageWithCancel" in frames
        if shown or frames.count("ij.macro.Interpreter.doStatements") > 1:  # a macro that this one runs may fail
            self._say(text)
        elif "ij.IJ.error" in frames and _MACRO_ERROR not in frames:  # ImageJ may go on, without a file it should write
            self._fail(text)
        else:
            self.message = text

    def _fail(self, text: str) -> None:
        self.failure = self.failure or text
        self._stop()


class Console(Watcher):
    """ImageJ without a display: all it says goes to Java's standard output."""

    def __enter__(self) -> Console:
        """Take Java's standard output, and that for errors, where macro errors go."""
        system, channels = self._jimport("java.lang.System"), self._jimport("java.nio.channels.Channels")
        self._before = system.out, system.err
        self._begun = ""
        stream = self._jimport("java.io.PrintStream")(channels.newOutputStream(_channel(self._written)), True, "UTF-8")
        system.setOut(stream)
        system.setErr(stream)
        return self

    def __exit__(self, *_: object) -> None:
        """Give Java its standard output back."""
        system = self._jimport("java.lang.System")
        system.setOut(self._before[0])
        system.setErr(self._before[1])
        if self._begun:
            self._say(self._begun)

    def _written(self, text: str) -> None:
        """Sort what was written by who wrote it, in the very thread that does."""
        self._begun += text
        if not self._begun.endswith("\n"):
            return
        whole, self._begun = self._begun[:-1], ""
        frames = _frames(self._jimport("java.lang.Thread").currentThread())
        innermost = frames[:2]
        if innermost == ["ij.IJ.log", "ij.Executer.run"] or "ij.IJ.handleException" in innermost:
            self._fail(_exception(whole))
            # ImageJ goes on after an exception in a command; results made that way would be wrong.
            raise self._jimport("java.lang.IllegalStateException")(self.failure)
        if _MACRO_ERROR in frames:
            self._told(whole.splitlines()[0].removeprefix("Macro Error: "), frames)
        elif "ij.IJ.showMessage" in frames:
            self._told(whole, frames)
        elif frames[:1] and frames[0] not in _TABLES:
            self._say(whole)


class Screen(Watcher):
    """ImageJ with a window: its Log window is read, and dialogs are closed, since they would wait forever."""

    def __enter__(self) -> Screen:
        """Listen to windows that open."""
        self._listener = _listener(self._opened)
        self._toolkit = self._jimport("java.awt.Toolkit").getDefaultToolkit()
        self._toolkit.addAWTEventListener(self._listener, _WINDOW_EVENTS)
        self._log = self._logged()
        return self

    def __exit__(self, *_: object) -> None:
        """Read the rest of the Log window, and leave new windows alone again."""
        self._toolkit.removeAWTEventListener(self._listener)
        self.look()

    def look(self) -> None:
        """Say what is new in the Log window."""
        before, self._log = self._log, self._logged()
        new = new_lines(before, self._log)
        if new:
            self._say("\n".join(new))

    def _logged(self) -> list[str]:
        text = self._jimport("ij.IJ").getLog()
        return [] if text is None else str(text).splitlines()

    def _opened(self, window: Any) -> None:  # noqa: ANN401 (a java.awt.Window)
        """Close a dialog, after its text was read."""
        kinds = self._jimport
        if isinstance(window, kinds("ij.text.TextWindow")):
            if str(window.getTitle()) == "Exception":
                self._fail(_exception(str(window.getTextPanel().getText())))
            return
        if not isinstance(window, kinds("java.awt.Dialog")):
            return
        waits = isinstance(window, kinds("ij.gui.WaitForUserDialog"))
        if not (window.isModal() or waits or isinstance(window, kinds("ij.gui.GenericDialog"))):
            return
        text, frames = _text_of(window), _frames(self.thread)
        if isinstance(window, (kinds("ij.gui.MessageDialog"), kinds("ij.gui.HTMLDialog"))):
            self._told(text, frames)
        elif _MACRO_ERROR in frames:
            self._told(text.splitlines()[0], frames)
        else:
            what = " ".join(text.split())[:_LONGEST_TEXT]
            self._fail(f"the dialog {str(window.getTitle())!r} asks a person{': ' * bool(what)}{what}")
        if waits:
            window.close()
        elif isinstance(window, kinds("java.awt.FileDialog")):
            window.setVisible(False)
        else:
            closing = kinds("java.awt.event.WindowEvent")(window, _WINDOW_CLOSING)
            self._toolkit.getSystemEventQueue().postEvent(closing)


def new_lines(before: list[str], now: list[str]) -> list[str]:
    """Return the lines of the Log window that are new; of a changed one all from there on.

    Examples
    --------
    >>> new_lines(["a", "b"], ["a", "b", "c"]), new_lines(["a", "10 %"], ["a", "20 %"]), new_lines(["a"], ["x"])
    (['c'], ['20 %'], ['x'])
    """
    same = next((i for i, (old, new) in enumerate(zip(before, now, strict=False)) if old != new), len(before))
    return now[min(same, len(now)) :]


def _channel(written: Callable[[str], None]) -> Any:  # noqa: ANN401 (a java.nio.channels.WritableByteChannel)
    """Make what gives the text that Java writes to Python, in the thread that writes."""
    from jpype import JArray, JByte

    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def write(buffer: Any) -> int:  # noqa: ANN401 (a java.nio.ByteBuffer)
        count = int(buffer.remaining())
        array = JArray(JByte)(count)
        buffer.get(array)
        written(decoder.decode(bytes(array)))
        return count

    return proxy("java.nio.channels.WritableByteChannel", write=write, isOpen=lambda: True, close=lambda: None)


def _listener(opened: Callable[[Any], None]) -> Any:  # noqa: ANN401 (a java.awt.event.AWTEventListener)
    """Make what tells Python of each window that opens."""

    def dispatched(event: Any) -> None:  # noqa: ANN401 (a java.awt.AWTEvent)
        if event.getID() == _WINDOW_OPENED:
            opened(event.getWindow())

    return proxy("java.awt.event.AWTEventListener", eventDispatched=dispatched)


def _frames(thread: Any) -> list[str]:  # noqa: ANN401 (a java.lang.Thread)
    """Return the methods of ImageJ that a thread is in, innermost first; commands in Python show as ``org.jpype``."""
    if thread is None:
        return []
    frames = (f"{frame.getClassName()}.{frame.getMethodName()}" for frame in thread.getStackTrace())
    return list(itertools.dropwhile(_is_python, (frame for frame in frames if frame.startswith(("ij.", _PYTHON)))))


def _is_python(frame: str) -> bool:
    return frame.startswith(_PYTHON)


def _exception(text: str) -> str:
    """Return the line of a stack trace that names the exception."""
    found = _EXCEPTION.search(text)
    return found[0].strip() if found else " ".join(text.split())[:_LONGEST_TEXT] or "a command of ImageJ failed"


def _text_of(container: Any) -> str:  # noqa: ANN401 (a java.awt.Container)
    """Return what a dialog's labels and texts say, a line each."""
    import scyjava

    label, multi, pane = map(
        scyjava.jimport, ("java.awt.Label", "ij.gui.MultiLineLabel", "javax.swing.text.JTextComponent")
    )
    texts = []
    for component in container.getComponents():
        if isinstance(component, multi):
            field = multi.class_.getDeclaredField("lines")
            field.setAccessible(True)
            texts += [str(line) for line in field.get(component)]
        elif isinstance(component, label):
            texts.append(str(component.getText()))
        elif isinstance(component, pane):
            texts.append(re.sub(r"<[^>]*>", " ", str(component.getText())))
        elif isinstance(component, scyjava.jimport("java.awt.Container")):
            texts.append(_text_of(component))
    return "\n".join(text.strip() for text in texts if text.strip())
