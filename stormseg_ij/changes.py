"""What changed between two sets of ROIs, and the audit table that tells it: which nucleus, how, by model or by hand."""

from __future__ import annotations

import csv
import io
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from stormseg_ij.candidates import Instance
from stormseg_ij.pairs import box_pairs, boxes, shared_px
from stormseg_ij.rois import POSITION, roi_mask

if TYPE_CHECKING:
    from roifile import ImagejRoi

Pair: TypeAlias = tuple[int, int]

_fields_of = attrgetter(
    "roitype", "subtype", "left", "top", "right", "bottom", "rounded_rect_arc_size", "x1", "y1", "x2", "y2", "xd", "yd",
    "widthd", "heightd",
)  # fmt: skip
"""Fields of a ROI that, with its coordinates, say which pixels it holds; all else is name and looks."""

_COORDINATES = (("integer_coordinates", "<i4"), ("subpixel_coordinates", "<f4"), ("multi_coordinates", "<f4"))
"""Also such fields, and what they are read as: files hold them in another byte order than memory."""

_position_of = attrgetter(*POSITION)

_SHAPING = 1 | 128
"""Of a ROI's options those that shape it: a spline, sub-pixel coordinates."""


class Kind(StrEnum):
    """What happened to a nucleus."""

    ADDED = "added"
    DELETED = "deleted"
    REDRAWN = "redrawn"
    MOVED = "moved"
    RENAMED = "renamed"


@dataclass(frozen=True)
class Change:
    """One nucleus that is not as it was.

    Attributes
    ----------
    kind : Kind
        Moved: the same pixels at another place or on another plane.
    name, new_name : str
        Before and after; that of an added nucleus stands in both, as does that of a deleted one.
    before, after : int or None
        Index of the ROI in each set.
    position : str
        Plane of a stack, as in `position_text`; that before for a deleted nucleus.
    area_before_px, area_after_px : int or None
        Pixels in the image; None where it was not there.
    iou : float or None
        Intersection over union of the pixels before and after; None unless there were pixels at both times.
    detail : str
        More about it, for a person.
    """

    kind: Kind
    name: str
    new_name: str
    before: int | None
    after: int | None
    position: str
    area_before_px: int | None
    area_after_px: int | None
    iou: float | None
    detail: str


@dataclass(frozen=True)
class Entry:
    """One row of the audit table; its fields are the columns.

    Attributes
    ----------
    time : str
        UTC, as ``2026-01-31T12:00:00Z``.
    image, position, nucleus : str
        Which one; its name before the change.
    change : str
        A `Kind`.
    by : str
        Who did it: ``hand``, or ``model`` and the model's name.
    command : str
        With what, as it is called in ImageJ's menu.
    area_before_px, area_after_px : int or None
    iou : float or None
    detail : str
    """

    time: str
    image: str
    position: str
    nucleus: str
    change: str
    by: str
    command: str
    area_before_px: int | None
    area_after_px: int | None
    iou: float | None
    detail: str


COLUMNS = tuple(column.name for column in fields(Entry))
"""Of the audit table."""


class _Set:
    """The ROIs of one time, and their pixels once they are asked for."""

    def __init__(self, rois: Sequence[ImagejRoi], shape: tuple[int, int]) -> None:
        self.rois = rois
        self.geometry = [geometry(roi) for roi in rois]
        self.position = [_position_of(roi) for roi in rois]
        self.rest = list(range(len(rois)))
        self._shape = shape
        self._masks: dict[int, tuple[Instance | None, str]] = {}

    def instance(self, index: int) -> Instance | None:
        return self._drawn(index)[0]

    def remark(self, index: int) -> str:
        """Return what was not as it should be; nothing of what `area_px` could count without drawing it."""
        if index not in self._masks and _traced_px(self.rois[index], self._shape) is not None:
            return ""
        return self._drawn(index)[1]

    def area_px(self, index: int) -> int:
        traced_px = None if index in self._masks else _traced_px(self.rois[index], self._shape)
        if traced_px is not None:
            return traced_px
        instance = self.instance(index)
        return 0 if instance is None else instance.area

    def pixels(self, index: int) -> Hashable:
        """Return what two ROIs have in common that hold the same pixels; of those without any, only equal ones do."""
        instance = self.instance(index)
        if instance is None:
            return self.geometry[index]
        return instance.top, instance.left, instance.mask.shape, instance.mask.tobytes()

    def _drawn(self, index: int) -> tuple[Instance | None, str]:
        if index not in self._masks:
            instance, remarks = roi_mask(self.rois[index], self._shape)
            self._masks[index] = instance, "; ".join(remark.removeprefix("left out: ") for remark in remarks)
        return self._masks[index]


