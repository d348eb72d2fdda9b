"""Many commands in one ImageJ: whether memory and threads stay as they are.

Needs a display: ``xvfb-run -a python benchmarks/soak.py [COMMANDS]``. The menu's commands take turns, on small images
that are opened and closed again; after a warm-up and after every 100 commands one line says what is in use.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tifffile

from stormseg_ij import bridge, commands

WARM_UP = 34
EVERY = 100

ROUND = (
    ("Preprocess STORM Image", "size=128 blur=1"), ("Segment Nuclei", "rois=append label_image=true"),
    ("Measure Nuclei", "nuclei=all"), ("Score Against Truth", "truth=truth iou=0.5"),
    ("Next Nucleus to Review", "zoom=true"), ("Split Nucleus", "by=bisector"), ("Undo Correction", ""),
    ("Merge Nuclei", ""), ("Undo Correction", ""), ("Smooth Nuclei", "sigma=1"), ("Delete Nuclei", ""),
    ("Undo Correction", ""), ("ROIs to Labels", ""), ("Labels to ROIs", "rois=overlay"), ("Show Corrections", ""),
    ("Segment Nuclei", "rois=replace"), ("Segment Nuclei", "rois=overlay"),
)  # fmt: skip
"""One image's life; how many commands it holds divides the warm-up."""


class Use(NamedTuple):
    """What the process holds: MiB in Java after a collection, MiB in all, threads of Java and of Python."""

    heap_mib: float
    process_mib: float
    java_threads: int
    python_threads: int


def measure() -> Use:
    """Collect what is no longer used, and measure."""
    import gc

    from scyjava import jimport

    for _ in range(3):
        gc.collect()
        jimport("java.lang.System").gc()
        time.sleep(0.2)
    runtime = jimport("java.lang.Runtime").getRuntime()
    heap = (int(runtime.totalMemory()) - int(runtime.freeMemory())) / 2**20
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    java = int(jimport("java.lang.management.ManagementFactory").getThreadMXBean().getThreadCount())
    return Use(heap, resident, java, threading.active_count())


def work(bench: commands.Workbench, folder: Path) -> Iterator[str]:
    """Run command after command for ever; yield the name of each that is done."""
    from scyjava import jimport

    imagej, windows = jimport("ij.IJ"), jimport("ij.WindowManager")
    shown = tifffile.imread(Path(commands.__file__).parents[1] / "samples" / "tissue.tif")[100:300, 100:300]
    for number in itertools.count():
        path = folder / f"image{number}.tif"
        tifffile.imwrite(path, shown)
        imp = bench.desk.open(str(path))
        imagej.run(imp, "Segment Nuclei", "rois=overlay")
        imagej.run(imp, "ROIs to Labels", "")
        imagej.getImage().setTitle("truth")
        for name, options in ROUND:
            prepare(name)
            if name == "Segment Nuclei":
                imp.deleteRoi()  # else the nucleus that was selected last is segmented alone
            imagej.run(imp, name, options)
            yield name
        tidy(windows)


def prepare(name: str) -> None:
    """Select what the command needs."""
    from jpype import JArray, JInt
    from scyjava import jimport

    wanted = {"Split Nucleus": [1], "Merge Nuclei": [1, 2], "Smooth Nuclei": [1, 2], "Delete Nuclei": [0]}.get(name)
    if wanted:
        jimport("ij.plugin.frame.RoiManager").getInstance2().setSelectedIndexes(JArray(JInt)(wanted))


def tidy(windows: Any) -> None:  # noqa: ANN401 (the class ij.WindowManager)
    """Close what the round has opened."""
    from scyjava import jimport

    for number in list(windows.getIDList() or ()):
        imp = windows.getImage(number)
        imp.changes = False
        imp.close()
    manager = jimport("ij.plugin.frame.RoiManager").getInstance2()
    manager.reset()
    jimport("ij.plugin.filter.Analyzer").getResultsTable().reset()
    for frame in list(windows.getNonImageWindows() or ()):
        if isinstance(frame, jimport("ij.text.TextWindow")):
            frame.close(False)


def soak(bench: commands.Workbench, folder: Path, count: int, *, warm_up: int = WARM_UP) -> Iterator[tuple[int, Use]]:
    """Yield how many commands have run since the warm-up, and what is in use: at once, and every 100 commands."""
    running = work(bench, folder)
    for _ in range(warm_up):
        next(running)
    yield 0, measure()
    for done in range(1, count + 1):
        next(running)
        if done % EVERY == 0 or done == count:
            yield done, measure()


def main() -> None:
    """Print a line for every 100 commands."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    ij = bridge.start(headless=False)
    bench = commands.install(ij)
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'commands':>9} {'Java MiB':>9} {'all MiB':>9} {'Java threads':>13} {'Python threads':>15}")
        for done, use in soak(bench, Path(folder), count):
            print(
                f"{done:9} {use.heap_mib:9.1f} {use.process_mib:9.1f} {use.java_threads:13} {use.python_threads:15}",
                flush=True,
            )
        bench.close()
    ij.close()


if __name__ == "__main__":
    main()
