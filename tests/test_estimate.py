"""What is told before the work."""

import dataclasses

import numpy as np
import pytest

from stormseg_ij import estimate as module
from stormseg_ij.estimate import estimate, is_tiled
from stormseg_ij.image import Image
from stormseg_ij.settings import SegmentSettings


def huge(side):
    """An image that takes no memory."""
    return Image(np.broadcast_to(np.uint16(0), (side, side)), "huge")


@pytest.mark.parametrize(
    ("route", "side", "tiled"),
    [("auto", 1024, False), ("auto", 1025, True), ("tile", 100, True), ("resize", 4096, False)],
)
def test_the_route(route, side, tiled):
    assert is_tiled(SegmentSettings(route=route), (side, side)) is tiled


def test_time_and_tiles_grow_with_the_pixels_and_memory_less():
    used = SegmentSettings()
    small, large = (estimate(huge(side), used, (side, side), seconds_per_mpx=2.0) for side in (5120, 20_480))
    assert small.tiles == 13 * 13
    assert small.seconds == pytest.approx(13 * 13 * 0.512**2 * 2.0 + 5.12**2 * module._REST_SECONDS)
    assert 12.0 < large.seconds / small.seconds < 20.0
    assert small.bytes < large.bytes < 6.5e9
    slower = estimate(huge(5120), used, (5120, 5120), seconds_per_mpx=4.0)
    assert slower.seconds > 1.5 * small.seconds


def test_one_line_says_it_and_warns_where_memory_is_short():
    expected = dataclasses.replace(
        estimate(huge(5120), SegmentSettings(), (3000, 3000)), seconds=754.0, bytes=4.25e9, free_bytes=10**10
    )
    assert str(expected) == "64 tiles, about 13 min and 4.2 GB of memory"
    short = dataclasses.replace(expected, tiles=1, seconds=5000.0, free_bytes=10**9)
    assert str(short) == (
        "in one go, about 1.4 h and 4.2 GB of memory (1.0 GB are free: close other programs, or give a smaller --size)"
    )
