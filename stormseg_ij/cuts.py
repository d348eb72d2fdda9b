"""Cuts of one mask into several: along a drawn line, or between two centres; every pixel goes to exactly one piece."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.image import Labels
from stormseg_ij.outlines import Mask

Points: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Line: TypeAlias = tuple[NDArray[Any], NDArray[Any]]
Division: TypeAlias = Literal["bisector", "neck"]

CRUMB_FRACTION = 0.01
"""Smaller pieces of a nucleus are given to their neighbour, if two others are left."""
CRUMB_PX = 4
"""Smaller pieces are no nuclei in any case."""

_ON_THE_LINE = 1e-9  # square pixels: rounding does not decide to whom a pixel on the line belongs
_OFF_CENTRES = np.array([1e-6, 1.618e-6])  # pixels: no line runs through the centres of two pixels then
_STEP_PX = 0.25  # in which the end of a line is made longer
_LEAST_REACH_PX, _REACH = 3.0, 0.1  # the direction of an end is that of this stretch of the line: hands shake
_NECK_ANGLES, _NECK_PX = 48, 20_000  # lines that are tried, and pixels of the nucleus that are looked at
_LEAST_SHARE = 0.05  # of a nucleus in two


def cut_along(mask: Mask, line_xy: NDArray[np.floating]) -> Labels:
    """Cut a mask along an open line.

    Parameters
    ----------
    mask : ndarray of bool, shape (h, w)
        May have holes and be in several pieces: these count as joined by the shortest bridges.
    line_xy : ndarray of float, shape (V, 2)
        Vertices x, y; pixel (0, 0) of the mask is the square from (0, 0) to (1, 1). An end that lies in the mask or
        in a hole of it is made longer until it leaves it.

    Returns
    -------
    ndarray of int32, shape (h, w)
        0 outside the mask, else the number of the piece: 1 is the largest. Only 1 where the line does not part it.

    Notes
    -----
    Pixels stay together if they are neighbours (4-connected) and the line does not pass between their centres. So no
    pixel is lost to the line, and a straight line parts them by the side on which their centres lie. Crumbs, which a
    wiggly line leaves, go to the neighbour with which they have most contact.

    Examples
    --------
    >>> cut_along(np.ones((2, 5), bool), np.array([[2.0, 0.4], [2.0, 1.6]]))
    array([[2, 2, 1, 1, 1],
           [2, 2, 1, 1, 1]], dtype=int32)
    """
    from scipy import ndimage

    filled = ndimage.binary_fill_holes(mask)
    line = np.asarray(line_xy, np.float64)
    line = line[np.append(True, (np.diff(line, axis=0) != 0).any(axis=1))]
    if len(line) < 2:
        return mask.astype(np.int32)
    line = np.concatenate([_beyond(line[::-1], filled)[::-1], line, _beyond(line, filled)]) - 0.5 + _OFF_CENTRES
    bridges = _bridges(mask)
    cut = _Cut.of(mask, _passed(line, mask.shape), bridges, _is_crossed(bridges, line))
    least = max(CRUMB_PX, CRUMB_FRACTION * np.count_nonzero(mask))
    kept = [piece for piece in cut.by_size() if cut.areas[piece] >= least]
    if len(kept) < 2:
        kept = [piece for piece in cut.by_size()[:2] if cut.areas[piece] >= CRUMB_PX] or kept
    return cut.given_to(kept or cut.by_size()[:1])


def cut_in_two(mask: Mask, *, by: Division = "bisector") -> Labels:
    """Cut a mask in two by itself, where two nuclei seem to touch.

    Parameters
    ----------
    mask : ndarray of bool, shape (h, w)
    by : {"bisector", "neck"}
        The dividing line. Bisector: the perpendicular bisector of the segment between two centres: of the largest
        disc in the mask, and of the largest disc in the rest of it. Neck: the line with the fewest pixels, compared
        with the square root of the smaller part.

    Returns
    -------
    ndarray of int32, shape (h, w)
        0 outside the mask, 1 for the larger piece and 2 for the smaller one; only 1 if it is too small to be cut.
        What the line cuts off besides goes to the piece that it touches.

    References
    ----------
    Mela & Liu 2021, Methods, "Post processing": shared pixels are divided along the perpendicular bisector.

    Examples
    --------
    >>> cut_in_two(np.array([[1, 1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 1, 1, 1]], bool))
    array([[1, 1, 1, 0, 2, 2, 2],
           [1, 1, 1, 2, 2, 2, 0],
           [1, 1, 1, 0, 2, 2, 2]], dtype=int32)
    """
    found = (_bisector if by == "bisector" else _neck)(mask)
    if found is None:
        return mask.astype(np.int32)
    point, across = found
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    beyond = (y - point[0]) * across[0] + (x - point[1]) * across[1] > _ON_THE_LINE
    bridges = _bridges(mask)
    crossed = beyond[bridges[:, 0, 0], bridges[:, 0, 1]] != beyond[bridges[:, 1, 0], bridges[:, 1, 1]]
    cut = _Cut.of(mask, (beyond[:, 1:] != beyond[:, :-1], beyond[1:] != beyond[:-1]), bridges, crossed)
    sides = np.zeros(len(cut.areas), bool)
    sides[cut.pieces] = beyond
    by_size = cut.by_size()
    others = [piece for piece in by_size if sides[piece] != sides[by_size[0]] and cut.areas[piece] >= CRUMB_PX]
    return cut.given_to([by_size[0], *others[:1]])


def _bisector(mask: Mask) -> Line | None:
    """Return a point of the bisector between two centres, and the direction across it; None if there is one centre."""
    from scipy import ndimage

    framed = np.pad(mask, 1)
    y, x = np.ogrid[: framed.shape[0], : framed.shape[1]]
    centres = []
    for _ in range(2):
        depth = ndimage.distance_transform_edt(framed)
        centre = np.unravel_index(int(depth.argmax()), depth.shape)
        if not depth[centre]:
            return None
        centres.append(np.array(centre, np.float64) - 1.0)
        framed &= np.hypot(y - centre[0], x - centre[1]) >= depth[centre]
    return (centres[0] + centres[1]) / 2.0, centres[1] - centres[0]


def _neck(mask: Mask) -> Line | None:
    """Return a point of the line that has few pixels for what it cuts off, and the direction across it."""
    from scipy import ndimage

    step = math.ceil(math.sqrt(np.count_nonzero(mask) / _NECK_PX))
    places = np.argwhere(mask[::step, ::step])
    if len(places) < 2:
        return None
    centre = places.mean(axis=0)
    best, found = math.inf, None
    for angle in np.arange(_NECK_ANGLES) * math.pi / _NECK_ANGLES:
        across = np.array([math.sin(angle), math.cos(angle)])
        distance = (places - centre) @ across
        first = distance.min()
        chord = np.bincount((distance - first).astype(np.int64)).astype(np.float64)
        before = np.cumsum(chord)
        smaller = np.minimum(before, len(places) - before)
        cost = np.full(chord.shape, math.inf)
        large = smaller >= max(_LEAST_SHARE * len(places), 1.0)
        cost[large] = ndimage.uniform_filter1d(chord, 3)[large] / np.sqrt(smaller[large])
        i = int(cost.argmin())
        if cost[i] < best:
            best, found = cost[i], ((centre + across * (first + i + 0.5)) * step, across)
    return found


def _beyond(line: Points, filled: Mask) -> Points:
    """Return the point, if any, at which the last end of a line that lies in the mask leaves it in its direction."""
    end = line[-1]
    steps = np.arange(int(np.hypot(*filled.shape) / _STEP_PX) + 2) * _STEP_PX
    length = float(np.hypot(*np.diff(line, axis=0).T).sum())
    away = np.hypot(*(line - end).T)
    far = np.flatnonzero(away >= max(_LEAST_REACH_PX, _REACH * length))
    start = far[-1] if far.size else int(away.argmax())
    on = end + steps[:, np.newaxis] * (end - line[start]) / away[start]
    column, row = np.floor(on).astype(np.int64).T
    inside = (row >= 0) & (row < filled.shape[0]) & (column >= 0) & (column < filled.shape[1])
    inside[inside] = filled[row[inside], column[inside]]
    left = int(np.argmin(inside))
    return np.asarray(on[left : left + 1] if left else on[:0])


def _passed(line: Points, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    """Find the pairs of neighbours between whose centres a line passes: with the right one, with the one below.

    Centres have whole coordinates here.
    """
    passed = []
    for along, size, cells in ((1, shape[0], shape[1] - 1), (0, shape[1], shape[0] - 1)):
        one, two = line[:-1], line[1:]
        low, high = np.minimum(one[:, along], two[:, along]), np.maximum(one[:, along], two[:, along])
        first = np.clip(np.ceil(low), 0, size).astype(np.int64)
        count = np.clip(np.ceil(high), first, size).astype(np.int64) - first
        edge = np.repeat(np.arange(len(one)), count)
        at = np.arange(len(edge)) + (first - np.cumsum(count) + count)[edge]
        part = (at - one[edge, along]) / (two[edge, along] - one[edge, along])
        across = one[edge, 1 - along] + part * (two[edge, 1 - along] - one[edge, 1 - along])
        cell = np.floor(np.clip(across, -1.0, cells)).astype(np.int64)
        here = (cell >= 0) & (cell < cells)
        found = np.zeros((size, cells), bool)
        found[at[here], cell[here]] = True
        passed.append(found)
    return passed[0], passed[1].T


def _bridges(mask: Mask) -> Integers:
    """Find the shortest bridges that join a mask's pieces (4-connected): pairs of pixels (y, x), shape (B, 2, 2)."""
    from scipy import ndimage
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    pieces, count = ndimage.label(mask)
    if count < 2:
        return np.zeros((0, 2, 2), np.int64)
    nearest = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True).astype(np.int64)
    places = np.concatenate([nearest, pieces[nearest[0], nearest[1]][np.newaxis]])  # y, x and piece of the nearest
    ends = []
    for one, two in ((places[:, :-1], places[:, 1:]), (places[..., :-1], places[..., 1:])):
        border = one[2] != two[2]
        ends.append(np.stack([one[:2, border].T, two[:2, border].T], axis=1))
    pairs = np.concatenate(ends)
    lengths = np.hypot(*(pairs[:, 0] - pairs[:, 1]).T)
    pairs = pairs[np.argsort(lengths, kind="stable")]
    numbers = np.sort(pieces[pairs[..., 0], pairs[..., 1]], axis=1).astype(np.int64) - 1
    _, first = np.unique(numbers[:, 0] * count + numbers[:, 1], return_index=True)
    pairs, numbers = pairs[first], numbers[first]
    lengths = np.hypot(*(pairs[:, 0] - pairs[:, 1]).T)
    tree = minimum_spanning_tree(coo_array((lengths, numbers.T), shape=(count, count)).tocsr()).tocoo()
    chosen = np.isin(numbers[:, 0] * count + numbers[:, 1], tree.row.astype(np.int64) * count + tree.col)
    return np.asarray(pairs[chosen])


