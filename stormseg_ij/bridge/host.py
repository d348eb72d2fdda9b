"""Python functions as commands of ImageJ's menu, its macros and its recorder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from stormseg_ij.bridge.imagej import ImageJ, ImagePlus
from stormseg_ij.bridge.java import java_errors, proxy
from stormseg_ij.errors import BridgeError

T = TypeVar("T")

MENU = "StormSeg"
"""The submenu of Plugins."""

_CLOSING = ("Close", "Close All", "Quit")
_WAIT_MS = 50
_CLASS = "stormseg_ij"
"""What ImageJ's table of commands holds for ours; it never loads it, since the listener takes them over."""


class Call:
    """One call of a command, in the thread that ImageJ made for it.

    Attributes
    ----------
    name : str
        The command.
    options : str or None
        What a macro gave; None where the user chose the command, or a macro wants the dialog.
    from_macro : bool
    imp : ImagePlus or None
        The active image of this thread; of a macro in batch mode, the macro's.
    """

    def __init__(self, host: CommandHost, name: str) -> None:
        jimport = host.jimport
        options = jimport("ij.Macro").getOptions()
        self.name = name
        self.options = None if options is None else str(options).strip(" ")
        self.from_macro = str(jimport("java.lang.Thread").currentThread().getName()).startswith("Run$_")
        self.imp: ImagePlus | None = jimport("ij.WindowManager").getCurrentImage()
        self._host = host

    def away(self, work: Callable[[], T]) -> T:
        """Do work in another thread and wait; ImageJ's other commands can run meanwhile.

        ImageJ calls its listeners one at a time, and this thread is in one: while it waits, it lets the others in. Work
        in this thread would keep them waiting, and with them the thread that paints, for which the work may wait.
        """
        if self._host.jimport("java.awt.EventQueue").isDispatchThread():
            return work()  # a plugin called it in the thread that paints: the work needs that thread itself
        windows = self._host.jimport("ij.WindowManager")

        def there() -> tuple[T, ImagePlus | None]:
            try:
                return work(), windows.getTempCurrentImage()
            finally:
                windows.setTempCurrentImage(None)

        future = self._host.worker.submit(there)
        while not future.done():
            self._host.let_others_in()
        result, shown = future.result()
        if shown is not None:  # in batch mode each thread has its own active image: what was made is the macro's now
            windows.setTempCurrentImage(shown)
        return result

    @property
    def is_recorded(self) -> bool:
        """Tell whether the recorder is open and writes down this call."""
        recorder = self._host.recorder
        return recorder is not None and (not self.from_macro or bool(recorder.recordInMacros))

    def record(self, options: Mapping[str, str]) -> None:
        """Write the command into the recorder's window, if it is open.

        Parameters
        ----------
        options : mapping of str to str
            Values by key, those with blanks in brackets.
        """
        recorder = self._host.recorder
        if recorder is None or not self.is_recorded:
            return
        recorder.setCommand(self.name)
        # A path with "size=" in it before that key would be taken for the key: it comes last.
        for key, value in sorted(options.items(), key=lambda item: "=" in item[1]):
            text = value[1:-1] if " " in value else value  # it puts brackets around blanks itself
            recorder.recordOption(key, text.replace("\\", "\\\\").replace('"', '\\"'))
        recorder.saveCommand()

    def fail(self, message: str) -> None:
        """Tell what went wrong: a window, or the end of the macro that made this call."""
        imagej = self._host.jimport("ij.IJ")
        if self.from_macro:
            imagej.error(self.name, message)
        else:
            # After a macro that failed, ImageJ's own error() is silent once; and it would end a macro that runs now.
            imagej.showMessage(self.name, message)

    def abort(self) -> None:
        """End the macro that made this call, without a word."""
        self._host.jimport("ij.Macro").abort()


