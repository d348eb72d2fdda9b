"""Measure Nuclei: what Set Measurements asks for, in ImageJ's Results table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stormseg_ij.bridge.tables import Measured, Tables
from stormseg_ij.commands.job import Job, plural
from stormseg_ij.commands.session import OVERLAY
from stormseg_ij.errors import ImageError
from stormseg_ij.imagej_settings import MeasureNucleiSettings
from stormseg_ij.rois import roi_mask

if TYPE_CHECKING:
    from stormseg_ij.bridge.tables import Roi
    from stormseg_ij.commands.nuclei import Nucleus

_LOOK_EVERY = 50
"""Nuclei between two looks at the Escape key."""


def measure_nuclei(job: Job) -> None:
    """Add a row for each nucleus of the active image to Results; nothing else changes.

    A nucleus that is tied to a plane is measured there, others on the plane that is shown. The column ``ROI`` has the
    name in the ROI Manager; ``score`` is there where a nucleus has one.
    """
    settings, imp, title = job.settings_as(MeasureNucleiSettings), job.imp, job.desk.title(job.imp)
    selected = settings.nuclei == "selected"
    nuclei = job.session.nuclei(imp, selected=selected)
    if not nuclei and selected:
        raise ImageError(f"no nucleus of {title} is selected in the ROI Manager; select some, or give nuclei=all")
    if not nuclei:
        raise job.session.none(imp)
    tables = Tables(job.desk.ij)
    wanted = _wanted(tables, job, nuclei)
    if not wanted:
        raise ImageError(f"{title} has no nucleus that can be measured; {job.notes[0]}")

    def look(i: int) -> None:
        if i % _LOOK_EVERY == 0:
            job.check()
            job.desk.progress(i / len(wanted))

    rows = tables.measure(imp, wanted, each=look)
    job.check()
    total = tables.show(rows, wanted)
    left_out = f", {len(nuclei) - len(wanted)} left out (see the Log)" if len(wanted) < len(nuclei) else ""
    job.say(f"{plural(len(wanted), 'nucleus', 'nuclei')}{left_out}; Results has {plural(total, 'row')}")


def _wanted(tables: Tables, job: Job, nuclei: Sequence[Nucleus]) -> list[Measured]:
    """Say what to measure of each nucleus; note which cannot be."""
    imp = job.imp
    shape, shown = job.desk.shape(imp), job.desk.shown_plane(imp)
    last = max(1, int(imp.getStackSize()))
    wanted = []
    for nucleus, copy in zip(nuclei, _rois(tables, job, nuclei), strict=True):
        roi = nucleus.roi
        plane = (job.desk.plane_of(imp, roi) if shown else 0) or shown or 1
        # ImageJ would move what lies outside to the middle, and measure the whole image for what is empty.
        instance, remarks = roi_mask(roi, shape)
        if instance is None or plane > last:
            reason = remarks[-1] if instance is None else f"left out: it lies on plane {plane} of {last}"
            job.notes.append(f"{roi.name}: {reason}")
        else:
            score = {} if math.isnan(instance.score) else {"score": instance.score}
            wanted.append(Measured(copy, plane, {"ROI": roi.name, **score}))
    return wanted


def _rois(tables: Tables, job: Job, nuclei: Sequence[Nucleus]) -> list[Roi]:
    """Return the nuclei as ImageJ's own ROIs, to be measured."""
    if not nuclei[0].in_overlay:
        return tables.rois(nucleus.index for nucleus in nuclei)
    drawn = job.desk.overlay(job.imp, OVERLAY)
    return [job.desk.manager.decoded(drawn[nucleus.index]) for nucleus in nuclei]