def _is_crossed(bridges: Integers, line: Points) -> Mask:
    """Say which bridges a line crosses; centres have whole coordinates here."""

    def side(ends: Points, points: Points) -> NDArray[np.bool_]:
        """Say which points (N, 2) lie to the left of lines (M, 2, 2): shape (M, N)."""
        along, to = (ends[:, 1] - ends[:, 0])[:, np.newaxis], points[np.newaxis] - ends[:, :1]
        return np.asarray(along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0] > 0.0)

    edges = np.stack([line[:-1], line[1:]], axis=1)
    crossed = np.zeros(len(bridges), bool)
    for i, bridge in enumerate(bridges[:, :, ::-1].astype(np.float64)):
        of_line = side(bridge[np.newaxis], line)[0]
        of_bridge = side(edges, bridge)
        crossed[i] = ((of_line[1:] != of_line[:-1]) & (of_bridge[:, 0] != of_bridge[:, 1])).any()
    return crossed


@dataclass(frozen=True)
class _Cut:
    """Pieces of a mask, and how they hang together.

    Attributes
    ----------
    pieces : ndarray of int32, shape (h, w)
        0 outside the mask, else 1 to K.
    areas : ndarray, shape (K + 1,)
    contacts : list of Counter
        For each piece, with how many pairs of pixels it touches each other one.
    """

    pieces: Labels
    areas: Integers
    contacts: list[Counter[int]]

    @classmethod
    def of(cls, mask: Mask, passed: tuple[Mask, Mask], bridges: Integers, crossed: Mask) -> _Cut:
        """Part neighbours that `passed` names (right, below) and bridges that are crossed; all others stay together."""
        from scipy import ndimage
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        # Pixels and, between them, their bonds: what is connected there is one piece.
        bonds = np.zeros([2 * size - 1 for size in mask.shape], bool)
        bonds[::2, ::2] = mask
        bonds[::2, 1::2] = mask[:, 1:] & mask[:, :-1] & ~passed[0]
        bonds[1::2, ::2] = mask[1:] & mask[:-1] & ~passed[1]
        parts, count = ndimage.label(bonds)
        parts = parts[::2, ::2]
        one, two = (parts[bridges[:, i, 0], bridges[:, i, 1]] - 1 for i in (0, 1))
        whole = coo_array((np.ones(np.count_nonzero(~crossed)), (one[~crossed], two[~crossed])), shape=(count, count))
        joined = connected_components(whole, directed=False)[1] + 1
        pieces = np.append(0, joined)[parts].astype(np.int32)
        pairs = [np.stack([joined[one[crossed]], joined[two[crossed]]])]
        for first, second in ((pieces[:, 1:], pieces[:, :-1]), (pieces[1:], pieces[:-1])):
            apart = (first != second) & (first > 0) & (second > 0)
            pairs.append(np.stack([first[apart], second[apart]]))
        areas = np.bincount(pieces.ravel())
        contacts: list[Counter[int]] = [Counter() for _ in areas]
        touching, how_often = np.unique(np.concatenate(pairs, axis=1), axis=1, return_counts=True)
        for a, b, times in zip(*touching.tolist(), how_often.tolist(), strict=True):
            contacts[a][b] += times
            contacts[b][a] += times
        return cls(pieces, areas, contacts)

    def by_size(self) -> list[int]:
        """Return the pieces, the largest first; of equal ones, the first in reading order."""
        return [int(piece) + 1 for piece in np.argsort(-self.areas[1:], kind="stable")]

    def given_to(self, kept: list[int]) -> Labels:
        """Give all other pieces, the smallest first, to the neighbour that they touch most; number by final size."""
        areas = self.areas.tolist()
        contacts = [Counter(neighbours) for neighbours in self.contacts]
        into = list(range(len(areas)))
        others = set(range(1, len(areas))).difference(kept)
        while others:
            crumb = min(others, key=lambda piece: (areas[piece], piece))
            others.remove(crumb)
            neighbour = max(contacts[crumb], key=lambda piece: (contacts[crumb][piece], -piece))
            into[crumb] = neighbour
            areas[neighbour] += areas[crumb]
            for other, times in contacts[crumb].items():
                del contacts[other][crumb]
                if other != neighbour:
                    contacts[other][neighbour] += times
                    contacts[neighbour][other] += times
        for piece in range(len(into)):
            while into[into[piece]] != into[piece]:
                into[piece] = into[into[piece]]
        numbers = np.zeros(len(into), np.int32)
        numbers[sorted(kept, key=lambda piece: (-areas[piece], piece))] = np.arange(1, len(kept) + 1)
        return np.asarray(numbers[into][self.pieces])
