"""One run of a command: what it works on, how far it is, and how it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from stormseg_ij.errors import ImageError, StormsegError
from stormseg_ij.pipeline import Progress
from stormseg_ij.settings import Settings

if TYPE_CHECKING:
    from stormseg_ij.commands.session import Session
    from stormseg_ij.desk import Desk, ImagePlus
    from stormseg_ij.models import Model

S = TypeVar("S", bound=Settings)

_STAGES = {
    "load model": (0.0, 0.05), "find scale": (0.05, 0.2), "preprocess": (0.2, 0.3), "network": (0.3, 0.75),
    "postprocess": (0.75, 0.85), "refine": (0.85, 0.98), "number": (0.98, 1.0),
}  # fmt: skip
"""Where in the bar each stage of a segmentation begins and ends."""


class StoppedError(StormsegError):
    """The person pressed Escape or Cancel, or closed the image."""


class Caller(Protocol):
    """Who called a command.

    Attributes
    ----------
    name : str
        The command.
    imp : ImagePlus or None
        The active image.
    from_macro : bool
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def imp(self) -> ImagePlus | None: ...  # noqa: D102
    @property
    def from_macro(self) -> bool: ...  # noqa: D102


@dataclass
class Job:
    """One run of a command.

    Attributes
    ----------
    call : Caller
    settings : Settings
        Of the command; ``Settings()`` where it has none.
    desk : Desk
    session : Session
        The nuclei and their changes.
    load_model : callable
        Loads a model by name or folder, or gives the one that was used last.
    notes : list of str
        What the person should know afterwards, one line each.
    """

    call: Caller
    settings: Settings
    desk: Desk
    session: Session
    load_model: Callable[[str], Model]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Note whether the image is one that can be closed: a script's own is in no window."""
        self._was_open = self.call.imp is not None and self.desk.is_open(self.call.imp)

    @property
    def imp(self) -> ImagePlus:
        """The active image when the command was chosen.

        Raises
        ------
        ImageError
            If there is none.
        """
        if self.call.imp is None:
            raise ImageError("there is no image; open one first")
        return self.call.imp

    def settings_as(self, kind: type[S]) -> S:
        """Return the settings as those of the command."""
        if not isinstance(self.settings, kind):
            raise TypeError(f"{self.call.name} got {type(self.settings).__name__}, not {kind.__name__}")
        return self.settings

    def check(self) -> None:
        """Raise StoppedError if the person wants no more of it."""
        if self.desk.escape_pressed():
            raise StoppedError("stopped by Escape")
        if not self.desk.running:
            raise StoppedError("ImageJ was closed")
        if self._was_open and not self.desk.is_open(self.imp):
            raise StoppedError("the image was closed")

    def say(self, text: str) -> None:
        """Show a line in the status bar."""
        self.desk.status(f"{self.call.name}: {text}")


class Bar(Progress):
    """Shows in ImageJ how far a segmentation is, and ends it where the person wants.

    Parameters
    ----------
    job : Job
    part, parts : int
        Which of how many segmentations it is, counted from 0.
    """

    def __init__(self, job: Job, part: int = 0, parts: int = 1) -> None:
        self._job, self._part, self._parts = job, part, parts

    def stage(self, name: str, fraction: float) -> None:
        """Move the bar; raise StoppedError after Escape."""
        self._job.check()
        low, high = _STAGES.get(name, (0.0, 0.0))
        of_one = low + fraction * (high - low)
        whole = (self._part + of_one) / self._parts
        self._job.desk.progress(min(whole, 0.99))
        number = f", plane {self._part + 1} of {self._parts}" if self._parts > 1 else ""
        self._job.say(f"{name} ({whole:.0%}{number}; Escape stops it)")


def plural(count: int, one: str, several: str = "") -> str:
    """Write a number of things.

    >>> plural(1, "nucleus", "nuclei"), plural(2, "ROI")
    ('1 nucleus', '2 ROIs')
    """
    word = one if count == 1 else several or f"{one}s"
    return f"{count} {word}"
