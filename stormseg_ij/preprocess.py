"""The paper's preprocessing, done by ImageJ: resize, blur, equalize, in this order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from stormseg_ij.bands import Bands
from stormseg_ij.errors import SettingsError
from stormseg_ij.image import Image, Pixels
from stormseg_ij.rows import BAND_PIXELS
from stormseg_ij.settings import PreprocessSettings

if TYPE_CHECKING:
    from stormseg_ij.desk import Processing

LARGE_PIXELS = 32_000_000
"""Images of more pixels, before or after resizing, go through ImageJ in bands."""

_MOST_PIXELS = 2**31 - 1


def preprocess(
    image: Image, settings: PreprocessSettings, ij: Processing, *, progress: Callable[[float], None] | None = None
) -> Image:
    """Resize, blur and equalize an image with ImageJ's own commands; steps that are not asked for are left out.

    An image of more than `LARGE_PIXELS` goes through ImageJ in bands (`bands.Bands`), so that Java never holds all of
    it. The bytes are the same, except that for an image that is both enlarged and large, the interpolation is ImageJ's
    formula, computed here.

    Parameters
    ----------
    image : Image
        8-bit, 16-bit or 32-bit; its pixels may be memory-mapped and are not changed.
    settings : PreprocessSettings
        Size of the longer side and sigma of the blur in pixels of the resized image.
    ij : Processing
        Headless or with its window: the pixels are the same.
    progress : callable, optional
        Called now and then with the share of the work that is done, 0 to 1; what it raises ends the work.

    Returns
    -------
    Image
        In the dtype of `image`; a 32-bit image that is equalized becomes 16-bit, and its notes say so, because
        ImageJ equalizes no 32-bit images. `Image.scale` and the calibration follow the new size.

    Raises
    ------
    SettingsError
        If the resized image would have more pixels than an image of ImageJ can.
    BridgeError
        If Java's memory is too small.

    References
    ----------
    The paper, Methods, "Image resizing and pre-processing", and Fig. 8: bilinear interpolation with averaging, a
    Gaussian filter with a sigma of 2, histogram equalization with normalization, all of it done with Fiji.
    """
    shape = image.shape if settings.size is None else resized_shape(image.shape, settings.size)
    if shape[0] * shape[1] > _MOST_PIXELS:
        raise SettingsError(f"--size {settings.size} makes {shape[1]} x {shape[0]} pixels; ImageJ holds {_MOST_PIXELS}")
    notes = image.notes
    if settings.equalize and image.pixels.dtype == np.float32:
        notes = (*notes, "32-bit image converted to 16-bit over its full range, to equalize it")
    if max(image.pixels.size, shape[0] * shape[1]) > LARGE_PIXELS and min(image.shape) > 1:
        pixels = Bands(ij, settings, progress).preprocess(image.pixels, shape)
    else:
        pixels = _at_once(image, shape, settings, ij)
    if progress is not None:
        progress(1.0)
    scale = (image.scale[0] * shape[0] / image.shape[0], image.scale[1] * shape[1] / image.shape[1])
    return replace(image.with_pixels(pixels, scale=scale), notes=notes)


def _at_once(image: Image, shape: tuple[int, int], settings: PreprocessSettings, ij: Processing) -> Pixels:
    """Give the whole image to ImageJ's commands."""
    imp = ij.to_imageplus(image)
    if shape != image.shape:
        ij.resize(imp, width=shape[1], height=shape[0])
    if settings.blur > 0.0:
        ij.gaussian_blur(imp, settings.blur)
    if settings.equalize:
        if image.pixels.dtype == np.float32:
            ij.to_16bit(imp)
        ij.equalize(imp)
    pixels = ij.from_imageplus(imp).pixels
    if max(image.pixels.size, pixels.size) > BAND_PIXELS:
        del imp
        ij.free_memory()
    return pixels


def resized_shape(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Return the shape (Y, X) with a longer side of `size` pixels and the same aspect.

    The shorter side is rounded half up, and at least 1.

    Examples
    --------
    >>> resized_shape((5120, 5120), 512)
    (512, 512)
    >>> resized_shape((300, 401), 200)
    (150, 200)
    >>> resized_shape((1000, 1), 10)
    (10, 1)
    """
    longer = max(shape)
    height, width = (max(1, (2 * side * size + longer) // (2 * longer)) for side in shape)
    return height, width
