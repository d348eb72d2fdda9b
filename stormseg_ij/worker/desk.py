"""Fiji's images, windows and messages, asked for one by one."""

from __future__ import annotations

import math
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.desk import Colours, Desk, Measured
from stormseg_ij.errors import BridgeError
from stormseg_ij.facts import ImageFacts, View
from stormseg_ij.image import Calibration, Image, Pixels, image_of_packed_rgb
from stormseg_ij.worker.link import Link
from stormseg_ij.worker.processing import FijiProcessing, refuse_unfit
from stormseg_ij.worker.roi_list import FijiRoiList, as_text

ESCAPED = "stopped by Escape"
"""The fault with which Fiji ends a measurement because the person wants it."""

_FRESH_SECONDS = 0.3


@dataclass(frozen=True)
class FijiImage:
    """Stands for an image of Fiji's.

    Attributes
    ----------
    number : int
        ImageJ gives none twice.
    """

    number: int


class FijiDesk(Desk):
    """The images, windows and messages of the Fiji that started this process.

    What Fiji says of an image holds for one command: it is asked once.

    Parameters
    ----------
    link : Link

    Attributes
    ----------
    manager : FijiRoiList
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._processing = FijiProcessing(link)
        self.manager: FijiRoiList = FijiRoiList(link)
        self._headless, self._batch = False, False
        self._facts: dict[int, ImageFacts] = {}
        self._seen: dict[int, tuple[float, bool]] = {}

    def begin(self, *, headless: bool, batch: bool, version: str) -> None:
        """Forget what Fiji said before, and take what it says with a new call.

        Parameters
        ----------
        headless : bool
            Fiji has no window.
        batch : bool
            Nobody can answer a dialog.
        version : str
            ImageJ's.
        """
        self._headless, self._batch, self._processing.version = headless, batch, version
        self.manager.headless = headless
        self._facts.clear()
        self._seen.clear()

    @property
    def ij(self) -> FijiProcessing:
        """What preprocesses images."""
        return self._processing

    @property
    def fiji(self) -> None:
        """None: this process has started no Fiji; one has started it."""

    @property
    def headless(self) -> bool:
        """True where Fiji has no window."""
        return self._headless

    # ---- images

    def facts(self, imp: FijiImage) -> ImageFacts:
        """Return what ImageJ says of an image, as in this command's first question.

        Raises
        ------
        BridgeError
            If the image was closed before that.
        """
        found = self._found(imp.number)
        if found is None:
            raise BridgeError("the image was closed; open it again")
        return found

    def is_open(self, imp: FijiImage) -> bool:
        """Tell whether the image still is among ImageJ's; asked only now and then, for this is called often."""
        when, was_open = self._seen.get(imp.number, (-math.inf, False))
        if time.monotonic() - when >= _FRESH_SECONDS:
            was_open = bool(self._link.ask("is_open", image=imp.number))
            self._seen[imp.number] = time.monotonic(), was_open
        return was_open

    def numbered(self, number: int) -> FijiImage | None:
        """Return the open image with this number of ImageJ's."""
        return None if self._found(number) is None else FijiImage(number)

    def number(self, imp: FijiImage) -> int:
        """Return the image's number: ImageJ gives none twice."""
        return imp.number

    def titled(self, title: str) -> FijiImage | None:
        """Return the open image with this title."""
        number = self._link.ask("titled", title=title)
        return None if number is None else FijiImage(number)

    def titles(self) -> list[str]:
        """Return the titles of all open images."""
        return list(self._link.ask("titles"))

    def copied(self, imp: FijiImage, *, plane: int | None) -> Image:
        """Copy a plane, whatever its values; the shown one if none is named.

        Raises
        ------
        BridgeError
            If there is no such plane.
        """
        name = self.name(imp)
        found = self._link.ask("image", image=imp.number, plane=plane)
        pixels, stated = found["pixels"], found["calibration"]
        calibration = None if stated is None else Calibration(float(stated[0]), float(stated[1]), str(stated[2]))
        if found["depth"] == 24:
            return image_of_packed_rgb(pixels, name, calibration)
        return Image(pixels, name, calibration)

    def show_image(self, image: Image) -> FijiImage:
        """Show an image in a window of its own.

        Raises
        ------
        BridgeError
            If ImageJ has no such images, or Java's memory is too small.
        """
        refuse_unfit(image.pixels)
        known = image.calibration
        calibration = None if known is None else [float(known.pixel_width), float(known.pixel_height), known.unit]
        number = self._link.ask("show_image", pixels=image.pixels, name=image.name, calibration=calibration)
        return FijiImage(number)

    def show_stack(
        self, planes: Sequence[Pixels], title: str, *, like: FijiImage, colours: Colours, highest: int
    ) -> FijiImage:
        """Show planes, uint16 or float32, with the calibration of another image, in colours from 0 to `highest`.

        Raises
        ------
        BridgeError
            If Java's memory is too small.
        """
        number = self._link.ask(
            "show_stack", planes=list(planes), title=title, like=like.number, colours=colours, highest=int(highest)
        )
        return FijiImage(number)

    # ---- selections and overlays

    def selection(self, imp: FijiImage) -> tuple[str, bytes] | None:
        """Return the image's selection: ``"area"``, ``"line"`` or ``"other"``, and its ``.roi`` bytes."""
        found = self._link.ask("selection", image=imp.number)
        return None if found is None else (found["group"], b64decode(found["roi"]))

    def clear_selection(self, imp: FijiImage) -> None:
        """Take the image's selection away; Edit > Selection > Restore Selection brings it back."""
        self._link.ask("clear_selection", image=imp.number)

    def line(self, imp: FijiImage) -> NDArray[np.float64] | None:
        """Return the corners (x, y) of the line drawn in the image, shape (V, 2); None where there is none."""
        found = self._link.ask("line", image=imp.number)
        return None if found is None else np.array(found, np.float64).T

    def put_overlay(self, imp: FijiImage, rois: Iterable[bytes], tag: str, *, origin: tuple[int, int] = (0, 0)) -> None:
        """Put ROIs into the image's overlay, in place of those put there before under this tag."""
        self._link.ask(
            "put_overlay", image=imp.number, rois=[as_text(roi) for roi in rois], tag=tag,
            origin=[int(place) for place in origin],
        )  # fmt: skip

    def overlay(self, imp: FijiImage, tag: str) -> list[bytes]:
        """Return the ROIs that `put_overlay` put into the image under this tag."""
        return [b64decode(roi) for roi in self._link.ask("overlay", image=imp.number, tag=tag)]

    def canvas(self, imp: FijiImage) -> tuple[int, int] | None:
        """Return width and height of the image on the screen; None where it is in no window."""
        found = self._link.ask("canvas", image=imp.number)
        return None if found is None else (int(found[0]), int(found[1]))

    def show_plane(self, imp: FijiImage, plane: int) -> None:
        """Show this plane of a stack."""
        self._link.ask("show_plane", image=imp.number, plane=int(plane))
        self._facts.pop(imp.number, None)

    def look_at(self, imp: FijiImage, view: View) -> None:
        """Show a part of the image in its window."""
        x, y, columns, rows = (int(place) for place in view[1:])
        self._link.ask("look_at", image=imp.number, level=float(view.level), x=x, y=y, columns=columns, rows=rows)

    # ---- tables

    def measure(
        self, imp: FijiImage, wanted: Sequence[Measured], *, each: Callable[[int], None] = lambda _: None
    ) -> int:
        """Add a row to Results for each ROI, as the ROI Manager's Measure does, with further columns.

        `each` is told 0 only: Fiji measures all without coming back, and looks at the Escape key itself.
        """
        each(0)
        asked = [
            {
                "roi": one.roi if isinstance(one.roi, int) else as_text(one.roi),
                "plane": int(one.plane),
                "extra": _plain(one.extra),
            }
            for one in wanted
        ]
        try:
            return int(self._link.ask("measure", image=imp.number, wanted=asked))
        except BridgeError as fault:
            if str(fault) == ESCAPED:
                self._link.stop()
                each(0)
            raise

    def add_rows(self, title: str, rows: Sequence[Mapping[str, str | float]]) -> None:
        """Add rows at the end of the table with this title, which is opened if it is not there."""
        self._link.ask("add_rows", title=title, rows=[_plain(row) for row in rows])

    # ---- talking

    def status(self, text: str) -> None:
        """Show a line in ImageJ's status bar."""
        self._link.tell_latest("status", text=text)

    def progress(self, fraction: float) -> None:
        """Move ImageJ's bar; 1 and more takes it away."""
        self._link.tell_latest("progress", fraction=float(min(fraction, 1.0)))

    def show_message(self, title: str, text: str) -> None:
        """Show a line in a window of its own, or in the Log where nobody could close it."""
        if self.batch:
            self.log(f"{title}: {text}")
        else:
            self._link.ask("show_message", title=title, text=text)

    def log(self, text: str) -> None:
        """Write a line into the Log window."""
        self._link.log(text)

    def show_text(self, title: str, text: str) -> None:
        """Show a text in a window of its own, or in the Log where there are no windows."""
        if self.headless:
            self.log(text)
        else:
            self._link.ask("show_text", title=title, text=text)

    def show_table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show texts as a table in a window of its own, or in the Log where there are no windows."""
        if self.headless:
            self.log("\n".join([title, "\t".join(columns), *("\t".join(row) for row in rows)]))
        else:
            self._link.ask("show_table", title=title, columns=list(columns), rows=[list(row) for row in rows])

    def escape_pressed(self) -> bool:
        """Tell whether the person wants the command to stop."""
        return self._link.stop_wanted

    def reset_escape(self) -> None:
        """Do nothing: Escape stops the task that runs, and the next command is another one."""

    @property
    def batch(self) -> bool:
        """True where nobody can answer a dialog: no window, or a macro in batch mode."""
        return self._headless or self._batch

    @property
    def running(self) -> bool:
        """True: this process ends with Fiji."""
        return True

    def _found(self, number: int) -> ImageFacts | None:
        if number not in self._facts:
            found = self._link.ask("facts", image=number)
            if found is None:
                return None
            self._facts[number] = ImageFacts(**found)
        return self._facts[number]


def _plain(row: Mapping[str, str | float]) -> dict[str, str | float | None]:
    """Write a row so that JSON can hold it: NaN is null, and what is infinite is its word.

    >>> _plain({"a": "b", "c": 1, "d": float("nan"), "e": float("inf")})
    {'a': 'b', 'c': 1.0, 'd': None, 'e': 'Infinity'}
    """
    return {heading: value if isinstance(value, str) else _number(float(value)) for heading, value in row.items()}


def _number(value: float) -> str | float | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "Infinity" if value > 0.0 else "-Infinity"
    return value
