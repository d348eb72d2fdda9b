"""The mouse and the keyboard of a person: they aim before they press, and they notice what the display loses.

Without a window manager Java can be wrong for good about where a window is: what the display said first ("it is at
0, 0") may arrive between the two halves of Java's own move, and nothing corrects it later. A click then goes beside the
window, as often as it is tried. So a window is put in its place before its first click, until both mean the same place,
and Java is asked whether the mouse is over the window (it asks the display) before a button is pressed.

What is lost all the same, time after time, is done as Java would do it: the event of that click or key is put into
Java's queue. What is tested is the commands, not the display. It is counted, and `run.py` says how often it was needed.
"""

import os
import time
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from stormseg_ij.bridge.java import proxy

LEFT_BUTTON = 1 << 10
PATIENCE_SECONDS = 90.0
FALLBACKS = "STORMSEG_FALLBACKS"
"""Environment variable: a file that gets a line for each click and key that the display lost for good."""
_CLICKS = 4
LOST_SECONDS = 4.0
"""A click that shows nothing for so long is lost: a person clicks again."""
_STANDSTILL_SECONDS = 0.5
_ACTION_PERFORMED = 1001
_KEY_PRESSED, _KEY_RELEASED = 401, 402
_ACTION_EVENTS, _KEY_EVENTS = 1 << 7, 1 << 3
_HELD = {"SHIFT": 1 << 6, "CONTROL": 1 << 7, "ALT": 1 << 9}
_LETTERS = {"ENTER": "\n", "ESCAPE": "\x1b", "BACK_SPACE": "\b", "TAB": "\t"}
_NO_LETTER = "\uffff"
_SHIFTED = {"_": "-", ":": ";", "~": "`"}


def until(condition, what, *, seconds=PATIENCE_SECONDS):
    """Wait until a condition gives something true, and return that; fail after some seconds.

    Seconds in which the whole computer stands still do not count: nobody could do anything in them.
    """
    waited, last = 0.0, time.monotonic()
    while not (found := condition()):
        if waited > seconds:
            raise AssertionError(f"waited {seconds} s: {what}")
        time.sleep(0.02)
        now = time.monotonic()
        waited, last = waited + min(now - last, _STANDSTILL_SECONDS), now
    return found


def corner_of(component):
    """Return the place of a component on the screen; None while it is not shown."""
    return component.getLocationOnScreen() if component.isShowing() else None


@cache
def _ears():
    """Return the list of what reaches Java's components: (kind, source or key code); one for the process."""
    from scyjava import jimport

    heard = []

    def hear(event):
        if int(event.getID()) == _ACTION_PERFORMED:
            heard.append(("action", event.getSource()))
        elif int(event.getID()) == _KEY_PRESSED:
            heard.append(("key", int(event.getKeyCode())))

    listener = proxy("java.awt.event.AWTEventListener", eventDispatched=hear)
    jimport("java.awt.Toolkit").getDefaultToolkit().addAWTEventListener(listener, _ACTION_EVENTS | _KEY_EVENTS)
    return heard


