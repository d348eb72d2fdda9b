"""Which nuclei of two label images share pixels, and how many: a sparse joint histogram.

Counted from runs along the rows, whose number goes with the nuclei's borders and not with their area.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.errors import ImageError
from stormseg_ij.image import Pixels

Integers = NDArray[np.int64]

_PIXELS_AT_ONCE = 1 << 22
"""How many are looked through at a time: what is made of them stays small beside the images."""


@dataclass(frozen=True)
class Nuclei:
    """The nuclei of one label image, by ascending label.

    Attributes
    ----------
    ids, areas : ndarray of int, shape (n,)
        Label, and number of pixels.
    boxes : ndarray of int, shape (n, 4)
        First row and column, and those after the last.
    """

    ids: Integers
    areas: Integers
    boxes: Integers


@dataclass(frozen=True)
class Overlap:
    """The joint histogram of two label images without background, only where it is not zero.

    Attributes
    ----------
    true, pred : Nuclei
    pairs : ndarray of int, shape (n, 2)
        Indices into `true` and `pred` of two nuclei that share pixels, in ascending order.
    iou : ndarray of float, shape (n,)
        Intersection over union of each pair.
    """

    true: Nuclei
    pred: Nuclei
    pairs: Integers
    iou: NDArray[np.float64]


@dataclass(frozen=True)
class _Runs:
    """Pieces of rows along which both label images stay the same and at least one is not background."""

    true: Pixels
    pred: Pixels
    rows: Integers
    starts: Integers
    stops: Integers


def find_overlap(pred: Pixels, truth: Pixels, name: str = "") -> Overlap:
    """Find all nuclei and the pixels that they share, with their labels as they are.

    Parameters
    ----------
    pred, truth : ndarray of int, shape (Y, X)
        0 is background; values need not be contiguous.
    name : str
        Of the image, for errors.

    Returns
    -------
    Overlap

    Raises
    ------
    ImageError
        If the two differ in shape, are not 2-D and of integers, or have negative values.

    Examples
    --------
    >>> overlap = find_overlap(np.array([[7, 7, 0, 9]]), np.array([[2, 2, 2, 0]]))
    >>> overlap.pairs.tolist(), overlap.iou.round(3).tolist(), overlap.pred.ids.tolist()
    ([[0, 0]], [0.667], [7, 9])
    """
    what = name or "the label image"
    for array in (pred, truth):
        if array.ndim != 2 or array.dtype.kind not in "ui":
            raise ImageError(f"{what}: {array.ndim}-D labels of {array.dtype}; give (Y, X) of integers")
    if pred.shape != truth.shape:
        sizes = [f"{width} x {height}" for height, width in (pred.shape, truth.shape)]
        raise ImageError(f"{what}: the prediction has {sizes[0]} pixels, the truth {sizes[1]}; give equal sizes")
    runs = _runs(pred, truth)
    if min(runs.true.min(initial=0), runs.pred.min(initial=0)) < 0:
        raise ImageError(f"{what}: has negative labels; give 0 for background and numbers above it")
    true_nuclei, i = _nuclei(runs.true, runs)
    pred_nuclei, j = _nuclei(runs.pred, runs)
    both = (i >= 0) & (j >= 0)
    codes, inverse = np.unique(i[both] * len(pred_nuclei.ids) + j[both], return_inverse=True)
    shared = np.bincount(inverse, (runs.stops - runs.starts)[both])
    pairs = np.stack(np.divmod(codes, max(1, len(pred_nuclei.ids))), axis=1)
    union = true_nuclei.areas[pairs[:, 0]] + pred_nuclei.areas[pairs[:, 1]] - shared
    return Overlap(true_nuclei, pred_nuclei, pairs, shared / union)


def find_nuclei(labels: Pixels, name: str = "") -> Nuclei:
    """Find the nuclei of one label image, with their labels as they are.

    Parameters
    ----------
    labels : ndarray of int, shape (Y, X)
        0 is background; values need not be contiguous.
    name : str
        Of the image, for errors.

    Returns
    -------
    Nuclei

    Raises
    ------
    ImageError
        If it is not 2-D and of integers, or has negative values.

    Examples
    --------
    >>> nuclei = find_nuclei(np.array([[0, 7, 7], [2, 7, 0]]))
    >>> nuclei.ids.tolist(), nuclei.areas.tolist(), nuclei.boxes.tolist()
    ([2, 7], [1, 3], [[1, 0, 2, 1], [0, 1, 2, 3]])
    """
    return find_overlap(labels, labels, name).true


def _runs(pred: Pixels, truth: Pixels) -> _Runs:
    height, width = truth.shape
    step = max(1, _PIXELS_AT_ONCE // max(1, width))
    found: list[tuple[Pixels, ...]] = []
    for top in range(0, max(1, height), step):
        t, p = truth[top : top + step], pred[top : top + step]
        begins = np.ones(t.shape, bool)
        begins[:, 1:] = (t[:, 1:] != t[:, :-1]) | (p[:, 1:] != p[:, :-1])
        flat = np.flatnonzero(begins)
        lengths = np.diff(flat, append=t.size)
        t, p = t[begins], p[begins]
        keep = (t != 0) | (p != 0)
        rows, starts = np.divmod(flat[keep], width)
        found.append((t[keep], p[keep], rows + top, starts, starts + lengths[keep]))
    return _Runs(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _nuclei(values: Pixels, runs: _Runs) -> tuple[Nuclei, Integers]:
    """Find the nuclei with these values along the runs; with them the nucleus of each run, -1 for background."""
    ids, index = np.unique(values, return_inverse=True)
    areas = np.bincount(index, runs.stops - runs.starts, len(ids)).astype(np.int64)
    boxes = np.full((4, len(ids)), np.iinfo(np.int64).max)
    boxes[2:] = 0
    np.minimum.at(boxes[0], index, runs.rows)
    np.minimum.at(boxes[1], index, runs.starts)
    np.maximum.at(boxes[2], index, runs.rows + 1)
    np.maximum.at(boxes[3], index, runs.stops)
    first = int(len(ids) > 0 and ids[0] == 0)
    return Nuclei(ids[first:].astype(np.int64), areas[first:], boxes.T[first:]), index - first
