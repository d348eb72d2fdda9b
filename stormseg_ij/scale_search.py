"""What the search for the scale looks at: the whole image where it is small enough, else parts of it."""

from __future__ import annotations

import dataclasses
import math
import time
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.candidates import Candidates
from stormseg_ij.image import Image, Pixels
from stormseg_ij.preprocess import LARGE_PIXELS, preprocess
from stormseg_ij.scale import LARGEST_SIZE_PX, MOST_PROBABILITY, Scale, find_scale, part_size
from stormseg_ij.settings import LEAST_PROBABILITY, MOST_NMS, ONE_GO_SIZE_PX, PreprocessSettings, SegmentSettings

if TYPE_CHECKING:
    from stormseg_ij.desk import Processing
    from stormseg_ij.models import Model

_WHOLE_PX = 1536  # up to this size the whole image is looked at
_PART_PX = 768  # side of the parts of larger ones, in pixels of the network's input
_PARTS = (0.5, 0.75, 0.9, 1.0)  # ranks of the parts looked at, by their signal: neither empty nor all of the densest
_REDUCED_PX = 3072  # large images are reduced to this once, and all sizes up to `_WHOLE_PX` made of that


def search_scale(image: Image, used: SegmentSettings, model: Model, ij: Processing) -> tuple[Scale, float | None]:
    """Find the size at which an image is segmented, unless the user gave it.

    Parameters
    ----------
    image : Image
    used : SegmentSettings
        With the model's values in place of None.
    model : Model
    ij : Processing

    Returns
    -------
    scale : Scale
    seconds_per_mpx : float or None
        What the network took per million pixels of its input; None if it was not needed.
    """
    if used.size != "auto":
        return Scale(int(used.size), "the user"), None
    # Thresholds of its own: a high one for the result would leave only what is sure at every size.
    loose = max(min(model.probability, MOST_PROBABILITY), LEAST_PROBABILITY)
    used = dataclasses.replace(used, probability=loose, nms=min(model.nms, MOST_NMS))
    sampler = _Sampler(image, used, model, ij)
    largest = ONE_GO_SIZE_PX if used.route == "resize" else LARGEST_SIZE_PX
    scale = find_scale(
        image,
        model.info.nucleus_diameter_px,
        sampler.predict,
        distrust=model.info.size_distrust,
        largest_px=largest,
    )
    return scale, sampler.seconds_per_mpx


class _Sampler:
    """Segments an image at any size, or so much of it as tells the size of nuclei."""

    def __init__(self, image: Image, used: SegmentSettings, model: Model, ij: Processing) -> None:
        self._image, self._used, self._model, self._ij = image, used, model, ij
        self._source = image
        if image.pixels.size > LARGE_PIXELS:
            self._source = preprocess(image, PreprocessSettings(size=_REDUCED_PX), ij)
        self._speeds: list[float] = []

    @property
    def seconds_per_mpx(self) -> float | None:
        """What the network took per million pixels, at its largest input."""
        return self._speeds[-1] if self._speeds else None

    def predict(self, size: int) -> Candidates:
        """Find nuclei at a size of the longer side."""
        whole = size <= _WHOLE_PX
        images = [self._source] if whole else self._parts(size)
        small = [
            self._preprocessed(each, size if whole else part_size(size, each.shape, self._image.shape))
            for each in images
        ]
        limits = self._model.info.range_of(np.concatenate([pixels.ravel() for pixels in small]))
        normalized = [self._model.info.normalize(pixels, limits) for pixels in small]
        start = time.perf_counter()
        found = Candidates.joined([self._network(pixels) for pixels in normalized])
        mpx = sum(pixels.size for pixels in normalized) / 1e6
        self._speeds.append((time.perf_counter() - start) / mpx)
        return found

    def _preprocessed(self, image: Image, size: int) -> Pixels:
        return preprocess(image, self._used.preprocessing(size), self._ij).pixels

    def _network(self, pixels: NDArray[np.float32]) -> Candidates:
        probability, nms = self._used.probability or LEAST_PROBABILITY, self._used.nms or 0.0
        return self._model.predict(pixels, probability=probability, nms=nms)

    @cached_property
    def _signal(self) -> NDArray[np.float32]:
        """The normalised image, or its reduced form, from 0 to 1."""
        return self._model.info.normalize(self._source.pixels).clip(0.0, 1.0)

    def _parts(self, size: int) -> list[Image]:
        """Cut the image into equal parts and take some, by the rank of their signal."""
        shape, longest = self._image.shape, max(self._image.shape)
        counts = [max(math.ceil(side * size / longest / _PART_PX), 1) for side in shape]
        signal = self._signal
        for axis, count in enumerate(counts):
            starts = np.arange(count) * signal.shape[axis] // count
            signal = np.add.reduceat(signal, starts, axis=axis)
        order = np.argsort(signal.ravel(), kind="stable")
        chosen = dict.fromkeys(int(order[round(rank * (len(order) - 1))]) for rank in _PARTS)
        boxes = []
        for place in chosen:
            row, column = divmod(place, counts[1])
            sides = zip((row, column), shape, counts, strict=True)
            boxes.append(tuple(slice(side * i // count, side * (i + 1) // count) for i, side, count in sides))
        return [self._image.with_pixels(self._image.pixels[box]) for box in boxes]
