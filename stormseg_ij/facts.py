"""What ImageJ says of an image at one moment: its name, file, size, planes; and where in it to look."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stormseg_ij.image import SUFFIXES

if TYPE_CHECKING:
    from roifile import ImagejRoi

_ZOOMS = (1 / 72, 1 / 48, 1 / 32, 1 / 24, 1 / 16, 1 / 12, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 0.75, 1.0, 1.5, 2.0, 3.0,
          4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)  # fmt: skip
"""ImageJ's own levels."""


@dataclass(frozen=True)
class ImageFacts:
    """An image of ImageJ at one moment.

    Attributes
    ----------
    title : str
        As it stands in its window.
    folder, file_name : str or None
        Of the file that it was opened from.
    height, width : int
        In pixels.
    channels, slices, frames : int
        Sizes of the stack; their product is the number of planes.
    channel, z, t : int
        The shown place, counted from 1.
    current : int
        The shown plane, counted from 1.
    is_hyperstack : bool
    """

    title: str
    folder: str | None
    file_name: str | None
    height: int
    width: int
    channels: int = 1
    slices: int = 1
    frames: int = 1
    channel: int = 1
    z: int = 1
    t: int = 1
    current: int = 1
    is_hyperstack: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X) in pixels."""
        return self.height, self.width

    @property
    def plane_count(self) -> int:
        """Number of planes; 1 for a single one."""
        return self.channels * self.slices * self.frames

    @property
    def file(self) -> tuple[str | None, str]:
        """Folder and name of the image's file; None and the title where the image is not that of a file.

        ImageJ titles the second image of one name ``cells-1.tif``; its file is ``cells.tif``.
        """
        if not self.folder or not self.file_name:
            return None, self.title
        name = PurePath(self.file_name)
        again = re.fullmatch(rf"{re.escape(name.stem)}-\d+{re.escape(name.suffix)}", self.title)
        return (self.folder, name.name) if again or self.title == name.name else (None, self.title)

    @property
    def name(self) -> str:
        """The image's name without the suffix of a file, as results and ROIs name it."""
        path = PurePath(self.file[1])
        return path.stem if path.suffix.lower() in SUFFIXES else path.name

    @property
    def shown_plane(self) -> int:
        """Which plane of a stack is shown, counted from 1; 0 for a single plane."""
        return self.current if self.plane_count > 1 else 0

    @property
    def planes(self) -> list[int]:
        """The planes of all slices and frames, of the channel that is shown; ``[0]`` for a single plane.

        >>> ImageFacts("a", None, None, 8, 8, channels=2, slices=3, channel=2).planes
        [2, 4, 6]
        """
        if self.plane_count == 1:
            return [0]
        places = ((z, t) for t in range(1, self.frames + 1) for z in range(1, self.slices + 1))
        return [self._plane(self.channel, z, t) for z, t in places]

    def slice_and_frame(self, plane: int) -> tuple[int, int] | None:
        """Return slice and frame of a plane of a hyperstack; None for a simple stack, where the plane says all."""
        if not self.is_hyperstack:
            return None
        before = (plane - 1) // self.channels
        return before % self.slices + 1, before // self.slices % self.frames + 1

    def plane_of(self, roi: ImagejRoi) -> int:
        """Return the plane that a ROI is tied to; 0 where it is on all."""
        if self.plane_count == 1:
            return 0
        if not any((roi.c_position, roi.z_position, roi.t_position)):
            return int(roi.position)
        return self._plane(roi.c_position or self.channel, roi.z_position or self.z, roi.t_position or self.t)

    def _plane(self, channel: int, z: int, t: int) -> int:
        """Return the number of a plane as `ImagePlus.getStackIndex` does: numbers out of range mean the nearest."""
        sizes = (self.channels, self.slices, self.frames)
        c, z, t = (min(max(int(place), 1), size) for place, size in zip((channel, z, t), sizes, strict=True))
        return ((t - 1) * self.slices + z - 1) * self.channels + c


class View(NamedTuple):
    """A part of an image in its window.

    Attributes
    ----------
    level : float
        Magnification.
    x, y, columns, rows : int
        In pixels of the image.
    """

    level: float
    x: int
    y: int
    columns: int
    rows: int


def zoomed(box: tuple[int, int, int, int], canvas: tuple[int, int], shape: tuple[int, int]) -> View:
    """Return the view of a box with as much again around it, at one of ImageJ's own levels.

    Parameters
    ----------
    box : (int, int, int, int)
        Left, top, right, bottom.
    canvas : (int, int)
        Width and height on the screen.
    shape : (int, int)
        Y, X of the image.

    Examples
    --------
    >>> zoomed((40, 40, 60, 60), (480, 480), (100, 100))
    View(level=8.0, x=20, y=20, columns=60, rows=60)
    """
    left, top, right, bottom = box
    wide, high = canvas
    fit = min(wide / (3.0 * max(right - left, 1)), high / (3.0 * max(bottom - top, 1)))
    level = max((level for level in _ZOOMS if level <= fit), default=_ZOOMS[0])
    height, width = shape
    columns, rows = (min(math.ceil(side / level), most) for side, most in ((wide, width), (high, height)))
    x = int(np.clip((left + right - columns) // 2, 0, width - columns))
    y = int(np.clip((top + bottom - rows) // 2, 0, height - rows))
    return View(level, x, y, columns, rows)
