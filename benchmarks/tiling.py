"""What tiles cost against the whole image in one go, and how far both agree: python benchmarks/tiling.py [--size N].

Simulated images at the model's own scale; the network alone, warm, medians of five. Tiles of 512 that overlap by 128
look at (512 / 384)^2 = 1.8 times the pixels, larger ones at less.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from stormseg_ij import models
from stormseg_ij.candidates import Candidates
from stormseg_ij.image import Labels
from stormseg_ij.overlap import find_overlap
from stormseg_ij.postprocess import RULES, resolve
from stormseg_ij.simulate import simulate
from stormseg_ij.tiling import Tile, find_in_tiles

TILES = ((512, 128), (1024, 128))
RUNS = 5


def timed(find: Callable[[], Candidates]) -> tuple[float, Candidates]:
    """Return the median of the seconds, after a run that is not counted, and what was found."""
    found, seconds = find(), []
    for _ in range(RUNS):
        start = time.perf_counter()
        find()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), found


def drawn(found: Candidates, shape: tuple[int, int]) -> Labels:
    """Draw by score, so that no rule hides a difference."""
    rng = np.random.default_rng(0)
    return resolve(found, shape, scale=(1.0, 1.0), rules=RULES["score"], min_area_fraction=0.0, rng=rng)[0]


def main() -> None:
    """Print one line per image and kind of tiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1500)
    size = parser.parse_args().size
    model = models.load("stardist-storm")
    limits = {"probability": model.probability, "nms": model.nms}
    shape = (size, size)
    print(f"{'image':8} {'tiles':>12} {'one go s':>8} {'tiles s':>8} {'ratio':>6} {'found':>12} {'mean IoU':>8}")
    for kind in ("tissue", "cell"):
        scene = simulate(np.random.default_rng(5), kind=kind, size=size, diameter=model.info.nucleus_diameter_px)
        pixels = model.info.normalize(scene.image)
        whole_s, whole = timed(lambda pixels=pixels: model.predict(pixels, **limits))

        def look(tile: Tile, pixels: np.ndarray = pixels) -> Candidates:
            return model.predict(pixels[tile.box], **limits)

        for tile, overlap in TILES:
            tiled_s, tiled = timed(
                lambda look=look, tile=tile, overlap=overlap: (
                    find_in_tiles(shape, look, tile=tile, overlap=overlap).candidates
                )
            )
            iou = find_overlap(drawn(tiled, shape), drawn(whole, shape)).iou
            counts = f"{len(tiled)} / {len(whole)}"
            ratio = tiled_s / whole_s
            print(
                f"{kind:8} {f'{tile} by {overlap}':>12} {whole_s:8.2f} {tiled_s:8.2f} {ratio:6.2f} {counts:>12} "
                f"{iou[iou > 0.5].mean():8.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
