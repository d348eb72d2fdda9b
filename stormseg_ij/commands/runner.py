"""Runs commands: on which images, with which models, and what went wrong; in ImageJ's own process or in another."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stormseg_ij import models
from stormseg_ij.commands.job import Caller, Job, StoppedError
from stormseg_ij.commands.session import Session
from stormseg_ij.errors import StormsegError
from stormseg_ij.imagej_settings import in_keys
from stormseg_ij.settings import Settings

if TYPE_CHECKING:
    from stormseg_ij.desk import Desk
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
class Outcome:
    """How a command ended: with a line on what went wrong, stopped, or well."""

    failure: str = ""
    stopped: bool = False


class Runner:
    """Runs commands one after the other, and remembers what they leave: the nuclei of each image, the model.

    Parameters
    ----------
    desk : Desk
    commands : sequence of Command or None
        None is a line of the menu.

    Attributes
    ----------
    session : Session
    """

    def __init__(self, desk: Desk, commands: Sequence[Command | None]) -> None:
        self._desk = desk
        self.session = Session(desk)
        self._commands = {command.name: command for command in commands if command is not None}
        self._model: Model | None = None
        self._model_asked: list[tuple[str, int]] = []
        self._fault = ""

    def outcome(self, call: Caller, settings: Callable[[Command], Settings | None]) -> Outcome:
        """Run a command to its end, and tell how it ended; nothing is raised.

        Parameters
        ----------
        call : Caller
            Must name one of the commands.
        settings : callable
            Finds the command's settings; None means that the person cancelled.
        """
        try:
            self._desk.reset_escape()
            self._run(call, self._commands[call.name], settings)
        except StoppedError as reason:
            self._desk.status(f"{call.name}: {reason}; nothing was changed")
            return Outcome(stopped=True)
        except (StormsegError, OSError) as error:
            return Outcome(failure=in_keys(str(error)))
        except MemoryError:
            return Outcome(failure="not enough memory; close other programs, or select a part of the image")
        except Exception as error:  # noqa: BLE001 (what is a fault of ours must not be lost in a thread of ImageJ)
            self._desk.log(traceback.format_exc())
            return Outcome(failure=f"{type(error).__name__}: {error}; a fault of StormSeg: the Log says where")
        finally:
            self._desk.progress(1.0)
        return Outcome()

    def load_model(self, name: str) -> Model:
        """Load a model, or give the one that was loaded last unless its files have changed."""
        folder = models.find(name)
        asked = [(str(path), path.stat().st_mtime_ns) for path in sorted(folder.iterdir())]
        if self._model is None or self._model_asked != asked:
            self._model, self._model_asked = models.load(name), asked
        return self._model

    def guarded(self, work: Callable[[], None]) -> str:
        """Do what nobody waits for: it must not end a watch without a word, and the next time may go well.

        Returns
        -------
        str
            What went wrong; empty where nothing did.
        """
        try:
            work()
        except Exception as error:  # noqa: BLE001 (see above)
            fault = traceback.format_exc()
            if fault != self._fault and self._desk.running:
                self._fault = fault
                self._desk.log(f"StormSeg could not look for changes:\n{fault}")
            return f"{type(error).__name__}: {error}"
        return ""

    def close(self) -> None:
        """Note the last changes, and save what is to save."""
        self.session.close()

    def _run(self, call: Caller, command: Command, settings: Callable[[Command], Settings | None]) -> None:
        job = Job(call, Settings(), self._desk, self.session, self.load_model)
        if command.on_image:
            job.imp  # noqa: B018 (raises where there is none)
        found = settings(command)
        if found is None:
            raise StoppedError("cancelled")
        job.settings = found
        if call.imp is not None:
            self.session.sync(call.imp)
        command.run(job)
        for note in job.notes:
            self._desk.log(f"{call.name}: {in_keys(note)}")
