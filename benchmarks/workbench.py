"""Time until 5,000 nuclei are in ImageJ's ROI Manager, in its window: ``python benchmarks/workbench.py``.

Round blobs, one per 42 x 42 pixels, as a label image in a window; medians of several runs in one process. It needs a
display and starts Xvfb where there is none.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np

from stormseg_ij import bridge, commands, display
from stormseg_ij.commands.segmenting import coloured
from stormseg_ij.image import Image, Labels
from stormseg_ij.rois import iterate_rois

CELL = 42
COUNTS = (1_000, 5_000)
RUNS = 5


def blobs(count: int) -> Labels:
    """Draw `count` blobs with wavy edges into a label image, int32."""
    rng = np.random.default_rng(1)
    side = int(np.ceil(np.sqrt(count)))
    labels = np.zeros((side * CELL, side * CELL), np.int32)
    y, x = np.mgrid[:CELL, :CELL] - (CELL - 1) / 2.0
    distance, direction = np.hypot(x, y), np.arctan2(y, x)
    for index in range(count):
        radius, waves, phase = rng.uniform(13.0, 19.0), rng.integers(2, 6), rng.uniform(0.0, 7.0)
        inside = distance < radius * (1.0 + 0.06 * np.sin(waves * direction + phase))
        top, left = CELL * (index // side), CELL * (index % side)
        labels[top : top + CELL, left : left + CELL][inside] = index + 1
    return labels


class Bench:
    """A running ImageJ with the commands, and what is timed."""

    def __init__(self) -> None:
        self.ij = bridge.start(headless=False)
        self.workbench = commands.install(self.ij)
        self.desk = self.workbench.desk

    def times(self, count: int) -> dict[str, float]:
        """Run everything once with so many nuclei; return seconds by name."""
        labels = blobs(count)
        imp = self.desk.show_image(Image(labels.astype(np.uint16), f"blobs {count}"))
        rois: list[bytes] = []
        found = {
            "trace": seconds(lambda: rois.extend(coloured(roi).tobytes() for roi in iterate_rois(labels))),
            "append": seconds(lambda: self.desk.manager.append(rois, imp)),
            "read": seconds(self.desk.manager.rois),
        }
        found["empty"] = seconds(lambda: self.empty(count, imp))
        found["command"] = seconds(lambda: self.run(imp, "Labels to ROIs", "rois=append"))
        self.check(count)
        found["saved"] = seconds(self.workbench.session.flush)
        found["next"] = seconds(lambda: self.run(imp, "Next Nucleus to Review", "zoom=true"))
        self.desk.manager.select(imp, 7)
        found["delete"] = seconds(lambda: self.run(imp, "Delete Nuclei", ""))
        self.check(count - 1)
        found["undo"] = seconds(lambda: self.run(imp, "Undo Correction", ""))
        self.check(count)
        found["back"] = seconds(lambda: self.run(imp, "ROIs to Labels", ""))
        self.check_back(f"blobs {count}_labels", labels)
        self.empty(count, imp)
        imp.close()
        return found

    def run(self, imp: bridge.ImagePlus, command: str, options: str) -> None:
        """Run a command as a macro does."""
        from scyjava import jimport

        jimport("ij.IJ").run(imp, command, options)

    def check(self, count: int) -> None:
        """End with an error unless the ROI Manager holds so many."""
        if self.desk.manager.count() != count:
            raise SystemExit(f"the ROI Manager holds {self.desk.manager.count()} ROIs, not {count}")

    def check_back(self, title: str, labels: Labels) -> None:
        """End with an error unless the label image is the one that the ROIs were made of; close it."""
        imp = self.desk.titled(title)
        if imp is None or not np.array_equal(self.ij.from_imageplus(imp).pixels, labels):
            raise SystemExit("the ROIs are not the labels")
        imp.close()

    def empty(self, count: int, imp: bridge.ImagePlus) -> None:
        """Take all out of the ROI Manager."""
        self.desk.manager.delete([entry.identity for entry in self.desk.manager.entries()], imp)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print one line per number of nuclei; the runs take turns, so that a busy machine slows all alike."""
    if not os.environ.get("DISPLAY"):
        display.start()  # it ends with this process
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_DATA_HOME"] = folder  # where the nuclei of unsaved images are kept
        bench = Bench()
        runs = [[bench.times(count) for count in COUNTS] for _ in range(RUNS + 1)][1:]
        bench.workbench.close()
        print(f"medians of {RUNS} runs in seconds, in brackets how many times the first line's")
        print("nuclei" + "".join(f"{name:>16s}" for name in runs[0][0]))
        medians = [
            {name: statistics.median(run[i][name] for run in runs) for name in runs[0][0]} for i in range(len(COUNTS))
        ]
        for count, median in zip(COUNTS, medians, strict=True):
            columns = (f"{value:8.3f} ({value / medians[0][name]:5.1f})" for name, value in median.items())
            print(f"{count:6d}" + "".join(columns))


if __name__ == "__main__":
    main()
