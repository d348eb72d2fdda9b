"""Refine outlines: the label ends where the localizations end, not where a star-convex polygon does.

The outline moves to where the image says that the nucleus ends, held by a spring to the old one: it stays where the
image says nothing. All lengths are fractions of a diameter, the nucleus' own or the image's median, so that images with
nuclei of any size are treated alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.image import Labels
from stormseg_ij.labels import largest_pieces

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
_BORDER_REACH = 0.12  # how far the border of two touching nuclei may move
_BORDER_SPRING = 1.0  # a line without signal moves it that far, a fainter one less
_BORDER_BLUR = 0.03  # sigma: a line is found by its length, not pixel by pixel
_LEAST_CONTRAST = 0.1  # of that of the whole image: where inside and outside differ less, nothing is to be seen
_PRIOR_WEIGHT = 0.02  # of the whole image's levels in windows that hold (nearly) only inside or outside
_LEAST_AREA, _MOST_AREA = 0.5, 1.6  # of the old area; what leaves these limits has gone astray
_TRUNCATE = 3.0  # where blurs end, in sigmas
_COARSE = 1.2  # sigma in pixels of the grid on which windows are averaged: a coarse grid holds smooth means


def refine(labels: Labels, pixels: NDArray[Any]) -> Labels:
    """Move outlines to where the localizations end, and borders of touching nuclei to the dark line between them.

    Inside and outside are compared in a window around each pixel: the log-likelihood ratio of two normal
    distributions with the mean of either side and their common variance, for the blurred square root of the image
    (which evens out the variance of counts). A spring to the old outline is added, and the sign of the sum decides.
    Where two nuclei touch, a watershed on the image finds their border, held by a spring too.

    Parameters
    ----------
    labels : ndarray of int32, shape (Y, X)
        0 is background, every other value one nucleus of one piece.
    pixels : ndarray, shape (Y, X)
        The original image, integer or float. Only differences count: neither factor nor offset matters.

    Returns
    -------
    ndarray of int32, shape (Y, X)
        The same labels, each of one piece (4 neighbours) and without holes. A label whose refined outline has less than
        half or more than 1.6 times the old area keeps the old one. An image without contrast changes nothing.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    Li, Kao, Gore & Ding 2008, IEEE Trans. Image Process. 17:1940 (means in a window on either side of a contour);
    Mela & Liu 2021, Methods (marker-controlled watershed for borders).

    Examples
    --------
    >>> image = np.zeros((40, 40), np.uint8)
    >>> image[10:30, 10:30] = 9
    >>> labels = np.zeros((40, 40), np.int32)
    >>> labels[9:31, 9:31] = 5
    >>> bool((refine(labels, image) == np.where(image, 5, 0)).all())
    True
    """
    if labels.shape != pixels.shape:
        raise ValueError(f"labels of shape {labels.shape} for an image of shape {pixels.shape}")
    if not labels.any() or np.ptp(pixels) == 0:
        return labels.copy()
    old = _Outlines.of(labels)
    blurred = _blurred(pixels, old)
    windows = _Windows.of(blurred, old.typical)
    inside = labels > 0
    for _ in range(_ROUNDS):
        evidence, level = windows.evidence(inside)
        inside = evidence + (_MOST / _REACH) * old.depth > 0.0
    return _whole(_with_borders(old, inside, blurred / level), labels)


@dataclass(frozen=True)
class _Outlines:
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
        Median diameter.
    """

    owner: Labels
    diameter: Floats
    depth: Floats
    typical: float

    @classmethod
    def of(cls, labels: Labels) -> _Outlines:
        from scipy import ndimage

        inside = labels > 0
        each = np.sqrt(4.0 / np.pi * np.bincount(labels.ravel())).astype(np.float32)
        present = each[1:][each[1:] > 0.0]
        typical = float(np.median(present))
        if inside.all():  # nothing to grow into, nothing to shrink from
            return cls(labels, each[labels], np.ones(labels.shape, np.float32), typical)
        edge = inside & ~ndimage.binary_erosion(inside, border_value=1)
        away, nearest = ndimage.distance_transform_edt(~edge, return_indices=True)  # one transform for both sides
        owner = np.where(inside, labels, labels[tuple(nearest)])
        diameter = each[owner]
        depth = np.where(inside, away + 0.5, 0.5 - away).astype(np.float32) / diameter
        return cls(owner, diameter, depth, typical)


def _blurred(pixels: NDArray[Any], old: _Outlines) -> Floats:
    """Blur the square root, 1.0 on average in nuclei."""
    from scipy import ndimage

    root = np.sqrt(pixels.astype(np.float32) - np.float32(pixels.min()))
    blurred = ndimage.gaussian_filter(root, _BLUR * old.typical, truncate=_TRUNCATE)
    mean = float(blurred[old.depth > 0.0].mean(dtype=np.float64))
    return np.asarray(blurred / (mean or 1.0), np.float32)


