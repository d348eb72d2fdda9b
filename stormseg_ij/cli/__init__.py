"""The command line: `stormseg SUBCOMMAND ...`. Java and TensorFlow load only when a subcommand needs them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from stormseg_ij.cli.parser import Handler, parser
from stormseg_ij.cli.terminal import complain
from stormseg_ij.errors import StormsegError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Parameters
    ----------
    argv : sequence of str, optional
        Without the program's name; by default that of this process.

    Returns
    -------
    int
        0: done; 1: failed; 2: the call was wrong.
    """
    arguments = parser().parse_args(argv)
    handler: Handler = arguments.handler
    try:
        return handler(arguments)
    except StormsegError as error:
        print(f"stormseg: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        complain(error)
        return 1
    except MemoryError as error:
        reason = str(error) or "an array does not fit"
        print(f"stormseg: not enough memory: {reason}; close other programs, or cut the image up", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stormseg: stopped; finished outputs are complete, no half file is left", file=sys.stderr)
        return 1


def run() -> NoReturn:
    """Run as a program and leave at once.

    Taking Python down piece by piece can crash on the threads that Java and TensorFlow leave behind, after all work is
    done and written (seen: "PyGILState_Release", exit code 134).
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller; now no output file can get its number
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a letter that the terminal lacks is no reason to fail
    try:
        code = main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    try:
        sys.stdout.flush()
    except OSError as error:
        code = code or 1
        complain(error)
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(code)
