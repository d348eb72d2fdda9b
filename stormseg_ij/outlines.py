"""Outlines on pixel edges: from labels to closed loops of corners, and from loops back to pixels.

Pixel (0, 0) is the square from (0, 0) to (1, 1), so that a corner (x, y) is where up to four pixels meet. Loops run
along pixel edges with the object at the right-hand side: clockwise around an object, counterclockwise around a hole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.image import Labels
from stormseg_ij.regions import Window, kept_only

Mask: TypeAlias = NDArray[np.bool_]
Integers: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.int8]
Loop: TypeAlias = NDArray[np.int32] | NDArray[np.int64] | NDArray[np.float32] | NDArray[np.float64]

Path2D: TypeAlias = NDArray[np.float32]

_MOVE, _LINE, _QUADRATIC, _CUBIC, _CLOSE = range(5)
_POINTS = {_MOVE: 1, _LINE: 1, _QUADRATIC: 2, _CUBIC: 3, _CLOSE: 0}

_BLOCK_PX = 1 << 19
"""Pixels looked at together: few enough to stay in the processor's cache."""

# The four pixels around a corner, as bits:  1 2
#                                            4 8
# and how an object that owns some of them turns there: two ways in each table, since an object that owns two
# diagonal pixels passes the corner twice (each pixel keeps its own corner: objects are 4-connected, holes 8-connected).
_TURNS = np.array([0, 1, 1, 0, 1, 0, 2, 1, 1, 2, 0, 1, 0, 1, 1, 0], np.int8)
_LEAVES_SIDEWAYS = np.array([(code in (1, 8, 9, 11, 13)) for code in range(16)])
# Which of two passes is the first on its row, and on its column: the one that goes left, and the one that goes up.
_FIRST_ON_ROW = np.array([[0, 1]] * 16, np.int64)
_FIRST_ON_COLUMN = np.array([[1, 0] if code == 6 else [0, 1] for code in range(16)], np.int64)


@dataclass(frozen=True)
class Outlines:
    """The closed outlines of every label of a label image.

    Attributes
    ----------
    labels : ndarray, shape (N,), dtype int64
        The labels there are, ascending.
    x, y : ndarray, dtype int32
        All corners: label after label, loop after loop, in the order in which a loop runs. Neighbouring corners
        differ in x or in y, never in both; a loop does not repeat its first corner.
    loops : ndarray, shape (L + 1,), dtype int64
        Where each loop starts in `x` and `y`, and their length.
    owners : ndarray, shape (N + 1,), dtype int64
        Where the loops of each label start in `loops`, and L.
    """

    labels: Integers
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    loops: Integers
    owners: Integers

    @property
    def boxes(self) -> NDArray[np.int32]:
        """Bounding boxes, shape (N, 4): left, top, right, bottom; right and bottom are exclusive."""
        if not self.labels.size:
            return np.zeros((0, 4), np.int32)
        starts = self.loops[self.owners[:-1]]
        low, high = np.minimum.reduceat, np.maximum.reduceat
        sides = [low(self.x, starts), low(self.y, starts), high(self.x, starts), high(self.y, starts)]
        return np.stack(sides, axis=1)


def trace(labels: Labels, *, only: Integers | None = None) -> Outlines:
    """Trace the outlines of all labels at once, in time linear in pixels and corners.

    Parameters
    ----------
    labels : ndarray of int, shape (Y, X)
        0 is background.
    only : ndarray of int64, optional
        Take all other labels for background; ascending.

    Returns
    -------
    Outlines
        A label in one piece (4-connected) without holes (8-connected) has one loop; it starts where ImageJ's wand
        starts, after the first pixel's row, so that what ImageJ derives from the order of corners is the same.

    Examples
    --------
    >>> outlines = trace(np.array([[0, 7, 7], [0, 7, 0]], np.int32))
    >>> outlines.labels.tolist(), outlines.loops.tolist()
    ([7], [0, 6])
    >>> list(zip(outlines.x.tolist(), outlines.y.tolist()))
    [(3, 1), (2, 1), (2, 2), (1, 2), (1, 0), (3, 0)]
    """
    height, width = labels.shape
    label, place, code, passing = _corners(labels, only)
    names, owner = np.unique(label, return_inverse=True)
    by_row = np.argsort((owner * ((height + 1) * (width + 1)) + place) * 2 + _FIRST_ON_ROW[code, passing])
    owner, place, code, passing = owner[by_row], place[by_row], code[by_row], passing[by_row]
    y, x = np.divmod(place, width + 1)
    by_column = np.argsort(((owner * (width + 1) + x) * (height + 1) + y) * 2 + _FIRST_ON_COLUMN[code, passing])

    # On each row, and on each column, an object's corners are the ends of its edges in turn: 1-2, 3-4, ...
    above_or_below = np.empty(len(x), np.int64)
    above_or_below[by_column[0::2]] = by_column[1::2]
    above_or_below[by_column[1::2]] = by_column[0::2]
    following = np.where(_LEAVES_SIDEWAYS[code], np.arange(len(x)) ^ 1, above_or_below)
    order, loops = _walk(following)
    return Outlines(
        labels=names.astype(np.int64),
        x=x[order].astype(np.int32),
        y=y[order].astype(np.int32),
        loops=loops,
        owners=np.searchsorted(owner[order[loops[:-1]]], np.arange(len(names) + 1)),
    )


