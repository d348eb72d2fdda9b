"""What a model needs to know of its input: `stormseg.json` beside the weights."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.errors import ModelError
from stormseg_ij.files import replacing
from stormseg_ij.rows import row_bands

FILE_NAME = "stormseg.json"


@dataclass(frozen=True)
class ModelInfo:
    """How an image must be prepared for a model.

    Attributes
    ----------
    kind : str
        The network; ``"stardist"`` or ``"mask-rcnn"``.
    nucleus_diameter_px : float or None
        Mean nucleus diameter, in pixels of the network's input, that it was trained for; None: unknown.
    low_percentile, high_percentile : float
        Of the whole image, mapped to 0 and 1. The defaults are StarDist's.
    gamma : float
        Exponent applied after that; 0.5 evens out dense and sparse nuclei.
    blur_px : float
        Sigma of the Gaussian blur after resizing, in pixels of the network's input.
    refine : bool
        Whether its outlines gain by refinement; not in files of older versions, which refined none.
    levels : str
        ``"percentiles"``: as above. ``"type"``: what counts is the whole range of the pixels' type, whatever the
        image holds (floating point: 0 to its largest value), as for weights of Matterport's.
    size_distrust : float
        As in `scale.find_scale`.
    """

    kind: str = "stardist"
    nucleus_diameter_px: float | None = None
    low_percentile: float = 1.0
    high_percentile: float = 99.8
    gamma: float = 1.0
    blur_px: float = 0.0
    refine: bool = False
    levels: str = "percentiles"
    size_distrust: float = 0.025

    def __post_init__(self) -> None:
        """Refuse values that would fail later, in the middle of the work."""
        diameter = self.nucleus_diameter_px
        numbers = (
            self.low_percentile,
            self.high_percentile,
            self.gamma,
            self.blur_px,
            self.size_distrust,
            1.0 if diameter is None else diameter,
        )
        texts_and_truths = isinstance(self.kind, str) and isinstance(self.refine, bool)
        if not texts_and_truths or not all(isinstance(number, int | float) for number in numbers):
            raise TypeError(f"a text or number of the wrong kind in {self}")
        if not (
            0.0 <= self.low_percentile < self.high_percentile <= 100.0 and self.gamma > 0.0 <= self.blur_px
        ) or not (0.0 <= self.size_distrust <= 10.0):
            raise ValueError(f"a number out of range in {self}")
        if self.levels not in ("percentiles", "type"):
            raise ValueError(f"levels {self.levels!r}; give percentiles or type")
        if diameter is not None and not 1.0 <= diameter <= 10_000.0:
            raise ValueError(f"nucleus_diameter_px {diameter}; give 1 to 10000, or null")

    @classmethod
    def read(cls, folder: Path) -> ModelInfo:
        """Read ``stormseg.json`` of a model folder; defaults where there is none.

        Raises
        ------
        ModelError
            If the file is damaged, has unknown keys or values of the wrong kind.
        """
        path = folder / FILE_NAME
        if not path.is_file():
            return cls()
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            info = cls(**values)
        except (ValueError, TypeError) as error:
            raise ModelError(f"{path} is damaged: {error}; restore it or train the model again") from error
        return info

    def write(self, folder: Path) -> None:
        """Write ``stormseg.json`` into a model folder."""
        with replacing(folder / FILE_NAME) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")

    def range_of(self, pixels: NDArray[Any]) -> tuple[float, float]:
        """Return the gray values that become 0 and 1: percentiles of the whole image, as `numpy.percentile` has them.

        Those of 8-bit and 16-bit images come from the histogram, counted in bands: no sorting, no copy.

        Parameters
        ----------
        pixels : ndarray, shape (Y, X)

        Returns
        -------
        low, high : float
        """
        if self.levels == "type":
            whole = pixels.dtype.kind in "ui"
            return 0.0, float(np.iinfo(pixels.dtype).max if whole else np.max(pixels, initial=0.0))
        percentiles = self.low_percentile, self.high_percentile
        if pixels.dtype in (np.uint8, np.uint16) and pixels.ndim > 0:
            low, high = _percentiles(pixels, percentiles)
        else:
            low, high = np.percentile(pixels, percentiles)
        return float(low), float(high)

    def normalize(self, pixels: NDArray[Any], limits: tuple[float, float] | None = None) -> NDArray[np.float32]:
        """Map pixels to the network's range, once per image and never per tile.

        Parameters
        ----------
        pixels : ndarray, shape (Y, X)
        limits : (float, float), optional
            As `range_of` gives them; by default of these pixels.

        Returns
        -------
        ndarray of float32, shape (Y, X)
            0 at the low percentile (never below with a `gamma` other than 1), 1 at the high one. An image
            without contrast becomes all 0.

        Examples
        --------
        >>> ModelInfo(low_percentile=0, high_percentile=100).normalize(np.array([[2, 4, 6]])).tolist()
        [[0.0, 0.5, 1.0]]
        """
        low, high = self.range_of(pixels) if limits is None else limits
        if high <= low:
            return np.zeros(pixels.shape, np.float32)
        scaled = (pixels.astype(np.float32) - np.float32(low)) / np.float32(high - low)
        if self.gamma != 1.0:
            scaled = np.clip(scaled, 0.0, None) ** np.float32(self.gamma)
        return np.asarray(scaled, np.float32)


def _percentiles(pixels: NDArray[Any], percentiles: tuple[float, float]) -> tuple[float, float]:
    """Return what `numpy.percentile` does for uint8 or uint16: between two neighbours in order of value, linearly."""
    counts = np.zeros(np.iinfo(pixels.dtype).max + 1, np.int64)
    for rows in row_bands(pixels.shape):
        counts += np.bincount(pixels[rows].ravel(), minlength=len(counts))
    up_to = np.cumsum(counts)

    def percentile(percent: float) -> float:
        place = (pixels.size - 1) * (percent / 100)
        before = int(place)
        a, b = (int(np.searchsorted(up_to, min(i, pixels.size - 1), side="right")) for i in (before, before + 1))
        share = place - before
        return b - (b - a) * (1.0 - share) if share >= 0.5 else a + (b - a) * share  # as numpy rounds them

    return percentile(percentiles[0]), percentile(percentiles[1])
