"""Time and peak memory of `stormseg segment` on large images: python benchmarks/huge.py [SIDE...] [--folder DIR].

Without sides: 5,120, 10,240 and 20,480 pixels. Each image is 16-bit, a mosaic of one simulated scene, and is segmented
by a process of its own with the defaults; peak memory is that process' largest resident set, Java and the memory-mapped
image included. At the end: the exponents of time and memory over pixels.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from stormseg_ij.image import Calibration, write_tiff
from stormseg_ij.simulate import simulate

SCENE_PX = 1024


def write_mosaic(path: Path, side: int, kind: str, diameter: float | None) -> int:
    """Write a mosaic, every second scene mirrored; return how many whole scenes' nuclei it holds, about."""
    scene = simulate(np.random.default_rng(20), kind=kind, size=SCENE_PX, diameter=diameter)
    mosaic = np.empty((side, side), np.uint16)
    for top in range(0, side, SCENE_PX):
        for left in range(0, side, SCENE_PX):
            flipped = scene.image[:: -1 if top // SCENE_PX % 2 else 1, :: -1 if left // SCENE_PX % 2 else 1]
            part = mosaic[top : top + SCENE_PX, left : left + SCENE_PX]
            part[:] = flipped[: part.shape[0], : part.shape[1]]
    mosaic *= 200
    um = scene.pixel_size_nm / 1000.0
    write_tiff(path, mosaic, calibration=Calibration(um, um, "micron"))
    return int(scene.labels.max()) * side * side // SCENE_PX**2


def run_measured(words: list[str]) -> tuple[float, float]:
    """Run a process; return its seconds and its largest resident set in MiB."""
    start = time.perf_counter()
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{' '.join(words)} failed ({status})")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def segment(image: Path, folder: Path, options: list[str]) -> tuple[float, float, dict[str, Any]]:
    """Return seconds, peak memory in GiB and ``run.json`` of one `stormseg segment` process."""
    words = [sys.executable, "-m", "stormseg_ij.cli", "segment", str(image), "-o", str(folder), "--overwrite", *options]
    seconds, peak = run_measured(words)
    run = json.loads((folder / f"{image.stem}_run.json").read_text(encoding="utf-8"))
    return seconds, peak / 1024, run


def main() -> None:
    """Print one line per image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sides", type=int, nargs="*", default=[5120, 10_240, 20_480])
    parser.add_argument("--kind", default="tissue", choices=("tissue", "cell"))
    parser.add_argument("--diameter", type=float, help="of the nuclei in pixels (default: 8 um, 18 um for cells)")
    parser.add_argument("--folder", type=Path, help="where images and results go (default: one that is removed)")
    parser.add_argument("--options", type=shlex.split, default=[], help='of stormseg segment, such as "--tile 1024"')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        measured = []
        print(f"{'side':>6} {'true':>8} {'found':>8} {'tiles':>6} {'seconds':>8} {'peak GiB':>8}  stages")
        for side in arguments.sides:
            image = Path(name) / f"mosaic_{side}.tif"
            true = write_mosaic(image, side, arguments.kind, arguments.diameter)
            seconds, peak, run = segment(
                image, Path(name) / "out", [word for word in arguments.options if word != "--"]
            )
            stages = ", ".join(f"{stage} {spent:.0f}" for stage, spent in run["seconds"].items())
            count = run["tiles"]["count"]
            print(f"{side:6} {true:8} {run['nuclei']:8} {count:6} {seconds:8.1f} {peak:8.2f}  {stages}", flush=True)
            measured.append((side * side, seconds, peak))
            image.unlink()
    if len(measured) > 1:
        pixels, seconds, peaks = np.log(np.array(measured)).T
        for what, values in (("time", seconds), ("memory", peaks)):
            print(f"{what} grows with pixels to the power of {np.polyfit(pixels, values, 1)[0]:.2f}")


if __name__ == "__main__":
    main()