class CommandHost:
    """Registers commands with ImageJ: menu entries, macros and the recorder reach them by name.

    Parameters
    ----------
    ij : ImageJ
    names : sequence of str
        Entries of the submenu in their order; ``"-"`` is a line.
    run : callable
        Takes a `Call`, in the thread that ImageJ made for it. It must not raise.
    shortcuts : mapping of str to str
        Key of a command, such as ``"F6"``; keys that are in use stay with what they are.
    before_closing : callable
        Called before ImageJ's own commands close an image, all images, or ImageJ.
    """

    def __init__(
        self,
        ij: ImageJ,
        names: Sequence[str],
        run: Callable[[Call], None],
        *,
        shortcuts: Mapping[str, str] | None = None,
        before_closing: Callable[[], None] = lambda: None,
    ) -> None:
        import scyjava

        self.ij = ij
        self.jimport: Callable[[str], Any] = scyjava.jimport
        self.worker = ThreadPoolExecutor(1, "stormseg")
        self.names, self._ours = tuple(names), frozenset(names) - {"-"}
        self._run, self._before_closing = run, before_closing
        self._shortcuts = dict(shortcuts or {})
        self._closed = False
        with java_errors("take the commands"):
            self._listeners = self._lock_of_listeners()
            self._listener = proxy("ij.CommandListener", commandExecuting=self._executing)
            self.jimport("ij.Executer").addCommandListener(self._listener)
            self.put_menu()

    def close(self) -> None:
        """Take the commands out of ImageJ again: from its menu, its keys, and its table of commands."""
        self._closed = True
        self.jimport("ij.Executer").removeCommandListener(self._listener)
        with java_errors("take the commands out"):
            menus = self.jimport("ij.Menus")
            for table in (menus.getCommands(), menus.getShortcuts()):
                for key in list(table.keySet()) if table is not None else ():
                    if str(table.get(key)) in {_CLASS, *self._ours}:
                        table.remove(key)
            if not self.ij.headless:
                self._remove_submenu(menus)
        self.worker.shutdown(wait=False, cancel_futures=True)

    @property
    def recorder(self) -> Any | None:  # noqa: ANN401 (the class ij.plugin.frame.Recorder)
        """ImageJ's recorder, if it is there and records."""
        if self.ij.headless:
            return None
        return self.jimport("ij.plugin.frame.Recorder") if self.jimport("ij.IJ").recording() else None

    def put_menu(self) -> None:
        """Put the submenu into Plugins unless it is there: Help > Refresh Menus makes all menus anew."""
        if self._closed:
            return
        menus = self.jimport("ij.Menus")
        table = menus.getCommands()
        if table is None:
            raise BridgeError("this ImageJ runs no commands without a display; start it with macros=True")
        commands = [name for name in self.names if name != "-"]
        for name in commands:
            if not table.containsKey(name):
                table.put(name, _CLASS)
        if not self.ij.headless:
            self._put_shortcuts(menus)
            self._put_submenu(menus)

    def let_others_in(self) -> None:
        """Wait a moment; where this thread keeps ImageJ's other commands waiting, let them go on."""
        if self._listeners is not None and self.jimport("java.lang.Thread").holdsLock(self._listeners):
            self._listeners.wait(_WAIT_MS)
        else:
            time.sleep(_WAIT_MS / 1000.0)

    def _executing(self, command: object) -> object:
        """Take over what ImageJ is about to run if it is ours; what is returned ImageJ runs itself."""
        if str(command) in _CLOSING:
            self._before_closing()
        if str(command) not in self._ours:
            return command
        self._run(Call(self, str(command)))
        return None

    def _lock_of_listeners(self) -> Any | None:  # noqa: ANN401 (a java.util.Vector)
        """Return what ImageJ locks while it asks its listeners; None where this ImageJ has no such field."""
        import jpype

        try:
            field = self.jimport("ij.Executer").class_.getDeclaredField("listeners")
            field.setAccessible(True)
            return field.get(None)
        except jpype.JException:
            return None

    def _put_shortcuts(self, menus: Any) -> None:  # noqa: ANN401 (the class ij.Menus)
        taken, macros = menus.getShortcuts(), menus.getMacroShortcuts()
        for name, key in self._shortcuts.items():
            code = self.jimport("java.lang.Integer").valueOf(int(menus.convertShortcutToCode(key)))
            if not taken.containsKey(code) and not macros.containsKey(code):
                taken.put(code, name)

    def _put_submenu(self, menus: Any) -> None:  # noqa: ANN401 (the class ij.Menus)
        plugins = menus.getImageJMenu("Plugins")
        imagej = self.jimport("ij.IJ").getInstance()
        if plugins is None or imagej is None:
            return
        if self._submenus(plugins):
            return
        submenu = self.jimport("java.awt.Menu")(MENU)
        for name in self.names:
            if name == "-":
                submenu.addSeparator()
                continue
            label = f"{name} [{self._shortcuts[name]}]" if name in self._shortcuts else name
            item = self.jimport("java.awt.MenuItem")(label)
            item.setActionCommand(name)
            item.addActionListener(imagej)
            submenu.add(item)
        plugins.add(submenu)

    def _remove_submenu(self, menus: Any) -> None:  # noqa: ANN401 (the class ij.Menus)
        plugins = menus.getImageJMenu("Plugins")
        if plugins is not None:
            for i in reversed(self._submenus(plugins)):
                plugins.remove(i)

    def _submenus(self, plugins: Any) -> list[int]:  # noqa: ANN401 (a java.awt.Menu)
        """Return where in the menu Plugins the submenu is."""
        return [i for i in range(plugins.getItemCount()) if str(plugins.getItem(i).getLabel()) == MENU]
