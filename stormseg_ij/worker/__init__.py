"""The worker process that Fiji starts and keeps: its scripts call these functions through Appose.

Fiji runs each call as a task in a thread of its own. While a command or a look runs, it asks Fiji for everything that
it needs of ImageJ (`link.Link`); Fiji's replies are tasks too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stormseg_ij.worker.link import Task


def hello() -> dict[str, Any]:
    """Say what runs here: ``version`` of stormseg_ij, ``python`` and ``pid``."""
    import os
    import platform

    import stormseg_ij

    return {"version": stormseg_ij.__version__, "python": platform.python_version(), "pid": os.getpid()}


def command(task: Task, call: Mapping[str, Any]) -> dict[str, Any]:
    """Run a command as Fiji's call says, to its end; return ``failure``, empty where there is none, and ``stopped``.

    Parameters
    ----------
    task : Task
        The one that runs this.
    call : mapping
        ``name`` of the command; ``options`` of a macro or null; else ``values``, texts by key; ``image``, the number of
        the active one or null; ``from_macro``, ``batch``, ``headless``; ``imagej``, its version.
    """
    from stormseg_ij.worker.work import WORK

    return WORK.command(task, call)


def look(task: Task, call: Mapping[str, Any]) -> dict[str, Any]:
    """Note and save what a person changed in the ROI Manager; return ``failure``, empty where there is none.

    Parameters
    ----------
    task : Task
        The one that runs this.
    call : mapping
        ``batch``, ``headless`` and ``imagej`` as for `command`.
    """
    from stormseg_ij.worker.work import WORK

    return WORK.look(task, call)


def answer(key: int, value: object, fault: str | None) -> None:
    """Take Fiji's reply to a question; its arrays are copied before this returns.

    Parameters
    ----------
    key : int
        Of the question.
    value : object
        Null, a number, a text, an Appose NDArray, and lists and mappings of these.
    fault : str or None
        One line on why there is no reply.
    """
    from stormseg_ij.worker.work import WORK

    WORK.link.answer(key, value, fault)
