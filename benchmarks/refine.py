"""Whether refined outlines are better than star-convex ones, on simulated truth: python benchmarks/refine.py [IMAGES].

IMAGES of each kind and diameter (3). Two sorts of start outlines: the truth itself as polygons of 32 rays, a little too
large and jittered, as if a network had seen every nucleus; and what the shipped model finds. For each: mean IoU of the
nuclei that match at IoU 0.5, and F1 at IoU 0.7, 0.8 and 0.9, before and after. Then the time for 2,048 x 2,048 pixels.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from skimage import measure
from stardist.geometry import star_dist

from stormseg_ij import bridge, metrics, models, pipeline
from stormseg_ij.candidates import Candidates
from stormseg_ij.image import Image, Labels
from stormseg_ij.labels import largest_pieces
from stormseg_ij.overlap import find_overlap
from stormseg_ij.postprocess import RULES, resolve
from stormseg_ij.refine import refine
from stormseg_ij.settings import SegmentSettings
from stormseg_ij.simulate import simulate

SETS = [("tissue", 25.0, 256), ("tissue", 50.0, 448), ("tissue", 100.0, 896)]
SETS += [("cell", 40.0, 256), ("cell", 115.0, 704), ("cell", 220.0, 1024)]
RAYS = 32
IOUS = (0.7, 0.8, 0.9)
Scores = NDArray[np.float64]


def as_polygons(truth: Labels, rng: np.random.Generator) -> Labels:
    """Draw each nucleus as the star-convex polygon around its deepest pixel, 2 % of its diameter too large."""
    from scipy import ndimage

    rays, centres = [], []
    for region in measure.regionprops(truth):
        mask = np.pad(region.image, 1)
        deepest = np.unravel_index(ndimage.distance_transform_edt(mask).argmax(), mask.shape)
        distance = ndimage.gaussian_filter1d(star_dist(mask.astype(np.uint16), RAYS)[deepest], 1.0, mode="wrap")
        jitter = ndimage.gaussian_filter1d(rng.normal(scale=0.06, size=RAYS), 2.0, mode="wrap")
        rays.append(distance + region.equivalent_diameter_area * (0.02 + jitter))
        centres.append(np.array(deepest) - 1 + region.bbox[:2])
    angle = 2.0 * np.pi * np.arange(RAYS) / RAYS
    directions = np.stack([np.sin(angle), np.cos(angle)])
    polygons = np.array(centres)[:, :, None] + np.array(rays)[:, None] * directions
    candidates = Candidates(polygons.astype(np.float32), np.ones(len(rays), np.float32))
    labels, _ = resolve(
        candidates,
        (truth.shape[0], truth.shape[1]),
        scale=(1.0, 1.0),
        rules=RULES["score"],
        min_area_fraction=0.0,
        rng=rng,
    )
    return largest_pieces(labels)


def scores(labels: Labels, truth: Labels) -> Scores:
    """Mean IoU of the nuclei that match at 0.5, and F1 at `IOUS`."""
    iou = find_overlap(labels, truth, "").iou
    return np.array([iou[iou > 0.5].mean(), *metrics.f1_curve(labels, truth, IOUS)])


def report(name: str, kind: str, diameter: float, measured: list[tuple[Scores, Scores]]) -> None:
    """Print one line: means over the images."""
    before, after = np.mean(measured, axis=0)
    texts = [f"{one:.3f} > {two:.3f}" for one, two in zip(before, after, strict=True)]
    print(f"{name:9} {kind:7} {diameter:8.0f}  " + "  ".join(texts), flush=True)


def compare(images: int) -> None:
    """Print the scores before and after, by sort of outline, kind and diameter."""
    ij, model = bridge.start(), models.load("stardist-storm")

    def found(image: NDArray[np.uint8], truth: Labels, rng: np.random.Generator) -> Labels:
        return pipeline.segment(Image(image, "simulated"), SegmentSettings(refine=False), ij=ij, model=model).labels

    def drawn(image: NDArray[np.uint8], truth: Labels, rng: np.random.Generator) -> Labels:
        return as_polygons(truth, rng)

    starts: dict[str, Callable[..., Labels]] = {"polygons": drawn, "network": found}
    print(
        f"{'outlines':9} {'kind':7} {'diameter':>8}  {'mean IoU':15}  " + "  ".join(f"F1 at {iou:<9}" for iou in IOUS)
    )
    for name, start in starts.items():
        for kind, diameter, size in SETS:
            measured = []
            for index in range(images):
                rng = np.random.default_rng([11, index, int(diameter)])
                made = simulate(rng, kind=kind, size=size, diameter=diameter)
                labels = start(made.image, made.labels, rng)
                measured.append((scores(labels, made.labels), scores(refine(labels, made.image), made.labels)))
            report(name, kind, diameter, measured)


def clock() -> None:
    """Print the time for small, usual and large nuclei."""
    for diameter in (20.0, 60.0, 250.0):
        made = simulate(np.random.default_rng(1), kind="tissue", size=2048, diameter=diameter)
        refine(made.labels[:128, :128], made.image[:128, :128])  # imports
        start, used = time.perf_counter(), time.process_time()
        refine(made.labels, made.image)
        wall, used = time.perf_counter() - start, time.process_time() - used
        print(
            f"2048 x 2048, {made.labels.max():5} nuclei of {diameter:3.0f} px: {wall:.1f} s ({used:.1f} s of one core)"
        )


if __name__ == "__main__":
    compare(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
    clock()
