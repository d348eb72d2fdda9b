"""Label images as a whole: pieces, sizes and numbers of nuclei."""

from __future__ import annotations

import numpy as np

from stormseg_ij.image import Labels


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
