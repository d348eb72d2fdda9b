"""ImageJ's commands that the preprocessing needs, done by Fiji: all steps of an image in one go."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.desk import Processing
from stormseg_ij.errors import BridgeError
from stormseg_ij.image import Image, Pixels
from stormseg_ij.worker.link import Link


@dataclass
class Pending:
    """Pixels, and what Fiji is to do to them: it stands for an image in ImageJ.

    Attributes
    ----------
    image : Image
        As it was; only its calibration follows the steps.
    shape : (int, int)
        Y, X after all steps.
    steps : list of list
        The name of each, and its values.
    """

    image: Image
    shape: tuple[int, int]
    steps: list[list[Any]] = field(default_factory=list)


class FijiProcessing(Processing):
    """ImageJ's own commands in the Fiji that started this process.

    Parameters
    ----------
    link : Link

    Attributes
    ----------
    version : str
        ImageJ's.
    """

    version: str = ""

    def __init__(self, link: Link) -> None:
        self._link = link

    def to_imageplus(self, image: Image) -> Pending:
        """Take an image; its pixels must not change until `from_imageplus`.

        Raises
        ------
        BridgeError
            For a dtype or shape that ImageJ has not.
        """
        refuse_unfit(image.pixels)
        return Pending(image, image.shape)

    def from_imageplus(self, imp: Pending) -> Image:
        """Let Fiji do the steps, and return the image; without steps nothing is asked.

        Raises
        ------
        BridgeError
            If Java's memory is too small, or ImageJ cannot do a step.
        """
        if not imp.steps:
            return replace(imp.image, pixels=imp.image.pixels.copy())
        return replace(imp.image, pixels=self._link.ask("process", pixels=imp.image.pixels, steps=imp.steps))

    def resize(self, imp: Pending, width: int, height: int) -> None:
        """Image > Adjust > Size: bilinear, averaging when it gets smaller; the calibration follows."""
        calibration = imp.image.calibration
        if calibration is not None:
            calibration = replace(
                calibration,
                pixel_width=calibration.pixel_width * imp.shape[1] / width,
                pixel_height=calibration.pixel_height * imp.shape[0] / height,
            )
        imp.image = replace(imp.image, calibration=calibration)
        imp.shape = height, width
        imp.steps.append(["resize", int(width), int(height)])

    def gaussian_blur(self, imp: Pending, sigma: float) -> None:
        """Process > Filters > Gaussian Blur; `sigma` in pixels."""
        imp.steps.append(["blur", float(sigma)])

    def equalize(self, imp: Pending) -> None:
        """Process > Enhance Contrast with "Normalize" and "Equalize histogram" both ticked."""
        imp.steps.append(["equalize"])

    def to_16bit(self, imp: Pending, limits: tuple[float, float] | None = None) -> None:
        """Image > Type > 16-bit, over the image's full range of values, or between `limits`."""
        imp.steps.append(["to_16bit", None if limits is None else [float(limit) for limit in limits]])

    def resize_lines(self, pixels: NDArray[np.float32], length_px: int, *, along_x: bool) -> NDArray[np.float32]:
        """Make every line shorter as `resize` does in its first or second pass.

        Raises
        ------
        BridgeError
            If Java's memory is too small.
        """
        height, width = pixels.shape
        shape = (height, length_px) if along_x else (length_px, width)
        band = self.to_imageplus(Image(pixels, "band"))
        self.resize(band, width=shape[1], height=shape[0])
        return self.from_imageplus(band).pixels

    def equalization(self, histogram: NDArray[np.int64]) -> Pixels:
        """Return the new value of every old one, uint8 or uint16, for the histogram of an 8-bit or 16-bit image."""
        table: Pixels = self._link.ask("equalization", histogram=histogram.astype(np.int32))
        return table.reshape(histogram.shape)

    def free_memory(self) -> None:
        """Do nothing: Fiji's memory is its own business."""


def refuse_unfit(pixels: Pixels) -> None:
    """Refuse pixels that ImageJ cannot hold.

    Raises
    ------
    BridgeError
    """
    if pixels.ndim != 2 or pixels.dtype.name not in ("uint8", "uint16", "float32"):
        raise BridgeError(
            f"ImageJ cannot hold {pixels.dtype} pixels of shape {pixels.shape}; give 2-D uint8, uint16 or float32"
        )
