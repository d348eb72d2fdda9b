"""What in a result deserves a second look: nuclei cut by the border, and sizes that stand out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.overlap import Nuclei

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]

FEWEST_NUCLEI, FEWEST_IMAGES = 8, 4
"""With fewer, what is usual is not known."""
IMAGE_Z, NUCLEUS_Z = 3.5, 4.5
"""Robust z scores from which an image, and a single nucleus, is unusual; the former is that of Iglewicz and Hoaglin."""
_LEAST_IMAGE_SPREAD, _LEAST_NUCLEUS_SPREAD = math.log(1.15), math.log(1.35)
"""Differences in size that are usual however alike the others are: 15 % between images, 35 % between nuclei."""
_LARGEST_EXCESS, _STANDARD_ERRORS, _FEWEST_TOUCHING = 0.1, 3.0, 5


def touching(nuclei: Nuclei, shape: tuple[int, int]) -> Flags:
    """Return which nuclei touch the border of an image of this shape (Y, X).

    Examples
    --------
    >>> boxes = np.array([[0, 2, 3, 4], [1, 1, 3, 3]])
    >>> touching(Nuclei(np.array([1, 2]), np.array([6, 4]), boxes), (9, 9)).tolist()
    [True, False]
    """
    top, left, bottom, right = nuclei.boxes.T
    flags: Flags = (top == 0) | (left == 0) | (bottom == shape[0]) | (right == shape[1])
    return flags


def expected_touching(nuclei: Nuclei, shape: tuple[int, int]) -> float:
    """Return the share of nuclei that is expected at the border if they lie anywhere with equal chance.

    A nucleus h x w is seen in an image H x W if its centre is in a field of (H + h) x (W + w), and whole if it is in
    one of (H - h) x (W - w). Its size is taken from the nuclei that are whole: the median of their boxes.

    Examples
    --------
    >>> nuclei = Nuclei(np.array([1]), np.array([100]), np.array([[20, 20, 30, 30]]))
    >>> round(expected_touching(nuclei, (100, 100)), 3), round(expected_touching(nuclei, (1000, 1000)), 3)
    (0.331, 0.039)
    """
    at_border = touching(nuclei, shape)
    boxes = nuclei.boxes if at_border.all() else nuclei.boxes[~at_border]
    if not len(boxes):
        return 0.0
    height, width = (float(np.median(boxes[:, axis + 2] - boxes[:, axis])) for axis in (0, 1))
    whole = max(0.0, shape[0] - height) * max(0.0, shape[1] - width)
    return 1.0 - whole / ((shape[0] + height) * (shape[1] + width))


def border_warning(nuclei: Nuclei, shape: tuple[int, int]) -> str | None:
    """Warn if more nuclei touch the border than is expected from their size and the image's.

    At least 5 of them, and 3 standard errors and 10 % of all nuclei more than `expected_touching`.
    """
    count, n_touching = len(nuclei.ids), int(touching(nuclei, shape).sum())
    if n_touching < _FEWEST_TOUCHING:
        return None
    expected = expected_touching(nuclei, shape)
    excess = max(_LARGEST_EXCESS, _STANDARD_ERRORS * math.sqrt(expected * (1.0 - expected) / count))
    if n_touching / count <= expected + excess:
        return None
    return (
        f"{n_touching} of {count} nuclei touch the border of the image ({100 * n_touching / count:.0f} %; "
        f"{100 * expected:.0f} % are expected from their size): their areas are too small"
    )


def robust_z(values: Sequence[float] | Reals, least_spread: float) -> Reals:
    """Return the distance of values from their median in standard deviations, those estimated by the MAD.

    Parameters
    ----------
    values : array_like, shape (n,)
    least_spread : float
        The standard deviation is taken to be at least this.

    References
    ----------
    Iglewicz & Hoaglin 1993, How to Detect and Handle Outliers (the modified z score).

    Examples
    --------
    >>> robust_z([1.0, 2.0, 3.0, 4.0, 30.0], 0.0).round(2).tolist()
    [-1.35, -0.67, 0.0, 0.67, 18.21]
    """
    array = np.asarray(values, np.float64)
    if not array.size:
        return array
    away = array - np.median(array)
    scores: Reals = away / max(1.4826 * float(np.median(np.abs(away))), least_spread, np.finfo(np.float64).tiny)
    return scores


def odd_images(medians: Sequence[float | None]) -> list[str | None]:
    """Warn of each image whose median nucleus area is unusual among those of its folder.

    Parameters
    ----------
    medians : sequence of float or None
        Median areas, all in one unit; None where an image has no nuclei.

    Returns
    -------
    list of str or None
    """
    known = [i for i, median in enumerate(medians) if median]
    found: list[str | None] = [None] * len(medians)
    if len(known) < FEWEST_IMAGES:
        return found
    areas = np.array([medians[i] for i in known], np.float64)
    usual = float(np.median(areas))
    for i, area, z in zip(known, areas.tolist(), robust_z(np.log(areas), _LEAST_IMAGE_SPREAD).tolist(), strict=True):
        if abs(z) > IMAGE_Z:
            factor = f"{area / usual:.2g} times" if z > 0 else f"1/{usual / area:.2g} of"
            found[i] = f"its median nucleus area is {factor} that of the folder's images (z = {z:+.1f})"
    return found


def odd_nuclei(nuclei: Nuclei, shape: tuple[int, int]) -> tuple[Flags, Flags]:
    """Return which nuclei are far too large, and which far too small, for their image.

    Those that the border cuts may be small.

    Returns
    -------
    large, small : ndarray of bool, shape (n,)
    """
    whole = ~touching(nuclei, shape)
    if np.count_nonzero(whole) < FEWEST_NUCLEI:
        none = np.zeros(len(nuclei.ids), bool)
        return none, none
    areas = np.log(nuclei.areas.astype(np.float64))
    usual = float(np.median(areas[whole]))
    spread = max(1.4826 * float(np.median(np.abs(areas[whole] - usual))), _LEAST_NUCLEUS_SPREAD)
    z = (areas - usual) / spread
    return z > NUCLEUS_Z, (z < -NUCLEUS_Z) & whole
