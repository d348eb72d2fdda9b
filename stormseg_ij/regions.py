"""Where the nuclei of a label image lie, and windows that hold them completely, at any size of the image.

All of it works on runs (stretches of one label in a row), some rows at a time: beside the image, memory holds only what
grows with the number of nuclei.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.image import Labels
from stormseg_ij.rows import ranges

Integers: TypeAlias = NDArray[np.int64]

_BLOCK_PX = 1 << 20  # looked at together
_WINDOW_PX = 1 << 23  # of a window of many nuclei
_SPARSE = 2  # a window may also be so much larger than the boxes of its nuclei, up to twice _WINDOW_PX


@dataclass(frozen=True)
class Regions:
    """Where each label of a label image lies.

    Attributes
    ----------
    labels : ndarray, shape (N,), dtype int64
        The labels there are, ascending.
    area_px : ndarray, shape (N,), dtype int64
    boxes : ndarray, shape (N, 4), dtype int64
        Left, top, right, bottom; right and bottom are exclusive.
    first : ndarray, shape (N,), dtype int64
        The first pixel in reading order: y * X + x.
    """

    labels: Integers
    area_px: Integers
    boxes: Integers
    first: Integers


@dataclass(frozen=True)
class Window:
    """A part of a label image, and the nuclei that are looked at there: they lie in it completely.

    Attributes
    ----------
    rows, columns : slice
        Of the image.
    labels : ndarray, shape (N,), dtype int64
        Ascending. Others may reach into the window: they have their turn in another one.
    """

    rows: slice
    columns: slice
    labels: Integers


def find_regions(labels: NDArray[Any]) -> Regions:
    """Find size and place of all labels, in time linear in pixels.

    Parameters
    ----------
    labels : ndarray of int, shape (Y, X)
        0 is background; numbers may have gaps of any size.

    Examples
    --------
    >>> regions = find_regions(np.array([[0, 7, 7], [3, 0, 7]]))
    >>> regions.labels.tolist(), regions.area_px.tolist(), regions.boxes.tolist(), regions.first.tolist()
    ([3, 7], [1, 3], [[0, 1, 1, 2], [1, 0, 3, 2]], [3, 1])
    """
    width = labels.shape[1]
    parts = [np.zeros((0, 7), np.int64)]
    for top, block in blocks(labels):
        start, stop, value = runs(block)
        y, x = np.divmod(start + top * width, max(width, 1))
        columns = (value, stop - start, x, y, x + (stop - start), y + 1, start + top * width)
        parts.append(_combined(np.stack(columns, axis=1)))
    table = _combined(np.concatenate(parts))
    return Regions(table[:, 0], table[:, 1], table[:, 2:6], table[:, 6])


def windows(labels: NDArray[Any], regions: Regions | None = None) -> Iterator[Window]:
    """Cut a label image into windows in which nuclei lie completely, each nucleus in one of them.

    Parameters
    ----------
    labels : ndarray of int, shape (Y, X)
    regions : Regions, optional
        Of these labels, if they are known already.

    Yields
    ------
    Window
        In the order of the nuclei's first rows: those of labels that are numbered in reading order have ascending
        labels. About 8 million pixels at most; a nucleus whose box is larger has a window of its own.

    Examples
    --------
    >>> for window in windows(np.array([[0, 7, 7], [3, 0, 7]])):
    ...     print(window.rows, window.columns, window.labels.tolist())
    slice(0, 2, None) slice(0, 3, None) [3, 7]
    """
    regions = find_regions(labels) if regions is None else regions
    order = np.argsort(regions.first, kind="stable")
    begun = 0
    box, boxes_px = (0, 0, 0, 0), 0
    for i, (left, top, right, bottom) in enumerate(regions.boxes[order].tolist()):
        own_px = (right - left) * (bottom - top)
        if i > begun:
            wider = min(box[0], left), min(box[1], top), max(box[2], right), max(box[3], bottom)
            wider_px = (wider[2] - wider[0]) * (wider[3] - wider[1])
            if wider_px <= max(_WINDOW_PX, min(_SPARSE * (boxes_px + own_px), 2 * _WINDOW_PX)):
                box, boxes_px = wider, boxes_px + own_px
                continue
            yield _window(box, regions.labels[order[begun:i]])
        begun, box, boxes_px = i, (left, top, right, bottom), own_px
    if order.size:
        yield _window(box, regions.labels[order[begun:]])


def blocks(labels: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Cut into some rows at a time; with each comes its first row."""
    for top, bottom in ranges(labels.shape[0] if labels.size else 0, _BLOCK_PX // max(labels.shape[1], 1)):
        yield top, np.ascontiguousarray(labels[top:bottom])


def runs(block: NDArray[Any], *, background: bool = False) -> tuple[Integers, Integers, NDArray[Any]]:
    """Find where runs start and stop (y * X + x) and their labels; a run ends with its row."""
    flat = block.ravel()
    new = np.empty(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=new[1:])
    new[:: max(block.shape[1], 1)] = True
    start = np.flatnonzero(new)
    stop = np.append(start[1:], flat.size)
    value = flat[start]
    if background:
        return start, stop, value
    kept = value != 0
    return start[kept], stop[kept], value[kept]


def kept_only(block: Labels, labels: Integers) -> Labels:
    """Return a copy of a part of a label image that has only these labels; `labels` are ascending.

    Examples
    --------
    >>> kept_only(np.array([[1, 2, 0, 5]], np.int32), np.array([2, 4, 5])).tolist()
    [[0, 2, 0, 5]]
    """
    return replaced(block, labels, labels)


def replaced(block: NDArray[Any], labels: Integers, values: Integers) -> Labels:
    """Give each label another value; those that are not listed become background."""
    if not labels.size:
        return np.zeros(block.shape, np.int32)
    start, stop, value = runs(np.ascontiguousarray(block), background=True)
    place = np.minimum(np.searchsorted(labels, value), labels.size - 1)
    new = np.where(labels[place] == value, values[place], 0).astype(np.int32)
    return np.repeat(new, stop - start).reshape(block.shape)


def _combined(table: Integers) -> Integers:
    """Join the rows of each label; columns: label, area, left, top, right, bottom, first pixel."""
    if not len(table):
        return table
    table = table[np.argsort(table[:, 0], kind="stable")]
    begin = np.flatnonzero(np.append(True, table[1:, 0] != table[:-1, 0]))
    low, high = np.minimum.reduceat, np.maximum.reduceat
    how = (low, np.add.reduceat, low, low, high, high, low)
    return np.stack([join(table[:, i], begin) for i, join in enumerate(how)], axis=1)


def _window(box: tuple[int, int, int, int], labels: Integers) -> Window:
    left, top, right, bottom = box
    return Window(slice(top, bottom), slice(left, right), np.sort(labels))
