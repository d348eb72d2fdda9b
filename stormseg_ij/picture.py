"""Small pictures for a page: the image in gray, and the outlines of nuclei as paths to draw over it."""

from __future__ import annotations

import io
from itertools import product

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.image import Pixels
from stormseg_ij.outlines import Integers, trace

Flags = NDArray[np.bool_]

_JPEGS = ((640, 82), (400, 70), (400, 50), (320, 50), (320, 40), (240, 40))
"""Longest side in px and quality, from the best to the smallest."""
_MAGNIFIED_PX, _MAGNIFIED_QUALITY = 320, 92
"""Up to that longest side, a page magnifies a picture so much that its quality has to be better."""
_FINEST_PX = 1024
"""Outlines are traced in at most so many pixels on the longest side."""
_OVERLAY_PX = 2048
_MOST_ROUNDS = 8
"""Pixels that are farther from known ones keep their value."""


def jpeg(gray: Pixels, *, most_bytes: int | None = None) -> bytes:
    """Encode a gray image as JPEG, reduced so that its longest side is at most 640 px.

    Parameters
    ----------
    gray : ndarray of uint8, shape (Y, X)
    most_bytes : int, optional
        Reduce and compress it more, until it has no more bytes than that, but not below 240 px and quality 40.
    """
    from PIL import Image as PillowImage

    for longest_px, usual in _JPEGS:
        quality = _MAGNIFIED_QUALITY if usual == _JPEGS[0][1] and max(gray.shape) <= _MAGNIFIED_PX else usual
        picture = PillowImage.fromarray(gray)
        picture.thumbnail((longest_px, longest_px), PillowImage.Resampling.BOX)
        buffer = io.BytesIO()
        picture.save(buffer, format="JPEG", quality=quality, optimize=True)
        if most_bytes is None or buffer.tell() <= most_bytes:
            break
    return buffer.getvalue()


def without_outlines(gray: Pixels, labels: Pixels) -> Pixels:
    """Take the outlines out of an overlay that was read as gray, and undo its enlargement.

    Parameters
    ----------
    gray : ndarray of uint8, shape (Y', X')
        `pipeline.overlay` of these labels, or any other image, which is returned as it is.
    labels : ndarray of int, shape (Y, X)
        Only those pixels are looked at that the overlay shows: of an image of more than 2048, every n-th.

    Returns
    -------
    ndarray of uint8, shape (Y, X) divided by n
        Exact where the overlay was enlarged: a part of each enlarged pixel is free of outlines, but for nuclei a pixel
        thin. These, and outlines in other overlays, are filled from the pixels beside them.
    """
    step = -(-max(labels.shape) // _OVERLAY_PX)
    thinned = np.asarray(labels[::step, ::step])
    factor = gray.shape[0] // thinned.shape[0]
    if (thinned.shape[0] * factor, thinned.shape[1] * factor) != gray.shape:
        return gray
    sides, last = _edges(thinned), factor - 1
    filled, known = gray[::factor, ::factor].copy(), np.zeros(thinned.shape, bool)
    for down, across in np.ndindex(factor, factor):
        reached = [
            sides[0] & (down == 0),
            sides[1] & (down == last),
            sides[2] & (across == 0),
            sides[3] & (across == last),
        ]
        fresh = ~(np.logical_or.reduce(reached) | known)
        filled[fresh] = gray[down::factor, across::factor][fresh]
        known |= fresh
    for same in (True, False):  # from inside the nucleus; where it is too thin, from anywhere
        _fill(filled, known, thinned if same else np.zeros_like(thinned))
    return filled


def _edges(labels: Pixels) -> tuple[Flags, Flags, Flags, Flags]:
    """Return which pixels of nuclei have another label above, below, to the left, to the right."""
    sides = np.zeros((4, *labels.shape), bool)
    changes = labels[1:] != labels[:-1]
    sides[0, 1:], sides[1, :-1] = changes, changes
    changes = labels[:, 1:] != labels[:, :-1]
    sides[2, :, 1:], sides[3, :, :-1] = changes, changes
    sides &= labels != 0
    return sides[0], sides[1], sides[2], sides[3]


def _fill(values: NDArray[np.uint8], known: Flags, labels: Pixels) -> None:
    """Give unknown pixels, in place, the mean of the known ones among their 8 neighbours of the same label."""
    height, width = values.shape
    for _ in range(_MOST_ROUNDS):
        y, x = np.nonzero(~known)
        sums, counts = np.zeros(len(y)), np.zeros(len(y), np.int64)
        for down, across in product((-1, 0, 1), repeat=2):
            v, u = np.clip(y + down, 0, height - 1), np.clip(x + across, 0, width - 1)
            inside = (v == y + down) & (u == x + across)
            fits = inside & known[v, u] & (labels[v, u] == labels[y, x])
            sums += np.where(fits, values[v, u], 0)
            counts += fits
        reached = counts > 0
        if not reached.any():
            return
        y, x = y[reached], x[reached]
        values[y, x] = np.rint(sums[reached] / counts[reached])
        known[y, x] = True


def outline_paths(labels: Pixels) -> tuple[dict[int, str], tuple[int, int]]:
    """Trace the outlines of labels, coarsely where the image is large, as the data of SVG paths.

    Parameters
    ----------
    labels : ndarray of int, shape (Y, X)
        0 is background. Only every n-th pixel is looked at, n so that at most 1024 remain on a side: nuclei that lie
        between those have no outline.

    Returns
    -------
    paths : dict of int to str
        Path data by label. The lines join the middles of pixel edges: steps become slopes.
    size : (int, int)
        Width and height of the image in the units of the paths.

    Examples
    --------
    >>> outline_paths(np.array([[0, 3, 3], [0, 3, 3]]))
    ({3: 'M5 4l-2 0-1-1 0-2 1-1 2 0 1 1 0 2z'}, (6, 4))
    """
    step = -(-max(labels.shape) // _FINEST_PX)
    thinned = np.ascontiguousarray(labels[::step, ::step]).astype(np.int32)
    height, width = thinned.shape
    outlines = trace(thinned)
    paths = {}
    for i, label in enumerate(outlines.labels.tolist()):
        loops = range(int(outlines.owners[i]), int(outlines.owners[i + 1]))
        ends = [(int(outlines.loops[loop]), int(outlines.loops[loop + 1])) for loop in loops]
        paths[label] = "".join(_smoothed(outlines.x[start:stop], outlines.y[start:stop]) for start, stop in ends)
    return paths, (2 * width, 2 * height)


def _smoothed(x: NDArray[np.int32], y: NDArray[np.int32]) -> str:
    """Path through the middles of the unit edges of a closed loop of corners, in halves of a pixel."""
    corners = np.stack([x, y], axis=1).astype(np.int64)
    steps = np.roll(corners, -1, axis=0) - corners
    lengths = np.abs(steps).sum(axis=1)
    units = np.repeat(np.sign(steps), lengths, axis=0)
    place = np.arange(len(units)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    middles = 2 * (np.repeat(corners, lengths, axis=0) + place[:, None] * units) + units
    moves = np.roll(middles, -1, axis=0) - middles
    turns = (moves != np.roll(moves, 1, axis=0)).any(axis=1)
    return _path(middles[turns])


def _path(points: Integers) -> str:
    numbers = [str(number) for number in np.diff(points, axis=0).ravel().tolist()]
    words = numbers[0] + "".join(number if number[0] == "-" else f" {number}" for number in numbers[1:])
    return f"M{points[0, 0]} {points[0, 1]}l{words}z"
