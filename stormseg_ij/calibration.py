"""The size of a pixel: as ImageJ states it, and where TIFF files keep it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    import tifffile

_NM_PER_UNIT = {
    "nm": 1.0, "nanometer": 1.0, "nanometers": 1.0,
    "um": 1e3, "µm": 1e3, "μm": 1e3, "micron": 1e3, "microns": 1e3, "micrometer": 1e3, "micrometers": 1e3,
    "mm": 1e6, "millimeter": 1e6, "cm": 1e7, "centimeter": 1e7, "m": 1e9, "meter": 1e9,
    "inch": 2.54e7, "inches": 2.54e7,
}  # fmt: skip


@dataclass(frozen=True)
class Calibration:
    """The size of one pixel, as ImageJ's Image > Properties states it.

    Attributes
    ----------
    pixel_width, pixel_height : float
        In `unit`, positive.
    unit : str
        As ImageJ writes it, for example ``"micron"`` or ``"nm"``.

    Examples
    --------
    >>> Calibration(0.01, 0.01, "micron").pixel_size_nm
    10.0
    """

    pixel_width: float
    pixel_height: float
    unit: str

    @property
    def pixel_size_nm(self) -> float | None:
        """Side of a square pixel in nm; None if the unit is unknown or the pixel is not square (1 %)."""
        nm = _NM_PER_UNIT.get(self.unit.strip().lower())
        if nm is None or abs(self.pixel_width / self.pixel_height - 1.0) > 0.01:
            return None
        return round(self.pixel_width * nm, 9)


def escaped(text: str) -> str:
    r"""Write what is not ASCII as ImageJ does in its files.

    >>> escaped("µm")
    '\\u00B5m'
    """
    return "".join(c if c.isascii() else f"\\u{ord(c):04X}" for c in text)


def unescaped(text: str) -> str:
    """Undo `escaped`."""
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)


def tiff_calibration(tif: tifffile.TiffFile) -> Calibration | None:
    """Find the pixel size where ImageJ, OME or plain resolution tags state it, read as ImageJ reads them."""
    if tif.ome_metadata:
        return _ome_calibration(tif.ome_metadata)
    page = tif.pages.first
    sizes = [_inverse(page.tags.get(name)) for name in ("XResolution", "YResolution")]
    if sizes[0] is None or sizes[1] is None:
        return None
    width, height = sizes[0], sizes[1]
    if tif.is_imagej:
        unit = unescaped(str((tif.imagej_metadata or {}).get("unit", "")))
        return Calibration(width, height, unit) if unit not in ("", "pixel", "pixels") else None
    code = page.tags.get("ResolutionUnit")
    name = {2: "inch", 3: "cm"}.get(int(code.value) if code is not None else 1)
    if name is None or (name == "inch" and abs(width - 1.0 / 72.0) < 1e-12):
        return None  # 72 dpi is what programs write that know no pixel size; ImageJ ignores it too
    return Calibration(width, height, name)


def _ome_calibration(xml: str) -> Calibration | None:
    try:
        pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")  # noqa: S314 (expat limits entity expansion)
        if pixels is None or "PhysicalSizeX" not in pixels.attrib:
            return None
        width = float(pixels.attrib["PhysicalSizeX"])
        height = float(pixels.attrib.get("PhysicalSizeY", width))
    except (ElementTree.ParseError, ValueError):
        return None  # the pixels can be read all the same
    unit = pixels.attrib.get("PhysicalSizeXUnit", "µm")
    if not all(math.isfinite(side) and side > 0.0 for side in (width, height)) or unit == "pixel":
        return None
    return Calibration(width, height, unit)


def _inverse(tag: Any) -> float | None:  # noqa: ANN401 (a tifffile tag, untyped)
    """Turn a resolution (a rational, pixels per unit) into a pixel size; None if it states none."""
    if tag is None or 0 in tag.value:
        return None
    return float(tag.value[1]) / float(tag.value[0])
