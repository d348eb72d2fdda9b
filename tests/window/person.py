"""A person before ImageJ: what is to be done and to be seen there. Nothing here calls a command."""

import time
from contextlib import nullcontext, suppress
from functools import partial

import numpy as np
from hands import LEFT_BUTTON, LOST_SECONDS, Hands, corner_of, is_a, until

_HELD_SECONDS = 0.5
_BESIDE_LABEL_PX = 22
"""Between the labels of Java's menu bar on Linux."""
_ITEM_STATE_CHANGED, _ALT_MASK = 701, 1 << 3
IMAGE_AT = (20, 100)

__all__ = ["IMAGE_AT", "Person", "until"]


class Person(Hands):
    """Works with ImageJ on the display."""

    def __init__(self):
        super().__init__()
        self.ij = self.java("ij.IJ")

    # ---- ImageJ's window

    def status(self):
        """Return what stands in the status bar."""
        return str(self.java("ij.ImageJ").getStatusBarText())

    def progress_bar_pixels(self):
        """Return what the place of the progress bar looks like, shape (Y, X)."""
        self.in_place(self.ij.getInstance())
        bar = self.ij.getInstance().getProgressBar()
        corner, size = corner_of(bar), bar.getSize()
        return self._pixels(corner.x, corner.y, size.width, size.height)

    def _pixels(self, x, y, width, height):
        picture = self.robot.createScreenCapture(self.java("java.awt.Rectangle")(int(x), int(y), width, height))
        return np.array(picture.getRGB(0, 0, width, height, None, 0, width)).reshape(height, width)

    # ---- ImageJ's menu and tools

    def choose(self, *labels, held=None):
        """Choose an entry of ImageJ's menu, such as ``"Plugins", "StormSeg", "Merge Nuclei"``, until Java hears of it.

        A key that is held is let go half a second later: ImageJ asks for it when the command begins.
        """
        window, begin = self.ij.getInstance(), len(self._heard)
        bar = window.getMenuBar()
        menus = [bar.getMenu(i) for i in range(bar.getMenuCount())]
        index = [str(menu.getLabel()) for menu in menus].index(labels[0])
        path = _entries(menus[index], labels[1:])

        def chosen():
            return self.heard_since(begin, "action", path[-1][-1])

        def walk():
            if not chosen() and (is_open := self._open_menu(window, menus, index)):
                self._walk(path, held)
                if is_open():  # the keys were lost: the next click would close it
                    self.stroke("ESCAPE")

        def instead():
            entry = path[-1][-1]
            with self.holding(held) if held else nullcontext():
                self.act_on(entry, entry.getActionCommand(), _ALT_MASK if held == "ALT" else 0)
                time.sleep(_HELD_SECONDS if held else 0)

        self.again(walk, chosen, f"the menu {' > '.join(labels)}", instead=instead)

    def _walk(self, path, held):
        """Go down an open menu with the arrow keys, and press Enter on its last entry."""
        for entries in path:
            for entry in entries[:-1]:
                if str(entry.getLabel()) != "-":
                    self.stroke("DOWN")
            if entries is not path[-1]:
                self.stroke("RIGHT")
                self.settle()
        if held is None:
            self.stroke("ENTER")
        else:
            with self.holding(held):
                self.stroke("ENTER")
                time.sleep(_HELD_SECONDS)
        self.settle()

    def _open_menu(self, window, menus, index):
        """Click on a menu of the menu bar, whose labels stand side by side.

        Returns
        -------
        callable or None
            Tells whether the menu is still open; None where it did not open.
        """
        self.in_place(window)
        metrics = window.getFontMetrics(menus[index].getFont())
        corner = corner_of(window)
        widths = [metrics.stringWidth(menu.getLabel()) + _BESIDE_LABEL_PX for menu in menus]
        x = corner.x + sum(widths[:index]) + widths[index] // 2
        y = corner.y + window.getInsets().top // 2

        def label():
            return self._pixels(x - 5, y - 5, 10, 10)

        def is_open():
            return not np.array_equal(label(), closed)

        closed = label()
        self.click(x, y)
        with suppress(AssertionError):
            until(is_open, "the menu opens", seconds=LOST_SECONDS)
            return is_open
        window.toFront()  # perhaps something covers it
        return None

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
        return [window for window in self._windows() if is_a(window, "Dialog")]

    def _windows(self):
        return [w for w in self.java("java.awt.Window").getWindows() if w.isShowing() and hasattr(w, "getTitle")]

    # ---- dialogs

    def gone(self, title):
        """Wait until no window has this title."""
        until(lambda: self.find_window(title) is None, f"the window {title!r} closes")

    def button(self, title, label):
        """Press a button of a window, which comes to the front, until Java hears of it."""
        button, begin = self._button(title, label), len(self._heard)
        self.again(
            lambda: self.click_on(button), lambda: self.heard_since(begin, "action", button),
            f"the button {label} of {title}", instead=lambda: self.act_on(button, button.getLabel()),
        )  # fmt: skip

    def answer(self, title, label):
        """Press a button of a dialog until the dialog goes away."""
        dialog, button = self.window(title), self._button(title, label)
        self.again(
            lambda: dialog.isShowing() and self.click_on(button), lambda: not dialog.isShowing(),
            f"{title} closes when {label} is pressed", instead=lambda: self.act_on(button, button.getLabel()),
        )  # fmt: skip

    def _button(self, title, label):
        return _part(self.window(title), "Button", lambda button: str(button.getLabel()).strip() == label)

    def enter(self, field, label):
        """Click on a field until it has the focus."""
        self.again(
            lambda: self.click_on(field), field.isFocusOwner, f"{label} has the focus", instead=field.requestFocus
        )

    def labels(self, title):
        """Return the labels of a dialog: those of its fields, and of its buttons."""
        return [str(part.getText()).strip(": ") for part in _parts(self.window(title)) if is_a(part, "Label")]

    def field(self, title, label):
        """Return a field of a dialog by the label before it, or on it."""
        parts = [part for part in _parts(self.window(title)) if not is_a(part, "Panel")]
        for i, part in enumerate(parts):
            if is_a(part, "Label") and str(part.getText()).strip(": ") == label:
                return parts[i + 1]
            if is_a(part, "Checkbox") and str(part.getLabel()) == label:
                return part
        raise AssertionError(f"{title} has no field {label!r}")

    def inputs(self, title):
        """Return the fields of a dialog, in their order."""
        kinds = ("TextField", "Choice", "Checkbox")
        return [part for part in _parts(self.window(title)) if any(is_a(part, kind) for kind in kinds)]

    def choose_folder(self, title, folder):
        """Type a folder into the dialog that chooses one."""
        field = next(part for part in _parts(self.window(title)) if is_a(part, "JTextField"))
        self.enter(field, "the folder")
        self.hit("CONTROL", "A")
        self._type_into(field, str(folder), "the folder")
        self.hit("ENTER")
        self.gone(title)

    def fill(self, title, label, text):
        """Type a text into a field, in place of what stands there."""
        field = self.field(title, label)
        self.enter(field, label)
        self.hit("END")
        self.again(
            lambda: [self.stroke("BACK_SPACE") for _ in str(field.getText())], lambda: not str(field.getText()),
            f"{label} is empty", instead=lambda: field.setText(""),
        )  # fmt: skip
        self._type_into(field, text, label)

    def _type_into(self, field, text, label):
        """Type, and wait until the field holds it."""
        what = f"{label} holds {text!r}"

        def holds():
            return str(field.getText()) == text

        self.type(text)
        with suppress(AssertionError):
            return until(holds, what, seconds=2 * LOST_SECONDS)
        return self.replace(lambda: field.setText(text), holds, what)

    def tick(self, title, label):
        """Click on a box of a dialog until it changes."""
        box = self.field(title, label)
        before = bool(box.getState())

        def change():
            box.setState(not before)
            self._tell_change(box, label, before)

        self.again(
            lambda: bool(box.getState()) == before and self.click_on(box), lambda: bool(box.getState()) != before,
            f"{label} changes", instead=change,
        )  # fmt: skip

    def _tell_change(self, field, item, off=False):
        """Tell Java of another entry, or of a box that is ticked (or `off`)."""
        self.post(self.java("java.awt.event.ItemEvent")(field, _ITEM_STATE_CHANGED, item, 2 if off else 1))

    def pick(self, title, label, choice):
        """Pick an entry of a field that unfolds, with the arrow keys."""
        field = self.field(title, label)
        self.bring_forward(self.window(title))
        wanted = [str(field.getItem(i)) for i in range(field.getItemCount())].index(choice)
        for _ in range(2 * field.getItemCount()):
            self.again(field.requestFocus, field.isFocusOwner, f"{label} has the focus")
            if int(field.getSelectedIndex()) == wanted:
                return
            self.hit("DOWN" if int(field.getSelectedIndex()) < wanted else "UP")
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
        dialog = self.window("Open")
        self.bring_forward(dialog)
        names = [part for part in _parts(dialog) if is_a(part, "TextField")]
        focused = until(lambda: [field for field in names if field.isFocusOwner()], "the file's name has the focus")
        self._type_into(focused[0], str(path), "the file")
        self.hit("ENTER")
        imp = until(lambda: self.image(path.name), f"{path.name} opens")
        self.put_at(until(imp.getWindow, "it has a window"), *IMAGE_AT)
        return imp

    def tool(self, name):
        """Click on a tool, such as ``FREEROI``."""
        toolbar = self.java("ij.gui.Toolbar")
        number, side = int(getattr(toolbar, name)), int(toolbar.getButtonSize())
        at = (number * side + side // 3, side // 3)
        self.again(
            lambda: self.click_on(toolbar.getInstance(), at=at), lambda: int(toolbar.getToolId()) == number,
            f"the tool {name}", instead=lambda: toolbar.getInstance().setTool(number),
        )  # fmt: skip

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
        self.in_place(imp.getWindow())
        canvas = imp.getCanvas()
        corner = corner_of(canvas)
        return corner.x + int(canvas.screenXD(x)), corner.y + int(canvas.screenYD(y))

    def focus(self, window):
        """Click on the edge of a window, so that it gets the keys."""

        def ask():
            (window.getMostRecentFocusOwner() or window).requestFocus()

        act = partial(self.click_on, window, at=(3, 3))
        self.again(act, window.isFocused, "the window has the focus", instead=ask)

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
            click, lambda: sorted(int(i) for i in self.manager.getSelectedIndexes()) == wanted, f"{names} are selected",
            instead=lambda: self.manager.setSelectedIndexes(wanted),
        )  # fmt: skip

    def row(self, name):
        """Return the number of a ROI's row."""
        return [str(self.manager.getName(i)) for i in range(self.manager.getCount())].index(name)

    def close_manager(self):
        """Close the ROI Manager with Ctrl-W."""
        window = self.manager

        def close():
            self.click_on(window, at=(4, window.getHeight() - 3))
            self.hit("CONTROL", "W")

        self.again(close, lambda: self.manager is None, "the ROI Manager closes", instead=window.close)

    def _click_row(self, name):
        rows = next(part for part in _parts(self.manager) if is_a(part, "JList"))
        row = self.row(name)
        rows.ensureIndexIsVisible(row)
        self.settle()
        box = rows.getCellBounds(row, row)
        self.click_on(rows, at=(box.x + 20, box.y + box.height // 2))


def _entries(menu, labels):
    """Return for each level of a menu its entries up to the one with this label."""
    levels = []
    for label in labels:
        entries = [menu.getItem(i) for i in range(menu.getItemCount())]
        wanted = next(i for i, entry in enumerate(entries) if str(entry.getLabel()).split(" [")[0] == label)
        levels.append(entries[: wanted + 1])
        menu = entries[wanted]
    return levels


def _parts(window):
    """Return all components in a window, in their order."""
    found = []
    for part in window.getComponents():
        found.append(part)
        if hasattr(part, "getComponents"):
            found += _parts(part)
    return found


def _part(window, kind, fits):
    found = [part for part in _parts(window) if is_a(part, kind) and fits(part)]
    assert found, f"{window.getTitle()} has no such {kind}"
    return found[0]
