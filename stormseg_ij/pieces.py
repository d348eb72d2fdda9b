"""Connected pieces in label images, found in bands of rows so that large images need little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.rows import row_bands


def count_pieces(labels: NDArray[np.integer[Any]]) -> tuple[int, int]:
    """Count the labels and their connected pieces (8 neighbours); background is neither.

    Parameters
    ----------
    labels : ndarray of int, shape (Y, X)

    Returns
    -------
    labels, pieces : int

    Examples
    --------
    >>> count_pieces(np.array([[1, 0, 1], [2, 2, 0], [0, 0, 1]]))
    (2, 4)
    """
    from skimage import measure

    values: NDArray[np.integer[Any]] = np.empty(0, labels.dtype)
    seams = []
    count = 0
    above: tuple[NDArray[Any], NDArray[Any]] | None = None
    for rows in row_bands(labels.shape):
        band = np.asarray(labels[rows])
        starts = band[:, 1:][band[:, 1:] != band[:, :-1]]
        values = np.union1d(values, np.unique(np.concatenate([band[:, 0], starts])))
        pieces = measure.label(band, connectivity=2)
        found = int(pieces.max())
        top = np.where(band[0] != 0, pieces[0] + count, 0)
        if above is not None:
            seams.append(_touching(*above, band[0], top))
        above = band[-1].copy(), np.where(band[-1] != 0, pieces[-1] + count, 0)
        count += found
    return int(np.count_nonzero(values)), count - _merged(seams)


def split(mask: NDArray[Any]) -> tuple[NDArray[np.int32], int]:
    """Label the connected components (4 neighbours) of what is not 0, from 1 on.

    Parameters
    ----------
    mask : ndarray, shape (Y, X)

    Returns
    -------
    labels : ndarray of int32, shape (Y, X)
    count : int

    Examples
    --------
    >>> split(np.array([[7, 0], [0, 7]]))[0].tolist()
    [[1, 0], [0, 2]]
    """
    from scipy import ndimage

    if mask.dtype.itemsize > 1 or not mask.flags.c_contiguous:
        full, mask = mask, np.empty(mask.shape, np.bool_)
        for rows in row_bands(mask.shape):
            mask[rows] = full[rows] != 0
    labels = np.empty(mask.shape, np.int32)
    count = ndimage.label(mask, output=labels)
    return labels, int(count)


def _touching(
    upper_values: NDArray[Any], upper: NDArray[Any], lower_values: NDArray[Any], lower: NDArray[Any]
) -> NDArray[np.int64]:
    """Return pairs of pieces, shape (N, 2), that lie on either side of a seam, touch and have the same label."""
    width = len(upper)
    pairs = []
    for shift in (-1, 0, 1):
        a = slice(max(0, -shift), width - max(0, shift))
        b = slice(max(0, shift), width - max(0, -shift))
        same = (upper_values[a] == lower_values[b]) & (upper[a] != 0)
        pairs.append(np.stack([upper[a][same], lower[b][same]], axis=1))
    return np.unique(np.concatenate(pairs), axis=0).astype(np.int64)


def _merged(seams: list[NDArray[np.int64]]) -> int:
    """Return how many pieces fewer there are once those that touch at seams are one."""
    from scipy import sparse

    pairs = np.concatenate(seams) if seams else np.empty((0, 2), np.int64)
    if len(pairs) == 0:
        return 0
    nodes, ends = np.unique(pairs, return_inverse=True)
    ends = ends.reshape(-1, 2)
    graph = sparse.coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(len(nodes),) * 2)
    return len(nodes) - int(sparse.csgraph.connected_components(graph, directed=False)[0])
