"""Next Nucleus to Review: from the least certain nucleus to the surest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stormseg_ij.commands.job import Job, plural
from stormseg_ij.imagej_settings import NextNucleusSettings
from stormseg_ij.review import doubts
from stormseg_ij.rois import roi_mask

if TYPE_CHECKING:
    from stormseg_ij.commands.nuclei import Nucleus


def next_nucleus(job: Job) -> None:
    """Select the next nucleus to look at, and go there; the one shown before counts as reviewed."""
    settings, imp = job.settings_as(NextNucleusSettings), job.imp
    nuclei = [nucleus for nucleus in job.session.nuclei(imp) if not nucleus.in_overlay]
    if not nuclei:
        raise job.session.none(imp)
    reviewed = job.session.reviewed(imp)
    if settings.start_over:
        reviewed.clear()
    ranked = job.session.ranked(imp, nuclei, lambda rois: doubts(rois, job.desk.shape(imp)))
    open_ones = [(nuclei[doubt.index], doubt) for doubt in ranked if nuclei[doubt.index].roi.name not in reviewed]
    if not open_ones:
        job.desk.manager.deselect()
        job.say(f"all {plural(len(nuclei), 'nucleus', 'nuclei')} reviewed; start_over begins anew")
        return
    nucleus, doubt = open_ones[0]
    reviewed.add(nucleus.roi.name)
    _show(job, nucleus, zoom=settings.zoom)
    why = ", ".join(doubt.reasons) or "nothing unusual"
    number = len(nuclei) - len(open_ones) + 1
    job.desk.status(f"{nucleus.roi.name} ({number} of {len(nuclei)}): {why}")  # the bar is narrow: no name before it


def _show(job: Job, nucleus: Nucleus, *, zoom: bool) -> None:
    """Select a nucleus and bring it into view."""
    instance, _ = roi_mask(nucleus.roi, job.desk.shape(job.imp))
    if instance is not None:
        height, width = instance.mask.shape
        box = (instance.left, instance.top, instance.left + width, instance.top + height)
        job.desk.go_to(job.imp, box, plane=job.desk.plane_of(job.imp, nucleus.roi), zoom=zoom)
    job.desk.manager.select(job.imp, nucleus.index)
