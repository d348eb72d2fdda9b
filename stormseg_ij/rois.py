"""Labels to ImageJ ROIs and back, exact to the pixel; the only place where rows become y."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.candidates import Instance
from stormseg_ij.errors import ImageError
from stormseg_ij.image import Labels
from stormseg_ij.outlines import Loop, Mask, Outlines, fill, loops_to_path, path_to_loops, trace, trace_window
from stormseg_ij.regions import Window, find_regions, windows
from stormseg_ij.roi_files import SUFFIXES, read_rois, write_rois
from stormseg_ij.roi_properties import properties, property_lines

if TYPE_CHECKING:
    from roifile import ImagejRoi

__all__ = [
    "OUTSIDE", "POSITION", "SUFFIXES", "extent", "iterate_rois", "labels_to_rois", "mask_to_roi", "properties",
    "property_lines", "read_rois", "roi_mask", "roi_name", "roi_number", "rois_to_labels", "write_rois",
]  # fmt: skip

_NAME = re.compile(r"nucleus_(\d+)")
OUTSIDE = "left out: it lies outside the image"
"""End of the note on a ROI that has no part in the image."""
POSITION = ("position", "c_position", "z_position", "t_position")
"""The fields of a ROI that say to which slice of a stack it belongs; 0: to all."""
_APPEARANCE = ("stroke_color", "fill_color", "stroke_width", "float_stroke_width", "group")
_LARGEST_LABEL = np.iinfo(np.int32).max
_LARGEST_SHORT = 32_767


def roi_name(label: int) -> str:
    """Return the name that the ROI of a label has in every table and file.

    >>> roi_name(7)
    'nucleus_0007'
    """
    return f"nucleus_{label:04d}"


def roi_number(name: str) -> int | None:
    """Return the number in the name of a nucleus; None if it has another name. The inverse of `roi_name`.

    >>> roi_number("nucleus_0012"), roi_number("0012-0034")
    (12, None)
    """
    match = _NAME.fullmatch(name)
    return int(match.group(1)) if match else None


def labels_to_rois(
    labels: Labels,
    *,
    image_name: str = "",
    model: str = "",
    scores: Mapping[int, float] | None = None,
    position: int = 0,
) -> list[ImagejRoi]:
    """Make one ImageJ ROI per label, whose mask in ImageJ is exactly the label.

    Parameters
    ----------
    labels : ndarray of int, shape (Y, X)
        0 is background.
    image_name, model : str
        Written into the ROI's properties where given.
    scores : mapping of int to float, optional
        Score of each label, written into its ROI's properties.
    position : int
        Slice of the stack that the ROIs belong to, counted from 1; 0: all.

    Returns
    -------
    list of roifile.ImagejRoi
        In the order of labels, named ``nucleus_0001`` (the number is the label, gaps stay). A label in one piece
        (4-connected) without holes is a traced ROI, as ImageJ's wand and particle analyzer make it: ImageJ then
        measures perimeters for pixel outlines, and shows no handles. All others are composite.

    Raises
    ------
    ImageError
        If a label is negative.

    Notes
    -----
    Corners lie on pixel edges: pixel (0, 0) is the square from (0, 0) to (1, 1). ROI files hold 16-bit coordinates:
    beyond 32,767 the ROI is a polygon with sub-pixel coordinates, which ImageJ still takes for a traced one.

    Examples
    --------
    >>> roi = labels_to_rois(np.array([[0, 0, 0], [0, 3, 3]], np.int32), image_name="cell")[0]
    >>> roi.name, roi.properties, roi.coordinates().tolist()
    ('nucleus_0003', {'image': 'cell'}, [[3, 2], [1, 2], [1, 1], [3, 1]])
    """
    return list(iterate_rois(labels, image_name=image_name, model=model, scores=scores, position=position))


def iterate_rois(
    labels: Labels,
    *,
    image_name: str = "",
    model: str = "",
    scores: Mapping[int, float] | None = None,
    position: int = 0,
) -> Iterator[ImagejRoi]:
    """Make the ROIs of `labels_to_rois` one after the other, for images with more nuclei than fit into a list.

    Parameters
    ----------
    labels, image_name, model, scores, position
        As in `labels_to_rois`.

    Returns
    -------
    iterator of roifile.ImagejRoi
        In the order of labels. Where labels are numbered in reading order, only the outlines of a window of the image
        are in memory, else (as plain arrays) those of all nuclei.

    Raises
    ------
    ImageError
        If a label is negative; before the first ROI is made.
    """
    regions = find_regions(labels)
    if regions.labels.size and regions.labels[0] < 0:
        raise ImageError(f"labels go down to {regions.labels[0]}; give a label image with 0 and up")
    common = property_lines({"image": image_name, "model": model})

    def finished(outlines: Outlines, i: int) -> ImagejRoi:
        label = int(outlines.labels[i])
        roi = _roi(_traced(outlines, i))
        roi.name = roi_name(label)
        roi.position = position
        score = None if scores is None else scores.get(label)
        roi.props = common if score is None else common + property_lines({"score": f"{score:.6g}"})
        return roi

    return (finished(outlines, i) for outlines, i in _by_label(labels, list(windows(labels, regions))))


def rois_to_labels(rois: Iterable[ImagejRoi], shape: tuple[int, int]) -> tuple[Labels, tuple[str, ...]]:
    """Paint ROIs into a label image, by ImageJ's own rules for which pixels a ROI holds.

    Parameters
    ----------
    rois : iterable of roifile.ImagejRoi
        Of any kind, also drawn by hand. Where they overlap, the first keeps the pixel.
    shape : (int, int)
        Y, X of the image.

    Returns
    -------
    labels : ndarray, shape (Y, X), dtype int32
        The inverse of `labels_to_rois`: a ROI named ``nucleus_0012`` is label 12. ROIs with other names get
        numbers above all of these, so that the number of a nucleus that was deleted is never given again.
    notes : tuple of str
        One line for every ROI that has no area, lies outside, overlaps, lies in several pieces (8-connected), has
        a number that is taken, or a shape that is only nearly ImageJ's.
    """
    rois = list(rois)
    labels = np.zeros(shape, np.int32)
    notes: list[str] = []
    for i, (roi, number) in enumerate(zip(rois, _numbers(rois, notes), strict=True)):
        notes.extend(f"{roi.name or f'ROI {i + 1}'}: {remark}" for remark in _paint(labels, roi, number))
    return labels, tuple(notes)


def roi_mask(roi: ImagejRoi, shape: tuple[int, int]) -> tuple[Instance | None, list[str]]:
    """Find the pixels of an image that a ROI holds, by ImageJ's own rules.

    Parameters
    ----------
    roi : roifile.ImagejRoi
        Of any kind, also drawn by hand.
    shape : (int, int)
        Y, X of the image.

    Returns
    -------
    instance : Instance or None
        The mask in its box, cut off at the image's edge; its score is the ROI's property, NaN if it has none. None if
        it holds no pixel: the last remark says why.
    remarks : list of str
        What was not as it should be: no area, outside, cut off, a shape that is only nearly ImageJ's.

    Examples
    --------
    >>> from roifile import ROI_TYPE, ImagejRoi
    >>> instance, remarks = roi_mask(ImagejRoi(roitype=ROI_TYPE.RECT, left=3, top=1, right=6, bottom=3), (4, 5))
    >>> instance.top, instance.left, instance.mask.shape, remarks
    (1, 3, (2, 2), ["reaches over the image's edge: cut off there"])
    """
    from roifile import ROI_TYPE

    loops, remark = _loops(roi)
    remarks = [remark] if remark else []
    if not loops:
        return None, remarks
    corners = np.concatenate(loops)
    low, high, size = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0)), np.array(shape[::-1])
    left, top = np.minimum(np.maximum(low, 0), size).astype(np.int64).tolist()
    right, bottom = np.minimum(np.maximum(high, 0), size).astype(np.int64).tolist()
    if left == right or top == bottom:
        return None, [*remarks, "left out: it is empty" if (low >= high).any() else OUTSIDE]
    mask = fill([loop - (left, top) for loop in loops], bottom - top, right - left)
    if roi.roitype == ROI_TYPE.OVAL:
        mask &= _inside_oval(_box(roi), (left, top, right, bottom))
    instance = Instance(top, left, mask, _score(roi)).trimmed()
    if instance is None:
        return None, [*remarks, "left out: no pixel's centre lies in it"]
    if (low < 0).any() or (high > size).any():
        remarks.append("reaches over the image's edge: cut off there")
    return instance, remarks


def mask_to_roi(
    top: int,
    left: int,
    mask: Mask,
    *,
    name: str,
    values: Mapping[str, str] | None = None,
    like: ImagejRoi | None = None,
) -> ImagejRoi:
    """Make the ROI whose mask in ImageJ is exactly this one: traced or composite, as `labels_to_rois` makes them.

    Parameters
    ----------
    top, left : int
        Row and column of the mask's first pixel in the image.
    mask : ndarray of bool, shape (h, w)
    name : str
    values : mapping of str to str, optional
        Its properties.
    like : roifile.ImagejRoi, optional
        Gives colours, line width, group, and the slice of the stack.

    Raises
    ------
    ImageError
        If the mask has no pixel.

    Examples
    --------
    >>> mask_to_roi(1, 5, np.array([[True, True]]), name="nucleus_0002").coordinates().tolist()
    [[7, 2], [5, 2], [5, 1], [7, 1]]
    """
    if not mask.any():
        raise ImageError(f"{name} would have no pixel; leave it out")
    # Bytes, for the mask of nuclei that lie far from each other may be as large as the image.
    outlines = trace(np.ascontiguousarray(mask).view(np.uint8))
    roi = _roi([loop + np.array([left, top], np.int32) for loop in _traced(outlines, 0)])
    roi.name = name
    roi.props = property_lines(values or {})
    for field in (*_APPEARANCE, *POSITION) if like is not None else ():
        setattr(roi, field, getattr(like, field))
    return roi


def extent(rois: Iterable[ImagejRoi]) -> tuple[int, int]:
    """Return the shape (Y, X) of the smallest image that holds all of these ROIs; at least (1, 1).

    The box in a ROI's header has 16 bits: beyond 65,535 pixels the corners tell where it is.
    """
    height = width = 1
    for roi in rois:
        for loop in _loops(roi)[0]:
            right, bottom = np.ceil(np.max(loop, axis=0)).astype(np.int64).tolist()
            height, width = max(height, bottom), max(width, right)
    return height, width


def _by_label(labels: Labels, parts: list[Window]) -> Iterator[tuple[Outlines, int]]:
    """Trace windows; yield outlines and the index of a nucleus in them, in the order of labels."""
    traced = (trace_window(labels, part) for part in parts)
    if all(one.labels[-1] < two.labels[0] for one, two in pairwise(parts)):
        for outlines in traced:
            yield from ((outlines, i) for i in range(len(outlines.labels)))
        return
    every = list(traced)
    owner = np.repeat(np.arange(len(every)), [len(outlines.labels) for outlines in every])
    index = np.concatenate([np.arange(len(outlines.labels)) for outlines in every])
    order = np.argsort(np.concatenate([outlines.labels for outlines in every]))
    for part, i in zip(owner[order].tolist(), index[order].tolist(), strict=True):
        yield every[part], i


def _traced(outlines: Outlines, i: int) -> list[NDArray[np.int32]]:
    """Return the loops of a nucleus, each of shape (n, 2)."""
    starts = outlines.loops[outlines.owners[i] : outlines.owners[i + 1] + 1].tolist()
    return [np.stack([outlines.x[a:b], outlines.y[a:b]], axis=1) for a, b in pairwise(starts)]


def _score(roi: ImagejRoi) -> float:
    """Return the score in a ROI's properties; NaN if there is none."""
    try:
        return float(properties(roi).get("score", "nan"))
    except ValueError:
        return math.nan


