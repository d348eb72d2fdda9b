"""Segment Nuclei, and Preprocess STORM Image."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from stormseg_ij import pipeline
from stormseg_ij.commands.job import Bar, Job, plural
from stormseg_ij.commands.nuclei import is_ours
from stormseg_ij.image import Image, Labels, label_lut
from stormseg_ij.imagej_settings import SegmentNucleiSettings, in_keys
from stormseg_ij.pairs import shared_px
from stormseg_ij.preprocess import preprocess
from stormseg_ij.roi_files import decoded
from stormseg_ij.rois import iterate_rois, roi_mask, roi_number
from stormseg_ij.settings import PreprocessSettings

if TYPE_CHECKING:
    from roifile import ImagejRoi

    from stormseg_ij.candidates import Instance
    from stormseg_ij.desk import Desk, ImagePlus, Processing
    from stormseg_ij.facts import ImageFacts
    from stormseg_ij.models import Model
    from stormseg_ij.pipeline import Result

_MOST_OUTSIDE = 0.5
"""A nucleus with more than this part of its area outside the selection is left out."""


def segment_nuclei(job: Job) -> None:
    """Find the nuclei of the active image, and put them where the settings say."""
    settings, imp, start = job.settings_as(SegmentNucleiSettings), job.imp, time.perf_counter()
    planes = _planes(job.desk, imp, settings)
    model = job.load_model(settings.model)
    area = _region(job)
    first, facts = job.session.next_number(imp), job.desk.facts(imp)
    found: list[ImagejRoi] = []
    shown: list[Labels] = []
    for part, plane in enumerate(planes):
        image = job.desk.image(imp, plane=plane or None)
        bar = Bar(job, part, len(planes))
        result = _segment(image, area, settings, ij=job.desk.ij, model=model, bar=bar)
        labels, scores = placed(result, image.shape, area, first=first + len(found))
        for roi in iterate_rois(labels, image_name=image.name, model=model.name, scores=scores):
            put_at(facts, coloured(roi), plane)
            found.append(roi)
        shown += [labels] * settings.label_image
        job.notes += [note for note in result.notes if note not in job.notes]
    job.check()
    job.notes += job.session.put(
        imp, found, settings.rois, command=job.call.name, by=f"model {model.name}",
        among=partial(_was_looked_at, facts, planes, area),
    )  # fmt: skip
    if settings.label_image:
        job.desk.show_labels(shown, f"{job.desk.name(imp)}_labels", imp)
    job.say(f"{plural(len(found), 'nucleus', 'nuclei')} in {time.perf_counter() - start:.1f} s")
    if not found and not job.call.from_macro:
        job.desk.show_message(job.call.name, in_keys("\n".join(job.notes)))


def preprocess_image(job: Job) -> None:
    """Show what ImageJ does to the active image before the network, as a new image."""
    settings = job.settings_as(PreprocessSettings)
    image = job.desk.image(job.imp)
    result = preprocess(image, settings, job.desk.ij)
    job.desk.show_image(dataclasses.replace(result, name=f"{image.name}_preprocessed"))
    job.notes += result.notes


def selected_area(desk: Desk, imp: ImagePlus) -> Instance | None:
    """Return the pixels of the image's area selection; None where there is none, or it holds all."""
    selection = desk.selection(imp)
    if selection is None or selection[0] != "area":
        return None
    instance, _ = roi_mask(decoded(selection[1]), desk.shape(imp))
    return None if instance is None or instance.area == int(np.prod(desk.shape(imp))) else instance


def _region(job: Job) -> Instance | None:
    """Return the selection to segment in; one that is a nucleus, as after a correction, is none."""
    selection = job.desk.selection(job.imp)
    roi = None if selection is None else decoded(selection[1])
    if roi is not None and is_ours(roi):
        job.notes.append(f"the selection is {roi.name or 'a nucleus'}: the whole image was segmented")
        return None
    return selected_area(job.desk, job.imp)


def _was_looked_at(facts: ImageFacts, planes: Sequence[int], area: Instance | None, roi: ImagejRoi) -> bool:
    """Tell whether a nucleus lies on the segmented planes and, by most of its area, in the selection."""
    if facts.plane_of(roi) not in (0, *planes):
        return False
    instance, _ = roi_mask(roi, facts.shape)
    if area is None or instance is None:
        return area is None
    return shared_px(area, instance) > (1.0 - _MOST_OUTSIDE) * instance.area


def _segment(
    image: Image, area: Instance | None, settings: SegmentNucleiSettings, *, ij: Processing, model: Model, bar: Bar
) -> Result:
    """Segment the image, or the box around the selection."""
    part = image if area is None else image.with_pixels(np.ascontiguousarray(image.pixels[area.box]))
    return pipeline.segment(part, settings, ij=ij, model=model, progress=bar, whole_shape=image.shape)


def placed(
    result: Result, shape: tuple[int, int], area: Instance | None, *, first: int
) -> tuple[Labels, dict[int, float]]:
    """Put a result into the whole image, without nuclei that lie outside the selection.

    Parameters
    ----------
    result : Result
        Its labels may be changed.
    shape : (int, int)
        Of the whole image.
    area : Instance or None
        The selection, whose box was segmented.
    first : int
        Number of the first nucleus; the others follow in their order.

    Returns
    -------
    labels : ndarray of int32, shape `shape`
    scores : dict of int to float
    """
    labels = result.labels
    if area is None:
        if first > 1:
            np.add(labels, first - 1, out=labels, where=labels > 0)
        return labels, {label + first - 1: score for label, score in result.scores.items()}
    every = np.bincount(labels.ravel(), minlength=result.count + 1)
    inside = np.bincount(labels[area.mask], minlength=result.count + 1)
    keep = inside > (1.0 - _MOST_OUTSIDE) * every
    keep[0] = False
    numbers = np.where(keep, np.cumsum(keep) + first - 1, 0).astype(np.int32)
    whole = np.zeros(shape, np.int32)
    whole[area.box] = numbers[labels]
    return whole, {int(numbers[label]): score for label, score in result.scores.items() if keep[label]}


def coloured(roi: ImagejRoi) -> ImagejRoi:
    """Give a ROI the colour of its number, that of the label images."""
    number = roi_number(roi.name) or 0
    red, green, blue = label_lut()[:, 1 + (number - 1) % 255].tolist()
    roi.stroke_color = bytes([255, red, green, blue])
    return roi


def put_at(facts: ImageFacts, roi: ImagejRoi, plane: int) -> None:
    """Tie a ROI to a plane of a stack; 0 ties it to none."""
    place = facts.slice_and_frame(plane) if plane else None
    if place is None:
        roi.position = plane
    else:
        roi.z_position, roi.t_position = place


def _planes(desk: Desk, imp: ImagePlus, settings: SegmentNucleiSettings) -> list[int]:
    if settings.planes == "all":
        return desk.planes(imp)
    return [settings.plane if settings.plane is not None else desk.shown_plane(imp)]
