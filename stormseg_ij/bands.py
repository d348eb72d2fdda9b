"""ImageJ's preprocessing of large images: band by band, with the bytes that its commands give on the whole image."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.image import Image, Pixels
from stormseg_ij.rows import BAND_PIXELS, ranges
from stormseg_ij.settings import PreprocessSettings

if TYPE_CHECKING:
    from stormseg_ij.desk import Processing

LARGEST_MIDDLE_BYTES = 2**30
"""Memory for what is resized along x and not yet along y; where it does not do, x is done again for some columns."""


class Bands:
    """What preprocesses a large image in bands.

    Parameters
    ----------
    ij : Processing
    settings : PreprocessSettings
        Its size is not looked at: it is the shape that matters.
    progress : callable, optional
        Called after every band with the share of the work that is done, 0 to 1; what it raises ends the work.
    """

    def __init__(
        self, ij: Processing, settings: PreprocessSettings, progress: Callable[[float], None] | None = None
    ) -> None:
        self._ij = ij
        self._settings = settings
        self._progress = progress
        self._work = 1
        self._done = 0

    def preprocess(self, pixels: Pixels, shape: tuple[int, int]) -> Pixels:
        """Resize to `shape`, blur and equalize; steps that are not asked for are left out.

        Parameters
        ----------
        pixels : ndarray of uint8, uint16 or float32, shape (Y, X)
            May be memory-mapped; it is not changed.
        shape : (int, int)
            Y, X; both at least those of `pixels`, or both at most.

        Returns
        -------
        ndarray, of `shape`
            `pixels` itself where nothing is asked for.

        Raises
        ------
        BridgeError
            If Java's memory is too small for a band.
        """
        size, blur, equalize = shape[0] * shape[1], self._settings.blur > 0.0, self._settings.equalize
        to_16bit = equalize and pixels.dtype == np.float32
        resized = shape != pixels.shape
        self._work = resized * (pixels.size + size) + size * (blur + to_16bit + equalize) or 1
        if resized:
            larger = shape[0] >= pixels.shape[0] and shape[1] >= pixels.shape[1]
            pixels = self._enlarged(pixels, shape) if larger else self._reduced(pixels, shape)
        if blur:
            pixels = self._blurred(pixels)
        if to_16bit:
            pixels = self._in_16bit(pixels)
        return self._equalized(pixels) if equalize else pixels

    def _reduced(self, pixels: Pixels, shape: tuple[int, int]) -> Pixels:
        """Average along x in bands of rows, then along y in bands of columns, and round once, as ImageJ does."""
        out = np.empty(shape, pixels.dtype)
        height = pixels.shape[0]
        groups = list(ranges(shape[1], LARGEST_MIDDLE_BYTES // (4 * height)))
        self._work += (len(groups) - 1) * pixels.size
        for left, right in groups:
            columns = [slice(left + a, left + b) for a, b in ranges(right - left, BAND_PIXELS // height)]
            middle = [np.empty((height, part.stop - part.start), np.float32) for part in columns]
            for top, bottom in ranges(height, BAND_PIXELS // pixels.shape[1]):
                rows = self._shorter_lines(pixels[top:bottom], shape[1], along_x=True)
                for part, block in zip(columns, middle, strict=True):
                    block[top:bottom] = rows[:, part]
                self._after((bottom - top) * pixels.shape[1])
            for part in columns:
                block = self._shorter_lines(middle.pop(0), shape[0], along_x=False)
                out[:, part] = _rounded(block, pixels.dtype)
                self._after(block.size)
        return out

    def _shorter_lines(self, pixels: Pixels, length_px: int, *, along_x: bool) -> NDArray[np.float32]:
        floats = pixels.astype(np.float32)
        if floats.shape[along_x] == length_px:
            return floats
        return self._ij.resize_lines(floats, length_px, along_x=along_x)

    def _enlarged(self, pixels: Pixels, shape: tuple[int, int]) -> Pixels:
        """Interpolate with ImageJ's arithmetic (`ShortProcessor.resize` and the like): same doubles, same bytes.

        ImageJ itself places a band's pixels with other rounding errors than the whole image's, and where a value lies
        halfway between two gray levels that decides. So this one step is done here.
        """
        out = np.empty(shape, pixels.dtype)
        row, row_fraction = _bilinear_places(pixels.shape[0], shape[0])
        column, column_fraction = _bilinear_places(pixels.shape[1], shape[1])
        for top, bottom in ranges(shape[0], BAND_PIXELS // 4 // shape[1]):
            first, last = row[top], row[bottom - 1] + 2
            source = pixels[first:last].astype(np.float64)
            left = source[:, column]
            lines = left + column_fraction * (source[:, column + 1] - left)
            lower, upper = lines[row[top:bottom] - first], lines[row[top:bottom] - first + 1]
            values = lower + row_fraction[top:bottom, None] * (upper - lower)
            out[top:bottom] = values if out.dtype == np.float32 else (values + 0.5).astype(out.dtype)
            self._after(values.size + (bottom - top) * pixels.size // shape[0], java=False)
        return out

    def _blurred(self, pixels: Pixels) -> Pixels:
        """Blur bands of rows together with as many neighbours as ImageJ's kernel reaches."""
        out = np.empty(pixels.shape, pixels.dtype)
        halo, step = _blur_reach(self._settings.blur, pixels.dtype)
        height, width = pixels.shape
        rows = height if height <= 2 * halo else max(1, BAND_PIXELS // width // step) * step
        for top, bottom in ranges(height, rows):
            first = max(0, top - halo)
            imp = self._ij.to_imageplus(Image(pixels[first : bottom + halo], "band"))
            self._ij.gaussian_blur(imp, self._settings.blur)
            out[top:bottom] = self._ij.from_imageplus(imp).pixels[top - first : bottom - first]
            self._after((bottom - top) * width)
        return out

    def _in_16bit(self, pixels: Pixels) -> Pixels:
        out = np.empty(pixels.shape, np.uint16)
        limits = float(pixels.min()), float(pixels.max())
        for top, bottom in ranges(pixels.shape[0], BAND_PIXELS // pixels.shape[1]):
            imp = self._ij.to_imageplus(Image(pixels[top:bottom], "band"))
            self._ij.to_16bit(imp, limits)
            out[top:bottom] = self._ij.from_imageplus(imp).pixels
            self._after(out[top:bottom].size)
        return out

    def _equalized(self, pixels: Pixels) -> Pixels:
        """Replace values by ImageJ's own table for the histogram of the whole image."""
        histogram = np.zeros(np.iinfo(pixels.dtype).max + 1, np.int64)
        bands = list(ranges(pixels.shape[0], BAND_PIXELS // pixels.shape[1]))
        for top, bottom in bands:
            histogram += np.bincount(pixels[top:bottom].ravel(), minlength=len(histogram))
        table = self._ij.equalization(histogram)
        out = np.empty(pixels.shape, pixels.dtype)
        for top, bottom in bands:
            np.take(table, pixels[top:bottom], out=out[top:bottom], mode="clip")  # without a copy of `out`
            self._after(out[top:bottom].size, java=False)
        return out

    def _after(self, pixels: int, *, java: bool = True) -> None:
        """Free Java's memory where Java had a part in the step, and tell how far the work is."""
        if java:
            self._ij.free_memory()
        self._done += pixels
        if self._progress is not None:
            self._progress(min(1.0, self._done / self._work))


def _rounded(values: NDArray[np.float32], dtype: np.dtype[np.generic]) -> Pixels:
    """Round as `ShortProcessor.setPixels` and its like: half up, in 32-bit floats, cut to the range of the type."""
    if dtype == np.float32:
        return values
    values += np.float32(0.5)
    np.clip(values, 0.0, np.float32(np.iinfo(dtype).max), out=values)  # type: ignore[type-var]
    return values.astype(dtype)


def _bilinear_places(length: int, new_length: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return for every new pixel the old one before it and how far beyond that one it lies, as ImageJ places them.

    >>> before, fraction = _bilinear_places(2, 4)
    >>> before.tolist(), fraction.round(9).tolist()
    ([0, 0, 0, 0], [0.0, 0.25, 0.75, 0.999])
    """
    scale = new_length / length
    centre = new_length / 2.0 + (scale / 4.0 if new_length != length else 0.0)
    places = (np.arange(new_length, dtype=np.float64) - centre) / scale + length / 2.0
    places[places < 0.0] = 0.0
    places[places >= length - 1.0] = length - 1.001
    before = places.astype(np.intp)
    return before, np.asarray(places - before)


def _blur_reach(sigma: float, dtype: np.dtype[np.generic]) -> tuple[int, int]:
    """Return how far ImageJ's blur reaches, and of what its bands must be multiples.

    `GaussianBlur.blur1Direction` shrinks lines for a sigma above 8.5, in steps of a quarter of it; the downscaling
    reaches 3 of the shrunken pixels further on either side, the upscaling 3 more.

    >>> _blur_reach(2.0, np.dtype(np.uint16))
    (16, 1)
    >>> _blur_reach(9.0, np.dtype(np.uint8))
    (46, 2)
    """
    accuracy = 0.002 if dtype == np.uint8 else 0.0002
    step = math.floor(sigma / 4.0) if sigma > 8.5 else 1
    kernel_sigma = math.sqrt(sigma**2 / step**2 - 7.0 / 12.0) if step > 1 else sigma
    radius = math.ceil(kernel_sigma * math.sqrt(-2.0 * math.log(accuracy))) + 1
    return (radius + 6) * step, step