def _roi(loops: list[NDArray[np.int32]]) -> ImagejRoi:
    """Make the ROI of some closed loops."""
    from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

    corners = np.concatenate(loops)
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    roi = ImagejRoi(left=left, top=top, right=right, bottom=bottom)
    if len(loops) > 1:
        roi.roitype = ROI_TYPE.RECT
        roi.multi_coordinates = loops_to_path(loops)
        roi.shape_roi_size = len(roi.multi_coordinates)
        return roi
    roi.n_coordinates = len(loops[0])
    roi.integer_coordinates = loops[0] - np.array([left, top], np.int32)
    roi.roitype = ROI_TYPE.TRACED
    if max(right, bottom) > _LARGEST_SHORT:
        # ImageJ measures no perimeter of a traced ROI with sub-pixel coordinates, but does so of a polygon.
        roi.roitype = ROI_TYPE.POLYGON
        roi.options |= ROI_OPTIONS.SUB_PIXEL_RESOLUTION
        roi.subpixel_coordinates = loops[0].astype(np.float32)
    return roi


def _numbers(rois: list[ImagejRoi], notes: list[str]) -> list[int]:
    """Choose each ROI's label: the number in its name, else one above all numbers in names."""
    numbers: list[int] = []
    taken: dict[int, str] = {}
    for roi in rois:
        number = roi_number(roi.name) or 0
        if not 0 < number <= _LARGEST_LABEL or number in taken:
            number = 0
        else:
            taken[number] = roi.name
        numbers.append(number)
    following = max(taken, default=0)
    for i, roi in enumerate(rois):
        if numbers[i]:
            continue
        following += 1
        numbers[i] = following
        named = roi_number(roi.name)
        if named is not None:
            reason = "number is taken" if named in taken else "number is out of range"
            notes.append(f"{roi.name}: its {reason}, it is label {following}")
    return numbers


