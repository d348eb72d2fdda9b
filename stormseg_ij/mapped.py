"""Label images too large for several copies in memory: they stay in their file and are looked at where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stormseg_ij.decode import opened
from stormseg_ij.image import Pixels, read_labels
from stormseg_ij.rows import row_bands

_LARGE_PX = 1 << 25
"""From here on `read_labels`, which looks for labels in several pieces, needs more than 1 GB."""


def open_labels(path: str | Path) -> tuple[Pixels, tuple[str, ...]]:
    """Read a label image as `read_labels` does, but leave the pixels of a large one in its file.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    labels : ndarray of int, shape (Y, X)
        int32, or of 32 million pixels or more the file's own integer type: of an uncompressed TIFF a read-only view of
        the file.
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


def _view(path: Path) -> Pixels | None:
    """Return a large plane of integers as it is stored, in its file if it can stay there; None for all others."""
    with opened(path, palette_indices=True) as stored:
        small = int(np.prod(stored.shape)) < _LARGE_PX
        if small or stored.axes != "YX" or stored.dtype.kind not in "ui" or stored.dtype.itemsize > 4:
            return None
        return stored.read(None, True)


def _holds_several(labels: Pixels) -> bool:
    """Whether there are at least two labels and none of them is negative; else `read_labels` splits or refuses."""
    seen: set[int] = set()
    for rows in row_bands(labels.shape):
        block = labels[rows]
        if block.min() < 0 or block.max() > np.iinfo(np.int32).max:
            return False
        if len(seen) < 2:
            seen |= set(np.unique(block[block > 0])[:2].tolist())
    return len(seen) > 1
