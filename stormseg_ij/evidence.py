"""Where nuclei end, by the image: whether a pixel is more like the inside or like the outside around it.

All lengths are fractions of a diameter, the nucleus' own or the image's median, so that images with nuclei of any size
are treated alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.image import Labels

Floats = NDArray[np.float32]
Fine = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Lengths in diameters. Chosen on simulated images, never on real ones: half or double of any of them changes the mean
# IoU of the nuclei found by about 0.01 at most. benchmarks/refine.py scores them on images that were not used for that.
_BLUR = 0.015  # sigma of the first blur: below a rim's width, so that its outer edge stays where it is
_WINDOW = 0.12  # sigma of the window in which inside and outside are compared: a nucleus may have a faint half
_SMOOTH = 0.03  # sigma of the blur of the evidence: outlines as smooth as drawn ones
_MOST = 2.0  # most that one place counts, in natural log of likelihood ratios: no cluster decides alone
_REACH = 0.16  # how far the outline may move: evidence of `_MOST` overcomes the spring up to here
_ROUNDS = 2  # inside and outside are compared again for the moved outline
_LEAST_CONTRAST = 0.1  # of that of the whole image: where inside and outside differ less, nothing is to be seen
_PRIOR_WEIGHT = 0.02  # of the whole image's levels in windows that hold (nearly) only inside or outside
_COARSE = 1.2  # sigma in pixels of the grid on which windows are averaged: a coarse grid holds smooth means
TRUNCATE = 3.0
"""Where blurs end, in sigmas."""
SEEN = _ROUNDS * (TRUNCATE * (_WINDOW + _SMOOTH) + 2.5 * _WINDOW / _COARSE) + TRUNCATE * _BLUR + 0.3
"""How far away what decides about a pixel may lie, in median diameters: all blurs, the grid, and 0.3 for borders."""


@dataclass(frozen=True)
class Levels:
    """What has to be known of the whole image, so that its parts are treated alike.

    Attributes
    ----------
    typical_px : float
        Median diameter of the nuclei.
    least : float
        The lowest pixel.
    inside, outside : float
        Mean of the blurred square root of the image in nuclei, and outside.
    """

    typical_px: float
    least: float
    inside: float
    outside: float


@dataclass(frozen=True)
class OldOutlines:
    """The old outlines.

    Attributes
    ----------
    owner : ndarray of int32
        The nearest label of each pixel.
    diameter : ndarray of float32
        Of the owner, in pixels: that of the disc of equal area.
    depth : ndarray of float32
        Distance to the background, negative outside, in diameters.
    typical : float
        Median diameter of the whole image.
    """

    owner: Labels
    diameter: Floats
    depth: Floats
    typical: float

    @classmethod
    def of(cls, labels: Labels, diameters: Floats, typical: float) -> OldOutlines:
        """Look at the outlines of labels; `diameters` in pixels, by label."""
        from scipy import ndimage

        inside = labels > 0
        if inside.all():  # nothing to grow into, nothing to shrink from
            return cls(labels, diameters[labels], np.ones(labels.shape, np.float32), typical)
        edge = inside & ~_eroded(inside)
        # One transform for both sides.
        y, x = ndimage.distance_transform_edt(~edge, return_distances=False, return_indices=True)
        owner = labels.ravel().take(y * np.int32(labels.shape[1]) + x)
        np.copyto(owner, labels, where=inside)
        y -= np.arange(labels.shape[0], dtype=np.int32)[:, np.newaxis]
        x -= np.arange(labels.shape[1], dtype=np.int32)
        depth = np.sqrt((y * y + x * x).astype(np.float32))
        np.negative(depth, out=depth, where=~inside)
        depth += np.float32(0.5)
        diameter = diameters[owner]
        depth /= diameter
        return cls(owner, diameter, depth, typical)


def blurred_root(pixels: NDArray[Any], levels: Levels, factor: int = 1) -> Floats:
    """Blur the square root (it evens out the variance of counts) of squares of `factor` pixels."""
    from scipy import ndimage

    rows = factor * max((1 << 20) // (factor * pixels.shape[1]), 1)
    parts = [
        reduced(np.sqrt(pixels[top : top + rows].astype(np.float32) - np.float32(levels.least)), factor)
        for top in range(0, pixels.shape[0], rows)
    ]
    root = np.concatenate(parts) if len(parts) > 1 else parts[0]
    return np.asarray(ndimage.gaussian_filter(root, _BLUR * levels.typical_px / factor, truncate=TRUNCATE), np.float32)


def blur_rows(typical_px: float) -> int:
    """Return how many pixels away `blurred_root` looks, at most."""
    return int(TRUNCATE * _BLUR * typical_px + 0.5) + 1


def grid(typical: float) -> int:
    """Return the number of pixels between the points of the grid on which means are taken."""
    return max(int(_WINDOW * typical / _COARSE), 1)


def find_inside(image: Floats, labels: Labels, old: OldOutlines, contrast: float) -> tuple[Mask, Floats]:
    """Move the outlines to where the image says that nuclei end.

    Parameters
    ----------
    image : ndarray of float32
        Blurred, 1.0 on average in nuclei.
    labels : ndarray of int32
    old : OldOutlines
        Of these labels.
    contrast : float
        1.0 less the level outside.

    Returns
    -------
    inside : ndarray of bool
    level : ndarray of float32
        Of the inside around each pixel.
    """
    windows = _Windows.of(image, old.typical, contrast)
    inside = labels > 0
    spring = np.float32(_MOST / _REACH)
    for _ in range(_ROUNDS):
        evidence, level = windows.evidence(inside)
        evidence += spring * old.depth
        inside = evidence > 0.0
    return inside, windows.enlarged(level)


def _eroded(mask: Mask) -> Mask:
    """Remove the pixels beside the background; beyond the edge of the image there is none.

    >>> _eroded(np.array([[True, True, True, False]])).tolist()
    [[True, True, False, False]]
    """
    kept = mask.copy()
    kept[1:] &= mask[:-1]
    kept[:-1] &= mask[1:]
    kept[:, 1:] &= mask[:, :-1]
    kept[:, :-1] &= mask[:, 1:]
    return kept


@dataclass(frozen=True)
class _Windows:
    """Means of an image in a window around each pixel, on a grid of every `step`-th pixel."""

    image: Floats
    typical: float
    contrast: float
    step: int
    mean: Fine
    mean_square: Fine

    @classmethod
    def of(cls, image: Floats, typical: float, contrast: float) -> _Windows:
        step = grid(typical)
        sigma = _WINDOW * typical / step
        return cls(image, typical, contrast, step, _windowed(image, step, sigma), _windowed(image**2, step, sigma))

    def evidence(self, inside: Mask) -> tuple[Floats, Fine]:
        """Return the log-likelihood ratio of inside to outside at each pixel, and the inside's level on the grid."""
        from scipy import ndimage

        sigma = _WINDOW * self.typical / self.step
        kept = np.where(inside, self.image, np.float32(0.0))
        weight, part = _windowed(inside, self.step, sigma), _windowed(kept, self.step, sigma)
        level_in, level_out = 1.0, 1.0 - self.contrast  # those of the old outlines: whole images are cut up
        f = (part + _PRIOR_WEIGHT * level_in) / (weight + _PRIOR_WEIGHT)
        b = (self.mean - part + _PRIOR_WEIGHT * level_out) / (1.0 - weight + _PRIOR_WEIGHT)
        variance = np.maximum(self.mean_square - weight * f**2 - (1.0 - weight) * b**2, 0.0)
        variance += (_LEAST_CONTRAST * self.contrast) ** 2
        slope = np.where(f > b, (f - b) / np.maximum(variance, 1e-12), 0.0)
        ratio = self.image - self.enlarged(0.5 * (f + b))
        ratio *= self.enlarged(slope)
        np.clip(ratio, -_MOST, _MOST, out=ratio)
        evidence = ndimage.gaussian_filter(ratio, _SMOOTH * self.typical, truncate=TRUNCATE)
        return evidence, np.maximum(f, 1e-6)

    def enlarged(self, values: Fine) -> Floats:
        """Bring values on the grid to the pixels."""
        return _enlarged(values, self.step, self.image.shape)


