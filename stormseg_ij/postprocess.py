"""From a network's candidates to labels: rendering at the original size, removal of small nuclei, numbering."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.image import Labels


@dataclass(frozen=True)
class Candidates:
    """Nuclei as a network hands them over; they may overlap.

    Attributes
    ----------
    polygons : ndarray of float32, shape (N, 2, V)
        Vertices (y, x) in pixels of the network's input; (0, 0) is the centre of the first pixel.
    scores : ndarray of float32, shape (N,)
        Probability of each, 0 to 1.
    """

    polygons: NDArray[np.float32]
    scores: NDArray[np.float32]

    def diameters(self) -> NDArray[np.float64]:
        """Diameter of the disc with each polygon's area, in pixels of the network's input."""
        y, x = self.polygons[:, 0].astype(np.float64), self.polygons[:, 1].astype(np.float64)
        area = 0.5 * np.abs((x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1))
        return np.asarray(np.sqrt(4.0 * area / np.pi))


def render(
    candidates: Candidates, shape: tuple[int, int], *, scale: tuple[float, float]
) -> tuple[Labels, dict[int, float]]:
    """Draw candidates at the original size; where two overlap, the more probable one keeps the pixels.

    Parameters
    ----------
    candidates : Candidates
    shape : (int, int)
        Of the original image.
    scale : (float, float)
        Network pixels per original pixel in y and x. The polygons are scaled, then drawn: outlines stay smooth.

    Returns
    -------
    labels : ndarray of int32, shape `shape`
    scores : dict of int to float
        Of each label that has pixels.

    Examples
    --------
    >>> square = np.array([[[-0.4, -0.4, 1.4, 1.4], [-0.4, 1.4, 1.4, -0.4]]], np.float32)
    >>> labels, scores = render(Candidates(square, np.array([0.5], np.float32)), (5, 5), scale=(0.5, 0.5))
    >>> labels.max(axis=0).tolist(), scores
    ([1, 1, 1, 1, 0], {1: 0.5})
    """
    from skimage import draw

    labels = np.zeros(shape, np.int32)
    factor = 1.0 / np.array(scale)[:, None]
    order = np.argsort(candidates.scores, kind="stable")
    for number, index in enumerate(order, start=1):
        y, x = (candidates.polygons[index] + 0.5) * factor - 0.5
        labels[draw.polygon(y, x, shape)] = number
    present = np.unique(labels)
    return labels, {int(n): float(candidates.scores[order[n - 1]]) for n in present if n > 0}


def largest_pieces(labels: Labels) -> Labels:
    """Keep the largest connected piece (4 neighbours) of each label: what overlaps cut off is no nucleus.

    Parameters
    ----------
    labels : ndarray of int32, shape (Y, X)

    Examples
    --------
    >>> largest_pieces(np.array([[1, 1, 0, 1]], np.int32)).tolist()
    [[1, 1, 0, 0]]
    """
    from skimage import measure

    pieces = measure.label(labels, connectivity=1)
    area = np.bincount(pieces.ravel())
    first = np.zeros(area.size, np.int32)
    first[pieces.ravel()] = labels.ravel()
    keep = np.zeros(area.size, bool)
    by_size = np.argsort(area[1:], kind="stable") + 1
    best = np.zeros(int(labels.max(initial=0)) + 1, np.intp)
    best[first[by_size]] = by_size
    keep[best[1:]] = True
    keep[0] = False
    return np.where(keep[pieces], labels, 0).astype(np.int32)


def remove_small(labels: Labels, fraction: float) -> Labels:
    """Remove nuclei smaller than `fraction` of the mean nucleus area of this image.

    Parameters
    ----------
    labels : ndarray of int32, shape (Y, X)
    fraction : float
        0 removes nothing; 0.25 in the paper.

    References
    ----------
    Mela & Liu 2021, Methods, "Small instance detection and overlap removal".

    Examples
    --------
    >>> remove_small(np.array([[1, 1, 1, 1, 1, 0, 2]], np.int32), 0.4).tolist()
    [[1, 1, 1, 1, 1, 0, 0]]
    """
    area = np.bincount(labels.ravel())
    area[0] = 0
    if not area.any():
        return labels
    small = area < fraction * area[area > 0].mean()
    return np.where(small[labels], 0, labels).astype(np.int32)


def renumber(labels: Labels, scores: dict[int, float]) -> tuple[Labels, dict[int, float]]:
    """Renumber labels 1..N in reading order: by their first pixel from the top left; scores go with them.

    Examples
    --------
    >>> labels, scores = renumber(np.array([[0, 7, 3]], np.int32), {3: 0.5, 7: 0.9})
    >>> labels.tolist(), scores
    ([[0, 1, 2]], {1: 0.9, 2: 0.5})
    """
    present, first = np.unique(labels, return_index=True)
    order = present[np.argsort(first)]
    order = order[order > 0]
    table = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
    table[order] = np.arange(1, order.size + 1)
    return table[labels], {new: scores[int(old)] for new, old in enumerate(order, start=1) if int(old) in scores}
