"""What commands need of an ImageJ, wherever it runs: in this process, or as the Fiji that started it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.decode import check_finite
from stormseg_ij.facts import ImageFacts, View, zoomed
from stormseg_ij.image import Image, Labels, Pixels, label_lut

if TYPE_CHECKING:
    from roifile import ImagejRoi

ImagePlus: TypeAlias = Any
"""What stands for an image of ImageJ: an `ij.ImagePlus`, or the number of one in another process."""

Colours: TypeAlias = NDArray[np.uint8]
"""Red, green and blue of 256 gray levels, shape (3, 256)."""


class Processing(Protocol):
    """ImageJ's commands that the preprocessing needs; `bridge.ImageJ` says what each does."""

    @property
    def version(self) -> str:
        """ImageJ's version."""

    def to_imageplus(self, image: Image) -> ImagePlus:
        """Copy an image into ImageJ."""

    def from_imageplus(self, imp: ImagePlus) -> Image:
        """Copy an image out of ImageJ."""

    def resize(self, imp: ImagePlus, width: int, height: int) -> None:
        """Resize, bilinear, averaging when it gets smaller."""

    def gaussian_blur(self, imp: ImagePlus, sigma: float) -> None:
        """Blur."""

    def equalize(self, imp: ImagePlus) -> None:
        """Equalize the histogram, with normalization."""

    def to_16bit(self, imp: ImagePlus, limits: tuple[float, float] | None = None) -> None:
        """Convert to 16-bit."""

    def resize_lines(self, pixels: NDArray[np.float32], length_px: int, *, along_x: bool) -> NDArray[np.float32]:
        """Make every line shorter."""

    def equalization(self, histogram: NDArray[np.int64]) -> Pixels:
        """Return the new value of every old one."""

    def free_memory(self) -> None:
        """Give memory back."""


class Entry(NamedTuple):
    """A ROI in the ROI Manager.

    Attributes
    ----------
    data : bytes
        As in a ``.roi`` file.
    identity : int
        The same as long as it is the same object, whatever is done to it; the button "Update" puts another one there.
    drawn_in : int
        Number of the image that it was drawn in; 0 where ImageJ does not know.
    """

    data: bytes
    identity: int
    drawn_in: int


class RoiList(ABC):
    """ImageJ's ROI Manager, opened when something is put into it; in batch mode that of the macro.

    ROIs go in and out as the bytes of ImageJ's ``.roi`` files. Nothing here asks the user, records, or resets.

    Attributes
    ----------
    headless : bool
        True where ImageJ has no display: then there is no ROI Manager.
    """

    headless: bool

    @abstractmethod
    def is_open(self) -> bool:
        """Tell whether there is one: a person who closes it empties it, but deletes no nucleus."""

    @abstractmethod
    def entries(self) -> list[Entry]:
        """Return all ROIs in the list's order, read at one moment."""

    @abstractmethod
    def selected(self) -> list[int]:
        """Return the indexes of the selected entries, ascending."""

    @abstractmethod
    def append(self, rois: Sequence[bytes], imp: ImagePlus | None) -> list[int]:
        """Add ROIs at the end, and show all on the image if it is given; return their identities."""

    @abstractmethod
    def replace(self, identity: int, roi: bytes) -> int | None:
        """Put a ROI in the place of another, with its own name; return its identity, None where that one is gone."""

    @abstractmethod
    def delete(self, identities: Iterable[int], imp: ImagePlus | None = None) -> None:
        """Take ROIs out, and repaint the image if it is given; those that are gone already are none."""

    @abstractmethod
    def select(self, imp: ImagePlus, index: int) -> None:
        """Select one entry, in the list and as the image's selection."""

    @abstractmethod
    def deselect(self) -> None:
        """Select no entry."""


@dataclass(frozen=True)
class Measured:
    """What to measure, a row of Results each.

    Attributes
    ----------
    roi : bytes or int
        An area that has a pixel in the image: as in a ``.roi`` file, or the identity of an entry in the ROI Manager,
        which has all digits of what a person drew.
    plane : int
        Of the stack, counted from 1; 1 for a single plane.
    extra : mapping of str to (str or float)
        Further columns of its row. A row without a number in a column where others have one gets NaN there.
    """

    roi: bytes | int
    plane: int = 1
    extra: Mapping[str, str | float] = field(default_factory=dict)


