"""ImageJ with StormSeg's commands in it: takes each call, finds its settings, runs it, tells what went wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from stormseg_ij import macro_options
from stormseg_ij.bridge.desktop import Desktop
from stormseg_ij.bridge.host import Call, CommandHost
from stormseg_ij.commands.asking import Form
from stormseg_ij.commands.previewing import Previewer
from stormseg_ij.commands.runner import Command, Runner
from stormseg_ij.errors import SettingsError
from stormseg_ij.settings import SegmentSettings, Settings

if TYPE_CHECKING:
    from stormseg_ij.bridge import ImageJ


class Workbench:
    """The commands in a running ImageJ.

    Parameters
    ----------
    ij : ImageJ
        With or without its window.
    commands : sequence of Command or None
        In the order of the menu; None is a line.
    unattended : bool
        True where nobody looks: a macro that leaves out all options gets the defaults, not a dialog.
    """

    def __init__(self, ij: ImageJ, commands: Sequence[Command | None], *, unattended: bool = False) -> None:
        self.desk = Desktop(ij)
        self.runner = Runner(self.desk, commands)
        self.session = self.runner.session
        self._unattended = unattended
        self._busy, self._running = threading.Lock(), ""
        names = ["-" if command is None else command.name for command in commands]
        shortcuts = {command.name: command.shortcut for command in commands if command and command.shortcut}
        self.host = CommandHost(ij, names, self.run, shortcuts=shortcuts, before_closing=self.session.before_closing)
        self.session.saves = not unattended
        if not unattended:
            self.session.watch(self._when_idle)

    @property
    def running(self) -> str:
        """The command that runs; empty where none does."""
        return self._running

    def close(self) -> None:
        """Save what is to save, and take the commands out of ImageJ."""
        self.runner.close()
        self.host.close()

    def run(self, call: Call) -> None:
        """Run one command to its end; only what ends a macro is raised, by ImageJ itself."""
        while not self._busy.acquire(blocking=False):
            if running := self._running:
                call.fail(f"{running} still runs; wait for it, or press Escape to stop it")
                return
            self.host.let_others_in()  # the look every few seconds is short
        self._running = call.name
        try:
            outcome = call.away(lambda: self.runner.outcome(call, partial(self._found, call)))
        finally:
            self._running = ""
            self._busy.release()
        if outcome.failure:
            call.fail(outcome.failure)
        elif outcome.stopped and call.from_macro:
            call.abort()

    def _found(self, call: Call, command: Command) -> Settings | None:
        """Find the settings of a command, and record it; None where the person cancels."""
        settings = self._settings(call, command)
        if settings is not None:
            self._record(call, settings)
        return settings

    def _settings(self, call: Call, command: Command) -> Settings | None:
        """Take settings from the macro, or ask; None where the person cancels."""
        if call.options is not None:
            return macro_options.settings_from(call.options, command.settings)
        silent = call.from_macro and (self._unattended or self.desk.ij.headless)
        if command.settings is Settings or silent or not (command.asks or self.desk.alt_down()):
            return command.settings()
        previewer = None
        if issubclass(command.settings, SegmentSettings):
            previewer = Previewer(call.imp, self.desk, self.runner.load_model)
        try:
            return Form(command.name, command.settings, self.desk, previewer).ask()
        finally:
            if previewer is not None:
                previewer.close()

    def _record(self, call: Call, settings: Settings) -> None:
        """Write the command into the recorder if it is open; a value that no macro can hold does not stop the work."""
        if not call.is_recorded:
            return
        try:
            call.record(macro_options.written_quoted(settings))
        except SettingsError as error:
            self.desk.log(f"{call.name}: not recorded: {error}")

    def _when_idle(self, read: Callable[[], Callable[[], None]]) -> None:
        """Read, and do the short work that comes of it unless a command runs."""
        if not self.desk.running:
            return
        self.runner.guarded(lambda: self._look(read))

    def _look(self, read: Callable[[], Callable[[], None]]) -> None:
        work = read()
        if self._busy.acquire(blocking=False):
            try:
                self.host.put_menu()
                work()
            finally:
                self._busy.release()
