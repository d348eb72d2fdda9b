"""Measure Nuclei: what Set Measurements asks for, in ImageJ's Results table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stormseg_ij.commands.job import Job, plural
from stormseg_ij.commands.session import OVERLAY
from stormseg_ij.desk import Measured
from stormseg_ij.errors import ImageError
from stormseg_ij.imagej_settings import MeasureNucleiSettings
from stormseg_ij.rois import roi_mask

if TYPE_CHECKING:
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
    wanted = _wanted(job, nuclei)
    if not wanted:
        raise ImageError(f"{title} has no nucleus that can be measured; {job.notes[0]}")

    def look(i: int) -> None:
        if i % _LOOK_EVERY == 0 or i == len(wanted):
            job.check()
            job.desk.progress(i / len(wanted))

    total = job.desk.measure(imp, wanted, each=look)
    left_out = f", {len(nuclei) - len(wanted)} left out (see the Log)" if len(wanted) < len(nuclei) else ""
    job.say(f"{plural(len(wanted), 'nucleus', 'nuclei')}{left_out}; Results has {plural(total, 'row')}")


def _wanted(job: Job, nuclei: Sequence[Nucleus]) -> list[Measured]:
    """Say what to measure of each nucleus; note which cannot be."""
    facts = job.desk.facts(job.imp)
    shown, last = facts.shown_plane, facts.plane_count
    wanted = []
    for nucleus, source in zip(nuclei, _sources(job, nuclei), strict=True):
        roi = nucleus.roi
        plane = (facts.plane_of(roi) if shown else 0) or shown or 1
        # ImageJ would move what lies outside to the middle, and measure the whole image for what is empty.
        instance, remarks = roi_mask(roi, facts.shape)
        if instance is None or plane > last:
            reason = remarks[-1] if instance is None else f"left out: it lies on plane {plane} of {last}"
            job.notes.append(f"{roi.name}: {reason}")
        else:
            score = {} if math.isnan(instance.score) else {"score": instance.score}
            wanted.append(Measured(source, plane, {"ROI": roi.name, **score}))
    return wanted


def _sources(job: Job, nuclei: Sequence[Nucleus]) -> Sequence[bytes | int]:
    """Say where ImageJ finds each nucleus: in the ROI Manager, or in the bytes of the overlay."""
    if not nuclei[0].in_overlay:
        return [nucleus.identity for nucleus in nuclei]
    drawn = job.desk.overlay(job.imp, OVERLAY)
    return [drawn[nucleus.index] for nucleus in nuclei]
