"""`stormseg macro`."""

from __future__ import annotations

import argparse
from pathlib import Path


def run(arguments: argparse.Namespace) -> int:
    """Run an ImageJ macro where nobody sees it: on a display of its own, or without one where Xvfb is not installed.

    The display of the user stays as it is: no window opens there.
    """
    from stormseg_ij import bridge, commands, display, installation
    from stormseg_ij.bridge.macros import read_macro, run_macro_file

    path: Path = arguments.macro
    read_macro(path)  # what is wrong with it is told before the engines start
    fiji = installation.resolve_fiji(arguments.fiji)
    heap = installation.java_heap_mb(arguments.heap_mb, headless=True)
    windows = not arguments.headless and display.can_start()
    if windows:
        display.start()  # it ends with this process: Java would not survive its end
    ij = bridge.start(fiji, headless=not windows, heap_mb=heap, macros=True)
    bench = commands.install(ij, unattended=True)
    try:
        returned = run_macro_file(ij, path, arguments.argument, say=_say)
    finally:
        bench.close()
    if returned is not None:
        _say(returned)
    return 0


def _say(text: str) -> None:
    print(text, flush=True)
