"""Which nucleus a pixel belongs to: borders of touching nuclei, and outlines of one piece without holes."""

from __future__ import annotations

import numpy as np

from stormseg_ij.evidence import TRUNCATE, Floats, Mask, OldOutlines
from stormseg_ij.image import Labels
from stormseg_ij.labels import largest_pieces

# In diameters, as in `stormseg_ij.evidence`.
_BORDER_REACH = 0.12  # how far the border of two touching nuclei may move
_BORDER_SPRING = 1.0  # a line without signal moves it that far, a fainter one less
_BORDER_BLUR = 0.03  # sigma: a line is found by its length, not pixel by pixel
_LEAST_AREA, _MOST_AREA = 0.5, 1.6  # of the old area; what leaves these limits has gone astray
_SHORT_PX = 16  # up to here, distances are found faster by shifting the image


def with_borders(old: OldOutlines, inside: Mask, relative: Floats) -> Labels:
    """Give each pixel inside to a label: its owner, but along borders by a watershed on the image.

    `relative` is the image, 1.0 at the level of the nuclei around.
    """
    from scipy import ndimage
    from skimage import segmentation

    labels = np.where(inside, old.owner, 0).astype(np.int32)
    apart = np.zeros(labels.shape, bool)
    apart[1:] |= old.owner[1:] != old.owner[:-1]
    apart[:, 1:] |= old.owner[:, 1:] != old.owner[:, :-1]
    apart[:-1] |= apart[1:]
    apart[:, :-1] |= apart[:, 1:]
    if not (apart & inside).any():
        return labels
    reach = np.float32(_BORDER_REACH) * old.diameter
    far = _distance(apart, int(np.ceil(reach.max()))) / reach
    contested = inside & (far < 1.0)
    markers = np.where(contested, 0, labels)
    area = ndimage.binary_dilation(contested, iterations=1) & inside
    relative = ndimage.gaussian_filter(np.minimum(relative, 1.5), _BORDER_BLUR * old.typical, truncate=TRUNCATE)
    height = -relative - _BORDER_SPRING * np.minimum(far, 1.0)
    flooded = segmentation.watershed(height, np.where(area, markers, 0), mask=area)
    return np.where(area, flooded, labels).astype(np.int32)


def _distance(mask: Mask, most: int) -> Floats:
    """Measure the distance to `mask` in pixels, up to `most`; what is farther away is farther than that.

    >>> _distance(np.array([[True, False, False, False, False]]), 2).round(1).tolist()
    [[0.0, 1.0, 2.0, 3.0, 3.0]]
    """
    from scipy import ndimage

    if most > _SHORT_PX:
        return np.asarray(ndimage.distance_transform_edt(~mask), np.float32)
    kind = np.uint8 if (most + 1) ** 2 + most**2 < 256 else np.uint16
    squared = np.where(mask, kind(0), kind((most + 1) ** 2))
    for axis, side in enumerate(mask.shape):  # the square of the distance is a sum over both axes
        before = squared.copy()
        for step in range(1, min(most, side - 1) + 1):
            ahead, behind = (np.s_[step:], np.s_[:-step]) if axis == 0 else (np.s_[:, step:], np.s_[:, :-step])
            farther = before + kind(step**2)
            np.minimum(squared[ahead], farther[behind], out=squared[ahead])
            np.minimum(squared[behind], farther[ahead], out=squared[behind])
    return np.sqrt(squared.astype(np.float32))


def whole(labels: Labels, old: Labels, kept: Mask | None = None) -> Labels:
    """Make each label one piece without holes; take its old outline where the new one is far too small or large.

    `kept` tells, by label, which ones keep the old outline in any case.
    """
    count = int(old.max()) + 1
    area = np.bincount(old.ravel(), minlength=count)
    kept = np.zeros(count, bool) if kept is None else kept[:count].copy()
    while True:
        if kept.any():
            labels = np.where(kept[old], old, np.where(kept[labels], 0, labels))
        labels = _filled(largest_pieces(labels))
        new = np.bincount(labels.ravel(), minlength=count)
        astray = ~kept & (area > 0) & ((new < _LEAST_AREA * area) | (new > _MOST_AREA * area))
        astray[0] = False
        if not astray.any():
            return labels
        kept |= astray


def _filled(labels: Labels) -> Labels:
    """Fill background that a single label encloses.

    >>> _filled(np.array([[1, 1, 1, 2], [1, 0, 1, 0], [1, 1, 1, 2]], np.int32)).tolist()
    [[1, 1, 1, 2], [1, 1, 1, 0], [1, 1, 1, 2]]
    """
    from scipy import ndimage

    lakes, count = ndimage.label(labels == 0)
    reaches_rim = np.zeros(count + 1, bool)
    for rim in (lakes[0], lakes[-1], lakes[:, 0], lakes[:, -1]):
        reaches_rim[rim] = True
    reaches_rim[0] = True
    enclosed = np.flatnonzero(~reaches_rim[lakes])
    lake, flat = lakes.ravel()[enclosed], labels.ravel()
    least, most = np.full(count + 1, np.iinfo(np.int32).max, np.int32), np.full(count + 1, -1, np.int32)
    for step in (1, -1, labels.shape[1], -labels.shape[1]):
        around = flat[enclosed + step]
        shore = around > 0
        np.minimum.at(least, lake[shore], around[shore])
        np.maximum.at(most, lake[shore], around[shore])
    fill = np.where(least == most, most, 0)
    filled = labels.astype(np.int32)
    filled.ravel()[enclosed] = fill[lake]
    return filled
