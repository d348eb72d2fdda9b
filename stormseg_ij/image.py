"""Images as they come from files and go into them: pixels in their own type, with calibration.

Large ones are read and written in bands, or stay in their file; `decode` is this module's own cellar.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.calibration import Calibration, escaped
from stormseg_ij.decode import SUFFIXES, TIFF_SUFFIXES, Stored, check_finite, opened
from stormseg_ij.errors import ImageError
from stormseg_ij.files import replacing
from stormseg_ij.pieces import count_pieces, split
from stormseg_ij.rows import row_bands

__all__ = [
    "LARGEST_LABEL", "LARGEST_LABEL_IMAGE_PX", "SUFFIXES", "TIFF_SUFFIXES", "Calibration", "Image", "Labels", "Pixels",
    "label_lut", "read_image", "read_labels", "read_shape", "rgb_to_gray", "write_labels", "write_png", "write_tiff",
]  # fmt: skip

Pixels: TypeAlias = NDArray[Any]
Labels: TypeAlias = NDArray[np.int32]

LARGEST_LABEL = 2**24
"""The largest that `write_labels` writes: float32, ImageJ's 32-bit, holds all integers up to it."""

_LARGEST_TIFF_BYTES = 2**32 - 2**25
"""Pixels of a TIFF whose offsets have 32 bits: larger files are BigTIFFs, which ImageJ does not open."""

LARGEST_LABEL_IMAGE_PX = _LARGEST_TIFF_BYTES // 4
"""Pixels of the largest image whose labels surely fit into a TIFF that ImageJ opens, however many nuclei there are."""

_IMAGEJ_TYPES = (np.uint8, np.uint16, np.float32)


