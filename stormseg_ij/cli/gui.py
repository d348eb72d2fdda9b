"""`stormseg gui`: ImageJ or Fiji with its window, and StormSeg's commands in it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from stormseg_ij.cli.terminal import line
from stormseg_ij.errors import ImageError

if TYPE_CHECKING:
    from stormseg_ij.bridge import ImagePlus
    from stormseg_ij.bridge.desktop import Desktop

_LOOK_SECONDS = 0.2


def gui(arguments: argparse.Namespace) -> int:
    """Open ImageJ, and wait until the person closes it."""
    from stormseg_ij import bridge, commands, installation

    images: list[Path] = arguments.images
    missing = [path for path in images if not path.is_file()]
    if missing:
        raise ImageError(f"there is no file {missing[0]}; check the path")
    ij = bridge.start(installation.resolve_fiji(arguments.fiji), headless=False, heap_mb=arguments.heap_mb)
    bench = commands.install(ij)
    hint = SavedHint(bench.desk)
    try:
        line(f"ImageJ {ij.version} is open: Plugins > StormSeg has the commands. Close its window to end.")
        for path in images:
            bench.desk.open(str(path.resolve()))
        while bench.desk.running:
            hint.look()
            time.sleep(_LOOK_SECONDS)
    finally:
        hint.close()
        bench.close()
    return 0


class SavedHint:
    """Says in the status bar that nuclei are saved for an image that was opened, by whatever way.

    ImageJ tells of an image in the thread that paints its windows; the folder, which may be slow, is looked at in
    `look`, which the caller calls often.

    Parameters
    ----------
    desk : Desktop
    """

    def __init__(self, desk: Desktop) -> None:
        self._desk = desk
        self._opened: SimpleQueue[ImagePlus] = SimpleQueue()
        self._end_listening = desk.when_opened(self._opened.put)

    def look(self) -> None:
        """Look at the images that were opened since the last look."""
        from stormseg_ij.store import Store

        while not self._opened.empty():
            imp = self._opened.get()
            directory, name = self._desk.file(imp)
            if directory is None or self._desk.batch or not self._desk.is_open(imp):
                continue
            if Store.for_image(directory, name).exists():
                self._desk.status("Nuclei of an earlier time are saved: Plugins > StormSeg > Restore Nuclei")

    def close(self) -> None:
        """Listen no more."""
        self._end_listening()
