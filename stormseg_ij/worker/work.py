"""The commands on Fiji's desk: one at a time, each with the settings that Fiji's call gives."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stormseg_ij import macro_options
from stormseg_ij.commands import COMMANDS
from stormseg_ij.commands.runner import Command, Runner
from stormseg_ij.settings import Settings, from_mapping
from stormseg_ij.worker.desk import FijiDesk, FijiImage
from stormseg_ij.worker.link import Link, Task

_SAVING_SECONDS = 10.0


@dataclass(frozen=True)
class Call:
    """One call of a command by Fiji.

    Attributes
    ----------
    name : str
        The command.
    imp : FijiImage or None
        The active image.
    from_macro : bool
    """

    name: str
    imp: FijiImage | None
    from_macro: bool


class Work:
    """All that this process does for Fiji.

    Attributes
    ----------
    link : Link
    desk : FijiDesk
    runner : Runner
    """

    def __init__(self) -> None:
        self.link = Link()
        self.desk = FijiDesk(self.link)
        self.runner = Runner(self.desk, COMMANDS)
        self._names = {command.name for command in COMMANDS if command is not None}
        self._busy = threading.Lock()
        self._running = ""

    def command(self, task: Task, call: Mapping[str, Any]) -> dict[str, Any]:
        """Run a command as `worker.command`."""
        name, number = str(call["name"]), call["image"]
        if name not in self._names:
            failure = f"this stormseg_ij has no command {name!r}; update it, and run stormseg install-fiji again"
            return {"failure": failure, "stopped": False}
        while not self._busy.acquire(timeout=0.05):
            if running := self._running:  # else it is a look, which is short
                failure = f"{running} still runs; wait for it, or press Escape to stop it"
                return {"failure": failure, "stopped": False}
            if task.cancel_requested:
                return {"failure": "", "stopped": True}
        try:
            self._running = name
            self._begin(call)
            made = Call(name, None if number is None else FijiImage(int(number)), bool(call["from_macro"]))
            with self.link.over(task):
                outcome = self.runner.outcome(made, lambda command: settings_of(command, call))
        finally:
            self._running = ""
            self._busy.release()
        return {"failure": outcome.failure, "stopped": outcome.stopped}

    def look(self, task: Task, call: Mapping[str, Any]) -> dict[str, Any]:
        """Look for changes as `worker.look`."""
        if not self._busy.acquire(blocking=False):
            return {"failure": f"{self._running or 'another look'} runs"}
        try:
            self._begin(call)
            with self.link.over(task):
                fault = self.runner.guarded(lambda: self.runner.session.look(self.desk.manager.entries()))
                self.runner.session.flush(_SAVING_SECONDS)  # what cannot be saved is told while somebody listens
        finally:
            self._busy.release()
        return {"failure": fault}

    def flush(self, seconds: float) -> None:
        """Wait until all is saved, but no longer."""
        self.runner.session.flush(seconds)

    def _begin(self, call: Mapping[str, Any]) -> None:
        self.desk.begin(headless=bool(call["headless"]), batch=bool(call["batch"]), version=str(call["imagej"]))


def settings_of(command: Command, call: Mapping[str, Any]) -> Settings:
    """Make a command's settings of a macro's options or, without them, of the values of a script's parameters.

    A parameter that is null or blank has its default, as one that is not there.

    Raises
    ------
    SettingsError
        For a value that does not fit, and for what is no setting, with the nearest one.
    """
    if call["options"] is not None:
        return macro_options.settings_from(str(call["options"]), command.settings)
    values = {key: str(value).strip() for key, value in (call["values"] or {}).items() if value is not None}
    return from_mapping(command.settings, {key: value for key, value in values.items() if value})


WORK = Work()
"""The one of this process."""
