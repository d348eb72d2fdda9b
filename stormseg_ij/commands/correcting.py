"""Corrections by hand: merge, split, delete, fill, smooth, undo, and the nuclei that were saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.changes import COLUMNS
from stormseg_ij.commands.job import Job, plural
from stormseg_ij.commands.nuclei import Nucleus
from stormseg_ij.commands.segmenting import coloured, selected_area
from stormseg_ij.corrections import Corrected, filled, merged, redrawn, smoothed, split_by_line, split_in_two
from stormseg_ij.cuts import Division
from stormseg_ij.errors import ImageError
from stormseg_ij.imagej_settings import SmoothNucleiSettings, SplitNucleusSettings
from stormseg_ij.pairs import shared_px
from stormseg_ij.rois import roi_mask

if TYPE_CHECKING:
    from roifile import ImagejRoi

_STEP_PX = 0.25


def merge_nuclei(job: Job) -> None:
    """Make one nucleus of those that are selected in the ROI Manager, or that a drawn line touches."""
    chosen = _touched(job)  # a line is newer than what is still selected
    if chosen:
        job.desk.clear_selection(job.imp)
    else:
        chosen = job.session.nuclei(job.imp, selected=True)
    if len(chosen) < 2:
        raise ImageError(
            "fewer than two nuclei are chosen; select them in the ROI Manager (with Ctrl), or draw a line across them"
        )
    _refuse_planes(job, chosen)
    made = merged([nucleus.roi for nucleus in chosen], job.desk.shape(job.imp))
    keep = next((n for n in chosen if n.roi.name == made.rois[0].name), chosen[0])
    _apply(job, [(keep, made.rois[0])], removed=[nucleus for nucleus in chosen if nucleus is not keep], made=made)
    job.say(f"{plural(len(chosen), 'nucleus', 'nuclei')} are {made.rois[0].name} now")


def split_nucleus(job: Job) -> None:
    """Split a nucleus along the line drawn across it, or by itself."""
    settings, shape = job.settings_as(SplitNucleusSettings), job.desk.shape(job.imp)
    line = job.desk.line(job.imp) if settings.by in ("auto", "line") else None
    if line is None and settings.by == "line":
        raise ImageError("no line is drawn; draw one across the nucleus with the straight, segmented or freehand line")
    number = job.session.next_number(job.imp)
    if line is None:
        [nucleus] = _selected(job, exactly_one=True)
        by: Division = "neck" if settings.by == "neck" else "bisector"
        made = split_in_two(nucleus.roi, shape, next_number=number, by=by)
    else:
        touched = _touched(job)
        selected = {nucleus.index for nucleus in job.session.nuclei(job.imp, selected=True)}
        if not touched:
            raise ImageError("the line touches no nucleus; draw it across the one to split")
        nucleus = next((n for n in touched if n.index in selected), touched[0])
        made = split_by_line(nucleus.roi, line, shape, next_number=number)
        job.desk.clear_selection(job.imp)
    _apply(job, [(nucleus, made.rois[0])], added=made.rois[1:], made=made)
    job.say(f"{nucleus.roi.name} is {', '.join(roi.name for roi in made.rois)} now")


def redraw_nucleus(job: Job) -> None:
    """Give a nucleus the outline that is drawn: the one that the drawing overlaps most."""
    imp, shape = job.imp, job.desk.shape(job.imp)
    drawn = selected_area(job.desk, imp)
    if drawn is None:
        raise ImageError("no outline is drawn; draw one around the nucleus with the polygon or freehand tool")
    found = []
    for nucleus in _on_shown_plane(job):
        old, _ = roi_mask(nucleus.roi, shape)
        common = 0 if old is None else shared_px(drawn, old)
        if old is not None and common:
            found.append((common / (drawn.area + old.area - common), -nucleus.index, nucleus))
    if not found:
        raise ImageError("the outline overlaps no nucleus; press t to add it as a new one")
    iou, _, nucleus = max(found, key=lambda item: item[:2])
    if iou == 1.0:
        raise ImageError(f"the outline is that of {nucleus.roi.name} already; draw another one")
    made = redrawn(nucleus.roi, drawn)
    job.desk.clear_selection(imp)
    _apply(job, [(nucleus, made)], made=Corrected(()))
    job.say(f"{nucleus.roi.name} is redrawn")


def delete_nuclei(job: Job) -> None:
    """Delete the nuclei that are selected in the ROI Manager."""
    chosen = _selected(job)
    job.session.change(job.imp, job.call.name, removed=chosen)
    job.say(f"{plural(len(chosen), 'nucleus', 'nuclei')} deleted")


def fill_holes(job: Job) -> None:
    """Fill the holes of the selected nuclei."""
    _each(job, filled)


def smooth_nuclei(job: Job) -> None:
    """Smooth the outlines of the selected nuclei."""
    sigma = job.settings_as(SmoothNucleiSettings).sigma
    _each(job, lambda roi, shape: smoothed(roi, shape, sigma_px=sigma))


def undo_correction(job: Job) -> None:
    """Take the last change by a command back."""
    job.say(f"{job.session.undo(job.imp)} is undone")


def restore_nuclei(job: Job) -> None:
    """Bring the nuclei back that were saved for this image, also after a crash."""
    count, path = job.session.restore(job.imp)
    job.say(f"{plural(count, 'nucleus', 'nuclei')} restored from {path}")


def show_corrections(job: Job) -> None:
    """Show the audit table of the active image."""
    rows = job.session.changes(job.imp)
    texts = [["" if (value := getattr(row, name)) is None else str(value) for name in COLUMNS] for row in rows]
    job.desk.show_table(f"Corrections of {job.desk.title(job.imp)}", COLUMNS, texts)


def _each(job: Job, correct: Callable[[ImagejRoi, tuple[int, int]], Corrected]) -> None:
    """Correct every selected nucleus on its own."""
    shape, replaced = job.desk.shape(job.imp), []
    notes: list[str] = []
    for nucleus in _selected(job):
        made = correct(nucleus.roi, shape)
        replaced.append((nucleus, made.rois[0]))
        notes += made.notes
    _apply(job, replaced, made=Corrected((), tuple(notes)))
    job.say(f"{plural(len(replaced), 'nucleus', 'nuclei')} corrected")


def _apply(
    job: Job, replaced: Sequence[tuple[Nucleus, ImagejRoi]], *, made: Corrected, removed: Sequence[Nucleus] = (),
    added: Sequence[ImagejRoi] = (),
) -> None:  # fmt: skip
    """Change the set, and select the first nucleus that is new."""
    added = [coloured(roi) for roi in added]
    new = job.session.change(job.imp, job.call.name, removed=removed, replaced=replaced, added=added)
    job.notes += made.notes
    if new:
        job.desk.manager.select(job.imp, new[0])


def _selected(job: Job, *, exactly_one: bool = False) -> list[Nucleus]:
    chosen = job.session.nuclei(job.imp, selected=True)
    if not chosen or (exactly_one and len(chosen) != 1):
        wanted = "one nucleus" if exactly_one else "one or more nuclei"
        raise ImageError(f"{plural(len(chosen), 'nucleus', 'nuclei')} selected; select {wanted} in the ROI Manager")
    return chosen


def _refuse_planes(job: Job, chosen: Sequence[Nucleus]) -> None:
    facts = job.desk.facts(job.imp)
    planes = {facts.plane_of(nucleus.roi) for nucleus in chosen} - {0}
    if len(planes) > 1:
        raise ImageError(f"the nuclei lie on planes {', '.join(map(str, sorted(planes)))}; choose nuclei of one plane")


def _on_shown_plane(job: Job) -> list[Nucleus]:
    """Return the nuclei in the ROI Manager that a person sees in the image."""
    facts = job.desk.facts(job.imp)
    planes = (0, facts.shown_plane)
    nuclei = [nucleus for nucleus in job.session.nuclei(job.imp) if not nucleus.in_overlay]
    return [nucleus for nucleus in nuclei if facts.plane_of(nucleus.roi) in planes]


def _touched(job: Job) -> list[Nucleus]:
    """Return the nuclei of the shown plane that the drawn line touches, the one it goes through longest first."""
    line, shape = job.desk.line(job.imp), job.desk.shape(job.imp)
    if line is None:
        return []
    points = _along(line)
    found = []
    for nucleus in _on_shown_plane(job):
        length = _length_inside(nucleus.roi, points, shape)
        if length:
            found.append((-length, nucleus.index, nucleus))
    return [nucleus for _, _, nucleus in sorted(found, key=lambda item: item[:2])]


def _along(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points along a line, close to each other."""
    parts = [line[:1]]
    for start, end in pairwise(line):
        count = max(int(np.ceil(np.hypot(*(end - start)) / _STEP_PX)), 1)
        parts.append(start + (end - start) * (np.arange(1, count + 1) / count)[:, None])
    return np.concatenate(parts)


def _length_inside(roi: ImagejRoi, points: NDArray[np.float64], shape: tuple[int, int]) -> int:
    """Count the points that lie in a ROI."""
    instance, _ = roi_mask(roi, shape)
    if instance is None:
        return 0
    columns, rows = np.floor(points).astype(np.int64).T - np.array([[instance.left], [instance.top]])
    height, width = instance.mask.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return int(np.count_nonzero(instance.mask[rows[inside], columns[inside]]))
