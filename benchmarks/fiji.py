"""Time from a command in Fiji to the nuclei in its ROI Manager: ``python benchmarks/fiji.py [--large]``.

What is measured is the way of `fiji_scripts`: a menu script run by SciJava as in a macro, in ImageJ's window, with the
worker as a second process; beside it `stormseg segment` on the same images, start included. Medians; ``--large`` adds
an image of 5,120 x 5,120 pixels. It needs a display and starts Xvfb where there is none.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from stormseg_ij import bridge, display
from stormseg_ij.image import Image, read_image, write_tiff

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "window"))

SAMPLE = Path(__file__).parents[1] / "stormseg_ij" / "samples" / "tissue.tif"
RUNS = 5
LARGE_PX = 5120


def seconds(work: Callable[[], Any]) -> float:
    """Return how long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def command_line(image: Path, folder: Path) -> float:
    """Return the time of `stormseg segment`, from its start to its end."""
    words = [sys.executable, "-m", "stormseg_ij.cli", "segment", str(image), "-o", str(folder), "--overwrite"]
    return seconds(lambda: subprocess.run(words, check=True, capture_output=True))


@contextmanager
def fiji(folder: Path) -> Iterator[tuple[Any, bridge.ImageJ]]:
    """Open ImageJ's window with the scripts in a Fiji's folder."""
    import fiji as harness

    ij = bridge.start(headless=False)
    with harness.running(ij, folder) as made:
        yield made, ij


def segment(made: Any, imp: Any) -> float:  # noqa: ANN401 (the tests' Fiji, an ij.ImagePlus)
    """Segment an image from the menu's script; return the time until its nuclei are in the list."""
    made.driver.tidy()
    imp.show()
    taken = seconds(lambda: made.macro("Segment Nuclei", "rois=append"))
    if not made.driver.names():
        raise SystemExit(f"{imp.getTitle()}: no nucleus in the ROI Manager")
    return taken


def main() -> None:
    """Print the times, and the memory of both processes."""
    parser = argparse.ArgumentParser(description="time of Fiji's menu scripts")
    parser.add_argument("--large", action="store_true", help="also 5,120 x 5,120 pixels")
    large = parser.parse_args().large
    screen = None if os.environ.get("DISPLAY") else display.start()
    pixels = read_image(SAMPLE).pixels
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        times = [command_line(SAMPLE, folder / "cli") for _ in range(3)]
        print(f"stormseg segment, {pixels.shape[0]} px: {statistics.median(times):.1f} s")
        with fiji(folder) as (made, ij):

            def imp(array: np.ndarray, title: str) -> Any:  # noqa: ANN401 (an ij.ImagePlus)
                return ij.to_imageplus(Image(array, title))

            first = segment(made, imp(pixels, "first"))
            print(f"in Fiji, first image: {first:.1f} s (Python and TensorFlow start)")
            turned = [np.ascontiguousarray(np.rot90(pixels, i)) for i in range(RUNS)]
            warm = [segment(made, imp(array, f"next {i}")) for i, array in enumerate(turned)]
            print(f"in Fiji, next images: {statistics.median(warm):.2f} s ({min(warm):.2f} to {max(warm):.2f})")
            door = made.java("java.lang.System").getProperties().get("stormseg.door")[1]
            worker, own = psutil.Process(int(door.getPid())), psutil.Process()
            print(f"memory: worker {worker.memory_info().rss / 2**20:.0f} MiB, "
                  f"Java and what started it {own.memory_info().rss / 2**20:.0f} MiB")  # fmt: skip
            if large:
                times_px = -(-LARGE_PX // pixels.shape[0])
                array = np.tile(pixels, (times_px, times_px))[:LARGE_PX, :LARGE_PX].copy()
                write_tiff(folder / "large.tif", array)
                taken = segment(made, imp(array, "large"))
                count, rss = len(made.driver.names()), worker.memory_info().rss / 2**20
                print(f"in Fiji, {LARGE_PX} px: {taken:.0f} s, {count} nuclei; worker {rss:.0f} MiB")
                print(f"stormseg segment, {LARGE_PX} px: {command_line(folder / 'large.tif', folder / 'cli'):.0f} s")
    if screen is not None:
        screen.close()


if __name__ == "__main__":
    main()
