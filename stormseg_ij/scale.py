"""The size at which an image is segmented: such that its nuclei are as large as the model expects."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.candidates import Candidates
from stormseg_ij.errors import ImageError
from stormseg_ij.image import Image, Labels
from stormseg_ij.labels import areas

SMALLEST_SIZE_PX, LARGEST_SIZE_PX = 8, 100_000
MOST_PROBABILITY = 0.5
"""Of a nucleus, least one asked for while the scale is looked for: a higher one leaves what is sure at every size."""

_LADDER_START_PX = 128
_ENLARGED_UP_TO_PX = 4096  # larger images are never enlarged: small nuclei are seen well enough, and memory is dear
_SIZE_WITHOUT_NUCLEI_PX = 512  # the paper's
_SURE, _CLEARLY = 0.8, 0.08  # chosen on simulated images, as the next one
_NUCLEUS_UM = (4.0, 30.0)  # diameters of nuclei, from lymphocytes to large cultured cells
_LEAST_BELIEVED = 0.5  # below this probability a size is no find


@dataclass(frozen=True)
class Scale:
    """What was found, and how.

    Attributes
    ----------
    size : int
        Longer side in pixels.
    found_by : str
        In words, for ``run.json``.
    tried : tuple of dict
        Size, mean probability and typical diameter of each try, in pixels of the network's input.
    """

    size: int
    found_by: str
    tried: tuple[dict[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON takes it."""
        return {"size": self.size, "found_by": self.found_by, "tried": list(self.tried)}


def find_scale(
    image: Image,
    diameter: float | None,
    predict: Callable[[int], Candidates],
    *,
    distrust: float = 0.025,
    largest_px: int = LARGEST_SIZE_PX,
) -> Scale:
    """Find the longer side at which the nuclei have the diameter that the model was trained for.

    The image is segmented at 128, 256, 512 ... pixels. Where nuclei are far too small for the network it sees clumps,
    where they are far too large it sees fragments, and is unsure of both: the size at which it is surest (mean
    probability, weighted by area, less where what it sees is not of the model's size) tells the diameter. Where the
    image states its pixel size only sizes are tried at which nuclei are 4 to 30 um wide; if nothing is sure there, all
    others too.

    Parameters
    ----------
    image : Image
    diameter : float or None
        Of the model (`ModelInfo.nucleus_diameter_px`). None: the image stays as it is.
    predict : callable
        ``predict(size)`` segments the image, or parts of it, with the longer side resized to `size`.
    distrust : float
        What is taken off the probability for each factor of 2 between the size of what is found and the model's. A
        network that is as sure of clumps and fragments as of nuclei needs more of it.
    largest_px : int
        The largest size there may be.
    """
    longest = max(*image.shape, SMALLEST_SIZE_PX)
    if diameter is None:
        return Scale(longest, "the image's own: the model states no size of nuclei")
    search = _Search(longest, diameter, predict, distrust, largest_px)
    sizes = ladder(min(longest, largest_px))
    limits = size_limits(image, diameter)
    if limits is not None:
        search.climb([size for size in sizes if limits[0] <= size <= limits[1]])
        if search.surest >= _LEAST_BELIEVED:
            return search.result("pixel size and coarse passes")
    search.climb(sizes)
    return search.result("coarse passes" if limits is None else "coarse passes: nothing sure at the stated pixel size")


