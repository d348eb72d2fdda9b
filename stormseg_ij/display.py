"""A display that nobody sees, for windows that nobody needs to see: Xvfb, started and ended by this process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import IO, cast

from stormseg_ij.errors import BridgeError

SCREEN = "1600x1200x24"
"""Width, height and depth of the display."""

_END_SECONDS = 10.0

# The shell ends Xvfb as soon as the pipe from this process closes: the system closes it however the process ends, also
# where it is killed and can do nothing itself. Without its own copy of the output, the number's pipe ends with Xvfb.
_KEEPER = '"$@" & server=$!; exec >&-; read -r _; kill $server; wait $server'


class Display:
    """An Xvfb that runs; ``DISPLAY`` of this process names it until it is closed.

    Attributes
    ----------
    name : str
        For example ``":99"``.
    """

    def __init__(self, keeper: subprocess.Popen[bytes], pipe: IO[bytes], name: str) -> None:
        self.name = name
        self._keeper, self._pipe = keeper, pipe
        self._before = os.environ.get("DISPLAY")
        os.environ["DISPLAY"] = name

    def close(self) -> None:
        """End it, and give ``DISPLAY`` its old value back; a second call does nothing.

        Java ends a process whose display goes away: close ImageJ's window first, or leave the display to the end.
        """
        if self._pipe.closed:
            return
        self._pipe.close()
        self._keeper.wait(_END_SECONDS)
        if self._before is None:
            os.environ.pop("DISPLAY", None)
        else:
            os.environ["DISPLAY"] = self._before


def can_start() -> bool:
    """Tell whether Xvfb is installed; it is for Linux only here."""
    return sys.platform.startswith("linux") and shutil.which("Xvfb") is not None


def start() -> Display:
    """Start Xvfb on a free display and let ``DISPLAY`` name it; it ends when this process does, however it ends.

    Returns
    -------
    Display
        To be closed earlier.

    Raises
    ------
    BridgeError
        If Xvfb is not installed or does not start.
    """
    program = shutil.which("Xvfb") if can_start() else None
    if program is None:
        raise BridgeError("there is no Xvfb for a display of our own; install it (apt-get install xvfb)")
    command = [program, "-displayfd", "1", "-screen", "0", SCREEN, "-nolisten", "tcp"]
    keeper = subprocess.Popen(
        ["/bin/sh", "-c", _KEEPER, "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in the terminal is for this process; windows close in their order
    )
    pipe, lines = cast("tuple[IO[bytes], IO[bytes]]", (keeper.stdin, keeper.stdout))
    with lines:
        number = lines.readline().strip().decode("ascii")
    if not number:
        pipe.close()
        raise BridgeError(
            f"Xvfb did not start (exit status {keeper.wait(_END_SECONDS)}); try it by hand: {program} :99"
        )
    return Display(keeper, pipe, f":{number}")
