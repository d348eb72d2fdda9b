"""ImageJ driven from its own threads: commands as the menu starts them, macros, dialogs that are answered."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from stormseg_ij.bridge.java import proxy

PATIENCE_SECONDS = 90.0
_LOOK_SECONDS = 0.02
_SHOWN_SECONDS = 0.3
_FOCUS_SECONDS = 2.0


@dataclass
class Outcome:
    """What a person saw of a command or macro.

    Attributes
    ----------
    dialogs : list of str
        Titles of the dialogs that were answered.
    said : list of str
        Texts of the messages that were closed.
    log : list of str
        New lines in the Log.
    status : str
        What ImageJ's status bar says at the end.
    """

    dialogs: list = field(default_factory=list)
    said: list = field(default_factory=list)
    log: list = field(default_factory=list)
    status: str = ""


class Driver:
    """Starts commands, answers their dialogs, and looks at what there is."""

    def __init__(self, bench):
        from scyjava import jimport

        self.bench, self.java = bench, jimport
        self.IJ, self.windows = jimport("ij.IJ"), jimport("ij.WindowManager")

    # ---- to start something

    def menu(self, command, *, answer=None):
        """Choose a command as ImageJ's menu does; OK answers its dialog after `answer(dialog)`."""
        return self.seen(lambda: self.start(command).join(), answer=answer)

    def start(self, command):
        """Choose a command, and return its Java thread at once."""
        return _thread_of(self.java("ij.Executer")(command, None))

    def start_macro(self, text):
        """Run a macro in a thread of its own, and return that at once."""
        return _thread_of(self.java("ij.macro.MacroRunner")(text))

    def macro(self, text, *, answer=None):
        """Run a macro as Plugins > Macros > Run does."""
        return self.seen(lambda: self.IJ.runMacro(text, ""), answer=answer)

    def seen(self, work, *, answer=None, press="OK"):
        """Do something that may open dialogs: they are answered, messages are read and closed."""
        outcome, before, failed = Outcome(), self.log(), []

        def run():
            try:
                work()
            except Exception as error:  # noqa: BLE001 (raised below, in the test's thread)
                failed.append(error)
            finally:
                self.java("java.lang.Thread").detach()  # or Java counts it among its threads for ever

        worker = threading.Thread(target=run, daemon=True)
        worker.start()
        end = time.monotonic() + PATIENCE_SECONDS
        while worker.is_alive():
            self._answer(outcome, answer, press)
            assert time.monotonic() < end, f"still at work; {self.bench.running or 'no command'} runs"
            worker.join(_LOOK_SECONDS)
        self._answer(outcome, answer, press)
        if failed:
            raise failed[0]
        self.settle()
        outcome.log = [line for line in self.log()[len(before) :].splitlines() if line]
        outcome.status = self.status()
        return outcome

    def settle(self):
        """Let the thread that paints windows do what it was given."""
        self.java("java.awt.EventQueue").invokeAndWait(self.java("java.lang.Thread")())

    def _answer(self, outcome, answer, press):
        for dialog in self.dialogs():
            generic = self.java("ij.gui.GenericDialog")
            title = str(dialog.getTitle())
            message = title in ("Macro Error", "") or not isinstance(dialog, generic)
            if message:
                outcome.said.append(f"{title}: {text_in(dialog)}")
            else:
                outcome.dialogs.append(title)
                if answer is not None:
                    answer(dialog)
            self.press(dialog, press)
            until(lambda shown=dialog: not shown.isShowing(), f"{title} closes")

    def dialogs(self):
        """Return the modal dialogs that are open, the newest first."""
        kind = self.java("java.awt.Dialog")
        found = [w for w in self.java("java.awt.Window").getWindows() if isinstance(w, kind) and w.isShowing()]
        return [dialog for dialog in found if dialog.isModal()][::-1]

    def press(self, dialog, label):
        """Press a button of a dialog."""
        button = next(
            part for part in parts_of(dialog) if hasattr(part, "getLabel") and str(part.getLabel()).strip() == label
        )
        event = self.java("java.awt.event.ActionEvent")(button, 1001, button.getLabel())

        def tell():
            for listener in button.getActionListeners():
                listener.actionPerformed(event)

        time.sleep(_SHOWN_SECONDS)  # Java waits for ever for a dialog that closes while it is being shown
        self.java("java.awt.EventQueue").invokeLater(proxy("java.lang.Runnable", run=tell))

    # ---- the recorder

    def recorder(self, mode="Macro"):
        """Open the recorder, empty, in one of its modes."""
        self.close_window("Recorder")
        self.java("ij.Prefs").set("recorder.mode", mode)
        return self.java("ij.plugin.frame.Recorder")()

    def recorded(self, recorder):
        """Return the lines in the recorder."""
        return [line for line in str(recorder.getText()).splitlines() if line.strip() and not line.startswith("//")]

    # ---- images and windows

    def show(self, image):
        """Show an image."""
        imp = self.bench.desk.ij.to_imageplus(image)
        return shown(imp)

    def open(self, path):
        """Open an image file."""
        return shown(self.IJ.openImage(str(path)))

    def images(self):
        """Return the open images in the order of their opening."""
        return [self.windows.getImage(number) for number in list(self.windows.getIDList() or ())]

    def tidy(self):
        """Close images, ROI Manager, tables and texts; nothing may ask."""
        outcome = self.seen(self._tidy)
        assert (outcome.dialogs, outcome.said) == ([], [])

    def _tidy(self):
        self.settle()
        for imp in self.images():
            imp.changes = False
            imp.close()
        if self.manager() is not None:
            self.manager().reset()
            self.manager().close()
        self.java("ij.plugin.filter.Analyzer").getResultsTable().reset()
        for frame in list(self.windows.getNonImageWindows() or ()):
            self.close_window(str(frame.getTitle()))
        if self.IJ.getLog() is not None:
            self.IJ.log("\\Close")
        self.IJ.showStatus("")

    def close_window(self, title):
        """Close a window that is no image."""
        window = self.windows.getWindow(title)
        if isinstance(window, self.java("ij.text.TextWindow")):
            window.close(False)  # Results would ask whether to save
        elif window is not None:
            window.close()

    # ---- the ROI Manager

    def manager(self):
        """Return the ROI Manager if it is open."""
        return self.java("ij.plugin.frame.RoiManager").getInstance2()

    def close_manager(self):
        """Close the ROI Manager with its ROIs."""
        self.seen(self.manager().close, press="Discard")

    def names(self):
        """Return the names in the ROI Manager."""
        manager = self.manager()
        return [] if manager is None else [str(manager.getName(i)) for i in range(manager.getCount())]

    def rois(self):
        """Return the ROI Manager's ROIs as the bytes of their files."""
        return self.bench.desk.manager.rois()

    def put(self, *rois):
        """Put ROIs of roifile into the ROI Manager."""
        self.bench.desk.manager.append([roi.tobytes() for roi in rois], self.IJ.getImage())

    def select(self, *indexes):
        """Select ROIs in the ROI Manager."""
        from jpype import JArray, JInt

        self.manager().setSelectedIndexes(JArray(JInt)(list(indexes)))
        self.settle()

    # ---- to look

    def log(self):
        """Return the text of the Log."""
        text = self.IJ.getLog()
        return "" if text is None else str(text)

    def status(self):
        """Return what the status bar says."""
        return str(self.java("ij.ImageJ").getStatusBarText())

    def texts(self):
        """Return the texts in windows that are neither image nor tool, by title."""
        found = {}
        for frame in list(self.windows.getNonImageWindows() or ()):
            panel = frame.getTextPanel() if hasattr(frame, "getTextPanel") else None
            if panel is not None and str(frame.getTitle()) not in ("Recorder", "Log"):
                found[str(frame.getTitle())] = str(panel.getText())
        return found

    def state(self):
        """Return all that a command may change: ROIs byte for byte, pixels, overlays, tables."""
        encode = self.java("ij.io.RoiEncoder").saveAsByteArray
        images = []
        for imp in self.images():
            stack, overlay = imp.getStack(), imp.getOverlay()
            planes = [bytes(memoryview(stack.getProcessor(i + 1).getPixels())) for i in range(int(imp.getStackSize()))]
            drawn = [] if overlay is None else [bytes(encode(overlay.get(i))) for i in range(int(overlay.size()))]
            where = (int(imp.getWidth()), int(imp.getHeight()), int(imp.getBitDepth()), str(imp.getCalibration()))
            images.append((str(imp.getTitle()), where, planes, drawn))
        return {"rois": self.rois(), "names": self.names(), "images": images, "texts": self.texts()}


