"""Nuclei as a network hands them over: outlines or masks in their boxes, with scores; they may overlap."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Mask: TypeAlias = NDArray[np.bool_]
Scale: TypeAlias = tuple[float, float]

_ON_THE_OUTLINE = 1e-9  # pixels: rounding does not decide whether a centre lies on the outline


@dataclass(frozen=True)
class Instance:
    """One nucleus drawn in pixels of an image, in its box.

    Attributes
    ----------
    top, left : int
        Row and column of the mask's first pixel in the image.
    mask : ndarray of bool, shape (h, w)
        No row or column at its sides is empty.
    score : float
        Probability, 0 to 1.
    """

    top: int
    left: int
    mask: Mask
    score: float

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns in the image."""
        height, width = self.mask.shape
        return np.s_[self.top : self.top + height, self.left : self.left + width]

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))

    def trimmed(self) -> Instance | None:
        """Return the instance without empty rows and columns at its sides; None if it has no pixel."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        if rows.size == 0:
            return None
        inside = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return Instance(self.top + int(rows[0]), self.left + int(columns[0]), self.mask[inside], self.score)


@dataclass(frozen=True)
class Candidates:
    """What a network found, in pixels of its input; (0, 0) is the centre of the first pixel.

    Star-convex networks give polygons, the others masks; where both are there, the polygons come first.

    Attributes
    ----------
    polygons : ndarray of float32, shape (P, 2, V)
        Vertices (y, x).
    scores : ndarray of float32, shape (P + M,)
        Probability of each, 0 to 1.
    masks : tuple of ndarray, each of shape (h, w)
        M masks in their boxes: bool, or float from 0 to 1, inside from 0.5 on.
    corners : ndarray of int, shape (M, 2)
        Row and column of each mask's first pixel.
    """

    polygons: NDArray[np.float32]
    scores: NDArray[np.float32]
    masks: tuple[NDArray[Any], ...] = ()
    corners: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))

    @classmethod
    def of_masks(
        cls, masks: Sequence[NDArray[Any]], corners: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> Candidates:
        """Make candidates of masks alone."""
        return cls(np.zeros((0, 2, 0), np.float32), scores, tuple(masks), corners)

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """Put several together; all polygons have the same number of vertices."""
        with_polygons = [part.polygons for part in parts if len(part.polygons)]
        return cls(
            np.concatenate(with_polygons) if with_polygons else np.zeros((0, 2, 0), np.float32),
            np.concatenate(
                [np.zeros(0, np.float32)]
                + [part.scores[: len(part.polygons)] for part in parts]
                + [part.scores[len(part.polygons) :] for part in parts]
            ),
            tuple(mask for part in parts for mask in part.masks),
            np.concatenate([np.zeros((0, 2), np.int64), *(part.corners for part in parts)]),
        )

    def __len__(self) -> int:
        """Return their number."""
        return len(self.scores)

    def take(self, indices: NDArray[np.integer[Any]]) -> Candidates:
        """Return those with these indices, polygons before masks."""
        indices = np.asarray(indices, np.intp)
        of_polygons, of_masks = indices[indices < len(self.polygons)], indices[indices >= len(self.polygons)]
        places = of_masks - len(self.polygons)
        return Candidates(
            self.polygons[of_polygons],
            np.concatenate([self.scores[of_polygons], self.scores[of_masks]]),
            tuple(self.masks[place] for place in places.tolist()),
            self.corners[places],
        )

    def moved(self, rows: int, columns: int) -> Candidates:
        """Return them shifted by whole pixels."""
        polygons = self.polygons + np.array([rows, columns], np.float32)[:, None]
        return dataclasses.replace(self, polygons=polygons, corners=self.corners + np.array([rows, columns]))

    def boxes(self) -> NDArray[np.float64]:
        """Return first row and column and last row and column of each, shape (N, 4).

        >>> Candidates.of_masks([np.ones((2, 3), bool)], np.array([[5, 7]]), np.ones(1, np.float32)).boxes().tolist()
        [[5.0, 7.0, 6.0, 9.0]]
        """
        boxes = np.zeros((len(self), 4))
        count = len(self.polygons)
        if count:
            boxes[:count, :2], boxes[:count, 2:] = self.polygons.min(axis=2), self.polygons.max(axis=2)
        for place, mask in enumerate(self.masks):
            boxes[count + place] = [*self.corners[place], *(self.corners[place] + mask.shape - 1)]
        return boxes

    def diameters(self) -> NDArray[np.float64]:
        """Diameter of the disc with each one's area, in pixels of the network's input."""
        y, x = self.polygons[:, 0].astype(np.float64), self.polygons[:, 1].astype(np.float64)
        area = 0.5 * np.abs((x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1))
        masks = np.array([np.count_nonzero(_inside(mask)) for mask in self.masks], np.float64)
        return np.asarray(np.sqrt(4.0 * np.concatenate([area, masks]) / np.pi))

    def draw(self, index: int, shape: tuple[int, int], scale: Scale) -> Instance | None:
        """Draw one of them in pixels of the original image.

        Polygons are scaled, then drawn: outlines stay smooth. Masks are resized bilinearly and cut at 0.5.

        Parameters
        ----------
        index : int
        shape : (int, int)
            Of the original image; what lies outside is cut off.
        scale : (float, float)
            Network pixels per original pixel in y and x.

        Returns
        -------
        Instance or None
            None if it covers the centre of no pixel.

        References
        ----------
        Mela & Liu 2021, Methods, "Image resizing and pre-processing": results are brought back to full size.

        Examples
        --------
        >>> square = np.array([[[-0.4, -0.4, 1.4, 1.4], [-0.4, 1.4, 1.4, -0.4]]], np.float32)
        >>> drawn = Candidates(square, np.array([0.5], np.float32)).draw(0, (5, 5), (0.5, 0.5))
        >>> drawn.top, drawn.left, drawn.mask.shape, drawn.area
        (0, 0, (4, 4), 16)
        """
        score = float(self.scores[index])
        if index < len(self.polygons):
            top, left, mask = _drawn_polygon(self.polygons[index], shape, scale)
        else:
            place = index - len(self.polygons)
            top, left, mask = _resized_mask(self.masks[place], self.corners[place], shape, scale)
        return Instance(top, left, mask, score).trimmed()


def _inside(mask: NDArray[Any]) -> Mask:
    return np.asarray(mask if mask.dtype == np.bool_ else mask >= 0.5)


def _drawn_polygon(polygon: NDArray[np.float32], shape: tuple[int, int], scale: Scale) -> tuple[int, int, Mask]:
    vertices = (polygon.astype(np.float64) + 0.5) / np.array(scale)[:, None] - 0.5
    first = np.clip(np.floor(vertices.min(axis=1)), 0, shape).astype(np.int64)
    after = np.clip(np.floor(vertices.max(axis=1)) + 1, first, shape).astype(np.int64)
    y, x = vertices - first[:, None]
    return int(first[0]), int(first[1]), _filled(y, x, *(after - first).tolist())


def _filled(y: NDArray[np.float64], x: NDArray[np.float64], height: int, width: int) -> Mask:
    """Fill what `skimage.draw.polygon` fills: pixels whose centre lies in the polygon (even-odd) or on its outline.

    Along a row, pixels change sides where the outline crosses it. A crossing on a pixel counts from that pixel on and,
    in a second pass, from the next on: such pixels are inside in one of the two. The time goes with height times
    vertices, skimage's with area times vertices.
    """
    rows = np.arange(height)[:, None]
    following = np.arange(1, y.size + 1) % y.size
    next_y, next_x = y[following], x[following]
    inside = np.zeros((height, width), np.bool_)
    for beyond, from_next in ((y > rows, 0), (y < rows, 1)):
        row, edge = np.nonzero(beyond != beyond[:, following])
        part = (row - y[edge]) / (next_y[edge] - y[edge])
        crossing = x[edge] + part * (next_x[edge] - x[edge])
        near = np.rint(crossing)
        crossing = np.where(np.abs(crossing - near) < _ON_THE_OUTLINE, near, crossing)
        column = np.floor(crossing) + 1 if from_next else np.ceil(crossing)
        place = row * (width + 1) + np.clip(column, 0, width).astype(np.intp)
        turns = np.bincount(place, minlength=height * (width + 1)).reshape(height, width + 1)
        inside |= np.bitwise_xor.accumulate((turns[:, :width] & 1).astype(np.bool_), axis=1)
    at_y, at_x = np.rint(y), np.rint(x)
    on = (np.maximum(np.abs(y - at_y), np.abs(x - at_x)) < _ON_THE_OUTLINE) & (at_y >= 0) & (at_x >= 0)
    on &= (at_y < height) & (at_x < width)
    inside[at_y[on].astype(np.intp), at_x[on].astype(np.intp)] = True
    return inside


def _resized_mask(
    mask: NDArray[Any], corner: NDArray[np.int64], shape: tuple[int, int], scale: Scale
) -> tuple[int, int, Mask]:
    """Sample the mask at the centres of the original pixels that can lie in it.

    Around its box it is 0, but beyond a side of the image it is as at that side: the nucleus does not end there.
    """
    values = np.pad(mask.astype(np.float32), 1)
    sides, places = [], []
    for axis in (0, 1):
        factor, first, count = scale[axis], int(corner[axis]), mask.shape[axis]
        along = np.moveaxis(values, axis, 0)
        if first <= 0:
            along[0] = along[1]
        if first + count >= round(shape[axis] * factor):
            along[-1] = along[-2]
        low = int(np.clip(np.floor((first - 0.5) / factor - 0.5), 0, shape[axis]))
        high = int(np.clip(np.ceil((first + count + 0.5) / factor - 0.5), low, shape[axis]))
        sides.append(low)
        places.append(np.clip((np.arange(low, high) + 0.5) * factor + 0.5 - first, 0, count + 1))
    for axis, place in enumerate(places):
        below = place.astype(np.intp)
        part = (place - below).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        above = np.minimum(below + 1, values.shape[axis] - 1)
        values = values.take(below, axis) * (1.0 - part) + values.take(above, axis) * part
    return sides[0], sides[1], values >= 0.5