def trace_window(labels: Labels, window: Window) -> Outlines:
    """Trace the nuclei of a window of a label image; corners are counted from the image's upper left one.

    >>> outlines = trace_window(np.array([[0, 7, 4]], np.int32), Window(slice(0, 1), slice(1, 3), np.array([4])))
    >>> outlines.labels.tolist(), outlines.boxes.tolist()
    ([4], [[2, 0, 3, 1]])
    """
    traced = trace(labels[window.rows, window.columns], only=window.labels)
    x, y = traced.x + np.int32(window.columns.start), traced.y + np.int32(window.rows.start)
    return replace(traced, x=x, y=y)


def _corners(labels: Labels, only: Integers | None) -> tuple[Labels, Integers, Flags, Flags]:
    """Find where outlines turn: label, place, which of the four pixels are the label's, and which pass it is.

    A place is y * (X + 1) + x.
    """
    height, width = labels.shape
    rows = max(1, _BLOCK_PX // (width + 2))
    window = np.zeros((rows + 1, width + 2), labels.dtype)
    found: list[tuple[Labels, Integers, Flags, Flags]] = []
    for top in range(0, height + 1, rows):
        bottom = min(top + rows, height + 1)
        pixels = window[: bottom - top + 1]  # rows top - 1 to bottom - 1 of the image, in a frame of background
        first, last = max(top - 1, 0), min(bottom, height)
        pixels[[0, -1]] = 0
        part = labels[first:last]
        pixels[first - top + 1 : last - top + 1, 1:-1] = part if only is None else kept_only(part, only)
        across = pixels[:, 1:] != pixels[:, :-1]
        down = pixels[1:] != pixels[:-1]
        turning = np.flatnonzero((across[1:] | across[:-1]) & (down[:, 1:] | down[:, :-1]))
        upper_left = turning + turning // (width + 1)
        around = [pixels.ravel()[upper_left + step] for step in (0, 1, width + 2, width + 3)]
        found.extend(_turns(around, turning + top * (width + 1)))
    label, place, code, passing = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return label, place, code, passing


def _turns(around: list[Labels], place: Integers) -> Iterator[tuple[Labels, Integers, Flags, Flags]]:
    """List the turns of every label at some corners; `around` are the pixels at upper left to lower right."""
    for this, pixel in enumerate(around):
        code = np.zeros(len(pixel), np.int8)
        for bit, other in enumerate(around):
            code |= (other == pixel).view(np.int8) << bit
        turns = np.where((pixel != 0) & (code & ((1 << this) - 1) == 0), _TURNS[code], 0)
        for passing in (0, 1):
            here = np.flatnonzero(turns > passing)
            yield pixel[here], place[here], code[here], np.full(len(here), passing, np.int8)


def _walk(following: Integers) -> tuple[Integers, Integers]:
    """Put corners into the order in which loops run.

    Parameters
    ----------
    following : ndarray, shape (C,), dtype int64
        The corner after each corner: a permutation, whose cycles are the loops.

    Returns
    -------
    order : ndarray, shape (C,)
        Loop after loop by their first corner's index; each starts two corners after its first corner.
    loops : ndarray, shape (L + 1,)
        Where each loop starts in `order`, and C.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    count = len(following)
    if count == 0:
        return following, np.zeros(1, np.int64)

    def graph(targets: Integers) -> csr_array:
        return csr_array((np.ones(count, np.int8), targets, np.arange(count + 1)), shape=(count, count))

    n_loops, loop = connected_components(graph(following), connection="weak")
    first = np.empty(n_loops, np.int64)
    first[loop[::-1]] = np.arange(count - 1, -1, -1)
    first.sort()
    # Open every loop before its start and tie its end to the next loop's start: one path through all corners.
    start = following[following[first]]
    end = following[first]
    path = following.copy()
    path[end] = np.roll(start, -1)
    order = breadth_first_order(graph(path), start[0], return_predecessors=False).astype(np.int64)
    position = np.empty(count, np.int64)
    position[order] = np.arange(count)
    return order, np.append(position[start], count)


def fill(loops: list[Loop], height: int, width: int) -> Mask:
    """Fill closed loops by ImageJ's rule: pixels whose centres lie inside, by even and odd crossings.

    Parameters
    ----------
    loops : list of ndarray, shape (n, 2)
        Corners x, y; integer or float; the first corner may be repeated at the end.
    height, width : int
        Size of the result. What lies outside is cut off.

    Returns
    -------
    ndarray, shape (height, width), dtype bool

    Notes
    -----
    An edge counts for the rows whose centres lie between its ends, the end with the larger y excluded; a centre
    exactly on a left edge is outside, on a right edge inside. Ends are rounded to rows before the row's crossing is
    computed, as in ``ij.process.PolygonFiller`` of ImageJ 1.54p.

    Examples
    --------
    >>> fill([np.array([[0, 0], [3, 0], [0, 3]])], 3, 3).astype(int)
    array([[1, 1, 1],
           [1, 1, 0],
           [1, 0, 0]])
    """
    crossings = [_crossings(loop.astype(np.float64), height) for loop in loops]
    row, x = (np.concatenate(parts) for parts in zip(*crossings, strict=True))
    order = np.lexsort((x, row))
    # Java's (int) cuts off towards zero; all below zero becomes zero.
    columns = np.clip(x[order] + 0.5, 0, width).astype(np.int64)
    steps = np.zeros((height, width + 1), np.int8)
    np.add.at(steps, (row[order[0::2]], columns[0::2]), 1)
    np.add.at(steps, (row[order[1::2]], columns[1::2]), -1)
    return np.cumsum(steps, axis=1, dtype=np.int8)[:, :-1] > 0


def _crossings(loop: NDArray[np.float64], height: int) -> tuple[Integers, NDArray[np.float64]]:
    """Where the edges of a loop cross the centre lines of rows 0 to height - 1: row and x of each crossing."""
    ends = np.stack([loop, np.concatenate([loop[1:], loop[:1]])])
    upper = (ends[0, :, 1] > ends[1, :, 1]).astype(np.int64)
    edge = np.arange(len(loop))
    (x1, y1), (x2, y2) = ends[upper, edge].T, ends[1 - upper, edge].T
    top, bottom = np.floor(y1 + 0.5), np.floor(y2 + 0.5)
    kept = np.flatnonzero((top < bottom) & (bottom > 0) & (top < height))
    x1, y1, x2, y2 = x1[kept], y1[kept], x2[kept], y2[kept]
    slope = (x2 - x1) / (y2 - y1)
    first = np.maximum(top[kept], 0).astype(np.int64)
    length = np.minimum(bottom[kept], height).astype(np.int64) - first
    edge = np.repeat(edge[: len(kept)], length)
    row = np.arange(len(edge)) + (first - np.cumsum(length) + length)[edge]
    return row, x1[edge] + (row - y1[edge] + 0.5) * slope[edge] + 1e-8


def loops_to_path(loops: Sequence[Loop]) -> Path2D:
    """Write closed loops as the steps of a path, as ImageJ's composite ROIs hold them (``java.awt.geom``).

    Parameters
    ----------
    loops : sequence of ndarray, shape (n, 2)
        Corners x, y.

    Returns
    -------
    ndarray, shape (M,), dtype float32
        Move, x, y, line, x, y, ..., close; loop after loop.

    Examples
    --------
    >>> loops_to_path([np.array([[1, 2], [3, 4]])]).tolist()
    [0.0, 1.0, 2.0, 1.0, 3.0, 4.0, 4.0]
    """
    parts = []
    for loop in loops:
        steps = np.full((len(loop), 3), _LINE, np.float32)
        steps[0, 0] = _MOVE
        steps[:, 1:] = loop
        parts.append(np.append(steps.ravel(), np.float32(_CLOSE)))
    return np.concatenate(parts)


def path_to_loops(path: Path2D) -> list[Loop]:
    """Read the loops of a path; each curve becomes 16 straight lines. The inverse of `loops_to_path`.

    What follows a broken step is left away, as ImageJ does.
    """
    loops: list[Loop] = []
    points: list[NDArray[np.float32]] = []
    weights = np.linspace(0.0, 1.0, 17)[1:, np.newaxis]
    at = 0
    while at < len(path) and path[at] in _POINTS:
        step, count = int(path[at]), _POINTS[int(path[at])]
        if at + 2 * count >= len(path):
            break
        controls = path[at + 1 : at + 1 + 2 * count].reshape(-1, 2)
        at += 1 + 2 * count
        if step in (_MOVE, _CLOSE):
            loops.extend([np.array(points)] if points else [])
            points = list(controls)
        elif count == 1 or not points:
            points.append(controls[-1])
        else:
            curve = np.stack([points[-1], *controls])[:, np.newaxis, :].astype(np.float64)
            while len(curve) > 1:  # de Casteljau's construction
                curve = curve[:-1] * (1.0 - weights) + curve[1:] * weights
            points.extend(curve[0].astype(np.float32))
    return [*loops, np.array(points)] if points else loops