def _windowed(values: NDArray[Any], step: int, sigma: float) -> Fine:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(reduced(values, step).astype(np.float64), sigma, truncate=TRUNCATE))


def reduced(values: NDArray[Any], step: int) -> Floats:
    """Average squares of `step` pixels; incomplete ones at the end are filled up with the last row and column.

    >>> reduced(np.array([[1, 3, 5]]), 2).tolist()
    [[2.0, 5.0]]
    """
    sums = values.astype(np.float32)
    if step == 1:
        return sums
    for axis, side in enumerate(values.shape):
        missing = [(0, 0), (0, 0)]
        missing[axis] = (0, -side % step)
        padded = np.pad(sums, missing, mode="edge") if missing[axis][1] else sums
        sums = sum(
            (padded[np.s_[k::step] if axis == 0 else np.s_[:, k::step]] for k in range(1, step)),
            padded[np.s_[::step] if axis == 0 else np.s_[:, ::step]],
        )
    return np.asarray(sums / np.float32(step**2))


def _enlarged(values: Fine, step: int, shape: tuple[int, ...]) -> Floats:
    """Undo `reduced`, linear between the centres of the squares.

    >>> _enlarged(np.array([[0.0, 4.0]]), 2, (1, 4)).tolist()
    [[0.0, 1.0, 3.0, 4.0]]
    """
    out = values.astype(np.float32)
    for axis, side in enumerate(shape):
        place = np.clip((np.arange(side) + 0.5) / step - 0.5, 0.0, out.shape[axis] - 1.0)
        low = place.astype(np.intp)
        high = np.minimum(low + 1, out.shape[axis] - 1)
        part = (place - low).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        below = out.take(low, axis)
        out = below + part * (out.take(high, axis) - below)
    return out
