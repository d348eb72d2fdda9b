"""ImageJ with StormSeg's commands in it: takes each call, finds its settings, runs it, tells what went wrong."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stormseg_ij import macro_options, models
from stormseg_ij.bridge.desktop import Desktop
from stormseg_ij.bridge.host import Call, CommandHost
from stormseg_ij.commands.asking import Form, in_keys
from stormseg_ij.commands.job import Job, StoppedError
from stormseg_ij.commands.previewing import Previewer
from stormseg_ij.commands.session import Session
from stormseg_ij.errors import SettingsError, StormsegError
from stormseg_ij.settings import SegmentSettings, Settings

if TYPE_CHECKING:
    from stormseg_ij.bridge import ImageJ
    from stormseg_ij.models import Model


@dataclass(frozen=True)
class Command:
    """A command in ImageJ.

    Attributes
    ----------
    name : str
        In the menu and in macros.
    run : callable
        Does it; what it raises is told to the person.
    settings : type of Settings
        Fields of its dialog and keys of its macro options; ``Settings`` itself has none.
    on_image : bool
        True: there must be an active image.
    shortcut : str
        A function key, used where it is free.
    asks : bool
        False: the menu takes the defaults, with Alt held down it asks too. For commands that are used again and again.
    """

    name: str
    run: Callable[[Job], None]
    settings: type[Settings] = Settings
    on_image: bool = True
    shortcut: str = ""
    asks: bool = True


@dataclass(frozen=True)
class _Outcome:
    """How a command ended: with a line on what went wrong, stopped, or well."""

    failure: str = ""
    stopped: bool = False


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
        self.session = Session(self.desk)
        self._unattended = unattended
        self._commands = {command.name: command for command in commands if command is not None}
        self._busy, self._running, self._fault = threading.Lock(), "", ""
        self._model: Model | None = None
        self._model_asked: list[tuple[str, int]] = []
        names = ["-" if command is None else command.name for command in commands]
        shortcuts = {command.name: command.shortcut for command in self._commands.values() if command.shortcut}
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
        self.session.close()
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
            outcome = call.away(lambda: self._outcome(call))
        finally:
            self._running = ""
            self._busy.release()
        if outcome.failure:
            call.fail(in_keys(outcome.failure))
        elif outcome.stopped and call.from_macro:
            call.abort()

    def _outcome(self, call: Call) -> _Outcome:
        """Run a command, and tell how it ended."""
        try:
            self.desk.reset_escape()
            self._run(call, self._commands[call.name])
        except StoppedError as reason:
            self.desk.status(f"{call.name}: {reason}; nothing was changed")
            return _Outcome(stopped=True)
        except (StormsegError, OSError) as error:
            return _Outcome(failure=str(error))
        except MemoryError:
            return _Outcome(failure="not enough memory; close other programs, or select a part of the image")
        except Exception as error:  # noqa: BLE001 (what is a fault of ours must not be lost in a thread of ImageJ)
            self.desk.log(traceback.format_exc())
            return _Outcome(failure=f"{type(error).__name__}: {error}; a fault of StormSeg: the Log says where")
        finally:
            self.desk.progress(1.0)
        return _Outcome()

    def _run(self, call: Call, command: Command) -> None:
        job = Job(call, Settings(), self.desk, self.session, self.load_model)
        if command.on_image:
            job.imp  # noqa: B018 (raises where there is none)
        settings = self._settings(call, command)
        if settings is None:
            raise StoppedError("cancelled")
        self._record(call, settings)
        job.settings = settings
        if call.imp is not None:
            self.session.sync(call.imp)
        command.run(job)
        for note in job.notes:
            self.desk.log(f"{call.name}: {in_keys(note)}")

    def _settings(self, call: Call, command: Command) -> Settings | None:
        """Take settings from the macro, or ask; None where the person cancels."""
        if call.options is not None:
            return macro_options.settings_from(call.options, command.settings)
        silent = call.from_macro and (self._unattended or self.desk.ij.headless)
        if command.settings is Settings or silent or not (command.asks or self.desk.alt_down()):
            return command.settings()
        previewer = None
        if issubclass(command.settings, SegmentSettings):
            previewer = Previewer(call.imp, self.desk, self.load_model)
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

    def load_model(self, name: str) -> Model:
        """Load a model, or give the one that was loaded last unless its files have changed."""
        folder = models.find(name)
        asked = [(str(path), path.stat().st_mtime_ns) for path in sorted(folder.iterdir())]
        if self._model is None or self._model_asked != asked:
            self._model, self._model_asked = models.load(name), asked
        return self._model

    def _when_idle(self, read: Callable[[], Callable[[], None]]) -> None:
        """Read, and do the short work that comes of it unless a command runs."""
        if not self.desk.running:
            return
        try:
            work = read()
            if self._busy.acquire(blocking=False):
                try:
                    self.host.put_menu()
                    work()
                finally:
                    self._busy.release()
        except Exception:  # noqa: BLE001 (it would end the watch without a word; the next look may go well)
            fault = traceback.format_exc()
            if fault != self._fault and self.desk.running:  # once, not every few seconds
                self._fault = fault
                self.desk.log(f"StormSeg could not look for changes:\n{fault}")
