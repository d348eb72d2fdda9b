"""Refine outlines: the label ends where the localizations end, not where a star-convex polygon does.

The outline moves to where the image says that the nucleus ends, held by a spring to the old one: it stays where the
image says nothing. What is decided where: `stormseg_ij.evidence` what is inside, `stormseg_ij.borders` whose it is, and
here how an image of any size is treated in windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.borders import whole, with_borders
from stormseg_ij.evidence import SEEN, Floats, Levels, OldOutlines, blur_rows, blurred_root, find_inside, grid
from stormseg_ij.image import Labels
from stormseg_ij.regions import Integers, Regions, find_regions, kept_only, replaced

_ONE_WINDOW_PX = 1 << 23  # up to here an image is treated as a whole: some 85 bytes per pixel are held at once
_CORE_PX = 1536  # side of what a window decides about
_FINE_PX = 128  # median diameter on the coarser grid, at least
_LARGEST_PX = 1024  # side of a nucleus, on that grid: a larger one keeps its outline
_GROWTH = 0.2  # in diameters: no outline moves that far
_ROWS_PX = 1 << 22  # pixels looked at together for the levels


def refine(
    labels: Labels,
    pixels: NDArray[Any],
    *,
    out: Labels | None = None,
    progress: Callable[[float], None] | None = None,
) -> Labels:
    """Move outlines to where the localizations end, and borders of touching nuclei to the dark line between them.

    Inside and outside are compared in a window around each pixel: the log-likelihood ratio of two normal
    distributions with the mean of either side and their common variance, for the blurred square root of the image
    (which evens out the variance of counts). A spring to the old outline is added, and the sign of the sum decides.
    Where two nuclei touch, a watershed on the image finds their border, held by a spring too.

    Parameters
    ----------
    labels : ndarray of int32, shape (Y, X)
        0 is background, every other value one nucleus of one piece.
    pixels : ndarray, shape (Y, X)
        The original image, integer or float. Only differences count: neither factor nor offset matters.
    out : ndarray of int32, shape (Y, X), optional
        Takes the result; may be `labels` itself, which needs no second image.
    progress : callable, optional
        Is told after each window which part of the work is done, up to 1.0.

    Returns
    -------
    ndarray of int32, shape (Y, X)
        The same labels, each of one piece (4 neighbours) and without holes. A label whose refined outline has less than
        half or more than 1.6 times the old area keeps the old one. An image without contrast changes nothing.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    An image of more than 8 million pixels is treated in windows, which see enough beyond their edges to give what the
    whole image would. In it, nuclei of some 256 pixels and more are looked at on a coarser grid (about 130 to 250
    points per median diameter; all blurs are wider than that), and a nucleus that is larger than a window keeps its
    outline.

    References
    ----------
    Li, Kao, Gore & Ding 2008, IEEE Trans. Image Process. 17:1940 (means in a window on either side of a contour);
    Mela & Liu 2021, Methods (marker-controlled watershed for borders).

    Examples
    --------
    >>> image = np.zeros((40, 40), np.uint8)
    >>> image[10:30, 10:30] = 9
    >>> labels = np.zeros((40, 40), np.int32)
    >>> labels[9:31, 9:31] = 5
    >>> bool((refine(labels, image) == np.where(image, 5, 0)).all())
    True
    """
    if labels.shape != pixels.shape:
        raise ValueError(f"labels of shape {labels.shape} for an image of shape {pixels.shape}")
    if out is None:
        out = labels.copy()
    elif out is not labels:
        out[:] = labels
    regions = find_regions(out)
    image = _Image.of(pixels, out, regions) if regions.labels.size else None
    if image is None:
        return out
    rows = [[_everything(image)]] if out.size <= _ONE_WINDOW_PX else _windows(image)
    count = sum(map(len, rows))
    for done, (old, window) in enumerate(_with_old_labels(out, rows), start=1):
        out[window.target] = _refined(old, window, image)
        if progress is not None:
            progress(done / count)
    return out


@dataclass(frozen=True)
class _Image:
    """A whole image.

    Attributes
    ----------
    pixels : ndarray
    regions : Regions
        Of its labels.
    diameters_px : ndarray of float32
        Of these.
    levels : Levels
    factor : int
        Pixels from point to point of the grid on which it is treated.
    """

    pixels: NDArray[Any]
    regions: Regions
    diameters_px: Floats
    levels: Levels
    factor: int

    @classmethod
    def of(cls, pixels: NDArray[Any], labels: Labels, regions: Regions) -> _Image | None:
        """Look at some rows at a time; None if all pixels are equal."""
        diameters = np.sqrt(4.0 / np.pi * regions.area_px).astype(np.float32)
        typical = float(np.median(diameters))
        factor = 1 if labels.size <= _ONE_WINDOW_PX else max(int(typical / _FINE_PX), 1)
        rows = factor * max(_ROWS_PX // (factor * labels.shape[1]), 1)
        starts = range(0, labels.shape[0], rows)
        least = min(pixels[top : top + rows].min() for top in starts)
        if all(pixels[top : top + rows].max() == least for top in starts):
            return None
        levels = Levels(typical, float(least), 1.0, 1.0)
        margin = factor * -(-blur_rows(typical) // factor)
        total, count = np.zeros(2), np.zeros(2)
        for top in starts:
            above = min(margin, top)
            root = blurred_root(pixels[top - above : top + rows + margin], levels, factor)
            inside = _sampled(labels[top : top + rows], factor) > 0
            root = root[above // factor :][: len(inside)]
            total += [root.sum(where=part, dtype=np.float64) for part in (inside, ~inside)]
            count += [np.count_nonzero(inside), np.count_nonzero(~inside)]
        inside_level, outside_level = total / np.maximum(count, 1)
        inside_level = inside_level or 1.0
        levels = Levels(typical, float(least), inside_level, outside_level if count[1] else inside_level)
        return cls(pixels, regions, diameters, levels, factor)


@dataclass(frozen=True)
class _Window:
    """A part of the image that is looked at to decide about another part inside it, both rows and columns."""

    seen: tuple[slice, slice]
    target: tuple[slice, slice]


def _everything(image: _Image) -> _Window:
    all_of_it = slice(0, image.pixels.shape[0]), slice(0, image.pixels.shape[1])
    return _Window(all_of_it, all_of_it)


def _windows(image: _Image) -> list[list[_Window]]:
    """Cut up the image where nuclei are: rows of windows, from the top.

    A window sees all of every nucleus that has to do with its core, and as far beyond the core as what decides about
    a pixel may lie.
    """
    low, high = _grown(image)
    fitting = ~_too_large(image)
    unit = image.factor * grid(image.levels.typical_px / image.factor)
    side = unit * max(_CORE_PX // unit, 1)
    reach = SEEN * image.levels.typical_px + 2 * image.factor
    size = np.array(image.pixels.shape)
    rows: list[list[_Window]] = []
    for top in range(0, image.pixels.shape[0], side):
        rows.append([])
        for left in range(0, image.pixels.shape[1], side):
            first = np.array([top, left])
            last = np.minimum(first + side, size)
            touching = fitting & (low < last).all(axis=1) & (high > first).all(axis=1)
            if not touching.any():
                continue
            least, most = low[touching].min(axis=0), high[touching].max(axis=0)
            first, last = np.maximum(first, least), np.minimum(last, most)
            begin = np.maximum(np.minimum(first - reach, least), 0) // unit * unit  # the grid is the whole image's
            end = np.minimum(-(-np.maximum(last + reach, most) // unit) * unit, size)
            rows[-1].append(_Window(_slices(begin, end), _slices(first, last)))
    return [row for row in rows if row]


def _slices(first: NDArray[Any], last: NDArray[Any]) -> tuple[slice, slice]:
    return slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))


def _grown(image: _Image) -> tuple[Integers, Integers]:
    """Return y, x of the first and past the last pixels that nuclei can have when they have grown."""
    growth = np.ceil(_GROWTH * image.diameters_px).astype(np.int64)[:, np.newaxis] + 2 * image.factor
    boxes = image.regions.boxes[:, [1, 0, 3, 2]]
    size = np.array(image.pixels.shape)
    return np.maximum(boxes[:, :2] - growth, 0), np.minimum(boxes[:, 2:] + growth, size)


def _too_large(image: _Image) -> NDArray[np.bool_]:
    """Tell which nuclei keep their outline."""
    if image.pixels.size <= _ONE_WINDOW_PX:
        return np.zeros(image.regions.labels.size, bool)
    sides = image.regions.boxes[:, 2:] - image.regions.boxes[:, :2]
    return np.asarray((sides > _LARGEST_PX * image.factor).any(axis=1))


def _with_old_labels(labels: Labels, rows: list[list[_Window]]) -> Iterator[tuple[Labels, _Window]]:
    """Yield the labels that each window sees as they were before any of them was changed.

    A row's labels are copied before its windows change them, and as much of the rows above as later ones see is kept.
    """
    tops = [min(window.seen[0].start for window in row) for row in rows]
    band, start, changed = labels[:0], 0, 0  # old labels, from which row on, and up to which row `labels` are new
    for i, row in enumerate(rows):
        top, bottom = min(tops[i:]), max(window.seen[0].stop for window in row)
        band = np.concatenate([band[max(top - start, 0) : max(changed - start, 0)], labels[max(top, changed) : bottom]])
        start, changed = top, max(window.target[0].stop for window in row)
        for window in row:
            seen, columns = window.seen
            yield band[seen.start - start : seen.stop - start, columns], window


def _refined(old: Labels, window: _Window, image: _Image) -> Labels:
    """Refine the target of a window; `old` are the labels that it sees."""
    (rows, columns), factor, boxes = window.seen, image.factor, image.regions.boxes
    here = (boxes[:, 0] < columns.stop) & (boxes[:, 2] > columns.start)
    here &= (boxes[:, 1] < rows.stop) & (boxes[:, 3] > rows.start)
    present, kept = image.regions.labels[here], _too_large(image)[here]
    table = np.append(0, present).astype(np.int32)
    labels = replaced(_sampled(old, factor), present, np.arange(1, table.size))
    if labels.any():
        levels = image.levels
        diameters = np.append(np.float32(1.0), image.diameters_px[here] / np.float32(factor))
        outlines = OldOutlines.of(labels, diameters, levels.typical_px / factor)
        root = blurred_root(image.pixels[rows, columns], levels, factor)
        root /= np.float32(levels.inside)
        inside, level = find_inside(root, labels, outlines, 1.0 - levels.outside / levels.inside)
        root /= level
        labels = whole(with_borders(outlines, inside, root), labels, np.append(False, kept))
    own = tuple(
        slice(part.start - seen.start, part.stop - seen.start)
        for part, seen in zip(window.target, window.seen, strict=True)
    )
    if factor == 1:
        return table[labels[own]]
    found = np.bincount(labels.ravel(), minlength=table.size)[1:] > 0
    labels[np.append(False, kept)[labels]] = 0
    new = table[_enlarged(labels, factor, own)]
    same = kept_only(old[own], present[kept | ~found])  # what is too large, and what the coarse grid does not see
    return np.where(same > 0, same, new)


def _sampled(labels: Labels, factor: int) -> Labels:
    """Take the middle pixel of each square of `factor` pixels.

    >>> _sampled(np.array([[1, 2, 3, 4]]), 3).tolist()
    [[2, 4]]
    """
    if factor == 1:
        return labels
    rows, columns = (np.minimum(np.arange(factor // 2, side + factor // 2, factor), side - 1) for side in labels.shape)
    return np.asarray(labels[rows[:, np.newaxis], columns])


def _enlarged(labels: Labels, factor: int, part: tuple[slice, ...]) -> Labels:
    """Enlarge labels smoothly: of the four points around a pixel, the label with the largest linear weight wins.

    `part` are the rows and columns of the enlarged image that are asked for.

    >>> _enlarged(np.array([[1, 1], [1, 2]]), 4, (slice(2, 6), slice(2, 6))).tolist()
    [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 2], [1, 1, 2, 2]]
    """
    low, high, weight = [], [], []
    for span, side in zip(part, labels.shape, strict=True):
        place = np.clip((np.arange(span.start, span.stop) + 0.5) / factor - 0.5, 0.0, side - 1.0)
        low.append(place.astype(np.intp))
        high.append(np.minimum(low[-1] + 1, side - 1))
        weight.append(place - low[-1])
    enlarged = np.empty([len(places) for places in low], labels.dtype)
    for i, (above, below, down) in enumerate(zip(low[0], high[0], weight[0], strict=True)):
        corners = np.stack([row[side] for row in (labels[above], labels[below]) for side in (low[1], high[1])])
        votes = np.stack([v * h for v in (1.0 - down, down) for h in (1.0 - weight[1], weight[1])])
        winner = ((corners[:, np.newaxis] == corners) * votes).sum(axis=1).argmax(axis=0)
        enlarged[i] = np.take_along_axis(corners, winner[np.newaxis], axis=0)[0]
    return enlarged