def compare(before: Sequence[ImagejRoi], after: Sequence[ImagejRoi], shape: tuple[int, int]) -> list[Change]:
    """Tell which nuclei of a set were added, deleted, redrawn, moved or renamed.

    Parameters
    ----------
    before, after : sequence of roifile.ImagejRoi
        Names may occur several times, or be empty. Order, colours and properties are no change.
    shape : (int, int)
        Y, X of the image.

    Returns
    -------
    list of Change
        Deleted ones first, then the others, each in the order of their list.

    Notes
    -----
    ROIs belong together, in this order, if they have the same name and outline; the same outline on the same plane (it
    was renamed: numbering a set anew changes no nucleus); the same name on the same plane, and of several those that
    overlap most; the same name on another plane, if they overlap; the same pixels with another outline and name.
    Pixels are looked at only where outlines differ.

    Examples
    --------
    >>> from roifile import ROI_TYPE, ImagejRoi
    >>> one = ImagejRoi(roitype=ROI_TYPE.RECT, left=1, top=1, right=5, bottom=4, name="one")
    >>> larger = ImagejRoi(roitype=ROI_TYPE.RECT, left=1, top=1, right=5, bottom=5, name="one")
    >>> [change] = compare([one], [larger], (9, 9))
    >>> change.kind.value, change.area_before_px, change.area_after_px, change.iou
    ('redrawn', 12, 16, 0.75)
    """
    old, new = _Set(before, shape), _Set(after, shape)
    _matched(old, new, lambda one, i: (one.rois[i].name, one.geometry[i], one.position[i]))
    pairs = _matched(old, new, lambda one, i: (one.geometry[i], one.position[i]))
    pairs += _matched_by_name(old, new, same_plane=True)
    pairs += _matched_by_name(old, new, same_plane=False)
    pairs += _matched(old, new, lambda one, i: (one.pixels(i), one.position[i]))
    found = [(j, _change(old, new, i, j)) for i, j in pairs]
    found += [(j, _gone_or_new(new, j, Kind.ADDED)) for j in new.rest]
    gone = [_gone_or_new(old, i, Kind.DELETED) for i in old.rest]
    return gone + [change for _, change in sorted(found, key=lambda item: item[0]) if change is not None]


