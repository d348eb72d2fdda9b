"""The main job: an image in, labels, ROIs, measurements and a picture out. The stages meet here only."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import stormseg_ij
from stormseg_ij import labels as pieces
from stormseg_ij import measure, models, postprocess, rois
from stormseg_ij.candidates import Candidates
from stormseg_ij.errors import ImageError
from stormseg_ij.files import together
from stormseg_ij.image import Image, Labels, label_lut, write_labels, write_png
from stormseg_ij.preprocess import preprocess
from stormseg_ij.refine import refine
from stormseg_ij.scale import LARGEST_SIZE_PX, MOST_PROBABILITY, Scale, find_scale
from stormseg_ij.settings import LEAST_PROBABILITY, MOST_NMS, PreprocessSettings, SegmentSettings

if TYPE_CHECKING:
    from stormseg_ij.bridge import ImageJ
    from stormseg_ij.models import Model

OUTPUTS = {
    "labels": "_labels.tif",
    "rois": "_rois.zip",
    "measurements": "_measurements.csv",
    "overlay": "_overlay.png",
    "run": "_run.json",
}
"""What `Result.save` writes: key and ending of the file name."""

_MOST_REFINED_PX = 64_000_000  # refinement holds some 75 bytes per pixel at once


@dataclass(frozen=True)
class Result:
    """What was found in one image.

    Attributes
    ----------
    image : Image
        The original, not the preprocessed one.
    labels : ndarray of int32, shape (Y, X)
        0 is background, 1..N one value per nucleus, at the original size.
    scores : dict of int to float
        Probability of each nucleus by label.
    run : dict
        What ``run.json`` holds: settings as asked and as used, versions, model, input hash, timings in s.
    notes : tuple of str
        What a user should know, one line each.
    """

    image: Image
    labels: Labels
    scores: dict[int, float]
    run: dict[str, Any]
    notes: tuple[str, ...] = field(default=())

    @property
    def count(self) -> int:
        """Number of nuclei."""
        return int(self.labels.max(initial=0))

    def save(self, folder: str | Path, *, overwrite: bool = False) -> dict[str, Path]:
        """Write label image, ROI zip, table, overlay and ``run.json``; return their paths by the keys of `OUTPUTS`.

        They are all written, or none of them where one fails.

        Raises
        ------
        ImageError
            If one of them exists and `overwrite` is not set, or the folder cannot be written to.
        """
        final = output_paths(folder, self.image.name)
        if not overwrite:
            refuse_existing(final.values())
        found = rois.labels_to_rois(
            self.labels,
            image_name=self.image.name,
            model=self.run["model"]["name"],
            scores=self.scores,
            position=self.run["settings"]["used"]["plane"] or 0,
        )
        with together(Path(folder), [path.name for path in final.values()]) as scratch:
            paths = output_paths(scratch, self.image.name)
            write_labels(paths["labels"], self.labels, calibration=self.image.calibration)
            rois.write_rois(paths["rois"], found)
            measure.write_csv(paths["measurements"], measure.measure(self.labels, self.image, scores=self.scores))
            write_png(paths["overlay"], overlay(self.image.pixels, self.labels))
            paths["run"].write_text(json.dumps(self.run, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return final


def output_paths(folder: str | Path, name: str) -> dict[str, Path]:
    """Return the paths that `Result.save` writes for an image of this name."""
    return {key: Path(folder) / f"{name}{ending}" for key, ending in OUTPUTS.items()}


def refuse_existing(paths: Iterable[Path]) -> None:
    """Raise ImageError if one of the outputs is there already."""
    for path in paths:
        if path.exists():
            raise ImageError(f"{path} exists; give --overwrite to replace it, or another folder")


def segment(image: Image, settings: SegmentSettings, *, ij: ImageJ, model: Model | None = None) -> Result:
    """Segment the nuclei of one image.

    Parameters
    ----------
    image : Image
    settings : SegmentSettings
    ij : ImageJ
        Does the resizing, blur and equalization.
    model : Model, optional
        Loaded before, to segment many images with it; else ``settings.model`` is loaded.

    Returns
    -------
    Result

    Raises
    ------
    ModelError
        If the model cannot be loaded or the network's input would be too large.

    References
    ----------
    Mela & Liu 2021, Fig. 8: resize, blur, equalize; network; removal of small instances; back to full size.
    """
    clock = _Clock()
    with clock("load model"):
        model = models.load(settings.model) if model is None else model
    used = _resolved(settings, model)
    with clock("find scale"):
        scale = _find_scale(image, used, model, ij) if used.size == "auto" else Scale(int(used.size), "the user")
    used, size = dataclasses.replace(used, size=scale.size), scale.size
    with clock("preprocess"):
        small = preprocess(image, _preprocess_settings(used, size), ij)
    with clock("network"):
        candidates = _predict(small, used, model)
    with clock("postprocess"):
        labels, scores = postprocess.render(candidates, image.shape, scale=small.scale)
        labels = pieces.largest_pieces(labels)
    notes = list(small.notes)
    if used.refine and labels.size > _MOST_REFINED_PX:
        notes.append(f"outlines are not refined: {labels.size / 1e6:.0f} million pixels are more than fit into memory")
        used = dataclasses.replace(used, refine=False)
    if used.refine:
        with clock("refine"):
            labels = refine(labels, image.pixels)
    labels = pieces.remove_small(labels, used.min_area_fraction)  # last, and once: each time the mean is another
    labels, scores = pieces.renumber(labels, scores)
    if settings.size == "auto" and size == LARGEST_SIZE_PX < max(image.shape):
        notes.append(
            f"the image was scaled to {size} pixels, the most that fits: small nuclei may be missed; cut it up"
        )
    if not scores:
        notes.append(_advice(image, used))
    run = {
        "image": image.name,
        "nuclei": len(scores),
        "settings": {"asked": settings.as_dict(), "used": used.as_dict()},
        "model": {"name": model.name, "sha256": model.sha256, **dataclasses.asdict(model.info)},
        "input": {"shape": image.shape, "dtype": str(image.pixels.dtype), "sha256": _hash(image.pixels)},
        "versions": _versions(ij),
        "scale": scale.as_dict(),
        "seconds": clock.seconds,
        "notes": notes,
    }
    return Result(image, labels, scores, run, tuple(notes))


def overlay(pixels: NDArray[Any], labels: Labels, *, longest_px: int = 2048) -> NDArray[np.uint8]:
    """Draw the outlines of labels over the image, with faint signal lifted so that it can be seen.

    Parameters
    ----------
    pixels : ndarray, shape (Y, X)
    labels : ndarray of int32, shape (Y, X)
    longest_px : int
        Larger images are thinned out to this; smaller ones are enlarged up to half of it by a whole factor, at most 4.

    Returns
    -------
    ndarray of uint8, shape (Y', X', 3)
    """
    from skimage import segmentation

    step = -(-max(pixels.shape) // longest_px)
    values = pixels[::step, ::step].astype(np.float64)
    low, high = float(values.min()), float(np.percentile(values, 99.8))
    gray = np.sqrt(np.clip((values - low) / (max(high, values.max() * 1e-3) - low or 1.0), 0.0, 1.0))
    factor = min(max(longest_px // 2 // max(gray.shape), 1), 4)
    big_gray = np.kron(gray, np.ones((factor, factor)))
    big_labels = np.kron(labels[::step, ::step], np.ones((factor, factor), np.int32))
    rgb = np.repeat(np.rint(255.0 * big_gray).astype(np.uint8)[..., None], 3, axis=2)
    outline = segmentation.find_boundaries(big_labels, mode="inner")
    colours = label_lut().T[1 + (big_labels[outline] - 1) % 255]
    rgb[outline] = colours
    return rgb


def _resolved(settings: SegmentSettings, model: Model) -> SegmentSettings:
    """Fill what the user left open with the model's own values, within what `SegmentSettings` allows."""
    return dataclasses.replace(
        settings,
        blur=model.info.blur_px if settings.blur is None else settings.blur,
        probability=max(model.probability, LEAST_PROBABILITY) if settings.probability is None else settings.probability,
        nms=min(model.nms, MOST_NMS) if settings.nms is None else settings.nms,
        refine=model.info.refine if settings.refine is None else settings.refine,
    )


