"""The nuclei of one image, and what is remembered of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stormseg_ij.roi_properties import properties

if TYPE_CHECKING:
    from roifile import ImagejRoi

    from stormseg_ij.review import Doubt
    from stormseg_ij.store import Store


@dataclass(frozen=True)
class Nucleus:
    """A ROI of an image.

    Attributes
    ----------
    index : int
        In the ROI Manager; or, with `in_overlay`, among our ROIs in the image's overlay.
    roi : ImagejRoi
    identity : int
        Of the object in the ROI Manager, whatever its index is by now.
    in_overlay : bool
    """

    index: int
    roi: ImagejRoi
    identity: int = 0
    in_overlay: bool = False


@dataclass(frozen=True)
class Step:
    """What one command took out of the set and put in, so that it can be undone."""

    command: str
    removed: tuple[bytes, ...]
    added: tuple[bytes, ...]


@dataclass(eq=False)
class Set:
    """What is known of one image's nuclei.

    Attributes
    ----------
    title, directory : str
        Name and folder of the image's file; its title and None where it was never saved.
    number : int
        ImageJ's number of the image.
    store : Store
    shape : (int, int)
        Y, X of the image.
    names : set of str
        What the image is and was called.
    known : list of bytes
        The ROIs as they were last seen.
    highest : int
        Largest number that a nucleus of the image has had.
    steps : list of Step
    reviewed : set of str
        Names of nuclei that were shown for review.
    ranked : (list of bytes, list of Doubt)
        The order for review, and the ROIs for which it was made.
    """

    title: str
    directory: str | None
    number: int
    store: Store
    shape: tuple[int, int]
    names: set[str] = field(default_factory=set)
    known: list[bytes] = field(default_factory=list)
    highest: int = 0
    steps: list[Step] = field(default_factory=list)
    reviewed: set[str] = field(default_factory=set)
    ranked: tuple[list[bytes], list[Doubt]] = ([], [])


def is_ours(roi: ImagejRoi) -> bool:
    """Tell whether StormSeg put this ROI into the list: only its ROIs name their image."""
    return bool(properties(roi).get("image"))
