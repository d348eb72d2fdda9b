"""Labels to ROIs, and ROIs to Labels: exact both ways, and nothing is left out without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stormseg_ij.commands.job import Job, plural
from stormseg_ij.commands.segmenting import coloured, put_at
from stormseg_ij.errors import ImageError, SettingsError
from stormseg_ij.image import Labels, as_labels
from stormseg_ij.imagej_settings import LabelsToRoisSettings
from stormseg_ij.rois import iterate_rois, rois_to_labels
from stormseg_ij.settings import nearest

if TYPE_CHECKING:
    from roifile import ImagejRoi

    from stormseg_ij.desk import Desk, ImagePlus


def labels_to_rois(job: Job) -> None:
    """Make a ROI of every label of the active image."""
    settings, source = job.settings_as(LabelsToRoisSettings), job.imp
    target = _titled(job.desk, settings.image) if settings.image else source
    shapes = job.desk.shape(source), job.desk.shape(target)
    if shapes[0] != shapes[1]:
        fault = f"the labels are {shapes[0][1]} x {shapes[0][0]}, {settings.image} is {shapes[1][1]} x {shapes[1][0]}"
        raise ImageError(f"{fault} pixels; choose the image that they belong to")
    facts = job.desk.facts(target)
    made: list[ImagejRoi] = []
    for plane in job.desk.planes(source):
        pixels = job.desk.image(source, plane=plane or None).pixels
        labels, notes = as_labels(pixels, job.desk.title(source))
        rois = _rois(labels, facts.name)
        for roi in rois:
            put_at(facts, roi, plane)
        made += rois
        job.notes += [note if plane == 0 else f"plane {plane}: {note}" for note in notes]
    if not made:
        raise ImageError(f"{job.desk.title(source)} has no labels: every pixel is 0; choose a label image")
    by = f"labels {job.desk.title(source)}"
    job.notes += job.session.put(target, made, settings.rois, command=job.call.name, by=by)
    job.say(plural(len(made), "ROI"))


def rois_to_labels_image(job: Job) -> None:
    """Show the nuclei of the active image as a label image: 0 is background, each number one nucleus."""
    imp = job.imp
    facts = job.desk.facts(imp)
    planes = facts.planes
    nuclei = [nucleus.roi for nucleus in job.session.nuclei(imp)]
    if not nuclei:
        raise job.session.none(imp)
    places = [facts.plane_of(roi) for roi in nuclei]
    shown = []
    for plane in planes:
        here = [roi for roi, place in zip(nuclei, places, strict=True) if place in (0, plane) or plane == 0]
        labels, notes = rois_to_labels(here, facts.shape)
        job.notes += [note if plane == 0 else f"plane {plane}: {note}" for note in notes]
        shown.append(labels)
    lost = sum(place not in (0, *planes) for place in places)
    if lost:
        job.notes.append(f"{plural(lost, 'ROI')} on planes of other channels left out")
    job.desk.show_labels(shown, f"{facts.name}_labels", imp)
    job.say(f"{plural(len(nuclei), 'ROI')}, {plural(len(job.notes), 'note')} in the Log" if job.notes
            else plural(len(nuclei), "ROI"))  # fmt: skip


def _rois(labels: Labels, name: str) -> list[ImagejRoi]:
    return [coloured(roi) for roi in iterate_rois(labels, image_name=name)]


def _titled(desk: Desk, title: str) -> ImagePlus:
    imp = desk.titled(title)
    if imp is None:
        raise SettingsError(f"no image {title!r} is open; {nearest(title, desk.titles())}")
    return imp
