"""Label images as a whole: pieces, sizes and numbers of nuclei, at any size of the image."""

from __future__ import annotations

import numpy as np

from stormseg_ij.image import Labels
from stormseg_ij.regions import Integers, blocks, find_regions, replaced, runs, windows


def areas(labels: Labels) -> Integers:
    """Count the pixels of each label.

    Parameters
    ----------
    labels : ndarray of int, shape (Y, X)
        Not negative.

    Returns
    -------
    ndarray, shape (largest label + 1,), dtype int64
        By label; 0 for the background and for numbers that no nucleus has.

    Examples
    --------
    >>> areas(np.array([[0, 3, 3], [1, 0, 3]], np.int32)).tolist()
    [0, 1, 0, 3]
    """
    regions = find_regions(labels)
    table = np.zeros(int(regions.labels[-1]) + 1 if regions.labels.size else 1, np.int64)
    table[regions.labels] = regions.area_px
    return table


def largest_pieces(labels: Labels, *, out: Labels | None = None) -> Labels:
    """Keep the largest connected piece (4 neighbours) of each label: what overlaps cut off is no nucleus.

    Parameters
    ----------
    labels : ndarray of int32, shape (Y, X)
    out : ndarray of int32, shape (Y, X), optional
        Takes the result; may be `labels` itself, which needs no second image.

    Returns
    -------
    ndarray of int32, shape (Y, X)
        Of two pieces of one size, the later one in reading order stays.

    Examples
    --------
    >>> largest_pieces(np.array([[1, 1, 0, 1]], np.int32)).tolist()
    [[1, 1, 0, 0]]
    """
    out = _prepared(labels, out)
    for window in windows(labels):
        y, x, length = _smaller_pieces(labels[window.rows, window.columns], window.labels)
        if len(y):
            rows = np.repeat(y + window.rows.start, length)
            out[rows, _ranges(x + window.columns.start, length)] = 0
    return out


def remove_small(labels: Labels, fraction: float, *, out: Labels | None = None) -> Labels:
    """Remove nuclei smaller than `fraction` of the mean nucleus area of this image.

    Parameters
    ----------
    labels : ndarray of int32, shape (Y, X)
    fraction : float
        0 removes nothing; 0.25 in the paper.
    out : ndarray of int32, shape (Y, X), optional
        Takes the result; may be `labels` itself.

    References
    ----------
    Mela & Liu 2021, Methods, "Small instance detection and overlap removal".

    Examples
    --------
    >>> remove_small(np.array([[1, 1, 1, 1, 1, 0, 2]], np.int32), 0.4).tolist()
    [[1, 1, 1, 1, 1, 0, 0]]
    """
    regions = find_regions(labels)
    if not regions.labels.size:
        return _prepared(labels, out)
    small = regions.area_px < fraction * regions.area_px.mean()
    return _all_replaced(labels, regions.labels, np.where(small, 0, regions.labels), out)


def renumber(labels: Labels, scores: dict[int, float], *, out: Labels | None = None) -> tuple[Labels, dict[int, float]]:
    """Renumber labels 1..N in reading order: by their first pixel from the top left; scores go with them.

    Parameters
    ----------
    labels : ndarray of int32, shape (Y, X)
    scores : dict of int to float
        By label; those of labels without pixels are left out.
    out : ndarray of int32, shape (Y, X), optional
        Takes the labels; may be `labels` itself.

    Examples
    --------
    >>> labels, scores = renumber(np.array([[0, 7, 3]], np.int32), {3: 0.5, 7: 0.9})
    >>> labels.tolist(), scores
    ([[0, 1, 2]], {1: 0.9, 2: 0.5})
    """
    regions = find_regions(labels)
    order = np.argsort(regions.first)
    number = np.empty(order.size, np.int64)
    number[order] = np.arange(1, order.size + 1)
    renumbered = _all_replaced(labels, regions.labels, number, out)
    old = regions.labels[order].tolist()
    return renumbered, {new: scores[label] for new, label in enumerate(old, start=1) if label in scores}


def _all_replaced(labels: Labels, old: Integers, new: Integers, out: Labels | None) -> Labels:
    """Replace the labels of a whole image."""
    out = _prepared(labels, out)
    if old.size and (old != new).any():
        for top, block in blocks(labels):
            out[top : top + len(block)] = replaced(block, old, new)
    return out


def _prepared(labels: Labels, out: Labels | None) -> Labels:
    """Return where a result goes, filled with `labels`."""
    if out is labels:
        return out
    if out is None:
        return labels.astype(np.int32)
    out[:] = labels
    return out


def _smaller_pieces(part: Labels, labels: Integers) -> tuple[Integers, Integers, Integers]:
    """Find the runs of all but the largest piece of each of these labels: row, column and length."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    width = part.shape[1]
    found = [_own_runs(block, labels, top * width) for top, block in blocks(part)]
    start, stop, value = (np.concatenate(columns) for columns in zip(*found, strict=True))
    one, two = _neighbours(start, stop, value, width)
    graph = coo_array((np.ones(len(one), np.int8), (one, two)), shape=(len(start), len(start)))
    count, piece = connected_components(graph, directed=False)
    if count == labels.size:  # one piece each
        return start[:0], start[:0], start[:0]
    area = np.bincount(piece, weights=stop - start, minlength=count)
    first = np.full(count, len(start))
    np.minimum.at(first, piece, np.arange(len(start)))
    order = np.lexsort((first, area, value[first]))
    owner = value[first[order]]
    largest = np.zeros(count, bool)
    largest[order[np.append(owner[1:] != owner[:-1], True)]] = True
    smaller = np.flatnonzero(~largest[piece])
    y, x = np.divmod(start[smaller], width)
    return y, x, (stop - start)[smaller]


def _own_runs(block: Labels, labels: Integers, offset: int) -> tuple[Integers, Integers, Labels]:
    """Find the runs of these labels; places are counted from `offset`."""
    start, stop, value = runs(block)
    own = labels[np.minimum(np.searchsorted(labels, value), labels.size - 1)] == value
    return start[own] + offset, stop[own] + offset, value[own]


def _neighbours(start: Integers, stop: Integers, value: Labels, width: int) -> tuple[Integers, Integers]:
    """List the pairs of runs of one label that touch from row to row."""
    low = np.searchsorted(stop, start + width, side="right")  # below a run lie those that end after its start,
    count = np.maximum(np.searchsorted(start, stop + width, side="left") - low, 0)  # and start before its end
    one, two = np.repeat(np.arange(len(start)), count), _ranges(low, count)
    same = value[one] == value[two]
    return one[same], two[same]


def _ranges(first: Integers, length: Integers) -> Integers:
    """Write whole numbers from each first one, so many of each.

    >>> _ranges(np.array([5, 9]), np.array([2, 3])).tolist()
    [5, 6, 9, 10, 11]
    """
    before = np.cumsum(length) - length
    return np.asarray(np.arange(int(length.sum())) + np.repeat(first - before, length), np.int64)