@dataclass(frozen=True)
class Image:
    """One gray plane and what is known of it.

    Attributes
    ----------
    pixels : ndarray, shape (Y, X), dtype uint8, uint16 or float32
        Own dtype of the file, never rescaled on reading. Nobody writes to it: those of a large file are the file
        itself, memory-mapped and read-only.
    name : str
        File name without its suffix.
    calibration : Calibration or None
        None where the file states none.
    scale : (float, float)
        Pixels of this image per pixel of the original, in y and x: 1.0 until it is resized.
    notes : tuple of str
        What reading it changed (for example that RGB became gray), one line each, for the user.
    """

    pixels: Pixels
    name: str
    calibration: Calibration | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    notes: tuple[str, ...] = field(default=())

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X) in pixels."""
        height, width = self.pixels.shape
        return height, width

    def with_pixels(self, pixels: Pixels, *, scale: tuple[float, float] | None = None) -> Image:
        """Return a copy with other pixels; `scale` as in the class, the calibration follows it."""
        if scale is None:
            return replace(self, pixels=pixels)
        calibration = self.calibration
        if calibration is not None:
            calibration = Calibration(
                calibration.pixel_width * self.scale[1] / scale[1],
                calibration.pixel_height * self.scale[0] / scale[0],
                calibration.unit,
            )
        return replace(self, pixels=pixels, scale=scale, calibration=calibration)


def rgb_to_gray(rgb: Pixels) -> NDArray[np.uint8]:
    """Convert colour to gray as ImageJ's Image > Type > 8-bit does with its default, unweighted setting.

    Parameters
    ----------
    rgb : ndarray, shape (Y, X, 3), dtype uint8

    Returns
    -------
    ndarray, shape (Y, X), dtype uint8
        The mean of the channels, rounded half up.

    Examples
    --------
    >>> rgb_to_gray(np.array([[[255, 0, 0], [1, 1, 0], [9, 9, 9]]], np.uint8)).tolist()
    [[85, 1, 9]]
    """
    total = rgb[..., 0].astype(np.uint16) + rgb[..., 1] + rgb[..., 2]
    return ((2 * total + 3) // 6).astype(np.uint8)


def image_of_packed_rgb(packed: Pixels, name: str, calibration: Calibration | None) -> Image:
    """Make a gray image of an RGB image of ImageJ, and note it.

    Parameters
    ----------
    packed : ndarray of uint32, shape (Y, X)
        Red, green and blue in the lower 24 bits.
    name : str
    calibration : Calibration or None
    """
    rgb = np.stack([(packed >> shift).astype(np.uint8) for shift in (16, 8, 0)], axis=-1)
    note = "RGB converted to 8-bit gray, the mean of the channels"
    return Image(rgb_to_gray(rgb), name, calibration, notes=(note,))


def read_image(path: str | Path, *, plane: int | None = None) -> Image:
    """Read one gray plane of a TIFF (also OME-TIFF and BigTIFF) or PNG.

    Parameters
    ----------
    path : str or Path
    plane : int, optional
        1-based, as ImageJ counts slices. Needed for a stack of more than one plane.

    Returns
    -------
    Image
        uint8, uint16 and float32 as they are; other types become the smallest of uint16 and float32 that holds
        their values, 1-bit becomes 0 and 255; RGB and colour palettes (PNG) become 8-bit gray as in ImageJ
        (`rgb_to_gray`). `Image.notes` says what was changed. As in ImageJ, a TIFF with a palette gives its indices,
        and one whose zero is white its stored values. Of a stack only the one plane is decoded. Uncompressed pixels
        of 64 MB or more in the byte order of this computer stay in the file, memory-mapped and read-only.

    Raises
    ------
    ImageError
        For a file that is missing, truncated, empty, complex, of 4 or more dimensions or has NaN or infinite
        pixels, a stack without `plane`, and a `plane` outside the stack.
    """
    path = Path(path)
    with opened(path) as stored:
        index, notes = _chosen(stored, path=path, plane=plane)
        array = stored.read(index, stored.dtype not in _IMAGEJ_TYPES)
    check_finite(array, path)
    pixels, more = _to_imagej_type(array, path)
    return Image(pixels, path.stem, stored.calibration, notes=(*notes, *more))


def read_labels(path: str | Path) -> tuple[Labels, tuple[str, ...]]:
    """Read a label image: 0 is background, every other value one nucleus.

    A binary image (one nonzero value) is split into its connected components (4 neighbours).

    Parameters
    ----------
    path : str or Path
        TIFF or PNG of any integer type, or of floats with integer values; colour only if it is gray. A colour
        palette gives its indices (as annotation tools store labels), a palette of grays its gray values.

    Returns
    -------
    labels : ndarray, shape (Y, X), dtype int32
    notes : tuple of str
        Whether the image was split, and how many labels lie in several pieces.

    Raises
    ------
    ImageError
        As `read_image`, and for values that are negative or no integers.
    """
    path = Path(path)
    with opened(path, palette_indices=True) as stored:
        if stored.axes not in ("YX", "YXS"):
            raise ImageError(f"{path} is no label image: it has {stored.described()}; give one gray plane")
        array = stored.read(None, True)
    if array.ndim == 3:
        colours = 3 if array.shape[-1] > 2 else 1  # the rest is alpha
        if any(np.ptp(array[rows][..., :colours], axis=-1).any() for rows in row_bands(array.shape)):
            raise ImageError(f"{path} is no label image: it has {stored.described()}; give one gray plane")
        array = array[..., 0]
    return as_labels(array, path)


def as_labels(array: Pixels, source: Path | str) -> tuple[Labels, tuple[str, ...]]:
    """Take pixels as a label image, by the rules of `read_labels`.

    Parameters
    ----------
    array : ndarray, shape (Y, X)
        Integers, or floats with integer values. It may be changed.
    source : Path or str
        Where it comes from, for the errors.

    Returns
    -------
    labels : ndarray, shape (Y, X), dtype int32
    notes : tuple of str

    Raises
    ------
    ImageError
        For values that are negative, no integers, NaN or infinite.
    """
    check_finite(array, source)
    if array.dtype.kind == "f" and any((array[rows] != np.rint(array[rows])).any() for rows in row_bands(array.shape)):
        raise ImageError(f"{source} is no label image: it has values that are no integers; give nucleus numbers")
    lowest, highest = int(array.min()), int(array.max())
    if lowest < 0 or highest > np.iinfo(np.int32).max:
        raise ImageError(f"{source} is no label image: its values run from {lowest} to {highest}; give 0 and up")
    if highest > 0 and not any(((a := array[rows]) != 0)[a != highest].any() for rows in row_bands(array.shape)):
        labels, count = split(array)
        return labels, (f"binary image split into {count} connected component{'s' * (count != 1)}",)
    labels = _as_int32(array)
    n_labels, n_pieces = count_pieces(labels)
    if n_pieces > n_labels:
        lie = "1 label lies" if n_labels == 1 else f"{n_labels} labels lie"
        return labels, (f"{lie} in {n_pieces} pieces: some nuclei are not in one piece",)
    return labels, ()


def read_shape(path: str | Path) -> tuple[tuple[int, int], Calibration | None]:
    """Read the size of an image of any type and number of planes; no pixels are decoded.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    shape : (int, int)
        Y, X.
    calibration : Calibration or None

    Raises
    ------
    ImageError
        As `read_image`, but for planes and values of pixels.
    """
    with opened(Path(path)) as stored:
        size = (stored.shape[stored.axes.index("Y")], stored.shape[stored.axes.index("X")])
    return size, stored.calibration


def write_tiff(path: str | Path, pixels: Pixels, *, calibration: Calibration | None = None) -> None:
    """Write a TIFF as ImageJ writes it, replacing `path` only once the file is complete.

    Parameters
    ----------
    path : str or Path
    pixels : ndarray, shape (Y, X), dtype uint8, uint16 or float32
    calibration : Calibration, optional

    Raises
    ------
    ImageError
        If the folder cannot be written to, the disk is full, or it is more than ImageJ opens (4 GB).
    """
    _write_imagej_tiff(Path(path), pixels, pixels.dtype, calibration, {})


def write_labels(path: str | Path, labels: Pixels, *, calibration: Calibration | None = None) -> None:
    """Write a label image that ImageJ shows in colours: 16-bit, or 32-bit from 65,536 labels on.

    Parameters
    ----------
    path : str or Path
    labels : ndarray of int, shape (Y, X)
        0 is background; at most `LARGEST_LABEL`.
    calibration : Calibration, optional

    Raises
    ------
    ImageError
        If a label is out of range, the folder cannot be written to, the disk is full, or it is more than ImageJ opens
        (4 GB).
    """
    highest = int(labels.max(initial=0))
    if labels.min(initial=0) < 0 or highest > LARGEST_LABEL:
        raise ImageError(f"labels {labels.min()} to {highest}: ImageJ holds 0 to {LARGEST_LABEL}; renumber them")
    dtype = np.uint16 if highest <= np.iinfo(np.uint16).max else np.float32
    extra = {"LUTs": [label_lut()], "min": 0.0, "max": float(max(highest, 1))}
    _write_imagej_tiff(Path(path), labels, np.dtype(dtype), calibration, extra)


def write_png(path: str | Path, pixels: Pixels) -> None:
    """Write an 8-bit gray (Y, X) or RGB (Y, X, 3) PNG, replacing `path` only once the file is complete."""
    from PIL import Image as PillowImage

    with replacing(Path(path)) as temporary:
        PillowImage.fromarray(pixels).save(temporary, format="PNG")


def label_lut() -> NDArray[np.uint8]:
    """Colours for labels, shape (3, 256): black for 0, then bright hues far apart for neighbouring numbers."""
    index = np.arange(256)
    hue = (index * 0.618034) % 1.0 * 6.0
    value = np.where(index % 2, 255.0, 190.0)
    lut = [np.clip(2.0 - np.abs((hue - shift + 3.0) % 6.0 - 3.0), 0.25, 1.0) * value for shift in (0, 2, 4)]
    lut_array: NDArray[np.uint8] = np.rint(np.stack(lut)).astype(np.uint8)
    lut_array[:, 0] = 0
    return lut_array


def _chosen(stored: Stored, *, path: Path, plane: int | None) -> tuple[int | None, list[str]]:
    """Return the index of the plane to read, None for all of the file, and what to tell of it."""
    extra = [axis for axis in stored.axes if axis not in "YXS"]
    if len(extra) > 1:
        raise ImageError(f"{path} has {stored.described()}; save the stack that you want as a file of its own")
    planes = stored.shape[0] if extra else 1
    if extra and plane is None:
        raise ImageError(f"{path} is a stack of {planes} planes; choose one with --plane 1 to {planes}")
    if plane is not None and not 1 <= plane <= planes:
        remedy = f"choose 1 to {planes}" if planes > 1 else "it has one only: leave --plane out"
        raise ImageError(f"{path} has no plane {plane}; {remedy}")
    if extra and plane is not None:
        return plane - 1, [f"plane {plane} of {planes}"]
    return None, []


def _to_imagej_type(array: Pixels, path: Path) -> tuple[Pixels, list[str]]:
    """Bring pixels to one of ImageJ's gray types."""
    if array.ndim == 3:
        channels = array.shape[2]
        if channels <= 2:
            note = ["alpha channel left out"] if channels == 2 else []
            pixels, more = _to_imagej_type(array[..., 0], path)
            return pixels, note + more
        if array.dtype != np.uint8 or channels > 4:
            raise ImageError(f"{path} has {channels} channels of {array.dtype}; save one channel as a gray image")
        left_out = " (alpha channel left out)" if channels == 4 else ""
        gray = np.empty(array.shape[:2], np.uint8)
        for rows in row_bands(array.shape):
            gray[rows] = rgb_to_gray(array[rows][..., :3])
        return gray, [f"RGB converted to 8-bit gray, the mean of the channels{left_out}"]
    if array.dtype in _IMAGEJ_TYPES:
        return np.ascontiguousarray(array), []
    if array.dtype == np.bool_:
        return np.multiply(array, np.uint8(255), dtype=np.uint8), ["1-bit image read as 0 and 255"]
    if array.dtype.kind in "ui" and int(array.min()) >= 0 and int(array.max()) <= np.iinfo(np.uint16).max:
        return array.astype(np.uint16), [f"{array.dtype.name} read as 16-bit"]
    if max(-float(array.min()), float(array.max())) > float(np.finfo(np.float32).max):
        raise ImageError(f"{path} has values beyond what 32-bit pixels hold; scale it down first")
    return array.astype(np.float32), [] if array.dtype == np.float16 else [f"{array.dtype.name} read as 32-bit"]


