"""StormSeg's commands in ImageJ: under Plugins > StormSeg, in macros, and in the recorder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stormseg_ij.commands import checking, correcting, labelling, measuring, reviewing, scoring, segmenting
from stormseg_ij.commands.runner import Command
from stormseg_ij.commands.workbench import Workbench
from stormseg_ij.imagej_settings import (
    LabelsToRoisSettings,
    MeasureNucleiSettings,
    NextNucleusSettings,
    ScoreSettings,
    SegmentNucleiSettings,
    SmoothNucleiSettings,
    SplitNucleusSettings,
)
from stormseg_ij.settings import PreprocessSettings

if TYPE_CHECKING:
    from stormseg_ij.bridge import ImageJ

__all__ = ["COMMANDS", "Command", "Workbench", "install"]

COMMANDS: tuple[Command | None, ...] = (
    Command("Preprocess STORM Image", segmenting.preprocess_image, PreprocessSettings),
    Command("Segment Nuclei", segmenting.segment_nuclei, SegmentNucleiSettings),
    Command("Measure Nuclei", measuring.measure_nuclei, MeasureNucleiSettings, asks=False),
    Command("Score Against Truth", scoring.score_against_truth, ScoreSettings),
    None,
    Command("Next Nucleus to Review", reviewing.next_nucleus, NextNucleusSettings, shortcut="F6", asks=False),
    Command("Redraw Nucleus", correcting.redraw_nucleus, shortcut="F5"),
    Command("Merge Nuclei", correcting.merge_nuclei, shortcut="F7"),
    Command("Split Nucleus", correcting.split_nucleus, SplitNucleusSettings, shortcut="F8", asks=False),
    Command("Delete Nuclei", correcting.delete_nuclei, shortcut="F9"),
    Command("Fill Holes in Nuclei", correcting.fill_holes),
    Command("Smooth Nuclei", correcting.smooth_nuclei, SmoothNucleiSettings),
    Command("Undo Correction", correcting.undo_correction, shortcut="F10"),
    None,
    Command("Labels to ROIs", labelling.labels_to_rois, LabelsToRoisSettings),
    Command("ROIs to Labels", labelling.rois_to_labels_image),
    Command("Restore Nuclei", correcting.restore_nuclei),
    Command("Show Corrections", correcting.show_corrections),
    None,
    Command("StormSeg Doctor", checking.doctor, on_image=False),
)
"""In the order of the menu; None is a line."""


def install(ij: ImageJ, *, unattended: bool = False) -> Workbench:
    """Register all commands with a running ImageJ.

    Parameters
    ----------
    ij : ImageJ
        With or without its window.
    unattended : bool
        True where nobody looks: a macro's command without options gets the defaults, not a dialog.

    Raises
    ------
    BridgeError
        If this ImageJ takes no commands.
    """
    return Workbench(ij, COMMANDS, unattended=unattended)