class _Search:
    """Tries sizes and keeps the surest."""

    def __init__(
        self, longest: int, diameter: float, predict: Callable[[int], Candidates], distrust: float, largest_px: int
    ) -> None:
        self._predict, self._longest, self._diameter, self._largest = predict, longest, diameter, largest_px
        self._distrust = distrust
        self._best = float(min(longest, _SIZE_WITHOUT_NUCLEI_PX))
        self._tried: dict[int, tuple[float, float]] = {}
        self.surest = 0.0

    def climb(self, sizes: list[int]) -> None:
        """Try sizes from small to large, until only fragments are to come."""
        for size in sizes:
            if size in self._tried:
                continue
            sure, typical = self._try(size)
            if typical:
                sure -= self._distrust * abs(float(np.log2(typical / self._diameter)))
            if sure > self.surest:
                self._best, self.surest = size * self._diameter / typical, sure
            elif self.surest > _SURE and 0.0 < sure < self.surest - _CLEARLY:
                break

    def _try(self, size: int) -> tuple[float, float]:
        candidates = self._predict(size)
        sure = typical = 0.0
        if candidates.scores.size:
            diameters = candidates.diameters()
            sure, typical = float(np.average(candidates.scores, weights=diameters**2)), typical_diameter(diameters)
        self._tried[size] = (sure, typical)
        return sure, typical

    def result(self, found_by: str) -> Scale:
        most = min(2 * self._longest, max(self._longest, _ENLARGED_UP_TO_PX), self._largest)
        tried = tuple(
            {"size": size, "probability": round(sure, 3), "diameter_px": round(typical, 1)}
            for size, (sure, typical) in sorted(self._tried.items())
        )
        return Scale(int(np.clip(round(self._best), SMALLEST_SIZE_PX, most)), found_by, tried)


def size_limits(image: Image, diameter: float) -> tuple[float, float] | None:
    """Return the least and largest size worth a try by the image's pixel size; None where that is not known.

    Parameters
    ----------
    image : Image
    diameter : float
        That nuclei should have, in pixels of the network's input.

    Returns
    -------
    (float, float) or None
        None also where no nucleus could be seen at that pixel size: then it is not the true one.
    """
    nm = image.calibration.pixel_size_nm if image.calibration is not None else None
    if nm is None or not math.isfinite(nm) or nm <= 0.0:
        return None
    least, most = (1000.0 * um / nm for um in _NUCLEUS_UM)  # pixels of the image
    longest = max(image.shape)
    if most < SMALLEST_SIZE_PX or least > longest:
        return None
    step = np.sqrt(2.0)  # the network finds nuclei half a step of the ladder from its diameter
    return longest * diameter / most / step, longest * diameter / least * step


def ladder(longest: int) -> list[int]:
    """Return the sizes to try up to the longest: doubling, the last one that itself.

    >>> ladder(600), ladder(100), ladder(2048)
    ([128, 256, 512, 600], [100], [128, 256, 512, 1024, 2048])
    """
    steps = [_LADDER_START_PX << k for k in range(20) if _LADDER_START_PX << k < longest]
    return [*steps, longest]


def median_diameter(labels: Labels) -> float:
    """Return the median diameter of labelled nuclei in pixels, each as a disc of its area; 0 where there are none.

    >>> round(median_diameter(np.array([[1, 1, 2, 2], [1, 1, 2, 2]])), 3)
    2.257
    """
    area = areas(labels)[1:]
    area = area[area > 0]
    return float(np.sqrt(4.0 * np.median(area) / np.pi)) if area.size else 0.0


def typical_diameter(diameters: NDArray[np.float64]) -> float:
    """Return the median diameter, each weighted by itself: fragments of a nucleus do not set the scale.

    >>> typical_diameter(np.array([2.0, 2.0, 2.0, 30.0]))
    30.0
    """
    ordered = np.sort(diameters)
    weight = np.cumsum(ordered)
    return float(ordered[np.searchsorted(weight, 0.5 * weight[-1])])


def part_size(size: int, part: tuple[int, int], whole: tuple[int, int]) -> int:
    """Return the size of a part's longer side that goes with a size of the whole image.

    Raises
    ------
    ImageError
        If the part is larger than the whole.

    Examples
    --------
    >>> part_size(512, (1000, 800), (5120, 5120))
    100
    """
    if part[0] > whole[0] or part[1] > whole[1]:
        sizes = f"{part[1]} x {part[0]} pixels is larger than its whole of {whole[1]} x {whole[0]}"
        raise ImageError(f"a part of {sizes}; give the shape of the whole image")
    return max(round(size * max(part) / max(whole)), SMALLEST_SIZE_PX)
