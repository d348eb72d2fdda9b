"""The main job: an image in, labels and scores out. The stages meet here only."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import stormseg_ij
from stormseg_ij import models
from stormseg_ij.candidates import Candidates
from stormseg_ij.errors import ImageError
from stormseg_ij.estimate import Estimate, estimate, is_tiled
from stormseg_ij.image import LARGEST_LABEL_IMAGE_PX, Image, Labels
from stormseg_ij.labels import largest_pieces, remove_small, renumber
from stormseg_ij.postprocess import RULES, resolve
from stormseg_ij.preprocess import preprocess, resized_shape
from stormseg_ij.refine import refine
from stormseg_ij.results import OUTPUTS, Result, output_paths, overlay, refuse_existing
from stormseg_ij.rows import row_bands
from stormseg_ij.scale import Scale, part_size
from stormseg_ij.scale_search import search_scale
from stormseg_ij.settings import LEAST_PROBABILITY, MOST_NMS, ONE_GO_SIZE_PX, SegmentSettings
from stormseg_ij.tiling import Tile, find_in_tiles

if TYPE_CHECKING:
    from stormseg_ij.desk import Processing
    from stormseg_ij.models import Model

__all__ = ["OUTPUTS", "Progress", "Result", "output_paths", "overlay", "refuse_existing", "segment"]

_LARGEST_VALUE = 1e30


class Progress:
    """Follows a segmentation; by itself it does nothing. What a method raises ends the work."""

    def expect(self, expected: Estimate) -> None:
        """Take the estimate of time and memory, before the work that takes long."""

    def stage(self, name: str, fraction: float) -> None:
        """Take how far a stage is, 0 to 1."""


def segment(
    image: Image,
    settings: SegmentSettings,
    *,
    ij: Processing,
    model: Model | None = None,
    progress: Progress | None = None,
    whole_shape: tuple[int, int] | None = None,
) -> Result:
    """Segment the nuclei of one image.

    Parameters
    ----------
    image : Image
        Of any size: the network sees large ones in tiles, and all stages work in parts.
    settings : SegmentSettings
    ij : Processing
        Does the resizing, blur and equalization.
    model : Model, optional
        Loaded before, to segment many images with it; else ``settings.model`` is loaded.
    progress : Progress, optional
        Is told what to expect and how far the work is.
    whole_shape : (int, int), optional
        Of the image that this one is a part of, if it is: a size that the user gives is that of the whole.

    Returns
    -------
    Result

    Raises
    ------
    ImageError
        If the image has so many pixels that ImageJ could not open its labels (`image.LARGEST_LABEL_IMAGE_PX`), or is
        larger than `whole_shape`.
    ModelError
        If the model cannot be loaded.

    References
    ----------
    Mela & Liu 2021, Fig. 8: resize, blur, equalize; network; small instances and overlaps; back to full size.
    """
    refuse_unfit(image)
    clock = Clock(progress or Progress())
    with clock("load model"):
        model = models.load(settings.model) if model is None else model
    with clock("find scale"):
        used, scale, seconds_per_mpx = sized(image, settings, model, ij, whole_shape)
    expected = estimate(image, used, resized_shape(image.shape, scale.size), seconds_per_mpx=seconds_per_mpx)
    clock.progress.expect(expected)
    with clock("preprocess") as told:
        small = preprocess(image, used.preprocessing(scale.size), ij, progress=told)
    with clock("network") as told:
        candidates, tiles, found_notes = _find(small, used, model, told)
    notes = [*small.notes, *found_notes]
    factor = small.scale
    del small  # as large as the image, or larger
    with clock("postprocess") as told:
        labels, scores = draw(candidates, image.shape, factor, used, told)
    if used.refine:
        with clock("refine") as told:
            refine(labels, image.pixels, out=labels, progress=told)
    with clock("number"):
        labels, scores = number(labels, scores, used)
    if settings.size == "auto" and used.route == "resize" and scale.size == ONE_GO_SIZE_PX < max(image.shape):
        notes.append(f"the image was scaled to {scale.size} pixels, the most in one go: give --route tile for more")
    if not scores:
        notes.append(_advice(image, used))
    run = {
        "image": image.name,
        "nuclei": len(scores),
        "settings": {"asked": settings.as_dict(), "used": used.as_dict()},
        **_origins(image, model, ij),
        "scale": scale.as_dict(),
        "tiles": tiles,
        "seconds": clock.seconds,
        "notes": notes,
    }
    return Result(image, labels, scores, run, tuple(notes))


def refuse_unfit(image: Image) -> None:
    """Refuse an image whose labels ImageJ does not open, or whose values 32-bit arithmetic cannot sum.

    Raises
    ------
    ImageError
    """
    if image.pixels.size > LARGEST_LABEL_IMAGE_PX:
        size = f"{image.shape[1]} x {image.shape[0]} pixels"
        raise ImageError(f"{image.name} has {size}; ImageJ opens labels of {LARGEST_LABEL_IMAGE_PX} pixels; cut it up")
    if image.pixels.dtype != np.float32:
        return
    largest = max(float(np.abs(image.pixels[rows]).max()) for rows in row_bands(image.shape))
    if largest > _LARGEST_VALUE:
        raise ImageError(f"{image.name} has values up to {largest:g}, too large to be averaged; divide it first")


def sized(
    image: Image, settings: SegmentSettings, model: Model, ij: Processing, whole_shape: tuple[int, int] | None
) -> tuple[SegmentSettings, Scale, float | None]:
    """Fill what the user left open, the size last.

    Parameters
    ----------
    image : Image
    settings : SegmentSettings
        A number as size is that of the whole image.
    model : Model
    ij : Processing
    whole_shape : (int, int) or None
        Of the image that this one is a part of; None: it is the whole.

    Returns
    -------
    used : SegmentSettings
        With thresholds, and with the size of this image.
    scale : Scale
        The size and how it was found.
    seconds_per_mpx : float or None
        As `search_scale` gives it.

    Raises
    ------
    ImageError
        If the image is larger than `whole_shape`.
    """
    used = _resolved(settings, model)
    seconds_per_mpx = None
    if whole_shape is None or used.size == "auto":
        scale, seconds_per_mpx = search_scale(image, used, model, ij)
    else:
        size = part_size(int(used.size), image.shape, whole_shape)
        scale = Scale(size, f"the user: {used.size} for the whole {whole_shape[1]} x {whole_shape[0]} pixels")
    return dataclasses.replace(used, size=scale.size), scale, seconds_per_mpx


def thresholds(used: SegmentSettings) -> tuple[float, float]:
    """Return probability and NMS of settings in which nothing is open."""
    if used.probability is None or used.nms is None:
        raise ValueError("thresholds are filled by sized")
    return used.probability, used.nms


def draw(
    candidates: Candidates,
    shape: tuple[int, int],
    scale: tuple[float, float],
    used: SegmentSettings,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[Labels, dict[int, float]]:
    """Draw candidates with `resolve` as the settings say, and keep the largest piece of each nucleus.

    Parameters
    ----------
    candidates, shape, scale, progress
        As in `resolve`.
    used : SegmentSettings
        Rules, least area and seed are taken from it.

    Returns
    -------
    labels : ndarray of int32, shape `shape`
    scores : dict of int to float
    """
    labels, scores = resolve(
        candidates,
        shape,
        scale=scale,
        rules=RULES[used.overlap_rules],
        min_area_fraction=used.min_area_fraction,
        rng=np.random.default_rng(used.seed),
        progress=progress,
    )
    return largest_pieces(labels, out=labels), scores


def number(labels: Labels, scores: dict[int, float], used: SegmentSettings) -> tuple[Labels, dict[int, float]]:
    """Remove what has become small, as what lost pieces can have, and number the rest 1..N; changes `labels`."""
    remove_small(labels, used.min_area_fraction, out=labels)
    return renumber(labels, scores, out=labels)


def _resolved(settings: SegmentSettings, model: Model) -> SegmentSettings:
    """Fill what the user left open with the model's own values, within what `SegmentSettings` allows."""
    return dataclasses.replace(
        settings,
        blur=model.info.blur_px if settings.blur is None else settings.blur,
        probability=max(model.probability, LEAST_PROBABILITY) if settings.probability is None else settings.probability,
        nms=min(model.nms, MOST_NMS) if settings.nms is None else settings.nms,
        refine=model.info.refine if settings.refine is None else settings.refine,
    )


