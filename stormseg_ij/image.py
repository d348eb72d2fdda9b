"""Images as they come from files: pixels in their own type, with calibration; the only decoder of files."""

from __future__ import annotations

import logging
import lzma
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.calibration import Calibration, escaped, tiff_calibration
from stormseg_ij.errors import ImageError
from stormseg_ij.files import replacing

__all__ = [
    "LARGEST_LABEL", "SUFFIXES", "TIFF_SUFFIXES", "Calibration", "Image", "Labels", "Pixels", "label_lut", "read_image",
    "read_labels", "read_shape", "rgb_to_gray", "write_labels", "write_png", "write_tiff",
]  # fmt: skip

Pixels: TypeAlias = NDArray[Any]
Labels: TypeAlias = NDArray[np.int32]

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")
SUFFIXES = (*TIFF_SUFFIXES, ".png")
"""What `read_image` decodes, lower case."""

LARGEST_LABEL = 2**24
"""The largest that `write_labels` writes: float32, ImageJ's 32-bit, holds all integers up to it."""

_DECODER_ERRORS = (
    OSError, ValueError, TypeError, LookupError, SyntaxError, RuntimeError, ArithmeticError, AttributeError, EOFError,
    MemoryError, AssertionError, struct.error, zlib.error, lzma.LZMAError,
)  # fmt: skip
"""What the decoders raise on damaged files."""

_LOST = re.compile("tifffile.TiffPages|tifffile.TiffTag (270|273|279|282|283|324|325) .*invalid value offset")
"""What tifffile only logs: the next page, or a page's description, strips, tiles or resolution, is not in the file."""


@dataclass(frozen=True)
class Image:
    """One gray plane and what is known of it.

    Attributes
    ----------
    pixels : ndarray, shape (Y, X), dtype uint8, uint16 or float32
        Own dtype of the file, never rescaled on reading.
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
        and one whose zero is white its stored values.

    Raises
    ------
    ImageError
        For a file that is missing, truncated, empty, complex, of 4 or more dimensions or has NaN or infinite
        pixels, a stack without `plane`, and a `plane` outside the stack.
    """
    path = Path(path)
    array, axes, calibration = _decode(path)
    array, axes = _squeezed(array, axes)
    array, notes = _one_plane(array, axes, path=path, plane=plane)
    pixels, more = _to_imagej_type(array, path)
    return Image(pixels, path.stem, calibration, notes=(*notes, *more))


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
    array, axes, _ = _decode(path, palette_indices=True)
    array, axes = _squeezed(array, axes)
    if axes.endswith("S"):
        colours = 3 if array.shape[-1] > 2 else 1  # the rest is alpha
        if not np.ptp(array[..., :colours], axis=-1).any():
            array, axes = array[..., 0], axes[:-1]
    if axes != "YX":
        raise ImageError(f"{path} is no label image: it has {_describe(array, axes)}; give one gray plane")
    if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):
        raise ImageError(f"{path} is no label image: it has values that are no integers; give nucleus numbers")
    lowest, highest = int(array.min()), int(array.max())
    if lowest < 0 or highest > np.iinfo(np.int32).max:
        raise ImageError(f"{path} is no label image: its values run from {lowest} to {highest}; give 0 and up")
    labels = array.astype(np.int32)
    return _split_binary(labels, highest)


def read_shape(path: str | Path) -> tuple[tuple[int, int], Calibration | None]:
    """Read the size of an image of any type and number of planes.

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
        As `read_image`, but for planes.
    """
    array, axes, calibration = _decode(Path(path))
    return (array.shape[axes.index("Y")], array.shape[axes.index("X")]), calibration


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
        If the folder cannot be written to.
    """
    _write_imagej_tiff(Path(path), pixels, calibration, {})


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
        If a label is out of range or the folder cannot be written to.
    """
    highest = int(labels.max(initial=0))
    if labels.min(initial=0) < 0 or highest > LARGEST_LABEL:
        raise ImageError(f"labels {labels.min()} to {highest}: ImageJ holds 0 to {LARGEST_LABEL}; renumber them")
    dtype = np.uint16 if highest <= np.iinfo(np.uint16).max else np.float32
    extra = {"LUTs": [label_lut()], "min": 0.0, "max": float(max(highest, 1))}
    _write_imagej_tiff(Path(path), labels.astype(dtype), calibration, extra)


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


