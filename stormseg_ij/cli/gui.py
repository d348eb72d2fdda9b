"""`stormseg gui`: ImageJ or Fiji with its window, and StormSeg's commands in it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from stormseg_ij.cli.terminal import line
from stormseg_ij.errors import ImageError

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
    try:
        line(f"ImageJ {ij.version} is open: Plugins > StormSeg has the commands. Close its window to end.")
        for path in images:
            imp = bench.desk.open(str(path.resolve()))
            if bench.session.saved_before(imp):
                bench.desk.status("Nuclei of an earlier time are saved: Plugins > StormSeg > Restore Nuclei")
        while bench.desk.running:
            time.sleep(_LOOK_SECONDS)
    finally:
        bench.close()
    return 0