def _loops(roi: ImagejRoi) -> tuple[list[Loop], str]:
    """Return a ROI's area as closed loops (of an oval: its box), and a remark if it has none, or is not quite that."""
    from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE

    remark = ""
    if roi.subtype in (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.IMAGE):
        return [], f"left out: it is a {roi.subtype.name.lower()} overlay"
    if roi.multi_coordinates is not None:
        loops = path_to_loops(roi.multi_coordinates)
    elif roi.roitype in (ROI_TYPE.RECT, ROI_TYPE.OVAL):
        left, top, right, bottom = _box(roi)
        loops = [np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.int64)]
        if roi.roitype == ROI_TYPE.RECT and roi.rounded_rect_arc_size > 0:
            remark = "has rounded corners: taken as square"
    elif roi.roitype in (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED):
        loops = [np.asarray(roi.coordinates())]
        if roi.options & ROI_OPTIONS.SPLINE_FIT:
            remark = "is smoothed by a spline in ImageJ: taken with straight edges"
    else:
        return [], f"left out: a {roi.roitype.name.lower()} selection has no area"
    loops = [loop for loop in loops if len(loop)]
    if not all(np.isfinite(loop).all() for loop in loops):
        return [], "left out: some of its coordinates are no numbers"
    return loops, remark if loops else "left out: it is empty"


