"""A person before ImageJ: the mouse and the keyboard, and what is to be seen. Nothing here calls a command."""

import time
from contextlib import contextmanager, suppress

import numpy as np

LEFT_BUTTON = 1 << 10
PATIENCE_SECONDS = 40.0
_CLICKS = 4
_LOST_SECONDS = 4.0
"""A click that shows nothing for so long is lost: a person clicks again."""
_BESIDE_LABEL_PX = 22
"""Between the labels of Java's menu bar on Linux."""
_HELD_SECONDS = 0.5
IMAGE_AT = (20, 100)
_SHIFTED = {"_": "-", ":": ";", "~": "`"}


def until(condition, what, *, seconds=PATIENCE_SECONDS):
    """Wait until a condition gives something true, and return that; fail after some seconds."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s: {what}")
        time.sleep(0.02)
    return found


def _corner(component):
    """Return the place of a component on the screen; None while it is not shown."""
    return component.getLocationOnScreen() if component.isShowing() else None


class Person:
    """Works with the mouse and the keyboard on the display."""

    def __init__(self):
        from scyjava import jimport

        self.java = jimport
        self.ij = jimport("ij.IJ")
        self.keys = jimport("java.awt.event.KeyEvent")
        self.robot = jimport("java.awt.Robot")()
        self.robot.setAutoDelay(4)

    # ---- hands

    def settle(self):
        """Let ImageJ take what was pressed and moved."""
        self.robot.waitForIdle()

    def click(self, x, y):
        """Click at a place of the screen."""
        self.robot.mouseMove(int(x), int(y))
        self.robot.mousePress(LEFT_BUTTON)
        self.robot.mouseRelease(LEFT_BUTTON)
        self.settle()

    def click_on(self, component):
        """Click in the middle of a button, a field or a box, whose window comes to the front."""
        until(component.isShowing, f"{component} is shown")
        self._bring_forward(self.java("javax.swing.SwingUtilities").getWindowAncestor(component))
        place = until(lambda: _corner(component), f"{component} is shown")
        size = component.getSize()
        self.click(place.x + size.width // 2, place.y + size.height // 2)

    def _bring_forward(self, window):
        """Let a dialog that has just opened get the focus; bring another window to the front.

        Java calls a window shown a moment before the display shows it: a click meanwhile goes to what lies beneath. A
        dialog takes the focus once it is there. Asking for the focus earlier would confuse Java's own count of who has
        it, so nothing is done but to wait.
        """
        if _is(window, "Dialog"):
            with suppress(AssertionError):
                until(window.isFocused, "it has the focus", seconds=_LOST_SECONDS)
                return
        window.toFront()
        self.settle()

    def again(self, act, condition, what):
        """Do something until it shows, as a person does whose click was lost."""
        for _ in range(_CLICKS):
            act()
            with suppress(AssertionError):
                return until(condition, what, seconds=_LOST_SECONDS)
        raise AssertionError(f"{_CLICKS} times without success: {what}")

    def _enter(self, field, label):
        """Click on a field until it has the focus."""
        with suppress(AssertionError):
            self.again(lambda: self.click_on(field), field.isFocusOwner, f"{label} has the focus")
        if not field.isFocusOwner():  # the display loses every click: what is tested is the dialog, not the display
            field.requestFocus()
            until(field.isFocusOwner, f"{label} has the focus")

    def press(self, *names):
        """Press a key such as ``F7``, ``ENTER``; those before the last one are held meanwhile."""
        self._stroke(*names)
        self.settle()

    def _stroke(self, *names):
        codes = [getattr(self.keys, f"VK_{name}") for name in names]
        for code in codes:
            self.robot.keyPress(code)
        for code in reversed(codes):
            self.robot.keyRelease(code)

    @contextmanager
    def holding(self, name):
        """Hold a key down."""
        code = getattr(self.keys, f"VK_{name}")
        self.robot.keyPress(code)
        try:
            yield
        finally:
            self.robot.keyRelease(code)
            self.settle()

    def type(self, text):
        """Type a text, as on a keyboard of the United States."""
        for letter in text:
            held = ["SHIFT"] if letter.isupper() or letter in _SHIFTED else []
            code = self.keys.getExtendedKeyCodeForChar(ord(_SHIFTED.get(letter, letter)))
            for name in held:
                self.robot.keyPress(getattr(self.keys, f"VK_{name}"))
            self.robot.keyPress(code)
            self.robot.keyRelease(code)
            for name in held:
                self.robot.keyRelease(getattr(self.keys, f"VK_{name}"))
        self.settle()

    # ---- ImageJ's window

    def status(self):
        """Return what stands in the status bar."""
        return str(self.java("ij.ImageJ").getStatusBarText())

    def progress_bar_pixels(self):
        """Return what the place of the progress bar looks like, shape (Y, X)."""
        bar = self.ij.getInstance().getProgressBar()
        corner, size = _corner(bar), bar.getSize()
        return self._pixels(corner.x, corner.y, size.width, size.height)

    def _pixels(self, x, y, width, height):
        picture = self.robot.createScreenCapture(self.java("java.awt.Rectangle")(int(x), int(y), width, height))
        return np.array(picture.getRGB(0, 0, width, height, None, 0, width)).reshape(height, width)

    # ---- ImageJ's menu and tools

    def choose(self, *labels, held=None):
        """Choose an entry of ImageJ's menu, such as ``"Plugins", "StormSeg", "Merge Nuclei"``.

        A key that is held is let go half a second later: ImageJ asks for it when the command begins.
        """
        window = self.ij.getInstance()
        bar = window.getMenuBar()
        menus = [bar.getMenu(i) for i in range(bar.getMenuCount())]
        index = [str(menu.getLabel()) for menu in menus].index(labels[0])
        self._open_menu(window, menus, index)
        menu = menus[index]
        for label in labels[1:]:
            entries = [menu.getItem(i) for i in range(menu.getItemCount())]
            names = [str(entry.getLabel()) for entry in entries]
            wanted = next(i for i, name in enumerate(names) if name.split(" [")[0] == label)
            for name in names[:wanted]:
                if name != "-":
                    self._stroke("DOWN")
            menu = entries[wanted]
            if label != labels[-1]:
                self.press("RIGHT")
        if held is None:
            self.press("ENTER")
        else:
            with self.holding(held):
                self.press("ENTER")
                time.sleep(_HELD_SECONDS)

    def _open_menu(self, window, menus, index):
        """Click on a menu of the menu bar, whose labels stand side by side."""
        metrics = window.getFontMetrics(menus[index].getFont())
        corner = _corner(window)
        widths = [metrics.stringWidth(menu.getLabel()) + _BESIDE_LABEL_PX for menu in menus]
        x = corner.x + sum(widths[:index]) + widths[index] // 2
        y = corner.y + window.getInsets().top // 2

        def label():
            return self._pixels(x - 5, y - 5, 10, 10)

        closed = label()
        self.again(
            lambda: self.click(x, y), lambda: not np.array_equal(label(), closed), f"the menu {menus[index].getLabel()}"
        )

    # ---- windows

    def window(self, title):
        """Return the window with this title once it is shown."""
        return until(lambda: self.find_window(title), f"the window {title!r}, there are {self.titles()}")

    def find_window(self, title):
        """Return the window with this title if it is shown."""
        return next((window for window in self._windows() if str(window.getTitle()) == title), None)

    def titles(self):
        """Return the titles of the windows that are shown."""
        return [str(window.getTitle()) for window in self._windows()]

    def dialogs(self):
        """Return the dialogs and messages that are shown."""
        return [window for window in self._windows() if _is(window, "Dialog")]

    def _windows(self):
        return [w for w in self.java("java.awt.Window").getWindows() if w.isShowing() and hasattr(w, "getTitle")]

    def put_at(self, window, x, y):
        """Put a window somewhere: this display has no title bars to drag it by."""
        window.setLocation(x, y)
        window.toFront()
        self.settle()

    # ---- dialogs

    def gone(self, title):
        """Wait until no window has this title."""
        until(lambda: self.find_window(title) is None, f"the window {title!r} closes")

    def button(self, title, label):
        """Press a button of a window, which comes to the front."""
        self.click_on(_part(self.window(title), "Button", lambda button: str(button.getLabel()).strip() == label))

    def answer(self, title, label):
        """Press a button of a dialog until the dialog goes away."""
        dialog, clicks = self.window(title), 0
        end = time.monotonic() + PATIENCE_SECONDS
        while dialog.isShowing() and time.monotonic() < end:
            if clicks < _CLICKS:
                self.button(title, label)
            else:  # a display without a window manager can lose clicks on a dialog that it shows
                button = _part(dialog, "Button", lambda part: str(part.getLabel()).strip() == label)
                event = self.java("java.awt.event.ActionEvent")(button, 1001, button.getLabel())
                self.java("java.awt.Toolkit").getDefaultToolkit().getSystemEventQueue().postEvent(event)
            clicks += 1
            with suppress(AssertionError):
                until(lambda: not dialog.isShowing(), f"{title} closes", seconds=_LOST_SECONDS)
        assert not dialog.isShowing(), f"{title} stays when {label} is pressed"

    def labels(self, title):
        """Return the labels of a dialog: those of its fields, and of its buttons."""
        return [str(part.getText()).strip(": ") for part in _parts(self.window(title)) if _is(part, "Label")]

    def field(self, title, label):
        """Return a field of a dialog by the label before it, or on it."""
        parts = [part for part in _parts(self.window(title)) if not _is(part, "Panel")]
        for i, part in enumerate(parts):
            if _is(part, "Label") and str(part.getText()).strip(": ") == label:
                return parts[i + 1]
            if _is(part, "Checkbox") and str(part.getLabel()) == label:
                return part
        raise AssertionError(f"{title} has no field {label!r}")

    def inputs(self, title):
        """Return the fields of a dialog, in their order."""
        kinds = ("TextField", "Choice", "Checkbox")
        return [part for part in _parts(self.window(title)) if any(_is(part, kind) for kind in kinds)]

    def choose_folder(self, title, folder):
        """Type a folder into the dialog that chooses one."""
        field = next(part for part in _parts(self.window(title)) if _is(part, "JTextField"))
        self._enter(field, "the folder")
        self.press("CONTROL", "A")
        self.type(str(folder))
        self.press("ENTER")
        self.gone(title)

    def fill(self, title, label, text):
        """Type a text into a field, in place of what stands there."""
        field = self.field(title, label)
        self._enter(field, label)
        self.press("END")
        for _ in str(field.getText()):
            self._stroke("BACK_SPACE")
        until(lambda: not str(field.getText()), f"{label} is empty")
        self.type(text)
        until(lambda: str(field.getText()) == text, f"{label} holds {text!r}")

    def tick(self, title, label):
        """Click on a box of a dialog until it changes."""
        box = self.field(title, label)
        before = bool(box.getState())
        self.again(lambda: self.click_on(box), lambda: bool(box.getState()) != before, f"{label} changes")

    def pick(self, title, label, choice):
        """Pick an entry of a field that unfolds, with the arrow keys."""
        field = self.field(title, label)
        self._bring_forward(self.window(title))
        for _ in range(field.getItemCount()):
            self.again(field.requestFocus, field.isFocusOwner, f"{label} has the focus")
            wanted = [str(field.getItem(i)) for i in range(field.getItemCount())].index(choice)
            if int(field.getSelectedIndex()) == wanted:
                return
            self.press("DOWN" if int(field.getSelectedIndex()) < wanted else "UP")
        raise AssertionError(f"{label} stays at {field.getSelectedItem()}")

    def message(self, title):
        """Return what a message box says, and close it."""
        text = self.said(title)
        self.answer(title, "OK")
        return text

    def said(self, title):
        """Return the text in a window that is no field's: a message, or the line below the fields of a dialog."""
        label = self.java("ij.gui.MultiLineLabel")
        lines = label.class_.getDeclaredField("lines")
        lines.setAccessible(True)
        texts = [lines.get(part) for part in _parts(self.window(title)) if isinstance(part, label)]
        return " ".join(str(line).strip() for text in texts for line in text).strip()

    # ---- the image

    def image(self, title):
        """Return the open image with this title."""
        return self.java("ij.WindowManager").getImage(title)

    def open(self, path):
        """Open an image with File > Open, and put its window where nothing covers it."""
        self.choose("File", "Open...")
        self._bring_forward(self.window("Open"))
        self.type(str(path))
        self.press("ENTER")
        imp = until(lambda: self.image(path.name), f"{path.name} opens")
        self.put_at(until(imp.getWindow, "it has a window"), *IMAGE_AT)
        return imp

    def tool(self, name):
        """Click on a tool, such as ``FREEROI``."""
        toolbar = self.java("ij.gui.Toolbar")
        number, side = int(getattr(toolbar, name)), int(toolbar.getButtonSize())
        corner = _corner(toolbar.getInstance())
        x, y = corner.x + number * side + side // 3, corner.y + side // 3
        self.again(lambda: self.click(x, y), lambda: int(toolbar.getToolId()) == number, f"the tool {name}")

    def draw(self, imp, points):
        """Hold the mouse button and move along points (x, y) of the image."""
        places = [self.place(imp, *point) for point in points]
        self.robot.mouseMove(*places[0])
        self.settle()
        self.robot.mousePress(LEFT_BUTTON)
        for place in places[1:]:
            self.robot.mouseMove(*place)
            self.settle()  # Java leaves out movements that it is late for
        self.robot.mouseRelease(LEFT_BUTTON)
        self.settle()

    def place(self, imp, x, y):
        """Return where a place of the image is on the screen."""
        canvas = imp.getCanvas()
        corner = _corner(canvas)
        return corner.x + int(canvas.screenXD(x)), corner.y + int(canvas.screenYD(y))

    def focus(self, window):
        """Click on the edge of a window, so that it gets the keys."""

        def click():
            window.toFront()
            corner = _corner(window)
            self.click(corner.x + 3, corner.y + 3)

        with suppress(AssertionError):
            self.again(click, window.isFocused, "the window has the focus")
        if not window.isFocused():
            (window.getMostRecentFocusOwner() or window).requestFocus()
            until(window.isFocused, "the window has the focus")

    # ---- the ROI Manager

    @property
    def manager(self):
        """The ROI Manager if it is open."""
        return self.java("ij.plugin.frame.RoiManager").getInstance2()

    def select(self, *names):
        """Click on rows of the ROI Manager's list, on those after the first with Ctrl."""

        def click():
            for i, name in enumerate(names):
                if i:
                    with self.holding("CONTROL"):
                        self._click_row(name)
                else:
                    self._click_row(name)

        wanted = sorted(self.row(name) for name in names)
        self.again(
            click, lambda: sorted(int(i) for i in self.manager.getSelectedIndexes()) == wanted, f"{names} are selected"
        )

    def row(self, name):
        """Return the number of a ROI's row."""
        return [str(self.manager.getName(i)) for i in range(self.manager.getCount())].index(name)

    def close_manager(self):
        """Close the ROI Manager with Ctrl-W."""
        window = self.manager
        corner = _corner(window)

        def close():
            self.click(corner.x + 4, corner.y + window.getHeight() - 3)
            self.press("CONTROL", "W")

        self.again(close, lambda: self.manager is None, "the ROI Manager closes")

    def _click_row(self, name):
        rows = next(part for part in _parts(self.manager) if _is(part, "JList"))
        row = self.row(name)
        rows.ensureIndexIsVisible(row)
        self.settle()
        corner, box = _corner(rows), rows.getCellBounds(row, row)
        self.click(corner.x + box.x + 20, corner.y + box.y + box.height // 2)


def _parts(window):
    """Return all components in a window, in their order."""
    found = []
    for part in window.getComponents():
        found.append(part)
        if hasattr(part, "getComponents"):
            found += _parts(part)
    return found


def _part(window, kind, fits):
    found = [part for part in _parts(window) if _is(part, kind) and fits(part)]
    assert found, f"{window.getTitle()} has no such {kind}"
    return found[0]


def _is(part, kind):
    from scyjava import jimport

    return isinstance(part, jimport(f"{'javax.swing' if kind[0] == 'J' else 'java.awt'}.{kind}"))