def entries(
    changes: Iterable[Change], *, image: str, by: str, command: str, time: datetime | None = None
) -> list[Entry]:
    """Make the rows of the audit table for some changes.

    Parameters
    ----------
    changes : iterable of Change
    image : str
        Its title.
    by : str
        ``hand``, or ``model stardist-storm``.
    command : str
        What was called, ``Merge Nuclei`` or ``ROI Manager``.
    time : datetime, optional
        With a time zone; without it now.

    Returns
    -------
    list of Entry
    """
    stamp = (time or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def row(change: Change) -> Entry:
        now = f"now {change.new_name}" if change.new_name != change.name else ""
        return Entry(
            time=stamp,
            image=image,
            position=change.position,
            nucleus=change.name,
            change=change.kind.value,
            by=by,
            command=command,
            area_before_px=change.area_before_px,
            area_after_px=change.area_after_px,
            iou=None if change.iou is None else round(change.iou, 4),
            detail="; ".join(part for part in (now, change.detail) if part),
        )

    return [row(change) for change in changes]


def entry_line(values: Iterable[object]) -> str:
    r"""Write a row as a line of the table that ImageJ's Results opens: text with commas quoted, None empty.

    A line end in a name becomes a blank, so that a row is one line whatever happens to the rest of the file.

    >>> entry_line(["nucleus, left\nside", None, 0.5])
    '"nucleus, left side",,0.5\n'
    """
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(["" if value is None else _clean(str(value)) for value in values])
    return out.getvalue()


def read_entry(line: str) -> Entry | None:
    """Read a line that `entry_line` wrote of an `Entry`; None if it is torn or something else."""
    if line.count('"') % 2:
        return None
    try:
        [row] = csv.reader([line])
        time, image, position, nucleus, change, by, command, before, after, iou, detail = row
        areas = int(before) if before else None, int(after) if after else None
        overlap = float(iou) if iou else None
        return Entry(time, image, position, nucleus, change, by, command, *areas, overlap, detail)
    except (ValueError, csv.Error):
        return None


def position_text(roi: ImagejRoi) -> str:
    """Return the plane that a ROI belongs to, as a word; empty if it belongs to all.

    >>> from roifile import ImagejRoi
    >>> position_text(ImagejRoi(position=3)), position_text(ImagejRoi(c_position=1, z_position=12))
    ('3', 'c1 z12')
    """
    parts = [f"{name[0]}{value}" for name in POSITION[1:] if (value := getattr(roi, name))]
    return " ".join(parts) or str(roi.position or "")


def geometry(roi: ImagejRoi) -> Hashable:
    """Return what is equal for equal outlines."""
    coordinates = []
    for name, kind in _COORDINATES:
        array = getattr(roi, name)
        coordinates.append(None if array is None else array.astype(kind, copy=False).tobytes())
    return (*_fields_of(roi), roi.options & _SHAPING, *coordinates)


def _traced_px(roi: ImagejRoi, shape: tuple[int, int]) -> int | None:
    """Count the pixels in a loop along pixel edges inside the image, as most nuclei are; None if it is another ROI."""
    from roifile import ROI_TYPE

    if roi.roitype != ROI_TYPE.TRACED or roi.integer_coordinates is None or roi.subpixel_coordinates is not None:
        return None
    x, y = roi.integer_coordinates.T.astype(np.int64)
    if min(roi.left, roi.top) < 0 or len(x) < 4 or roi.left + x.max() > shape[1] or roi.top + y.max() > shape[0]:
        return None
    dx, dy = np.roll(x, -1) - x, np.roll(y, -1) - y
    return None if (dx * dy).any() else abs(int(x @ dy))


def _matched(old: _Set, new: _Set, key: Callable[[_Set, int], Hashable]) -> list[Pair]:
    """Take those with equal keys out of the rest of both sets, in the order of the lists, and return their indices."""
    if not (old.rest and new.rest):
        return []  # keys may take time
    waiting: defaultdict[Hashable, deque[int]] = defaultdict(deque)
    for i in old.rest:
        waiting[key(old, i)].append(i)
    pairs = []
    for j in new.rest:
        if there := waiting.get(key(new, j)):
            pairs.append((there.popleft(), j))
    return _taken(old, new, pairs)


def _matched_by_name(old: _Set, new: _Set, *, same_plane: bool) -> list[Pair]:
    """Take those with the same name out of the rest of both sets; of several, those that overlap most first."""

    def groups(one: _Set) -> dict[Hashable, list[int]]:
        found: dict[Hashable, list[int]] = defaultdict(list)
        for i in one.rest:
            if name := one.rois[i].name:
                found[(name, one.position[i] if same_plane else None)].append(i)
        return found

    pairs, others = [], groups(new)
    for key, here in groups(old).items():
        there = others.get(key, [])
        if same_plane and len(here) == len(there) == 1:
            pairs.append((here[0], there[0]))
        elif there:
            pairs += _most_overlapping(old, new, here, there, all_of_them=same_plane)
    return _taken(old, new, pairs)


def _most_overlapping(old: _Set, new: _Set, here: list[int], there: list[int], *, all_of_them: bool) -> list[Pair]:
    """Pair nuclei one to one by falling overlap; if asked for, then those without overlap in the order of the lists."""
    drawn = [[i for i in indices if one.instance(i) is not None] for one, indices in ((old, here), (new, there))]
    instances = [one.instance(i) for one, indices in zip((old, new), drawn, strict=True) for i in indices]
    count, overlaps = len(drawn[0]), []
    for a, b in box_pairs(boxes([instance for instance in instances if instance is not None])).tolist():
        if a < count <= b:
            i, j = drawn[0][a], drawn[1][b - count]
            overlaps.append((-(_iou(old, new, i, j) or 0.0), i, j))
    pairs: list[Pair] = []
    free, free_too = dict.fromkeys(here), dict.fromkeys(there)
    for negative, i, j in sorted(overlaps):
        if negative < 0.0 and i in free and j in free_too:
            pairs.append((i, j))
            del free[i], free_too[j]
    return pairs + (list(zip(free, free_too, strict=False)) if all_of_them else [])


def _taken(old: _Set, new: _Set, pairs: list[Pair]) -> list[Pair]:
    """Take paired ROIs out of the rest of both sets; return the pairs."""
    for one, side in ((old, 0), (new, 1)):
        taken = {pair[side] for pair in pairs}
        one.rest = [i for i in one.rest if i not in taken]
    return pairs


def _iou(old: _Set, new: _Set, i: int, j: int) -> float | None:
    one, two = old.instance(i), new.instance(j)
    if one is None or two is None:
        return None
    common_px = shared_px(one, two)
    return common_px / (one.area + two.area - common_px)


def _change(old: _Set, new: _Set, i: int, j: int) -> Change | None:
    """Tell what happened to a nucleus that is in both sets; None if it only has another outline of the same pixels."""
    name, new_name = old.rois[i].name, new.rois[j].name
    place, new_place = position_text(old.rois[i]), position_text(new.rois[j])
    details = [] if place == new_place else [f"from plane {place or 'any'} to {new_place or 'any'}"]
    kind = Kind.MOVED
    if old.pixels(i) != new.pixels(j):
        one, two = old.instance(i), new.instance(j)
        if one is not None and two is not None and np.array_equal(one.mask, two.mask):
            details.append(f"by {two.left - one.left}, {two.top - one.top} px")
        else:
            kind = Kind.REDRAWN
    elif not details:
        if name == new_name:
            return None
        kind = Kind.RENAMED
    details += [remark] if (remark := new.remark(j)) else []
    areas_px = old.area_px(i), new.area_px(j)
    return Change(kind, name, new_name, i, j, new_place, *areas_px, _iou(old, new, i, j), "; ".join(details))


def _gone_or_new(one: _Set, index: int, kind: Kind) -> Change:
    """Tell of a nucleus that is in one of the sets only."""
    roi, area_px, place = one.rois[index], one.area_px(index), position_text(one.rois[index])
    if kind is Kind.ADDED:
        return Change(kind, roi.name, roi.name, None, index, place, None, area_px, None, one.remark(index))
    return Change(kind, roi.name, roi.name, index, None, place, area_px, None, None, one.remark(index))


def _clean(text: str) -> str:
    """Make text fit into one line of a UTF-8 file: a blank for what cannot be printed."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