def _find(
    small: Image, used: SegmentSettings, model: Model, progress: Callable[[float], None]
) -> tuple[Candidates, dict[str, int], tuple[str, ...]]:
    """Let the network find nuclei, in tiles or in one go; with how many tiles of which size, and notes."""
    probability, nms = thresholds(used)
    info, limits = model.info, model.info.range_of(small.pixels)
    full = 0

    def look(tile: Tile) -> Candidates:
        nonlocal full
        seen = model.predict(info.normalize(small.pixels[tile.box], limits), probability=probability, nms=nms)
        full += model.most_instances is not None and len(seen) >= model.most_instances
        return seen

    tiled = is_tiled(used, small.shape)
    if tiled:
        joined = find_in_tiles(small.shape, look, tile=used.tile, overlap=used.overlap, progress=progress)
        found, notes = joined.candidates, joined.notes
        tiles = {"count": joined.tiles, "tile": joined.tile, "overlap": joined.overlap}
    else:
        found, notes, tiles = look(Tile(0, 0, *small.shape)), (), {"count": 1}
    if full:
        smaller = f"--tile {max(used.tile // 2, 128)}" if tiled else "--route tile"
        what = f"the model keeps {model.most_instances} nuclei of what it sees at once, and saw so many"
        where = f" in {full} tiles" if tiled else ""
        notes = (*notes, f"{what}{where}: some may be missing; give {smaller}")
    return found, tiles, notes


def _advice(image: Image, used: SegmentSettings) -> str:
    if np.ptp(image.pixels) == 0:
        return f"no nuclei: every pixel of the image is {image.pixels.flat[0]}; check that it is the right file"
    return (
        f"no nuclei found at size {used.size} and probability {used.probability}; "
        "try --probability 0.3, or --size so that nuclei are about 30 pixels wide"
    )


def _hash(pixels: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for rows in row_bands(pixels.shape):
        digest.update(np.ascontiguousarray(pixels[rows]).data)
    return digest.hexdigest()


def _origins(image: Image, model: Model, ij: Processing) -> dict[str, Any]:
    """Return what a result was made from and with, for ``run.json``."""
    return {
        "model": {"name": model.name, "sha256": model.sha256, **dataclasses.asdict(model.info)},
        "input": {"shape": image.shape, "dtype": str(image.pixels.dtype), "sha256": _hash(image.pixels)},
        "versions": _versions(ij),
    }


def _versions(ij: Processing) -> dict[str, str]:
    packages = ("tensorflow", "keras", "stardist", "numpy", "scikit-image", "pyimagej")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "stormseg_ij": stormseg_ij.__version__,
        "python": platform.python_version(),
        "imagej": ij.version,
        **versions,
    }


class Clock:
    """Measures how long each stage takes, and passes on how far it is."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[Callable[[float], None]]:
        start = time.perf_counter()
        self.progress.stage(stage, 0.0)
        yield partial(self.progress.stage, stage)
        self.progress.stage(stage, 1.0)
        self.seconds[stage] = round(time.perf_counter() - start, 3)
