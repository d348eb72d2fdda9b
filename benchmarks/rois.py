"""Time and memory from a label image to the ROI zip, and to the table: ``python benchmarks/rois.py``.

Round blobs of 60 to 98 pixels in diameter, one per 100 x 100 pixels; medians of several runs in one process.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stormseg_ij import measure, rois
from stormseg_ij.image import Image, Labels

CELL = 100
RUNS = 5


def blobs(count: int) -> Labels:
    """Draw `count` blobs with wavy edges into a label image, int32."""
    rng = np.random.default_rng(1)
    side = int(np.ceil(np.sqrt(count)))
    labels = np.zeros((side * CELL, side * CELL), np.int32)
    y, x = np.mgrid[:CELL, :CELL] - (CELL - 1) / 2.0
    distance, direction = np.hypot(x, y), np.arctan2(y, x)
    for index in range(count):
        radius, waves, phase = rng.uniform(31.0, 46.0), rng.integers(2, 6), rng.uniform(0.0, 7.0)
        inside = distance < radius * (1.0 + 0.06 * np.sin(waves * direction + phase))
        top, left = CELL * (index // side), CELL * (index % side)
        labels[top : top + CELL, left : left + CELL][inside] = index + 1
    return labels


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_bytes(work: Callable[[], object]) -> int:
    """Most bytes allocated at a time while `work` runs."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


class Case:
    """One number of nuclei, and the work to be timed."""

    def __init__(self, count: int, folder: Path) -> None:
        self.count, self.path, self.labels = count, folder / f"{count}.zip", blobs(count)
        self.image = Image((self.labels % 251).astype(np.uint16), "blobs")
        self.work = {"ROIs": self.make, "ROI zip": self.write, "back": self.read, "table": self.tabulate}
        self.times: dict[str, list[float]] = {name: [] for name in self.work}

    def make(self) -> None:
        """Labels to ROIs."""
        rois.labels_to_rois(self.labels)

    def write(self) -> None:
        """Labels to a ROI zip."""
        rois.write_rois(self.path, rois.labels_to_rois(self.labels, image_name="blobs", model="none"))

    def read(self) -> None:
        """Read a ROI zip into labels."""
        labels, _ = rois.rois_to_labels(rois.read_rois(self.path), self.labels.shape)
        if not np.array_equal(labels, self.labels):
            raise SystemExit("the ROIs are not the labels")

    def tabulate(self) -> None:
        """Labels and image to a table."""
        measure.measure(self.labels, self.image)


def main() -> None:
    """Print one line per number of nuclei; the runs take turns, so that a busy machine slows all alike."""
    with tempfile.TemporaryDirectory() as folder:
        cases = [Case(count, Path(folder)) for count in (1_000, 5_000, 10_000)]
        for _ in range(RUNS + 1):
            for case in cases:
                for name, work in case.work.items():
                    case.times[name].append(seconds(work))
        print(f"medians of {RUNS} runs in seconds, in brackets how many times the first line's; peaks in label images")
        print("nuclei          image" + "".join(f"{name:>16s}" for name in cases[0].work) + "   peak zip  peak table")
        medians = [{name: statistics.median(times[1:]) for name, times in case.times.items()} for case in cases]
        for case, median in zip(cases, medians, strict=True):
            height, width = case.labels.shape
            columns = "".join(f"{value:8.2f} ({value / medians[0][name]:5.1f})" for name, value in median.items())
            peaks = [peak_bytes(work) / case.labels.nbytes for work in (case.write, case.tabulate)]
            print(f"{case.count:6d}  {height:5d} x {width:5d}{columns}{peaks[0]:11.2f}{peaks[1]:12.2f}")


if __name__ == "__main__":
    main()
