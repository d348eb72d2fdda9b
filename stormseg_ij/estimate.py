"""How long an image will take and how much memory, told before the work."""

from __future__ import annotations

import math
from dataclasses import dataclass

import psutil

from stormseg_ij.bands import LARGEST_MIDDLE_BYTES
from stormseg_ij.image import Image
from stormseg_ij.settings import SegmentSettings
from stormseg_ij.tiling import Tile, plan

ONE_GO_PX = 1 << 20
"""Pixels of the network's input up to which `--route auto` takes an image in one go: the network needs 1.3 GB then."""

# Measured with benchmarks/huge.py on 2 cores.
_BASE_BYTES = 1.15e9  # Python, TensorFlow and Java without an image
_NETWORK_BYTES = 450.0  # per pixel of what the network sees at once
_STAGE_BYTES = 0.5e9  # what a stage holds beside the image and its labels
_NETWORK_SECONDS = 1.0  # per million pixels of its input, where no coarse pass has measured it
_REST_SECONDS = 0.9  # per million pixels of the image: reading, resizing, drawing, refining, writing


@dataclass(frozen=True)
class Estimate:
    """What is expected of one image.

    Attributes
    ----------
    tiles : int
        Parts in which the network sees the image; 1: in one go.
    seconds : float
    bytes : float
        Peak memory of this process, Java included.
    free_bytes : int
        Memory of this computer that is free now.
    """

    tiles: int
    seconds: float
    bytes: float
    free_bytes: int

    def __str__(self) -> str:
        """Say it in one line."""
        tiles = "in one go" if self.tiles == 1 else f"{self.tiles} tiles"
        text = f"{tiles}, about {_duration(self.seconds)} and {self.bytes / 1e9:.1f} GB of memory"
        if self.bytes > self.free_bytes:
            text += f" ({self.free_bytes / 1e9:.1f} GB are free: close other programs, or give a smaller --size)"
        return text


def is_tiled(used: SegmentSettings, shape: tuple[int, int]) -> bool:
    """Tell whether the network sees an input of this shape in tiles."""
    return used.route == "tile" or (used.route == "auto" and shape[0] * shape[1] > ONE_GO_PX)


def estimate(
    image: Image, used: SegmentSettings, shape: tuple[int, int], *, seconds_per_mpx: float | None = None
) -> Estimate:
    """Estimate time and memory.

    Parameters
    ----------
    image : Image
    used : SegmentSettings
    shape : (int, int)
        Of the network's input.
    seconds_per_mpx : float, optional
        What the network takes per million pixels, as measured on this computer.
    """
    tiled = is_tiled(used, shape)
    tiles = plan(shape, tile=used.tile, overlap=used.overlap) if tiled else [Tile(0, 0, *shape)]
    areas = [(tile.bottom - tile.top) * (tile.right - tile.left) for tile in tiles]
    seen = max(areas)
    network = sum(areas) / 1e6 * (_NETWORK_SECONDS if seconds_per_mpx is None else seconds_per_mpx)
    pixels = image.pixels.size
    resized = image.pixels.itemsize * math.prod(shape)
    before = resized + max(_NETWORK_BYTES * seen, min(4.0 * shape[1] * image.shape[0], LARGEST_MIDDLE_BYTES))
    after = 4.0 * pixels + min(_STAGE_BYTES, 80.0 * pixels)  # the labels, and what one stage makes of them
    return Estimate(
        tiles=len(tiles),
        seconds=network + _REST_SECONDS * pixels / 1e6,
        bytes=_BASE_BYTES + image.pixels.nbytes + max(before, after),
        free_bytes=psutil.virtual_memory().available,
    )


def _duration(seconds: float) -> str:
    """Write a duration as a person says it.

    >>> _duration(7.3), _duration(200.0), _duration(5000.0)
    ('7 s', '3 min', '1.4 h')
    """
    if seconds < 100.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 6000.0 * 0.8 else f"{seconds / 3600.0:.1f} h"
