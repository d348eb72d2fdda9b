"""Training images, and the patches that are cut from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stormseg_ij.errors import ImageError
from stormseg_ij.image import SUFFIXES, Labels, read_image, read_labels
from stormseg_ij.models.info import ModelInfo
from stormseg_ij.models.training import Batch
from stormseg_ij.scale import median_diameter

_SMALLEST_SCALE = 0.5
_FOREGROUND_FRACTION = 0.9  # stardist's own default: most patches are centred on a nucleus


@dataclass(frozen=True)
class Example:
    """One training image with its labels, and what brings it to the model's scale and range.

    Attributes
    ----------
    pixels : ndarray, shape (Y, X)
    labels : ndarray of int32, shape (Y, X)
    scale : float
        Pixels of the network's input per pixel here, before random scaling.
    limits : (float, float)
        Gray values that become 0 and 1.
    inside : ndarray of int, shape (K, 2)
        Some pixels (y, x) that lie in nuclei.
    """

    pixels: NDArray[Any]
    labels: Labels
    scale: float
    limits: tuple[float, float]
    inside: NDArray[np.intp]


def read_examples(data: Path, info: ModelInfo) -> list[Example]:
    """Read all pairs of ``data/images`` and ``data/labels``; images without a nucleus are left out."""
    examples = []
    for path in training_images(data):
        partners = [p for p in sorted((data / "labels").glob(f"{path.stem}.*")) if p.suffix.lower() in SUFFIXES]
        if not partners:
            raise ImageError(f"{path} has no labels; put a label image named {path.stem} into {data / 'labels'}")
        pixels, labels = read_image(path).pixels, read_labels(partners[0])[0]
        if pixels.shape != labels.shape:
            raise ImageError(f"{partners[0]} is {labels.shape}, its image {pixels.shape} (rows, columns); mend one")
        example = make_example(pixels, labels, info)
        if example is not None:
            examples.append(example)
    return examples


def training_images(data: Path) -> list[Path]:
    """Return the images of a training folder; ImageError if there are none."""
    if not data.is_dir():
        raise ImageError(f"no folder {data}; give the folder above images/ and labels/")
    images = sorted(path for path in (data / "images").glob("*") if path.suffix.lower() in SUFFIXES)
    if not images:
        raise ImageError(f"{data / 'images'} holds no images ({', '.join(SUFFIXES)}); give the folder above images/")
    return images


def sample_batch(
    rng: Generator, examples: list[Example], info: ModelInfo, *, patch: int, number: int, largest_scale: float = 1.5
) -> Batch:
    """Cut random patches, at random scale and gain, flipped and turned.

    The random gain of 0.7 to 1.4 is ours, not the paper's; for the rest see `train`.

    Parameters
    ----------
    rng : numpy.random.Generator
    examples : list of Example
    info : ModelInfo
    patch : int
        Side in pixels of the network's input.
    number : int
    largest_scale : float
        Images are scaled by 0.5 up to this, relative to the model's scale.

    Returns
    -------
    images : ndarray of float32, shape (number, patch, patch)
        Normalised, then multiplied by the gain.
    labels : ndarray of int32, shape (number, patch, patch)
    """
    pairs = [
        _sample(rng, examples[int(rng.integers(len(examples)))], info, patch, largest_scale) for _ in range(number)
    ]
    return np.stack([image for image, _ in pairs]), np.stack([labels for _, labels in pairs])


def make_example(pixels: NDArray[Any], labels: Labels, info: ModelInfo) -> Example | None:
    """Work out scale and range of one image; None if it has no nucleus."""
    diameter = median_diameter(labels)
    if not diameter:
        return None
    scale = 1.0 if info.nucleus_diameter_px is None else info.nucleus_diameter_px / diameter
    shape = (max(round(pixels.shape[0] * scale), 1), max(round(pixels.shape[1] * scale), 1))
    small = _resized(pixels, shape, info.blur_px)
    inside = np.argwhere(labels > 0)
    step = max(len(inside) // 2000, 1)
    return Example(pixels, labels, scale, info.range_of(small), inside[::step].copy())


def mean_gray(examples: list[Example], info: ModelInfo) -> float:
    """Return the mean of all pixels of the images, each normalised and cut to 0 and 1."""
    sums = [
        np.clip(info.normalize(example.pixels, example.limits), 0.0, 1.0).sum(dtype=np.float64) for example in examples
    ]
    return float(sum(sums) / sum(example.pixels.size for example in examples))


def _sample(
    rng: Generator, example: Example, info: ModelInfo, patch: int, largest_scale: float
) -> tuple[NDArray[np.float32], Labels]:
    """Cut one patch from the full-size image, then resize and blur it: as a whole image would be."""
    scale = example.scale * np.exp(rng.uniform(np.log(_SMALLEST_SCALE), np.log(largest_scale)))
    margin = int(np.ceil(3.0 * info.blur_px))
    side = max(round((patch + 2 * margin) / scale), 2)
    if rng.random() < _FOREGROUND_FRACTION:
        centre = example.inside[int(rng.integers(len(example.inside)))] + rng.integers(-side // 3, side // 3 + 1, 2)
    else:
        centre = rng.integers(0, example.labels.shape)
    top, left = (int(value) - side // 2 for value in centre)
    pixels, labels = (_window(plane, top, left, side) for plane in (example.pixels, example.labels))
    whole = patch + 2 * margin
    image = _resized(pixels, (whole, whole), info.blur_px)
    index = ((np.arange(whole) + 0.5) * side / whole).astype(np.intp)
    labels = labels[np.ix_(index, index)]
    cut = slice(margin, margin + patch)
    image = info.normalize(image[cut, cut], example.limits) * np.float32(rng.uniform(0.7, 1.4))
    return _turned(rng, image, labels[cut, cut])


def _turned(rng: Generator, image: NDArray[np.float32], labels: Labels) -> tuple[NDArray[np.float32], Labels]:
    """Flip in x and in y by chance, turn by 0, 90 or 270 degrees."""
    turns = int(rng.choice([0, 1, 3]))
    flips = tuple(axis for axis in (0, 1) if rng.random() < 0.5)
    return (
        np.ascontiguousarray(np.flip(np.rot90(image, turns), flips)),
        np.ascontiguousarray(np.flip(np.rot90(labels, turns), flips)),
    )


def _window(plane: NDArray[Any], top: int, left: int, side: int) -> NDArray[Any]:
    """Cut a square; beyond the image there is nothing (0)."""
    out = np.zeros((side, side), plane.dtype)
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + side, plane.shape[0]), min(left + side, plane.shape[1])
    if y1 > y0 and x1 > x0:
        out[y0 - top : y1 - top, x0 - left : x1 - left] = plane[y0:y1, x0:x1]
    return out


def _resized(pixels: NDArray[Any], shape: tuple[int, int], blur_px: float) -> NDArray[np.float32]:
    """Resize by local averages (bilinear when enlarging), then blur, in float.

    Close to what ImageJ does before prediction, not identical: it rounds to the image's type and averages otherwise.
    """
    from scipy import ndimage
    from skimage import transform

    values = pixels.astype(np.float32)
    if shape[0] < pixels.shape[0]:
        values = transform.resize_local_mean(values, shape, preserve_range=True)
    elif shape != pixels.shape:
        values = transform.resize(values, shape, order=1, anti_aliasing=False, preserve_range=True)
    return np.asarray(ndimage.gaussian_filter(values, blur_px) if blur_px > 0.0 else values, np.float32)