def _box(roi: ImagejRoi) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a rectangle or oval; ImageJ brings one at sub-pixel places to whole pixels."""
    if not roi.subpixelrect:
        # What is empty in the file is unwrapped to 65,536 by roifile.
        width, height = (size if size < 1 << 16 else 0 for size in (roi.right - roi.left, roi.bottom - roi.top))
        return roi.left, roi.top, roi.left + width, roi.top + height
    left, top, width, height = np.clip(np.nan_to_num([roi.xd, roi.yd, roi.widthd, roi.heightd]), -1e9, 1e9)
    return int(left), int(top), int(left) + int(np.ceil(width)), int(top) + int(np.ceil(height))


def _paint(labels: Labels, roi: ImagejRoi, number: int) -> list[str]:
    """Give a ROI's pixels that are still background its number; return remarks on what was not as it should be."""
    from roifile import ROI_TYPE
    from scipy import ndimage

    instance, remarks = roi_mask(roi, labels.shape)
    if instance is None:
        return remarks
    count, spot = instance.area, labels[instance.box]
    mask = instance.mask & (spot == 0)
    kept = int(np.count_nonzero(mask))
    if kept == 0:
        return [*remarks, "left out: it lies under earlier ROIs"]
    if kept < count:
        remarks.append(f"overlaps earlier ROIs: they keep {count - kept} of its {count} pixels")
    spot[mask] = number
    if kept == count and roi.roitype == ROI_TYPE.TRACED:
        return remarks  # the wand traces single pieces
    pieces = ndimage.label(mask, np.ones((3, 3)))[1]
    return [*remarks, f"lies in {pieces} pieces"] if pieces > 1 else remarks


def _inside_oval(oval: tuple[int, int, int, int], part: tuple[int, int, int, int]) -> Mask:
    """Tell which pixels of `part` have their centres in the ellipse that fits `oval`; both left, top, right, bottom."""
    inside = []
    for low, high, first, last in zip(oval[:2], oval[2:], part[:2], part[2:], strict=True):
        radius = (high - low) / 2.0
        distance = np.arange(first - low, last - low) - (radius - 0.5)
        inside.append(distance * distance / (radius * radius))
    return inside[0][np.newaxis, :] + inside[1][:, np.newaxis] <= 1.0