@dataclass(frozen=True)
class _Windows:
    """Means of an image in a window around each pixel, on a grid of every `step`-th pixel."""

    image: Floats
    typical: float
    step: int
    mean: Fine
    mean_square: Fine

    @classmethod
    def of(cls, image: Floats, typical: float) -> _Windows:
        step = max(int(_WINDOW * typical / _COARSE), 1)
        sigma = _WINDOW * typical / step
        return cls(image, typical, step, _windowed(image, step, sigma), _windowed(image**2, step, sigma))

    def evidence(self, inside: Mask) -> tuple[Floats, Floats]:
        """Return the log-likelihood ratio of inside to outside at each pixel, and the level of the inside around it."""
        from scipy import ndimage

        sigma = _WINDOW * self.typical / self.step
        kept = np.where(inside, self.image, np.float32(0.0))
        weight, part = _windowed(inside, self.step, sigma), _windowed(kept, self.step, sigma)
        total, count = float(kept.sum(dtype=np.float64)), int(inside.sum())
        level_in = total / max(count, 1)
        others = self.image.size - count
        level_out = (float(self.image.sum(dtype=np.float64)) - total) / others if others else level_in
        f = (part + _PRIOR_WEIGHT * level_in) / (weight + _PRIOR_WEIGHT)
        b = (self.mean - part + _PRIOR_WEIGHT * level_out) / (1.0 - weight + _PRIOR_WEIGHT)
        variance = np.maximum(self.mean_square - weight * f**2 - (1.0 - weight) * b**2, 0.0)
        variance += (_LEAST_CONTRAST * (level_in - level_out)) ** 2
        slope = np.where(f > b, (f - b) / np.maximum(variance, 1e-12), 0.0)
        ratio = self._enlarged(slope) * (self.image - self._enlarged(0.5 * (f + b)))
        np.clip(ratio, -_MOST, _MOST, out=ratio)
        evidence = ndimage.gaussian_filter(ratio, _SMOOTH * self.typical, truncate=_TRUNCATE)
        return evidence, self._enlarged(np.maximum(f, 1e-6))

    def _enlarged(self, values: Fine) -> Floats:
        return _enlarged(values, self.step, self.image.shape)


def _windowed(values: NDArray[Any], step: int, sigma: float) -> Fine:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(_reduced(values, step).astype(np.float64), sigma, truncate=_TRUNCATE))


def _reduced(values: NDArray[Any], step: int) -> Floats:
    """Average squares of `step` pixels; incomplete ones at the end are filled up with the last row and column.

    >>> _reduced(np.array([[1, 3, 5]]), 2).tolist()
    [[2.0, 5.0]]
    """
    sums = values.astype(np.float32)
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
    """Undo `_reduced`, linear between the centres of the squares.

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


def _with_borders(old: _Outlines, inside: Mask, relative: Floats) -> Labels:
    """Give each pixel inside to a label: its owner, but along borders by a watershed on the image.

    `relative` is the image, 1.0 at the level of the nuclei around.
    """
    from scipy import ndimage
    from skimage import segmentation

    labels = np.where(inside, old.owner, 0).astype(np.int32)
    apart = np.zeros(labels.shape, bool)
    apart[1:] |= old.owner[1:] != old.owner[:-1]
    apart[:, 1:] |= old.owner[:, 1:] != old.owner[:, :-1]
    apart[:-1] |= apart[1:]
    apart[:, :-1] |= apart[:, 1:]
    if not (apart & inside).any():
        return labels
    far = ndimage.distance_transform_edt(~apart).astype(np.float32) / (_BORDER_REACH * old.diameter)
    contested = inside & (far < 1.0)
    markers = np.where(contested, 0, labels)
    area = ndimage.binary_dilation(contested, iterations=1) & inside
    relative = ndimage.gaussian_filter(np.minimum(relative, 1.5), _BORDER_BLUR * old.typical, truncate=_TRUNCATE)
    height = -relative - _BORDER_SPRING * np.minimum(far, 1.0)
    flooded = segmentation.watershed(height, np.where(area, markers, 0), mask=area)
    return np.where(area, flooded, labels).astype(np.int32)


def _whole(labels: Labels, old: Labels) -> Labels:
    """Make each label one piece without holes; take its old outline where the new one is far too small or large."""
    count = int(old.max()) + 1
    area = np.bincount(old.ravel(), minlength=count)
    kept = np.zeros(count, bool)
    while True:
        labels = _filled(largest_pieces(np.where(kept[old], old, np.where(kept[labels], 0, labels)).astype(np.int32)))
        new = np.bincount(labels.ravel(), minlength=count)
        astray = ~kept & (area > 0) & ((new < _LEAST_AREA * area) | (new > _MOST_AREA * area))
        astray[0] = False
        if not astray.any():
            return labels
        kept |= astray


def _filled(labels: Labels) -> Labels:
    """Fill background that a single label encloses.

    >>> _filled(np.array([[1, 1, 1, 2], [1, 0, 1, 0], [1, 1, 1, 2]], np.int32)).tolist()
    [[1, 1, 1, 2], [1, 1, 1, 0], [1, 1, 1, 2]]
    """
    from scipy import ndimage

    lakes, count = ndimage.label(labels == 0)
    least, most = np.full(count + 1, np.iinfo(np.int32).max), np.full(count + 1, -1)
    for rim in (lakes[0], lakes[-1], lakes[:, 0], lakes[:, -1]):
        least[rim] = 0  # open to the border of the image
    for one, two in (
        (np.s_[1:], np.s_[:-1]),
        (np.s_[:-1], np.s_[1:]),
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[:, :-1], np.s_[:, 1:]),
    ):
        shore = (lakes[one] > 0) & (labels[two] > 0)
        np.minimum.at(least, lakes[one][shore], labels[two][shore])
        np.maximum.at(most, lakes[one][shore], labels[two][shore])
    fill = np.where(least == most, most, 0)
    fill[0] = 0
    return np.where(labels > 0, labels, fill[lakes]).astype(np.int32)
