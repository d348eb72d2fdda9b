"""Settings of the commands in ImageJ, where they are others than those of the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stormseg_ij.errors import SettingsError
from stormseg_ij.settings import SegmentSettings, Settings, iou_option, option

_PLACES = ("append", "replace", "overlay")
_PLACES_HELP = "add to the ROI Manager, replace there only what StormSeg put there, or put into the Overlay"

_LABELS = {
    "by": "Split",
    "nuclei": "Measure",
    "nms": "NMS",
    "iou": "IoU",
    "rois": "ROIs",
    "colour": "Colour in the image",
}


@dataclass(frozen=True)
class SegmentNucleiSettings(SegmentSettings):
    """Segment Nuclei: what `segment` takes, and where the nuclei go."""

    rois: str = option("append", _PLACES_HELP, choices=_PLACES)
    label_image: bool = option(False, "show a label image too: 0 is background, each number one nucleus")
    planes: str = option(
        "shown", "of a stack, the plane that is shown, or all slices and frames", choices=("shown", "all")
    )

    def __post_init__(self) -> None:
        """Check also that one plane and all planes are not asked together."""
        super().__post_init__()
        if self.plane is not None and self.planes == "all":
            raise SettingsError(f"plane={self.plane} and planes=all contradict each other; give one of them")


@dataclass(frozen=True)
class MeasureNucleiSettings(Settings):
    """Measure Nuclei."""

    nuclei: str = option("all", "all nuclei, or those selected in the ROI Manager", choices=("all", "selected"))


@dataclass(frozen=True)
class LabelsToRoisSettings(Settings):
    """Labels to ROIs: the active image is the label image."""

    rois: str = option("append", _PLACES_HELP, choices=_PLACES)
    image: str = option(
        "", "title of the open image that the nuclei belong to; the label image itself without it", hint="IMAGE",
        remembered=False,
    )  # fmt: skip


@dataclass(frozen=True)
class SplitNucleusSettings(Settings):
    """Split Nucleus."""

    by: str = option(
        "auto",
        "line: along the line drawn across it; bisector: by itself, by the paper's rule; neck: by itself, where it is "
        "narrowest; auto: the line if there is one, else the bisector",
        choices=("auto", "line", "bisector", "neck"),
    )


@dataclass(frozen=True)
class SmoothNucleiSettings(Settings):
    """Smooth Nuclei."""

    sigma: float = option(2.0, "how much, sigma of a Gaussian in pixels", above=0.0, maximum=100.0)


@dataclass(frozen=True)
class NextNucleusSettings(Settings):
    """Next Nucleus to Review."""

    zoom: bool = option(True, "zoom to the nucleus")
    start_over: bool = option(False, "forget which nuclei were reviewed and begin with the least certain one")


@dataclass(frozen=True)
class ScoreSettings(Settings):
    """Score Against Truth."""

    truth: str = option(
        "", "label image or ROI zip with the true nuclei, or the title of an open label image", hint="FILE",
        remembered=False,
    )  # fmt: skip
    iou: float = iou_option()
    colour: bool = option(True, "outline missed nuclei (magenta) and false ones (orange) in the image")


def label_of(key: str) -> str:
    """Return what stands before the field of a setting in a dialog.

    >>> label_of("min_area_fraction"), label_of("nms")
    ('Min area fraction', 'NMS')
    """
    return _LABELS.get(key, key.replace("_", " ").capitalize())


def in_keys(text: str) -> str:
    """Write the flags in a message as ImageJ's keys; those that only the start of ImageJ takes stay flags.

    >>> in_keys("no nuclei; try --probability 0.3 or --min-area-fraction 0")
    'no nuclei; try probability 0.3 or min_area_fraction 0'
    >>> in_keys("start stormseg with more: --heap-mb N")
    'start stormseg with more: --heap-mb N'
    """
    return re.sub(r"--(?!heap-mb\b|fiji\b)([a-z][a-z-]*)", lambda match: match[1].replace("-", "_"), text)
