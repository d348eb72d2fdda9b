"""Label images too large for several copies in memory: they stay in their file and are looked at where they are."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from stormseg_ij.calibration import Calibration, tiff_calibration
from stormseg_ij.image import TIFF_SUFFIXES, Pixels, read_labels

_LARGE_PX = 1 << 25
"""From here on `read_labels`, which looks for labels in several pieces, needs more than 1 GB."""
_PIXELS_AT_ONCE = 1 << 22
_DAMAGED = (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, struct.error)


def open_labels(path: str | Path) -> tuple[Pixels, tuple[str, ...]]:
    """Read a label image as `read_labels` does, but leave the pixels of a large one in its file.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    labels : ndarray of int, shape (Y, X)
        int32, or for an uncompressed TIFF of 32 million pixels or more of any integer type a read-only view of the
        file (`numpy.memmap`).
    notes : tuple of str
        As `read_labels`; a view is not searched for labels in several pieces.

    Raises
    ------
    ImageError
        As `read_labels`.
    """
    path = Path(path)
    view = _view(path)
    return read_labels(path) if view is None or not _holds_several(view) else (view, ())


def label_calibration(path: str | Path) -> Calibration | None:
    """Return the pixel size that a readable label image states; None for a PNG, which states none."""
    import tifffile

    path = Path(path)
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return None
    with tifffile.TiffFile(path) as tif:
        return tiff_calibration(tif)


def _view(path: Path) -> Pixels | None:
    """Map a large, whole, uncompressed plane of integers; None for all that `read_labels` must look at."""
    import tifffile

    try:
        if path.suffix.lower() not in TIFF_SUFFIXES or path.stat().st_size < _LARGE_PX:
            return None
        with tifffile.TiffFile(path) as tif:
            series = tif.series[0]
            offset, dtype, shape, axes = series.dataoffset, np.dtype(series.dtype), series.shape, series.axes
            order = tif.byteorder
    except _DAMAGED:
        return None  # read_labels says what is wrong
    if axes != "YX" or dtype.kind not in "ui" or dtype.itemsize > 4 or offset is None or np.prod(shape) < _LARGE_PX:
        return None
    if offset + int(np.prod(shape)) * dtype.itemsize > path.stat().st_size:
        return None
    return np.memmap(path, dtype.newbyteorder(order), mode="r", offset=offset, shape=shape)


def _holds_several(labels: Pixels) -> bool:
    """Whether there are at least two labels and none of them is negative; else `read_labels` splits or refuses."""
    step = max(1, _PIXELS_AT_ONCE // labels.shape[1])
    seen: set[int] = set()
    for top in range(0, labels.shape[0], step):
        block = labels[top : top + step]
        if block.min() < 0 or block.max() > np.iinfo(np.int32).max:
            return False
        if len(seen) < 2:
            seen |= set(np.unique(block[block > 0])[:2].tolist())
    return len(seen) > 1