def _decode(path: Path, *, palette_indices: bool = False) -> tuple[Pixels, str, Calibration | None]:
    """Return all pixels of the first series, their axes (a string of Y, X, S and others) and calibration."""
    try:
        _check_file(path)
        if path.suffix.lower() in TIFF_SUFFIXES:
            array, axes, calibration = _decode_tiff(path)
        else:
            array, axes, calibration = _decode_png(path, palette_indices=palette_indices)
    except PermissionError as error:
        raise ImageError(f"you may not read {path}; ask for the right, or give a copy that you may read") from error
    except _DECODER_ERRORS as error:
        message = f"cannot read {path}: {_one_line(error)}; it may be damaged: save it again, uncompressed"
        raise ImageError(message) from error
    if array.dtype.kind not in "buif":
        raise ImageError(f"{path} has pixels of type {array.dtype}; save it as 8-bit, 16-bit or 32-bit")
    if array.size == 0:
        raise ImageError(f"{path} has no pixels (shape {array.shape}); save it again")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int(array.size - np.isfinite(array).sum())
        if count == 1:
            raise ImageError(f"{path} has 1 pixel that is NaN or infinite; replace it by a number first")
        raise ImageError(f"{path} has {count} pixels that are NaN or infinite; replace them by numbers first")
    return array, axes, calibration


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ImageError(f"{path} is a folder; give image files")
    if not path.is_file():
        raise ImageError(f"no file {path}; check the name")
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty (0 bytes); save or copy it again")
    if path.suffix.lower() not in SUFFIXES:
        raise ImageError(f"{path} has the ending {path.suffix or '(none)'}; give one of {', '.join(SUFFIXES)}")


@contextmanager
def _tifffile_log() -> Iterator[list[str]]:
    """Collect what tifffile logs instead of printing it."""
    lines: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        lines.append(record.getMessage())
        return False

    logger = logging.getLogger("tifffile")
    logger.addFilter(collect)
    try:
        yield lines
    finally:
        logger.removeFilter(collect)


