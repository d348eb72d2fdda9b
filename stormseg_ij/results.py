"""What a segmentation gives, and the files it is saved in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij import measure, rois
from stormseg_ij.errors import ImageError
from stormseg_ij.files import together
from stormseg_ij.image import Image, Labels, label_lut, write_labels, write_png

OUTPUTS = {
    "labels": "_labels.tif",
    "rois": "_rois.zip",
    "measurements": "_measurements.csv",
    "overlay": "_overlay.png",
    "run": "_run.json",
}
"""What `Result.save` writes: key and ending of the file name."""


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
        found = rois.iterate_rois(
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