def _as_int32(array: Pixels) -> Labels:
    """Convert values that fit; where the array is our own and of 4 bytes, in its own memory."""
    if array.dtype.itemsize != 4 or not array.dtype.isnative or not array.flags.writeable:
        return np.asarray(array.astype(np.int32))
    labels: Labels = array.view(np.int32)
    if array.dtype.kind == "f":
        for rows in row_bands(array.shape):
            labels[rows] = array[rows].astype(np.int32)
    return labels


def _write_imagej_tiff(
    path: Path, pixels: Pixels, dtype: np.dtype[Any], calibration: Calibration | None, extra: dict[str, Any]
) -> None:
    """Write `pixels` as `dtype`: first a TIFF without them, then them, in bands."""
    import tifffile

    metadata: dict[str, Any] = {"axes": "YX", **extra}
    resolution = None
    if calibration is not None:
        metadata["unit"] = escaped(calibration.unit)
        resolution = (1.0 / calibration.pixel_width, 1.0 / calibration.pixel_height)
    nbytes = pixels.size * dtype.itemsize
    if nbytes > _LARGEST_TIFF_BYTES:
        size = f"{pixels.shape[1]} x {pixels.shape[0]} {8 * dtype.itemsize}-bit pixels"
        raise ImageError(f"cannot write {path}: {size} are {nbytes / 1e9:.1f} GB, ImageJ opens 4.2; cut the image up")
    with replacing(path) as temporary:
        place: Any = tifffile.imwrite(
            temporary, shape=pixels.shape, dtype=dtype, imagej=True, resolution=resolution, metadata=metadata,
            returnoffset=True,
        )  # fmt: skip
        with temporary.open("r+b") as file:
            stored = dtype.newbyteorder("big" if file.read(2) == b"MM" else "little")
            file.seek(place[0])
            for rows in row_bands(pixels.shape):
                file.write(np.ascontiguousarray(pixels[rows], stored).data)
