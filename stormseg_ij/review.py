"""Which nucleus a person should look at next: from the one that is most likely wrong to the surest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.candidates import Instance, Mask
from stormseg_ij.pairs import box_pairs, boxes, shared_px
from stormseg_ij.roi_properties import properties
from stormseg_ij.rois import POSITION, roi_mask, roi_number

if TYPE_CHECKING:
    from roifile import ImagejRoi

# The doubt is a probability, its log-odds a sum. Fitted to 1,014 nuclei that stardist-storm found in 40 simulated
# images of tissue (wrong: an IoU below 0.7 with the truth), then rounded: this start, and the next four.
_SURE = -6.0
_PER_SCORE = 17.0  # by what the score lacks to 1
_PER_SOLIDITY = 15.0  # by what the solidity lacks to 1
_PER_SMALLNESS = 2.0  # by the logarithm of the median area over the area
_AT_BORDER = -2.0  # a nucleus that the border cuts has a lower score and is small without being wrong
# A model's nuclei give no data on these: half a nucleus in another one, or two pieces, are as likely wrong as not.
_PER_OVERLAP = 10.0
_IN_PIECES = 5.0
_CORRECTED = -4.0

_MOST_SMALLNESS = 2.5
_ENOUGH = 5  # nuclei that have a median area
_LOW_SCORE, _LOW_SOLIDITY, _SMALL, _SHARED = 0.8, 0.9, 0.4, 0.005  # from here on a reason is told


@dataclass(frozen=True)
class Doubt:
    """How doubtful a nucleus is, and why.

    Attributes
    ----------
    index : int
        Of the ROI in the list.
    doubt : float
        0 is sure, 1 is wrong.
    reasons : tuple of str
        A few words each, the weightiest first; none where nothing is unusual.
    """

    index: int
    doubt: float
    reasons: tuple[str, ...]


@dataclass
class _Nucleus:
    """One ROI, what is known of it, and its log-odds so far; `told` are reasons with their weights."""

    index: int
    name: str
    instance: Instance
    odds: float = _SURE
    told: list[tuple[float, str]] = field(default_factory=list)

    def weigh(self, weight: float, reason: str = "") -> None:
        """Add to the log-odds, and tell the reason if there is one."""
        self.odds += weight
        if reason:
            self.told.append((weight, reason))

    def doubt(self) -> Doubt:
        told = sorted(self.told, key=lambda item: -item[0])
        return Doubt(self.index, 1.0 / (1.0 + math.exp(-self.odds)), tuple(reason for _, reason in told))


def doubts(rois: Sequence[ImagejRoi], shape: tuple[int, int]) -> list[Doubt]:
    """Rank nuclei from the least certain to the surest.

    Parameters
    ----------
    rois : sequence of roifile.ImagejRoi
        Of any kind. Lines, points and other selections that hold no pixel are left out, unless they are named like a
        nucleus: these come first.
    shape : (int, int)
        Y, X of the image.

    Returns
    -------
    list of Doubt
        By falling doubt, equal ones in the order of the list.

    Notes
    -----
    Five things count: the score (ROI property ``score``; what has none was drawn by hand and counts as sure), an odd
    shape (solidity as ImageJ measures it, several pieces), a size far below the median, an overlap with another nucleus
    of the same plane, and the border of the image. What a person has corrected (ROI property ``corrected``) counts as
    less doubtful. The weights fit scores of star-convex networks.

    In 40 other simulated images of tissue, 23 % of 1,161 nuclei were wrong; the first fifth
    of each ranking held 45 % of the wrong ones (by score alone 34 %, by chance 21 %). See ``benchmarks/review.py``.

    Examples
    --------
    >>> from roifile import ROI_TYPE, ImagejRoi
    >>> sure = ImagejRoi(roitype=ROI_TYPE.OVAL, left=2, top=2, right=9, bottom=9, props="score: 0.95")
    >>> weak = ImagejRoi(roitype=ROI_TYPE.OVAL, left=12, top=2, right=19, bottom=9, props="score: 0.52")
    >>> [(doubt.index, doubt.reasons) for doubt in doubts([sure, weak], (20, 30))]
    [(1, ('score 0.52',)), (0, ())]
    """
    from roifile import ROI_TYPE

    nuclei: list[_Nucleus] = []
    lost: list[Doubt] = []
    for index, roi in enumerate(rois):
        instance, remarks = roi_mask(roi, shape)
        if instance is not None:
            nucleus = _Nucleus(index, roi.name or f"ROI {index + 1}", instance)
            _weigh_alone(nucleus, shape, whole=roi.roitype == ROI_TYPE.TRACED and not remarks)
            if "corrected" in roi.props and "corrected" in properties(roi):
                nucleus.weigh(_CORRECTED)
            nuclei.append(nucleus)
        elif roi_number(roi.name) is not None:
            lost.append(Doubt(index, 1.0, (f"no area: {remarks[-1].removeprefix('left out: ')}",)))
    _weigh_sizes(nuclei)
    _weigh_overlaps(nuclei, [tuple(getattr(rois[nucleus.index], name) for name in POSITION) for nucleus in nuclei])
    return lost + sorted((nucleus.doubt() for nucleus in nuclei), key=lambda doubt: -doubt.doubt)


def _weigh_alone(nucleus: _Nucleus, shape: tuple[int, int], *, whole: bool) -> None:
    """Weigh what a nucleus tells by itself: score, shape, border; `whole` if it is known to be in one piece."""
    instance = nucleus.instance
    score = instance.score
    if math.isfinite(score):
        nucleus.weigh(_PER_SCORE * (1.0 - min(max(score, 0.0), 1.0)), f"score {score:.2f}" * (score < _LOW_SCORE))
    solidity = _solidity(instance.mask)
    odd = f"odd shape: solidity {solidity:.2f}" if solidity < _LOW_SOLIDITY else ""
    nucleus.weigh(_PER_SOLIDITY * (1.0 - solidity), odd)
    if not whole and _count_pieces(instance.mask) > 1:
        nucleus.weigh(_IN_PIECES, "several pieces")
    rows, columns = instance.box
    if rows.start == 0 or columns.start == 0 or rows.stop == shape[0] or columns.stop == shape[1]:
        nucleus.weigh(_AT_BORDER, "touches the border")


def _weigh_sizes(nuclei: list[_Nucleus]) -> None:
    if len(nuclei) < _ENOUGH:
        return
    areas = [nucleus.instance.area for nucleus in nuclei]
    median = float(np.median(areas))
    for nucleus, area in zip(nuclei, areas, strict=True):
        smallness = min(max(math.log(median / area), 0.0), _MOST_SMALLNESS)
        nucleus.weigh(_PER_SMALLNESS * smallness, "much smaller than the others" * (area < _SMALL * median))


def _weigh_overlaps(nuclei: list[_Nucleus], positions: list[tuple[int, ...]]) -> None:
    """Weigh the largest overlap of each nucleus with another one, as a part of its own area."""
    largest: dict[int, tuple[float, str]] = {}
    for i, j in box_pairs(boxes([nucleus.instance for nucleus in nuclei])).tolist():
        one, two = nuclei[i], nuclei[j]
        if positions[i] != positions[j] and any(positions[i]) and any(positions[j]):
            continue  # on other planes; a ROI without a position lies on all of them
        common_px = shared_px(one.instance, two.instance)
        for this, nucleus, other in ((i, one, two), (j, two, one)):
            part = common_px / nucleus.instance.area
            if part > largest.get(this, (0.0, ""))[0]:
                largest[this] = part, other.name
    for i, (part, name) in largest.items():
        nuclei[i].weigh(_PER_OVERLAP * part, f"overlaps {name} by {100.0 * part:.0f} %" * (part >= _SHARED))


def _count_pieces(mask: Mask) -> int:
    from scipy import ndimage

    return int(ndimage.label(mask, np.ones((3, 3)))[1])


def _solidity(mask: Mask) -> float:
    """Return the area over that of the convex hull of the pixels' corners; no row at the sides of the mask is empty."""
    width = mask.shape[1]
    filled = mask.any(axis=1)
    first = np.where(filled, mask.argmax(axis=1), width)
    after = np.where(filled, width - mask[:, ::-1].argmax(axis=1), 0)
    # The outermost corners at each height are those of the row above or of the row below it.
    left = np.minimum(np.append(first, width), np.append(width, first))
    right = np.maximum(np.append(after, 0), np.append(0, after))
    return float(np.count_nonzero(mask) / (_below_hull(right) + _below_hull(-left)))


def _below_hull(values: NDArray[np.int64]) -> float:
    """Return the area under the least concave curve that is nowhere below values at 0, 1, 2 ..."""
    kept = np.arange(len(values))
    while True:
        heights = values[kept]
        run, rise = kept[1:] - kept[:-1], heights[1:] - heights[:-1]
        bends = rise[:-1] * run[1:] > rise[1:] * run[:-1]
        if bends.all():
            return float((heights[1:] + heights[:-1]) @ run) / 2.0
        kept = np.concatenate([kept[:1], kept[1:-1][bends], kept[-1:]])
