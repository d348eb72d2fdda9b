"""What is inside an image file, plane by plane: memory-mapped, or decoded straight into one array.

`image` is the front of it: its functions give `Image` and labels.
"""

from __future__ import annotations

import logging
import lzma
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.calibration import Calibration, tiff_calibration
from stormseg_ij.errors import ImageError
from stormseg_ij.rows import row_bands

if TYPE_CHECKING:
    import tifffile

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")
SUFFIXES = (*TIFF_SUFFIXES, ".png")
"""What `opened` opens, lower case."""

MAPPED_BYTES = 2**26
"""From this size on, uncompressed planes stay in the file and are memory-mapped."""

_DECODER_ERRORS = (
    OSError, ValueError, TypeError, LookupError, SyntaxError, RuntimeError, ArithmeticError, AttributeError, EOFError,
    MemoryError, AssertionError, struct.error, zlib.error, lzma.LZMAError,
)  # fmt: skip
"""What the decoders raise on damaged files."""

_LOST = re.compile("tifffile.TiffPages|tifffile.TiffTag (270|273|279|282|283|324|325) .*invalid value offset")
"""What tifffile only logs: the next page, or a page's description, strips, tiles or resolution, is not in the file."""


@dataclass(frozen=True)
class Stored:
    """The first series of images in an open file.

    Attributes
    ----------
    shape : tuple of int
        Without axes of length 1, other than Y and X.
    axes : str
        Of `shape`: Y, X and others; S (the samples of a pixel, such as colours) is the last.
    dtype : dtype
        Of the pixels as they are stored.
    calibration : Calibration or None
    read : callable
        Decode all of it (None), or one plane along the first axis (its index). The array may be memory-mapped: it is
        read-only then, and in the byte order of the file where the second argument allows that.
    """

    shape: tuple[int, ...]
    axes: str
    dtype: np.dtype[Any]
    calibration: Calibration | None
    read: Callable[[int | None, bool], NDArray[Any]]

    def described(self) -> str:
        """Say what dimensions it has."""
        sides = " x ".join(f"{length} {axis}" for length, axis in zip(self.shape, self.axes, strict=True))
        return f"{len(self.axes)} dimensions ({sides})"


@contextmanager
def opened(path: Path, *, palette_indices: bool = False) -> Iterator[Stored]:
    """Open an image file; what the decoders raise, also while it is read in the block, becomes one line.

    Parameters
    ----------
    path : Path
    palette_indices : bool
        Whether a PNG with a colour palette gives its indices instead of its colours.

    Raises
    ------
    ImageError
        For a file that is missing, truncated, empty, complex or no image.
    """
    try:
        _check_file(path)
        open_it = _opened_tiff(path) if path.suffix.lower() in TIFF_SUFFIXES else _opened_png(path, palette_indices)
        with open_it as stored:
            if stored.dtype.kind not in "buif":
                raise ImageError(f"{path} has pixels of type {stored.dtype}; save it as 8-bit, 16-bit or 32-bit")
            if 0 in stored.shape:
                raise ImageError(f"{path} has no pixels (shape {stored.shape}); save it again")
            yield stored
    except PermissionError as error:
        raise ImageError(f"you may not read {path}; ask for the right, or give a copy that you may read") from error
    except _DECODER_ERRORS as error:
        message = f"cannot read {path}: {_one_line(error)}; it may be damaged: save it again, uncompressed"
        raise ImageError(message) from error


def check_finite(array: NDArray[Any], path: Path | str) -> None:
    """Raise ImageError if a pixel is NaN or infinite."""
    if array.dtype.kind != "f":
        return
    count = sum(int(np.count_nonzero(~np.isfinite(array[rows]))) for rows in row_bands(array.shape))
    if count == 1:
        raise ImageError(f"{path} has 1 pixel that is NaN or infinite; replace it by a number first")
    if count:
        raise ImageError(f"{path} has {count} pixels that are NaN or infinite; replace them by numbers first")


def _check_file(path: Path) -> None:
    try:
        path.name.encode("utf-8")
    except UnicodeEncodeError as error:
        name = path.name.encode("utf-8", "backslashreplace").decode()
        raise ImageError(f"the name {name} is not in UTF-8, as ImageJ needs it; rename the file") from error
    if path.is_dir():
        raise ImageError(f"{path} is a folder; give image files")
    if not path.is_file():
        raise ImageError(f"no file {path}; check the name")
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty (0 bytes); save or copy it again")
    if path.suffix.lower() not in SUFFIXES:
        raise ImageError(f"{path} has the ending {path.suffix or '(none)'}; give one of {', '.join(SUFFIXES)}")


# ---- TIFF


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


@contextmanager
def _opened_tiff(path: Path) -> Iterator[Stored]:
    import tifffile

    with _tifffile_log() as log, tifffile.TiffFile(path) as tif:
        if not tif.series:
            raise ValueError("it holds no image")
        series = tif.series[0]
        if series.dataoffset is not None:
            _check_end(path, [series.dataoffset + series.nbytes])
        for page in series.pages:
            if page is not None:
                ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
                _check_end(_file_of(page), ends)
        if any(_LOST.search(line) for line in log):
            raise ValueError(f"it is truncated at {path.stat().st_size} bytes")
        shape, axes = _squeezed(tuple(series.shape), series.axes)

        def read(plane: int | None, any_byte_order: bool) -> NDArray[Any]:
            array = _tiff_plane(path, series, shape, plane, any_byte_order)
            at = axes.find("S") - (plane is not None)
            return np.moveaxis(array, at, -1) if "S" in axes else array

        last_shape = tuple(n for n, axis in zip(shape, axes, strict=True) if axis != "S")
        last_shape += tuple(n for n, axis in zip(shape, axes, strict=True) if axis == "S")
        last_axes = axes.replace("S", "") + "S" * axes.count("S")
        yield Stored(last_shape, last_axes, np.dtype(series.dtype), tiff_calibration(tif), read)


