"""Corrections of nuclei by hand: merge, split, fill holes, smooth.

Each function takes ROIs as they are and returns new ones, exact to the pixel; only the box of the nucleus is looked at,
so that the size of the image costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.candidates import Instance
from stormseg_ij.cuts import Division, cut_along, cut_in_two
from stormseg_ij.errors import ImageError
from stormseg_ij.image import Labels
from stormseg_ij.outlines import Mask
from stormseg_ij.rois import POSITION, mask_to_roi, properties, roi_mask, roi_name, roi_number

if TYPE_CHECKING:
    from roifile import ImagejRoi

_DIAGONALS = np.ones((3, 3), bool)
_LEAST_LEFT = 0.9  # of a nucleus that smoothing tears into pieces
_TRUNCATE = 4.0  # sigmas


@dataclass(frozen=True)
class Corrected:
    """What a correction gives.

    Attributes
    ----------
    rois : tuple of roifile.ImagejRoi
        In place of those that were given, which are unchanged.
    notes : tuple of str
        One line for each thing that a person may want to look at.
    """

    rois: tuple[ImagejRoi, ...]
    notes: tuple[str, ...] = ()


def merged(rois: Sequence[ImagejRoi], shape: tuple[int, int]) -> Corrected:
    r"""Merge ROIs into one nucleus: their union.

    Parameters
    ----------
    rois : sequence of roifile.ImagejRoi
        Two or more, of any kind that has an area.
    shape : (int, int)
        Y, X of the image.

    Returns
    -------
    Corrected
        One ROI. Name, properties and appearance are those of the largest that is named ``nucleus_NNNN``, else of the
        first; the score is the largest of all.

    Raises
    ------
    ImageError
        If they are fewer than two, one has no pixel in the image, or they lie on different slices of a stack.

    Examples
    --------
    >>> from roifile import ROI_TYPE, ImagejRoi
    >>> one = ImagejRoi(roitype=ROI_TYPE.RECT, name="nucleus_0001", right=2, bottom=2)
    >>> two = ImagejRoi(roitype=ROI_TYPE.RECT, name="drawn", left=3, right=5, bottom=2)
    >>> done = merged([one, two], (9, 9))
    >>> done.rois[0].name, done.rois[0].props, done.notes
    ('nucleus_0001', 'corrected: merged\n', ('nucleus_0001: lies in 2 pieces that do not touch',))
    """
    if len(rois) < 2:
        raise ImageError(f"merging takes two or more ROIs, not {len(rois)}; select the parts of one nucleus")
    notes: list[str] = []
    parts = [_pixels(roi, shape, notes) for roi in rois]
    places = sorted({place for roi in rois if any(place := tuple(getattr(roi, field) for field in POSITION))})
    if len(places) > 1:
        raise ImageError(f"the {len(rois)} ROIs lie on different slices of the stack; select ROIs of one slice")
    top, left = min(part.top for part in parts), min(part.left for part in parts)
    bottom, right = (max(part.box[axis].stop for part in parts) for axis in (0, 1))
    mask = np.zeros((bottom - top, right - left), bool)
    for part in parts:
        rows, columns = part.box
        mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] |= part.mask
    named = [i for i, roi in enumerate(rois) if roi_number(roi.name) is not None]
    kept = rois[max(named, key=lambda i: parts[i].area) if named else 0]
    best = max(range(len(rois)), key=lambda i: -math.inf if math.isnan(parts[i].score) else parts[i].score)
    values = properties(kept)
    if not math.isnan(parts[best].score):
        values["score"] = properties(rois[best])["score"]
    roi = mask_to_roi(top, left, mask, name=kept.name, values=values | {"corrected": "merged"}, like=kept)
    for place in places:
        for field, value in zip(POSITION, place, strict=True):
            setattr(roi, field, value)
    return Corrected((roi,), (*notes, *_in_pieces(kept, mask)))


def split_by_line(
    roi: ImagejRoi, line_xy: NDArray[np.floating], shape: tuple[int, int], *, next_number: int
) -> Corrected:
    """Split a nucleus along a line that a person has drawn.

    Parameters
    ----------
    roi : roifile.ImagejRoi
    line_xy : ndarray of float, shape (V, 2)
        Vertices x, y of a straight, segmented or freehand line in the image, as ImageJ gives them: pixel (0, 0) is the
        square from (0, 0) to (1, 1). Ends that lie in the nucleus are made longer until they leave it.
    shape : (int, int)
        Y, X of the image.
    next_number : int
        Of the first new nucleus.

    Returns
    -------
    Corrected
        The pieces, the largest first: it keeps the name, the others are ``nucleus_NNNN`` from `next_number` on. No
        pixel is lost or double. Crumbs below 1 % that a wiggly line leaves stay with their neighbour.

    Raises
    ------
    ImageError
        If the line does not part the nucleus or is none, or the ROI has no pixel in the image.

    Examples
    --------
    >>> from roifile import ROI_TYPE, ImagejRoi
    >>> square = ImagejRoi(roitype=ROI_TYPE.RECT, name="nucleus_0001", left=10, top=10, right=20, bottom=20)
    >>> done = split_by_line(square, np.array([[14.0, 9.0], [14.0, 18.5]]), (50, 50), next_number=8)
    >>> [(roi.name, roi.left, roi.right) for roi in done.rois]
    [('nucleus_0001', 14, 20), ('nucleus_0008', 10, 14)]
    """
    line = np.asarray(line_xy, np.float64)
    if line.ndim != 2 or line.shape[1] != 2 or len(line) < 2 or not np.isfinite(line).all():
        raise ImageError(f"a line of shape {line.shape} cannot split a nucleus; draw a line of two or more points")
    notes: list[str] = []
    source = _pixels(roi, shape, notes)
    pieces = cut_along(source.mask, line - (source.left, source.top))
    if pieces.max() < 2:
        raise ImageError(f"the line does not split {_called(roi)}; draw it across, from one side to the other")
    return _split(roi, source, pieces, next_number, notes)


def split_in_two(roi: ImagejRoi, shape: tuple[int, int], *, next_number: int, by: Division = "bisector") -> Corrected:
    """Split a nucleus in two without a line.

    Parameters
    ----------
    roi : roifile.ImagejRoi
    shape : (int, int)
        Y, X of the image.
    next_number : int
        Of the new nucleus.
    by : {"bisector", "neck"}
        The dividing line, see `stormseg_ij.cuts.cut_in_two`: the paper's bisector of two centres, or the shortest way
        through.

    Returns
    -------
    Corrected
        Two nuclei; the larger one keeps the name. No pixel is lost or double.

    Raises
    ------
    ImageError
        If the nucleus is too small to be split, or has no pixel in the image.

    References
    ----------
    Mela & Liu 2021, Methods, "Post processing".
    """
    notes: list[str] = []
    source = _pixels(roi, shape, notes)
    pieces = cut_in_two(source.mask, by=by)
    if pieces.max() < 2:
        raise ImageError(f"{_called(roi)} has {source.area} pixels, too few for two nuclei; draw a line to split it")
    return _split(roi, source, pieces, next_number, notes)


def filled(roi: ImagejRoi, shape: tuple[int, int]) -> Corrected:
    """Fill the holes of a nucleus.

    Parameters
    ----------
    roi : roifile.ImagejRoi
    shape : (int, int)
        Y, X of the image. A hole that is open towards the image's edge is none.

    Raises
    ------
    ImageError
        If there are no holes, or no pixel in the image.
    """
    from scipy import ndimage

    notes: list[str] = []
    source = _pixels(roi, shape, notes)
    # What a diagonal gap opens is no hole: nuclei are 4-connected, what is around them 8-connected.
    mask = np.asarray(ndimage.binary_fill_holes(source.mask, _DIAGONALS))
    if np.count_nonzero(mask) == source.area:
        raise ImageError(f"{_called(roi)} has no holes; choose a nucleus that has some")
    new = _like(roi, roi.name, (source.top, source.left, mask), "filled")
    return Corrected((new,), (*notes, *_in_pieces(new, mask)))


def smoothed(roi: ImagejRoi, shape: tuple[int, int], *, sigma_px: float) -> Corrected:
    """Smooth the outline of a nucleus: a Gaussian filter of its mask, cut so that the area stays.

    Parameters
    ----------
    roi : roifile.ImagejRoi
        Of several pieces, the largest (4-connected) is smoothed and stays.
    shape : (int, int)
        Y, X of the image. At its edge, the nucleus is taken to go on.
    sigma_px : float
        Of the filter: what is thinner goes or is filled.

    Returns
    -------
    Corrected
        One ROI in one piece; notes say how many pixels other pieces had.

    Raises
    ------
    ImageError
        If sigma is not above 0 or larger than the nucleus, or would tear it apart, or there is no pixel in the image.
    """
    notes: list[str] = []
    source = _pixels(roi, shape, notes)
    largest = max(source.mask.shape)
    if not 0.0 < sigma_px <= largest:
        raise ImageError(f"cannot smooth {_called(roi)} with a sigma of {sigma_px:g} px; give 0.5 to {largest}")
    whole = _largest_piece(source.mask)
    area = int(np.count_nonzero(whole))
    top, left, mask = _blurred(Instance(source.top, source.left, whole, source.score), shape, sigma_px)
    mask = _largest_piece(mask)
    left_px = int(np.count_nonzero(mask))
    if left_px < _LEAST_LEFT * area:
        fault = (
            f"a sigma of {sigma_px:g} px tears {_called(roi)} apart: {left_px} of {area} pixels are left in one piece"
        )
        raise ImageError(f"{fault}; give a smaller sigma, or split it first")
    if area < source.area:
        notes.append(f"{_called(roi)}: other pieces, {source.area - area} pixels, are left out")
    return Corrected((_like(roi, roi.name, (top, left, mask), "smoothed"),), tuple(notes))


def redrawn(roi: ImagejRoi, drawn: Instance) -> ImagejRoi:
    """Return the nucleus with the pixels that a person drew; all else stays as it is.

    Parameters
    ----------
    roi : roifile.ImagejRoi
    drawn : Instance
        New pixels, in the image.

    Returns
    -------
    roifile.ImagejRoi
    """
    return _like(roi, roi.name, (drawn.top, drawn.left, drawn.mask), "redrawn")


def _pixels(roi: ImagejRoi, shape: tuple[int, int], notes: list[str]) -> Instance:
    """Return the pixels of a ROI; add remarks on it to the notes."""
    instance, remarks = roi_mask(roi, shape)
    if instance is None:
        reason = remarks[-1].removeprefix("left out: ")
        raise ImageError(f"{_called(roi)} cannot be corrected: {reason}; choose a ROI with an area in the image")
    notes.extend(f"{_called(roi)}: {remark}" for remark in remarks)
    return instance


def _called(roi: ImagejRoi) -> str:
    return roi.name or "the ROI"


def _like(roi: ImagejRoi, name: str, mask: tuple[int, int, Mask], how: str) -> ImagejRoi:
    """Make a ROI with other pixels (top, left and mask) and all else as in this one."""
    return mask_to_roi(*mask, name=name, values=properties(roi) | {"corrected": how}, like=roi)


def _in_pieces(roi: ImagejRoi, mask: Mask) -> list[str]:
    """Say so if a mask is in several pieces (8-connected)."""
    from scipy import ndimage

    count = ndimage.label(mask, _DIAGONALS)[1]
    return [f"{_called(roi)}: lies in {count} pieces that do not touch"] if count > 1 else []


def _split(roi: ImagejRoi, source: Instance, pieces: Labels, next_number: int, notes: list[str]) -> Corrected:
    """Make a ROI of each piece; the first is the largest."""
    rois = []
    for piece in range(1, int(pieces.max()) + 1):
        mask = pieces == piece
        name = roi.name if piece == 1 else roi_name(next_number + piece - 2)
        rois.append(_like(roi, name, (source.top, source.left, mask), "split"))
        notes.extend(_in_pieces(rois[-1], mask))
    return Corrected(tuple(rois), tuple(notes))


def _largest_piece(mask: Mask) -> Mask:
    """Keep the largest piece (4-connected), of equal ones the first in reading order."""
    from scipy import ndimage

    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    return np.asarray(pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:])))


def _blurred(instance: Instance, shape: tuple[int, int], sigma_px: float) -> tuple[int, int, Mask]:
    """Blur a mask and cut it where it keeps its area; return its top, left and mask."""
    from scipy import ndimage

    margin = math.ceil(_TRUNCATE * sigma_px) + 1
    box = instance.box
    before = [min(part.start, margin) for part in box]
    after = [min(size - part.stop, margin) for part, size in zip(box, shape, strict=True)]
    mask = np.pad(instance.mask, list(zip(before, after, strict=True)))
    # "nearest": beyond the image's edge, which the frame may reach, all is as it is there.
    values = ndimage.gaussian_filter(mask.astype(np.float32), sigma_px, mode="nearest", truncate=_TRUNCATE)
    threshold = np.partition(values, -instance.area, axis=None)[-instance.area]
    smooth = values >= threshold
    fewer = values > threshold  # pixels with one value all go or all stay
    if fewer.any() and np.count_nonzero(smooth) - instance.area > instance.area - np.count_nonzero(fewer):
        smooth = fewer
    return box[0].start - before[0], box[1].start - before[1], np.asarray(smooth)