class Hands:
    """Works with the mouse and the keyboard on the display."""

    def __init__(self):
        from scyjava import jimport

        self.java = jimport
        self.keys = jimport("java.awt.event.KeyEvent")
        self.robot = jimport("java.awt.Robot")()
        self.robot.setAutoDelay(4)
        self._in_place = set()
        self._heard = _ears()

    # ---- the display loses something

    def again(self, act, condition, what, *, instead=None):
        """Do something until it shows, as a person does whose click was lost; at last do `instead` and count it.

        What `act` does must have been taken by Java when it returns (`settle`): else a second click could undo a first
        one that is only late.
        """
        for _ in range(_CLICKS):
            act()
            with suppress(AssertionError):
                return until(condition, what, seconds=LOST_SECONDS)
        if instead is None:
            raise AssertionError(f"{_CLICKS} times without success: {what}")
        return self.replace(instead, condition, what)

    def replace(self, instead, condition, what):
        """Do and count what takes the place of a lost click or key."""
        self._note(what)
        instead()
        return until(condition, what)

    def _note(self, what):
        if path := os.environ.get(FALLBACKS):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(f"{what}\n")

    def post(self, event):
        """Put an event into Java's queue, as the display does with a click."""
        self.java("java.awt.Toolkit").getDefaultToolkit().getSystemEventQueue().postEvent(event)
        self.settle()

    def act_on(self, source, label, modifiers=0):
        """Do with a button or an entry of a menu what a click on it does."""
        self.post(self.java("java.awt.event.ActionEvent")(source, _ACTION_PERFORMED, label, modifiers))

    def heard_since(self, begin, kind, source):
        """Tell whether an action of a source, or a key, has reached Java since `begin`, a length of what was heard."""
        return any(found == kind and what == source for found, what in self._heard[begin:])

    # ---- the mouse

    def settle(self):
        """Let ImageJ take what was pressed and moved."""
        self.robot.waitForIdle()

    def click(self, x, y):
        """Click at a place of the screen."""
        self.robot.mouseMove(int(x), int(y))
        self.robot.mousePress(LEFT_BUTTON)
        self.robot.mouseRelease(LEFT_BUTTON)
        self.settle()

    def click_on(self, component, *, at=None):
        """Click on a button, a field, a box or a window, in the middle or `at` (x, y); its window comes to the front.

        Where the display does not show it under the mouse, nothing is clicked: what lies beneath is not meant.
        """
        until(component.isShowing, f"{component} is shown")
        window = self._window_of(component)
        self.bring_forward(window)
        for _ in range(2):
            self.in_place(window)
            corner, size = corner_of(component), component.getSize()
            if corner is None:
                return
            x, y = at or (size.width // 2, size.height // 2)
            self.robot.mouseMove(int(corner.x + x), int(corner.y + y))
            self.settle()
            with suppress(AssertionError):
                until(component.getMousePosition, "it is under the mouse", seconds=LOST_SECONDS)
                self.click(corner.x + x, corner.y + y)
                return
            self._in_place.discard(_number(window))
            window.toFront()

    def bring_forward(self, window):
        """Let a dialog that has just opened get the focus; bring another window to the front.

        Java calls a window shown a moment before the display shows it: a click meanwhile goes to what lies beneath. A
        dialog takes the focus once it is there. Asking for the focus earlier would confuse Java's own count of who has
        it, so nothing is done but to wait.
        """
        if is_a(window, "Dialog"):
            with suppress(AssertionError):
                until(window.isFocused, "it has the focus", seconds=LOST_SECONDS)
                return
        window.toFront()
        self.settle()

    def put_at(self, window, x, y):
        """Put a window somewhere: this display has no title bars to drag it by."""

        def put():
            window.setLocation(x, y)
            self.settle()
            return (int(window.getX()), int(window.getY())) == (x, y)

        until(put, f"the window is at {x}, {y}")
        self._in_place.add(_number(window))
        window.toFront()
        self.settle()

    def in_place(self, window):
        """Put a window where Java says it is, once: see above. A pixel beside it first, or Java does nothing."""
        if _number(window) in self._in_place or not window.isShowing():
            return
        x, y = int(window.getX()), int(window.getY())
        self.put_at(window, x + 1, y)
        self.put_at(window, x, y)

    def _window_of(self, component):
        window = self.java("java.awt.Window")
        if isinstance(component, window):
            return component
        return self.java("javax.swing.SwingUtilities").getWindowAncestor(component)

    # ---- the keyboard

    def press(self, *names):
        """Press a key such as ``F7``, ``ENTER``, whoever gets it; those before the last one are held meanwhile."""
        self.stroke(*names)
        self.settle()

    def hit(self, *names):
        """Press a key that a window gets, no menu.

        It is pressed once: a key that is only late must not come twice. One that does not come is lost, and what has
        the focus gets it from us.
        """
        begin, code = len(self._heard), int(getattr(self.keys, f"VK_{names[-1]}"))
        self.press(*names)
        try:
            until(lambda: self.heard_since(begin, "key", code), f"the key {names}", seconds=2 * LOST_SECONDS)
        except AssertionError:
            self._note(f"the key {'-'.join(names)}")
            self._post_key(code, names)

    def _post_key(self, code, names):
        owner = until(self._focus_owner, "something has the focus")
        held = sum(_HELD[name] for name in names[:-1])
        letter = names[-1].lower() if len(names[-1]) == 1 else _LETTERS.get(names[-1], _NO_LETTER)
        for kind in (_KEY_PRESSED, _KEY_RELEASED):
            now = int(time.time() * 1000)
            self.post(self.keys(owner, kind, now, held, code, self.java("java.lang.Character")(letter).charValue()))

    def _focus_owner(self):
        """Return what has the focus; where nothing has it, a dialog that is shown is asked to take it."""
        owner = self.java("java.awt.KeyboardFocusManager").getCurrentKeyboardFocusManager().getFocusOwner()
        if owner is None:
            shown = [window for window in self.java("java.awt.Window").getWindows() if window.isShowing()]
            for dialog in [window for window in shown if is_a(window, "Dialog")][-1:]:
                (dialog.getMostRecentFocusOwner() or dialog).requestFocus()
                self.settle()
        return owner

    def stroke(self, *names):
        """Press a key, and do not wait for ImageJ."""
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


def is_a(part, kind):
    """Tell whether a component is one of Java's kinds: ``Button``, ``JList``."""
    from scyjava import jimport

    return isinstance(part, jimport(f"{'javax.swing' if kind[0] == 'J' else 'java.awt'}.{kind}"))


def _number(window):
    """Return a number for one window: Java's own of the object."""
    from scyjava import jimport

    return int(jimport("java.lang.System").identityHashCode(window))
