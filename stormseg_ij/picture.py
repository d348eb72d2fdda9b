"""Small pictures for a page: the image in gray, and the outlines of nuclei as paths to draw over it."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.image import Pixels
from stormseg_ij.outlines import Integers, trace

LONGEST_PX = 640
_FINEST_PX = 1024
"""Outlines are traced in at most so many pixels on the longest side."""
_OVERLAY_PX = 2048


def jpeg(gray: Pixels, *, longest_px: int = LONGEST_PX) -> bytes:
    """Encode a gray image as JPEG, reduced so that its longest side is at most `longest_px`.

    Parameters
    ----------
    gray : ndarray of uint8, shape (Y, X)
    """
    from PIL import Image as PillowImage

    picture = PillowImage.fromarray(gray)
    picture.thumbnail((longest_px, longest_px), PillowImage.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=82, optimize=True)
    return buffer.getvalue()


def without_outlines(gray: Pixels, labels: Pixels) -> Pixels:
    """Take the outlines out of an overlay that was read as gray: they are filled from the pixels beside them.

    Parameters
    ----------
    gray : ndarray of uint8, shape (Y', X')
        `pipeline.overlay` of these labels, or any other image, which is returned as it is.
    labels : ndarray of int, shape (Y, X)

    Returns
    -------
    ndarray of uint8, shape (Y', X')
    """
    from scipy import ndimage
    from skimage import segmentation

    step = -(-max(labels.shape) // _OVERLAY_PX)
    thinned = np.asarray(labels[::step, ::step]).astype(np.int32)
    factor = gray.shape[0] // thinned.shape[0]
    if (thinned.shape[0] * factor, thinned.shape[1] * factor) != gray.shape:
        return gray
    enlarged = np.kron(thinned, np.ones((factor, factor), np.int32))
    known = ~segmentation.find_boundaries(enlarged, mode="inner")
    filled = np.where(known, gray, 0).astype(np.float32)
    for source in (known & (enlarged > 0), known):  # from inside the nuclei; where they are too thin, from anywhere
        while not known.all():
            weight = ndimage.uniform_filter(source.astype(np.float32), 3, mode="constant")
            reached = ~known & (weight > 0.01)
            if not reached.any():
                break
            sums = ndimage.uniform_filter(np.where(source, filled, 0.0), 3, mode="constant")
            filled[reached] = sums[reached] / weight[reached]
            np.logical_or(source, reached, out=source)
            known |= reached
    restored: NDArray[np.uint8] = np.clip(np.rint(filled), 0, 255).astype(np.uint8)
    return restored


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