def _file_of(page: Any) -> Path:  # noqa: ANN401 (a tifffile page)
    """Return the file that a page lies in: an OME-TIFF may have its planes in several files."""
    return Path(page.parent.filehandle.path)


def _check_end(path: Path, ends: list[int]) -> None:
    size = path.stat().st_size
    if max(ends, default=0) > size:
        raise ValueError(f"it is truncated at {size} bytes")


def _squeezed(shape: tuple[int, ...], axes: str) -> tuple[tuple[int, ...], str]:
    """Drop axes of length 1 except Y and X."""
    keep = [i for i, axis in enumerate(axes) if axis in "YX" or shape[i] > 1]
    return tuple(shape[i] for i in keep), "".join(axes[i] for i in keep)


def _tiff_plane(
    path: Path, series: tifffile.TiffPageSeries, shape: tuple[int, ...], plane: int | None, any_byte_order: bool
) -> NDArray[Any]:
    """Return all of a series of the squeezed `shape`, or the plane along its first axis, and decode no more."""
    whole, count = (shape, 1) if plane is None else (shape[1:], shape[0])
    dtype = np.dtype(series.dtype).newbyteorder(series.keyframe.parent.byteorder)
    if series.transform is None:
        offset = series.dataoffset
        if offset is not None and not series.is_multifile:
            nbytes = int(np.prod(whole, dtype=np.int64)) * dtype.itemsize
            return _uncompressed(path, offset + (plane or 0) * nbytes, whole, dtype, any_byte_order)
        pages = series.pages
        if len(pages) == count and pages[plane or 0] is not None:
            return np.asarray(_page(pages[plane or 0], whole, dtype, any_byte_order))
    array = np.asarray(series.asarray()).reshape(shape)
    return array if plane is None else array[plane]


def _page(page: Any, shape: tuple[int, ...], dtype: np.dtype[Any], any_byte_order: bool) -> NDArray[Any]:  # noqa: ANN401 (a tifffile page)
    """Return one page: from where it lies in the file, or its strips and tiles decoded one by one into an array."""
    if page.is_final:
        return _uncompressed(_file_of(page), page.dataoffsets[0], shape, dtype, any_byte_order)
    file = page.parent.filehandle
    closed = file.closed  # those of a stack's other files are
    if closed:
        file.open()
    try:
        return np.asarray(page.asarray()).reshape(shape)
    finally:
        if closed:
            file.close()


def _uncompressed(
    path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], any_byte_order: bool
) -> NDArray[Any]:
    """Map pixels that lie in the file as they are in memory, if they are many; else read them."""
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if nbytes >= MAPPED_BYTES and (dtype.isnative or any_byte_order) and offset % dtype.itemsize == 0:
        return np.asarray(np.memmap(path, dtype, "r", offset, shape))
    pixels = np.empty(shape, dtype.newbyteorder("="))
    with path.open("rb") as file:
        file.seek(offset)
        for rows in row_bands(shape):
            band = pixels[rows]
            if file.readinto(band.reshape(-1).view(np.uint8).data) != band.nbytes:
                raise ValueError(f"it is truncated at {path.stat().st_size} bytes")
            if not dtype.isnative:
                band.byteswap(inplace=True)
    return pixels


# ---- PNG


@contextmanager
def _opened_png(path: Path, palette_indices: bool) -> Iterator[Stored]:
    # This class and not Image.open, which takes images of more than 89 megapixels for an attack.
    from PIL.PngImagePlugin import PngImageFile

    with path.open("rb") as file:
        bit_depth, colour_type = file.read(26)[24:26]
    if bit_depth == 16 and colour_type != 0:
        raise ImageError(f"{path} has several channels of 16 bits; save one channel as a gray image")
    with PngImageFile(path) as png:
        palette = np.array(png.getpalette("RGB"), np.uint8).reshape(-1, 3) if png.mode == "P" else None
        grays = palette is not None and not np.ptp(palette, axis=1).any()
        colours = 3 if palette is not None and not grays and not palette_indices else len(png.getbands())
        dtype = np.dtype(np.bool_ if png.mode == "1" else np.uint16 if bit_depth == 16 else np.uint8)
        shape = (png.height, png.width) if colours == 1 else (png.height, png.width, colours)

        def read(_plane: int | None, _any_byte_order: bool) -> NDArray[Any]:
            png.load()
            pixels = np.empty(shape, dtype)
            for rows in row_bands(shape):
                band = np.asarray(png.crop((0, rows.start, png.width, rows.stop)))
                if palette is not None and not (palette_indices and not grays):
                    band = palette[:, 0][band] if grays else palette[band]
                pixels[rows] = band
            return pixels

        yield Stored(shape, "YX" if colours == 1 else "YXS", dtype, None, read)


def _one_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
