"""Large images in tiles: where they lie, and how what was found in them is put together again.

Every place of an image is seen by one tile better than by the others: the one whose cut sides are furthest away. What
that tile saw counts, so that the result is the one of the whole image; no nucleus is cut at a tile's side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.candidates import Candidates, Instance, Mask
from stormseg_ij.pairs import box_pairs

Boxes: TypeAlias = NDArray[np.float64]
Reals: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

ALIGN_PX = 64
"""Tiles start at multiples of it: networks halve their input up to 6 times, and see the same grid in every tile."""

LARGEST_TILE_PX = 2048
"""Side of the largest tile that is made for wide nuclei: a network takes some 2.5 GiB for it."""

_CUT_PX = 2.0  # nearer to a cut side a nucleus counts as cut off
_NEAR_PX = 16.0  # by how much the views of one nucleus may disagree on which tile sees it better
_SAME = 0.5  # share of the smaller of two views that the other covers where they show one nucleus
_PILOTS = ((0.1, 0.6), (0.4, 0.1), (0.6, 0.9), (0.9, 0.4))  # places looked at first, for the width of nuclei
_ROOM = 1.25  # the overlap is that many times as wide as the widest nucleus


@dataclass(frozen=True)
class Tile:
    """A part of an image, in pixels of the network's input.

    Attributes
    ----------
    top, left, bottom, right : int
        First row and column, and those after the last.
    """

    top: int
    left: int
    bottom: int
    right: int

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return np.s_[self.top : self.bottom, self.left : self.right]

    def clearance(self, boxes: Boxes, shape: tuple[int, int]) -> Reals:
        """Return how far boxes (first row, column, last row, column) stay from the tile's sides that cut the image.

        Infinite where no side cuts it; negative where a box reaches out of the tile.
        """
        rows = _clearance(boxes[:, 0], boxes[:, 2], (self.top, self.bottom), shape[0])
        columns = _clearance(boxes[:, 1], boxes[:, 3], (self.left, self.right), shape[1])
        return np.minimum(rows, columns)


@dataclass(frozen=True)
class View:
    """What was found in one tile, in coordinates of the whole network input."""

    tile: Tile
    found: Candidates


@dataclass(frozen=True)
class Tiled:
    """What was found in all tiles.

    Attributes
    ----------
    candidates : Candidates
        Every nucleus once, in coordinates of the whole network input.
    tiles : int
        How many were looked at.
    tile, overlap : int
        Their side and overlap in pixels of the network's input, as used.
    notes : tuple of str
        What a user should know: that the overlap grew, or nuclei did not fit into any tile.
    """

    candidates: Candidates
    tiles: int
    tile: int
    overlap: int
    notes: tuple[str, ...] = ()


def plan(shape: tuple[int, int], *, tile: int, overlap: int) -> list[Tile]:
    """Lay tiles over an image, row by row.

    Parameters
    ----------
    shape : (int, int)
        Of the network's input.
    tile : int
        Side in pixels; the last tile of a row or column may be up to `ALIGN_PX` smaller.
    overlap : int
        Least overlap of neighbours in pixels, below `tile`.

    References
    ----------
    Mela & Liu 2021, Methods, "Image tiling": 5,120 pixels in tiles of 512 that overlap by 128 make 13 x 13.

    Examples
    --------
    >>> tiles = plan((5120, 5120), tile=512, overlap=128)
    >>> len(tiles), tiles[1], tiles[-1]
    (169, Tile(top=0, left=384, bottom=512, right=896), Tile(top=4608, left=4608, bottom=5120, right=5120))
    >>> plan((100, 700), tile=512, overlap=128)[-1]
    Tile(top=0, left=192, bottom=100, right=700)
    """
    rows, columns = (_sides(length, tile, overlap) for length in shape)
    return [Tile(top, left, bottom, right) for (top, bottom), (left, right) in product(rows, columns)]


def find_in_tiles(
    shape: tuple[int, int],
    predict: Callable[[Tile], Candidates],
    *,
    tile: int,
    overlap: int,
    progress: Callable[[float], None] = lambda _: None,
) -> Tiled:
    """Find nuclei tile by tile.

    Some tiles are looked at first: where their nuclei are wider than the overlap, it grows. A nucleus that still fits
    into no tile gets one of its own; if even that is cut, its parts are put together.

    Parameters
    ----------
    shape : (int, int)
        Of the network's input.
    predict : callable
        Gives what is found in a tile, in the tile's own coordinates.
    tile, overlap : int
        As for `plan`.
    progress : callable
        Told the finished fraction after each tile; what it raises ends the work.

    Returns
    -------
    Tiled
    """
    notes: list[str] = []
    tiles = plan(shape, tile=tile, overlap=overlap)
    seen: dict[Tile, View] = {}

    def look(at: Tile) -> View:
        if at not in seen:
            seen[at] = View(at, predict(at).moved(at.top, at.left))
        return seen[at]

    asked = overlap
    while len(tiles) > 1:
        widest = max(_widest(look(pilot).found) for pilot in _pilots(tiles))
        wide_enough = _wide_enough(widest)
        if widest == 0.0 or widest + 2 * _CUT_PX <= overlap or wide_enough <= overlap:
            break
        overlap = wide_enough
        tile = max(tile, 2 * overlap)
        grown = f"the overlap of tiles grew from {asked} to {overlap} pixels (tiles of {tile})"
        notes = [f"{grown}: some nuclei are {widest:.0f} pixels wide"]
        tiles = plan(shape, tile=tile, overlap=overlap)
        seen.clear()
    views = []
    for number, at in enumerate(tiles, start=1):
        views.append(look(at))
        progress(number / len(tiles))
    found, parts = join(views, shape)
    if parts:
        more = dict.fromkeys(_around(part.boxes(), shape, tile) for part in parts)
        views += [look(at) for at in more if at not in seen]
        found, parts = join(views, shape)
    if parts:
        whole = _put_together(parts, shape)
        notes.append(f"{len(whole)} nuclei were larger than any tile and put together from parts; try a smaller --size")
        found = Candidates.joined([found, whole])
    return Tiled(found, len(views), tile, overlap, tuple(notes))


def join(views: Sequence[View], shape: tuple[int, int]) -> tuple[Candidates, list[Candidates]]:
    """Put together what was found in tiles, each nucleus once.

    A nucleus counts as the tile saw it that sees its place best. Near the middle of an overlap two tiles can disagree
    on which of them that is: then of views that cover each other by half the better one counts, and a view stays that
    no other one covers.

    Parameters
    ----------
    views : sequence of View
        Tiles may lie anywhere, not only in rows.
    shape : (int, int)
        Of the network's input.

    Returns
    -------
    found : Candidates
        Those that a tile saw as a whole.
    parts : list of Candidates
        What every tile that sees the place cuts off: the parts of each such nucleus.
    """
    found = Candidates.joined([view.found for view in views])
    source = _sources(views)
    boxes = found.boxes()
    own, best = np.full(len(found), -np.inf), np.full(len(found), -np.inf)
    for number, view in enumerate(views):
        near = np.flatnonzero(_touching(boxes, view.tile))
        clearance = view.tile.clearance(boxes[near], shape)
        best[near] = np.maximum(best[near], clearance)
        mine = source[near] == number
        own[near[mine]] = clearance[mine]
    seen_well = (own >= _CUT_PX) & ((own == best) | (own > best - _NEAR_PX))
    chosen = np.flatnonzero(seen_well)
    # Better views first; the rest only makes the result the same whatever the order of the tiles.
    keys = (*boxes[chosen].T, -found.scores[chosen], -own[chosen], own[chosen] < best[chosen])
    chosen = chosen[np.lexsort(keys)]
    kept = chosen[_first_of_same(found, chosen, source, shape)]
    parts = _parts(found, np.flatnonzero(best < _CUT_PX), [view.tile for view in views], source)
    return found.take(np.sort(kept)), [found.take(part) for part in parts]


def _sides(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Cut a side into tiles: their first pixels and those after the last."""
    if length <= tile:
        return [(0, length)]
    step = max((tile - overlap) // ALIGN_PX, 1) * ALIGN_PX
    last = -(-(length - tile) // ALIGN_PX) * ALIGN_PX
    return [*((start, start + tile) for start in range(0, last, step)), (last, length)]


def _clearance(first: Reals, last: Reals, side: tuple[int, int], length: int) -> Reals:
    """Return how far boxes stay from two opposite sides of a tile."""
    low = first - side[0] if side[0] > 0 else np.full(len(first), np.inf)
    high = side[1] - 1 - last if side[1] < length else np.full(len(first), np.inf)
    return np.minimum(low, high)


def _touching(boxes: Boxes, tile: Tile) -> NDArray[np.bool_]:
    rows = (boxes[:, 0] < tile.bottom) & (boxes[:, 2] >= tile.top)
    return np.asarray(rows & (boxes[:, 1] < tile.right) & (boxes[:, 3] >= tile.left))


def _sources(views: Sequence[View]) -> Integers:
    """Return which view each candidate comes from, in the order of `Candidates.joined`."""
    polygons = [len(view.found.polygons) for view in views]
    masks = [len(view.found.masks) for view in views]
    return np.concatenate([np.repeat(np.arange(len(views)), counts) for counts in (polygons, masks)])


def _first_of_same(found: Candidates, chosen: Integers, source: Integers, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Of views of one nucleus in several tiles, keep the first; `chosen` holds the views in order."""
    pairs = box_pairs(found.boxes()[chosen])
    pairs = pairs[source[chosen[pairs[:, 0]]] != source[chosen[pairs[:, 1]]]]
    drawn: dict[int, Instance | None] = {}
    keep = np.ones(len(chosen), np.bool_)
    for first, second in pairs.tolist():  # ascending: what could remove `first` has been seen
        if not (keep[first] and keep[second]):
            continue
        one, two = (_drawn(found, int(chosen[place]), shape, drawn) for place in (first, second))
        if one is None or two is None:
            continue
        if _shared(one, two) >= _SAME * min(one.area, two.area):
            keep[second] = False
    return keep


def _drawn(found: Candidates, index: int, shape: tuple[int, int], drawn: dict[int, Instance | None]) -> Instance | None:
    if index not in drawn:
        drawn[index] = found.draw(index, shape, (1.0, 1.0))
    return drawn[index]


def _parts(found: Candidates, cut: Integers, tiles: Sequence[Tile], source: Integers) -> list[Integers]:
    """Group views that every tile cuts off, by union-find: those that agree where both of their tiles see them."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not cut.size:
        return []
    shape = max(tile.bottom for tile in tiles), max(tile.right for tile in tiles)
    pairs = box_pairs(found.boxes()[cut])
    pairs = pairs[source[cut[pairs[:, 0]]] != source[cut[pairs[:, 1]]]]
    drawn: dict[int, Instance | None] = {}
    same = np.zeros(len(pairs), np.bool_)
    for number, (first, second) in enumerate(cut[pairs].tolist()):
        strip = _common(tiles[source[first]].box, tiles[source[second]].box)
        one, two = (_within(_drawn(found, index, shape, drawn), strip) for index in (first, second))
        if one is not None and two is not None:
            same[number] = _shared(one, two) >= _SAME * min(one.area, two.area)
    ends = pairs[same].T
    graph = coo_array((np.ones(ends.shape[1], np.int8), (ends[0], ends[1])), shape=(len(cut), len(cut)))
    count, group = connected_components(graph, directed=False)
    return [cut[group == number] for number in range(count)]


def _put_together(parts: Sequence[Candidates], shape: tuple[int, int]) -> Candidates:
    """Unite the parts of each nucleus into a mask; its score is the highest of theirs."""
    masks, corners, scores = [], [], []
    for part in parts:
        instances = [one for i in range(len(part)) if (one := part.draw(i, shape, (1.0, 1.0))) is not None]
        if not instances:
            continue
        corner = np.array([[one.top, one.left] for one in instances]).min(axis=0)
        after = np.array([[side.stop for side in one.box] for one in instances]).max(axis=0)
        mask = np.zeros(after - corner, np.bool_)
        for one in instances:
            rows, columns = one.top - corner[0], one.left - corner[1]
            mask[rows : rows + one.mask.shape[0], columns : columns + one.mask.shape[1]] |= one.mask
        masks.append(mask)
        corners.append(corner)
        scores.append(max(one.score for one in instances))
    return Candidates.of_masks(masks, np.array(corners, np.int64).reshape(-1, 2), np.array(scores, np.float32))


def _common(one: Sequence[slice], two: Sequence[slice]) -> tuple[slice, slice]:
    rows, columns = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, two, strict=True))
    return rows, columns


def _within(instance: Instance | None, box: tuple[slice, slice]) -> Instance | None:
    """Cut an instance to a box."""
    if instance is None:
        return None
    rows, columns = _common(instance.box, box)
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return None
    return Instance(rows.start, columns.start, _cut(instance, rows, columns), instance.score).trimmed()


def _cut(instance: Instance, rows: slice, columns: slice) -> Mask:
    top, left = instance.top, instance.left
    return instance.mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def _shared(one: Instance, two: Instance) -> int:
    """Return how many pixels two instances share."""
    rows, columns = _common(one.box, two.box)
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return 0
    here, there = _cut(one, rows, columns), _cut(two, rows, columns)
    return int(np.count_nonzero(here & there))


def _pilots(tiles: Sequence[Tile]) -> list[Tile]:
    """Choose some tiles that have no row and no column in common, if there are so many."""
    columns = sum(tile.top == tiles[0].top for tile in tiles)
    rows = len(tiles) // columns
    places = [round(y * (rows - 1)) * columns + round(x * (columns - 1)) for y, x in _PILOTS]
    return [tiles[place] for place in dict.fromkeys(places)]


def _widest(found: Candidates) -> float:
    """Return the longest side of all boxes in pixels; 0 without any."""
    boxes = found.boxes()
    return float((boxes[:, 2:] - boxes[:, :2]).max(initial=0.0))


def _wide_enough(widest: float) -> int:
    """Return the overlap that nuclei of this width need; no more than tiles of `LARGEST_TILE_PX` bear."""
    return min(_aligned(_ROOM * widest + 2 * _CUT_PX), LARGEST_TILE_PX // 2)


def _aligned(length: float) -> int:
    return math.ceil(length / ALIGN_PX) * ALIGN_PX


def _around(boxes: Boxes, shape: tuple[int, int], tile: int) -> Tile:
    """Return a tile around some boxes, at least of the usual side, with room at its sides where it may be so large."""
    sides = []
    for axis in (0, 1):
        low, high = float(boxes[:, axis].min()), float(boxes[:, axis + 2].max())
        side = min(max(_aligned(high - low + 2 * ALIGN_PX), tile), LARGEST_TILE_PX)
        start = math.floor(((low + high) / 2.0 - side / 2.0) / ALIGN_PX) * ALIGN_PX
        start = max(min(start, _aligned(shape[axis] - side)), 0)
        sides.append((start, min(start + side, shape[axis])))
    (top, bottom), (left, right) = sides
    return Tile(top, left, bottom, right)