def _decode_tiff(path: Path) -> tuple[Pixels, str, Calibration | None]:
    import tifffile

    with _tifffile_log() as log, tifffile.TiffFile(path) as tif:
        if not tif.series:
            raise ValueError("it holds no image")
        series = tif.series[0]
        size = path.stat().st_size
        ends = [0 if series.dataoffset is None else series.dataoffset + series.nbytes]
        for page in series.pages:
            if page is not None:
                ends += [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if max(ends) > size or any(_LOST.search(line) for line in log):
            raise ValueError(f"it is truncated at {size} bytes")
        return np.asarray(series.asarray()), series.axes, tiff_calibration(tif)


def _decode_png(path: Path, *, palette_indices: bool) -> tuple[Pixels, str, Calibration | None]:
    # This class and not Image.open, which takes images of more than 89 megapixels for an attack.
    from PIL.PngImagePlugin import PngImageFile

    with path.open("rb") as file:
        bit_depth, colour_type = file.read(26)[24:26]
    if bit_depth == 16 and colour_type != 0:
        raise ImageError(f"{path} has several channels of 16 bits; save one channel as a gray image")
    with PngImageFile(path) as png:
        array = np.asarray(png)
        if png.mode == "P":
            array = _paletted(array, np.array(png.getpalette("RGB"), np.uint8), indices=palette_indices)
    if array.dtype == np.int32:  # 16-bit gray in older Pillows
        array = array.astype(np.uint16)
    return array, "YX" if array.ndim == 2 else "YXS", None


def _paletted(indices_of_pixels: Pixels, palette: Pixels, *, indices: bool) -> Pixels:
    """Return gray values for a palette of grays, else the colours, or the `indices` themselves."""
    colours = palette.reshape(-1, 3)
    if not np.ptp(colours, axis=1).any():
        return np.asarray(colours[:, 0][indices_of_pixels])
    return indices_of_pixels if indices else np.asarray(colours[indices_of_pixels])


def _squeezed(array: Pixels, axes: str) -> tuple[Pixels, str]:
    """Drop axes of length 1 except Y and X, and bring the samples of a pixel (S) to the end."""
    keep = [i for i, axis in enumerate(axes) if axis in "YX" or array.shape[i] > 1]
    array = array.reshape([array.shape[i] for i in keep])
    axes = "".join(axes[i] for i in keep)
    if axes.count("S") == 1 and not axes.endswith("S"):
        array = np.moveaxis(array, axes.index("S"), -1)
        axes = axes.replace("S", "") + "S"
    return array, axes


def _one_plane(array: Pixels, axes: str, *, path: Path, plane: int | None) -> tuple[Pixels, list[str]]:
    """Reduce to (Y, X), or (Y, X, S) for colour; choose the plane of a stack."""
    extra = [axis for axis in axes if axis not in "YXS"]
    if len(extra) > 1:
        raise ImageError(f"{path} has {_describe(array, axes)}; save the stack that you want as a file of its own")
    planes = array.shape[0] if extra else 1
    if extra and plane is None:
        raise ImageError(f"{path} is a stack of {planes} planes; choose one with --plane 1 to {planes}")
    if plane is not None and not 1 <= plane <= planes:
        remedy = f"choose 1 to {planes}" if planes > 1 else "it has one only: leave --plane out"
        raise ImageError(f"{path} has no plane {plane}; {remedy}")
    if extra and plane is not None:
        return array[plane - 1], [f"plane {plane} of {planes}"]
    return array, []


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
        return rgb_to_gray(array[..., :3]), [f"RGB converted to 8-bit gray, the mean of the channels{left_out}"]
    if array.dtype in (np.uint8, np.uint16, np.float32):
        return np.ascontiguousarray(array), []
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255), ["1-bit image read as 0 and 255"]
    if array.dtype.kind in "ui" and int(array.min()) >= 0 and int(array.max()) <= np.iinfo(np.uint16).max:
        return array.astype(np.uint16), [f"{array.dtype} read as 16-bit"]
    if float(np.abs(array).max()) > float(np.finfo(np.float32).max):
        raise ImageError(f"{path} has values beyond what 32-bit pixels hold; scale it down first")
    return array.astype(np.float32), [] if array.dtype == np.float16 else [f"{array.dtype} read as 32-bit"]


def _split_binary(labels: Labels, highest: int) -> tuple[Labels, tuple[str, ...]]:
    from scipy import ndimage
    from skimage import measure

    if highest > 0 and not ((labels != 0) & (labels != highest)).any():
        components, count = ndimage.label(labels)
        return components.astype(np.int32), (
            f"binary image split into {count} connected component{'s' * (count != 1)}",
        )
    pieces = measure.label(labels, connectivity=2)
    run_starts = labels[:, 1:][labels[:, 1:] != labels[:, :-1]]
    n_labels = int(np.count_nonzero(np.unique(np.concatenate([labels[:, 0], run_starts]))))
    n_pieces = int(pieces.max())
    if n_pieces > n_labels:
        lie = "1 label lies" if n_labels == 1 else f"{n_labels} labels lie"
        return labels, (f"{lie} in {n_pieces} pieces: some nuclei are not in one piece",)
    return labels, ()


def _write_imagej_tiff(path: Path, pixels: Pixels, calibration: Calibration | None, extra: dict[str, Any]) -> None:
    import tifffile

    metadata: dict[str, Any] = {"axes": "YX", **extra}
    resolution = None
    if calibration is not None:
        metadata["unit"] = escaped(calibration.unit)
        resolution = (1.0 / calibration.pixel_width, 1.0 / calibration.pixel_height)
    with replacing(path) as temporary:
        tifffile.imwrite(temporary, pixels, imagej=True, resolution=resolution, metadata=metadata)


def _describe(array: Pixels, axes: str) -> str:
    return f"{len(axes)} dimensions ({' x '.join(f'{n} {a}' for n, a in zip(array.shape, axes, strict=True))})"


def _one_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