def _thread_of(runner):
    """Return the Java thread that one of ImageJ's runners has made."""
    field = runner.getClass().getDeclaredField("thread")
    field.setAccessible(True)
    return field.get(runner)


def shown(imp):
    """Show an image, and wait until its window has the focus.

    The display gives it the focus a moment later, and with that ImageJ makes it the active image: what a macro has
    opened meanwhile would not be the active one any more.
    """
    from scyjava import jimport

    imp.show()
    if imp.getWindow() is not None:
        with suppress(AssertionError):
            until(imp.getWindow().isFocused, "the image has the focus", seconds=_FOCUS_SECONDS)
        jimport("java.awt.EventQueue").invokeAndWait(jimport("java.lang.Thread")())
    return imp


def pixels(imp, plane=1):
    """Return a plane's pixels, 8-bit, 16-bit or 32-bit."""
    processor = imp.getStack().getProcessor(plane)
    dtype = {8: np.uint8, 16: np.uint16, 32: np.float32}[int(imp.getBitDepth())]
    return np.frombuffer(memoryview(processor.getPixels()), dtype).reshape(imp.getHeight(), imp.getWidth())


def parts_of(window):
    """Return all components in a window."""
    found = []
    for part in window.getComponents():
        found.append(part)
        if hasattr(part, "getComponents"):
            found += parts_of(part)
    return found


def text_in(window):
    """Return the texts in a window, without those of its buttons."""
    texts = [str(part.getText()) for part in parts_of(window) if hasattr(part, "getText")]
    for part in parts_of(window):
        if str(part.getClass().getSimpleName()) == "MultiLineLabel":
            field = part.getClass().getDeclaredField("lines")
            field.setAccessible(True)
            texts += [str(line) for line in field.get(part)]
    return " ".join(texts).strip()


def until(condition, what, *, seconds=PATIENCE_SECONDS):
    """Wait until a condition gives something true, and return that."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds} s: {what}"
        time.sleep(_LOOK_SECONDS)
    return found


def one_line(outcome):
    """Return the one thing that was said."""
    assert len(outcome.said) == 1, outcome
    assert "fault of StormSeg" not in outcome.said[0]
    assert "\n" not in outcome.said[0]
    return outcome.said[0]
