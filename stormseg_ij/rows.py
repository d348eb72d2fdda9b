"""Large arrays piece by piece: bands of rows, so that what is made on the way stays small."""

from __future__ import annotations

from collections.abc import Iterator

BAND_PIXELS = 8_000_000
"""Pixels of a band, about."""


def ranges(length: int, step: int) -> Iterator[tuple[int, int]]:
    """Cut 0 to `length` into ranges of `step`, which is at least taken for 1.

    >>> list(ranges(7, 3))
    [(0, 3), (3, 6), (6, 7)]
    """
    step = max(1, step)
    return ((start, min(start + step, length)) for start in range(0, length, step))


def row_bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Cut an array of `shape` (Y, X or more) into slices of whole rows of about `BAND_PIXELS` together.

    >>> list(row_bands((3, 8_000_000)))
    [slice(0, 1, None), slice(1, 2, None), slice(2, 3, None)]
    """
    row = 1
    for length in shape[1:]:
        row *= max(1, length)
    return (slice(top, bottom) for top, bottom in ranges(shape[0], BAND_PIXELS // row))