class Desk(ABC):
    """ImageJ's images, windows and messages.

    Attributes
    ----------
    manager : RoiList
    """

    manager: RoiList

    @property
    @abstractmethod
    def ij(self) -> Processing:
        """What preprocesses images."""

    @property
    @abstractmethod
    def fiji(self) -> str | None:
        """Folder or endpoint of the Fiji that this process has started; None where it started none."""

    @property
    @abstractmethod
    def headless(self) -> bool:
        """True where ImageJ has no window."""

    # ---- images

    @abstractmethod
    def facts(self, imp: ImagePlus) -> ImageFacts:
        """Return what ImageJ says of an image now."""

    @abstractmethod
    def is_open(self, imp: ImagePlus) -> bool:
        """Tell whether the image still is among ImageJ's, shown or in batch mode."""

    @abstractmethod
    def numbered(self, number: int) -> ImagePlus | None:
        """Return the open image with this number of ImageJ's."""

    @abstractmethod
    def number(self, imp: ImagePlus) -> int:
        """Return the image's number: ImageJ gives none twice."""

    @abstractmethod
    def titled(self, title: str) -> ImagePlus | None:
        """Return the open image with this title."""

    @abstractmethod
    def titles(self) -> list[str]:
        """Return the titles of all open images."""

    @abstractmethod
    def copied(self, imp: ImagePlus, *, plane: int | None) -> Image:
        """Copy a plane, whatever its values; the shown one if none is named."""

    @abstractmethod
    def show_image(self, image: Image) -> ImagePlus:
        """Show an image in a window of its own."""

    @abstractmethod
    def show_stack(
        self, planes: Sequence[Pixels], title: str, *, like: ImagePlus, colours: Colours, highest: int
    ) -> ImagePlus:
        """Show planes, uint16 or float32, with the calibration of another image, in colours from 0 to `highest`."""

    def image(self, imp: ImagePlus, *, plane: int | None = None) -> Image:
        """Copy a plane; the shown one if none is named.

        Raises
        ------
        BridgeError
            If there is no such plane.
        ImageError
            If pixels are NaN or infinite.
        """
        image = self.copied(imp, plane=plane)
        check_finite(image.pixels, self.title(imp))
        return image

    def show_labels(self, planes: Sequence[Labels], title: str, like: ImagePlus) -> ImagePlus:
        """Show label images, one per plane, in colours and with the calibration of another image.

        Raises
        ------
        BridgeError
            If Java's memory is too small.
        """
        highest = max(int(labels.max(initial=0)) for labels in planes)
        dtype = np.uint16 if highest <= np.iinfo(np.uint16).max else np.float32
        pixels = [labels.astype(dtype) for labels in planes]
        return self.show_stack(pixels, title, like=like, colours=label_lut(), highest=max(highest, 1))

    def title(self, imp: ImagePlus) -> str:
        """Return the image's title as it stands in its window."""
        return self.facts(imp).title

    def name(self, imp: ImagePlus) -> str:
        """Return the image's name as `ImageFacts.name`."""
        return self.facts(imp).name

    def file(self, imp: ImagePlus) -> tuple[str | None, str]:
        """Return folder and name of the image's file as `ImageFacts.file`."""
        return self.facts(imp).file

    def shape(self, imp: ImagePlus) -> tuple[int, int]:
        """(Y, X) in pixels."""
        return self.facts(imp).shape

    def shown_plane(self, imp: ImagePlus) -> int:
        """Return which plane of a stack is shown, counted from 1; 0 for a single plane."""
        return self.facts(imp).shown_plane

    def planes(self, imp: ImagePlus) -> list[int]:
        """Return the planes of all slices and frames, of the channel that is shown."""
        return self.facts(imp).planes

    def plane_of(self, imp: ImagePlus, roi: ImagejRoi) -> int:
        """Return the plane that a ROI is tied to; 0 where it is on all. For many ROIs ask the `facts` once."""
        return self.facts(imp).plane_of(roi)

    # ---- selections and overlays

    @abstractmethod
    def selection(self, imp: ImagePlus) -> tuple[str, bytes] | None:
        """Return the image's selection: ``"area"``, ``"line"`` or ``"other"``, and its ``.roi`` bytes."""

    @abstractmethod
    def clear_selection(self, imp: ImagePlus) -> None:
        """Take the image's selection away; Edit > Selection > Restore Selection brings it back."""

    @abstractmethod
    def line(self, imp: ImagePlus) -> NDArray[np.float64] | None:
        """Return the corners (x, y) of the line drawn in the image, shape (V, 2); None where there is none."""

    @abstractmethod
    def put_overlay(self, imp: ImagePlus, rois: Iterable[bytes], tag: str, *, origin: tuple[int, int] = (0, 0)) -> None:
        """Put ROIs into the image's overlay, in place of those put there before under this tag.

        An overlay that the person has hidden stays hidden; where nothing is added or removed, nothing is touched.

        Parameters
        ----------
        imp : ImagePlus
        rois : iterable of bytes
        tag : str
        origin : (int, int)
            x and y in the image of the place that the ROIs call (0, 0).
        """

    @abstractmethod
    def overlay(self, imp: ImagePlus, tag: str) -> list[bytes]:
        """Return the ROIs that `put_overlay` put into the image under this tag."""

    @abstractmethod
    def canvas(self, imp: ImagePlus) -> tuple[int, int] | None:
        """Return width and height of the image on the screen; None where it is in no window."""

    @abstractmethod
    def show_plane(self, imp: ImagePlus, plane: int) -> None:
        """Show this plane of a stack."""

    @abstractmethod
    def look_at(self, imp: ImagePlus, view: View) -> None:
        """Show a part of the image in its window."""

    def go_to(self, imp: ImagePlus, box: tuple[int, int, int, int], *, plane: int = 0, zoom: bool = True) -> None:
        """Show a plane, and with `zoom` a box (left, top, right, bottom) with as much again around it."""
        facts = self.facts(imp)
        if plane and plane != facts.current:
            self.show_plane(imp, plane)
        canvas = self.canvas(imp) if zoom else None
        if canvas is not None:
            self.look_at(imp, zoomed(box, canvas, facts.shape))

    # ---- tables

    @abstractmethod
    def measure(
        self, imp: ImagePlus, wanted: Sequence[Measured], *, each: Callable[[int], None] = lambda _: None
    ) -> int:
        """Add a row to Results for each ROI, as the ROI Manager's Measure does, with further columns.

        The image keeps its selection, its shown plane and all else.

        Parameters
        ----------
        imp : ImagePlus
        wanted : sequence of Measured
        each : callable
            Told now and then how many are measured, and at last of all. What it raises ends the measurement, and
            Results stays as it was.

        Returns
        -------
        int
            Rows of Results now.

        Raises
        ------
        BridgeError
            If Java's memory is too small, or the image of "Redirect to" is missing or has another size, or a ROI was
            taken out of the ROI Manager meanwhile.
        """

    @abstractmethod
    def add_rows(self, title: str, rows: Sequence[Mapping[str, str | float]]) -> None:
        """Add rows at the end of the table with this title, which is opened if it is not there.

        Parameters
        ----------
        title : str
        rows : sequence of mappings
            Values by column; NaN is an empty one.
        """

    # ---- talking

    @abstractmethod
    def status(self, text: str) -> None:
        """Show a line in ImageJ's status bar."""

    @abstractmethod
    def progress(self, fraction: float) -> None:
        """Move ImageJ's bar; 1 and more takes it away."""

    @abstractmethod
    def show_message(self, title: str, text: str) -> None:
        """Show a line in a window of its own, or in the Log where nobody could close it."""

    @abstractmethod
    def log(self, text: str) -> None:
        """Write a line into the Log window."""

    @abstractmethod
    def show_text(self, title: str, text: str) -> None:
        """Show a text in a window of its own, or in the Log where there are no windows."""

    @abstractmethod
    def show_table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show texts as a table in a window of its own, or in the Log where there are no windows."""

    @abstractmethod
    def escape_pressed(self) -> bool:
        """Tell whether the person wants the command to stop."""

    @abstractmethod
    def reset_escape(self) -> None:
        """Forget that Escape was pressed."""

    @property
    @abstractmethod
    def batch(self) -> bool:
        """True where nobody can answer a dialog: no window, or a macro in batch mode."""

    @property
    @abstractmethod
    def running(self) -> bool:
        """False once ImageJ was closed."""
