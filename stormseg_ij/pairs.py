"""Which boxes intersect: the first step of finding what overlaps, in time and memory that large images bear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.candidates import Instance

_PAIRS_AT_ONCE = 1 << 22


def box_pairs(boxes: NDArray[Any]) -> NDArray[np.int64]:
    """Find all pairs of boxes that share at least a point.

    Parameters
    ----------
    boxes : ndarray, shape (N, 4)
        First row and column, last row and column of each, all inclusive.

    Returns
    -------
    ndarray of int64, shape (P, 2)
        Indices i < j, in ascending order.

    Examples
    --------
    >>> box_pairs(np.array([[0, 0, 9, 9], [20, 0, 29, 9], [9, 9, 20, 20]])).tolist()
    [[0, 2], [1, 2]]
    """
    count = len(boxes)
    order = np.argsort(boxes[:, 0], kind="stable")
    top, left, bottom, right = boxes[order].T
    after = np.searchsorted(top, bottom, side="right")  # those that begin before a box ends are candidates
    number = np.maximum(after - np.arange(count) - 1, 0)
    ends = np.cumsum(number)
    found = [np.zeros((0, 2), np.int64)]
    begin = 0
    while begin < count:
        end = max(int(np.searchsorted(ends, (ends[begin - 1] if begin else 0) + _PAIRS_AT_ONCE)), begin + 1)
        first = np.repeat(np.arange(begin, end), number[begin:end])
        place = np.arange(len(first)) - np.repeat(np.cumsum(number[begin:end]) - number[begin:end], number[begin:end])
        second = first + 1 + place
        meet = (left[first] <= right[second]) & (left[second] <= right[first])
        found.append(np.stack([order[first[meet]], order[second[meet]]], axis=1))
        begin = end
    pairs = np.sort(np.concatenate(found), axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def boxes(instances: Sequence[Instance]) -> NDArray[np.int64]:
    """Return first row and column, last row and column of each, shape (N, 4), as `pairs.box_pairs` takes them."""
    corners = [(one.top, one.left, *one.mask.shape) for one in instances]
    found = np.array(corners, np.int64).reshape(-1, 4)
    found[:, 2:] += found[:, :2] - 1
    return found


def shared_px(one: Instance, two: Instance) -> int:
    """Count the pixels that two nuclei share.

    >>> shared_px(Instance(0, 0, np.ones((2, 3), bool), 1.0), Instance(1, 2, np.ones((2, 2), bool), 1.0))
    1
    """
    sides = []
    for a, b in zip(one.box, two.box, strict=True):
        low, high = max(a.start, b.start), max(min(a.stop, b.stop), a.start, b.start)
        sides.append((slice(low - a.start, high - a.start), slice(low - b.start, high - b.start)))
    (rows, other_rows), (columns, other_columns) = sides
    return int(np.count_nonzero(one.mask[rows, columns] & two.mask[other_rows, other_columns]))
