"""Score Against Truth: how well the nuclei of an image agree with the true ones, and where they do not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stormseg_ij.commands.job import Job, plural
from stormseg_ij.commands.segmenting import put_at
from stormseg_ij.errors import ImageError, SettingsError
from stormseg_ij.image import Labels, Pixels, as_labels
from stormseg_ij.imagej_settings import ScoreSettings
from stormseg_ij.mapped import open_labels
from stormseg_ij.metrics import compare
from stormseg_ij.roi_files import encoded
from stormseg_ij.rois import SUFFIXES, iterate_rois, read_rois, rois_to_labels

if TYPE_CHECKING:
    from roifile import ImagejRoi

    from stormseg_ij.desk import ImagePlus
    from stormseg_ij.metrics import Agreement
    from stormseg_ij.overlap import Integers

TABLE = "Nuclei Scores"
"""Title of the table that has a row for each run."""

TAG = "score"
"""Of the outlines in the image's overlay."""

_MISSED = bytes([255, 255, 0, 255])  # alpha, red, green, blue: magenta
_FALSE = bytes([255, 255, 140, 0])  # orange
_WIDTH_PX = 3
"""Of the outlines: the ROI Manager draws its own over them, in colours of which some are like these."""


def score_against_truth(job: Job) -> None:
    """Compare the nuclei of the active image with a label image or ROI file; add a row to the table of scores."""
    settings, imp = job.settings_as(ScoreSettings), job.imp
    desk, plane = job.desk, job.desk.shown_plane(job.imp)
    if not settings.truth:
        raise SettingsError("truth is empty; give a label image, a ROI zip, or the title of an open label image")
    truth, source = _truth(job, settings.truth, plane)
    nuclei = [nucleus.roi for nucleus in job.session.nuclei(imp)]
    found = _painted(job, nuclei, plane, "the ROIs")
    if not nuclei:
        job.notes.append(f"the ROI Manager has no nucleus of {desk.title(imp)}: scored as none found")
    name = desk.title(imp) + (f":{plane}" if plane else "")
    agreement = compare(found, truth, iou=settings.iou, name=name)
    outlines: list[bytes] = []
    if settings.colour:
        outlines = _outlines(job, found, truth, agreement, plane)
    job.check()
    desk.put_overlay(imp, outlines, TAG)
    desk.add_rows(TABLE, [_row(agreement, name, source, settings.iou)])
    job.say(_summary(agreement, settings.iou))


def _truth(job: Job, truth: str, plane: int) -> tuple[Pixels, str]:
    """Return the true nuclei as labels, and how the table names them."""
    shape = job.desk.shape(job.imp)
    other, path = job.desk.titled(truth), Path(truth).expanduser()
    if other is not None:
        labels, notes = _open_image(job, other, plane)
        source = truth
    elif not path.exists():
        raise SettingsError(f"truth={truth} is no file and no open image; give the path, or the title of an open one")
    elif path.suffix.lower() in SUFFIXES:
        return _painted(job, read_rois(path), plane, path.name), path.name
    else:
        labels, notes = open_labels(path)
        source = path.name
    if labels.shape != shape:
        sizes = [f"{width} x {height}" for height, width in (labels.shape, shape)]
        raise ImageError(
            f"the truth {source} is {sizes[0]} pixels, {job.desk.title(job.imp)} is {sizes[1]}; give that of this image"
        )
    job.notes += [f"{source}: {note}" for note in notes]
    return labels, source


def _open_image(job: Job, other: ImagePlus, plane: int) -> tuple[Labels, tuple[str, ...]]:
    """Take an open label image, of a stack the plane that is scored."""
    title = job.desk.title(other)
    if job.desk.number(other) == job.desk.number(job.imp):
        raise SettingsError(f"truth={title} is the active image itself; give the label image with its true nuclei")
    sizes = [job.desk.facts(one).plane_count for one in (other, job.imp)]
    if sizes[0] not in (1, sizes[1]):
        wanted = "1" if sizes[1] == 1 else f"1 or {sizes[1]}"
        raise ImageError(f"the truth {title} has {sizes[0]} planes, not {wanted}; give that of this image")
    image = job.desk.image(other, plane=plane if sizes[0] > 1 else None)
    if image.notes:
        raise ImageError(f"{title} is no label image: {'; '.join(image.notes)}; give one whose numbers are nuclei")
    return as_labels(image.pixels, title)


def _painted(job: Job, rois: Sequence[ImagejRoi], plane: int, source: str) -> Labels:
    """Paint ROIs as labels; of a stack only those of this plane, and those of none."""
    facts = job.desk.facts(job.imp)
    here = [roi for roi in rois if not plane or facts.plane_of(roi) in (0, plane)]
    if len(here) < len(rois):
        others = plural(len(rois) - len(here), "ROI")
        job.notes.append(f"{source}: only the shown plane, {plane}, is scored; {others} on other planes left out")
    labels, notes = rois_to_labels(here, facts.shape)
    job.notes += [f"{source}: {note}" for note in notes]
    return labels


def _outlines(job: Job, found: Labels, truth: Pixels, agreement: Agreement, plane: int) -> list[bytes]:
    """Outline the nuclei that were missed, and those that are none."""
    return [
        encoded(roi)
        for labels, numbers, word, colour in (
            (truth, agreement.missed, "missed", _MISSED),
            (found, agreement.false, "false", _FALSE),
        )
        for roi in _marked(job, _only(labels, numbers), word, colour, plane)
    ]


def _only(labels: Pixels, numbers: Integers) -> Labels:
    """Keep these labels."""
    return np.where(np.isin(labels, numbers), labels, 0).astype(np.int32)


def _marked(job: Job, labels: Labels, word: str, colour: bytes, plane: int) -> Iterator[ImagejRoi]:
    facts = job.desk.facts(job.imp)
    for roi in iterate_rois(labels):
        roi.name = f"{word} {roi.name}"
        roi.stroke_color = colour
        roi.stroke_width = _WIDTH_PX
        put_at(facts, roi, plane)
        yield roi


def _row(agreement: Agreement, name: str, truth: str, iou: float) -> dict[str, str | float]:
    score = agreement.score
    return {
        "Image": name,
        "Truth": truth,
        "IoU": iou,
        "F1": score.f1,
        "FN %": score.fn_percent,
        "FP %": score.fp_percent,
        "Hausdorff px": math.nan if score.hausdorff_px is None else score.hausdorff_px,
        "True": score.n_true,
        "Found": score.n_pred,
        "Matched": score.n_matched,
    }


def _summary(agreement: Agreement, iou: float) -> str:
    score = agreement.score
    missed, false = score.n_true - score.n_matched, score.n_pred - score.n_matched
    return f"F1 {score.f1:.3f} at IoU {iou:g}: {missed} of {score.n_true} missed, {false} of {score.n_pred} false"