def _preprocess_settings(used: SegmentSettings, size: int) -> PreprocessSettings:
    return PreprocessSettings(size=size, blur=used.blur or 0.0, equalize=used.equalize)


def _predict(small: Image, used: SegmentSettings, model: Model) -> Candidates:
    pixels = model.info.normalize(small.pixels)
    probability, nms = used.probability, used.nms
    if probability is None or nms is None:
        raise ValueError("thresholds are filled by _resolved")
    return model.predict(pixels, probability=probability, nms=nms)


def _find_scale(image: Image, used: SegmentSettings, model: Model, ij: ImageJ) -> Scale:
    """Find it with thresholds of its own: a high one for the result would leave only what is sure at every size."""
    loose = max(min(model.probability, MOST_PROBABILITY), LEAST_PROBABILITY)
    used = _resolved(dataclasses.replace(used, probability=loose, nms=None), model)

    def predict(size: int) -> Candidates:
        return _predict(preprocess(image, _preprocess_settings(used, size), ij), used, model)

    return find_scale(image, model.info.nucleus_diameter_px, predict)


def _advice(image: Image, used: SegmentSettings) -> str:
    if np.ptp(image.pixels) == 0:
        return f"no nuclei: every pixel of the image is {image.pixels.flat[0]}; check that it is the right file"
    return (
        f"no nuclei found at size {used.size} and probability {used.probability}; "
        "try --probability 0.3, or --size so that nuclei are about 30 pixels wide"
    )


def _hash(pixels: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _versions(ij: ImageJ) -> dict[str, str]:
    packages = ("tensorflow", "keras", "stardist", "numpy", "scikit-image", "pyimagej")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "stormseg_ij": stormseg_ij.__version__,
        "python": platform.python_version(),
        "imagej": ij.version,
        **versions,
    }


class _Clock:
    """Measures how long each stage takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)
