"""What lies in a simulated image without being a nucleus to find: dim and out-of-focus nuclei, crescents, debris."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from stormseg_ij.image import Labels
from stormseg_ij.layouts import Population, anywhere
from stormseg_ij.shapes import Mask, Placement, bent, nucleus_mask
from stormseg_ij.textures import Density, Style, nucleus_density

_NUCLEI_PER_STRAY = 25.0  # areas of one nucleus' square per stray object of a kind, on average


@dataclass(frozen=True)
class _Kind:
    """One kind of stray object: diameter and density relative to the nuclei's, blur to its largest diameter."""

    size: tuple[float, float]
    level: tuple[float, float]
    blur: tuple[float, float]
    crescent: bool = False


_KINDS = (
    _Kind((0.6, 1.2), (0.02, 0.25), (0.02, 0.12)),  # out of focus
    _Kind((0.4, 1.0), (0.10, 0.45), (0.0, 0.03)),  # in focus, but faint
    _Kind((0.3, 0.7), (0.2, 1.2), (0.0, 0.04), crescent=True),  # the rim of a nucleus that lies elsewhere
    _Kind((0.1, 0.4), (0.2, 1.8), (0.0, 0.08)),  # debris
)


def stray_density(rng: Generator, labels: Labels, kind: Population, style: Style) -> tuple[Density, Mask]:
    """Draw stray objects: in the image, not in the labels.

    Parameters
    ----------
    rng : numpy.random.Generator
    labels : ndarray of int32, shape (Y, X)
    kind : Population
        Of the nuclei, whose shapes and sizes the strays have in part.
    style : Style

    Returns
    -------
    density : ndarray of float64, shape (Y, X)
        Localizations per pixel, where those of nuclei have mean 1. What is out of focus shines through nuclei too.
    mask : ndarray of bool, shape (Y, X)
        Where strays are clearly seen; no pixel of a nucleus.

    References
    ----------
    Mela & Liu 2021, "Noise removal".
    """
    density, mask = np.zeros(labels.shape), np.zeros(labels.shape, bool)
    area = labels.size / kind.diameter**2
    for stray in _KINDS:
        for _ in range(rng.poisson(area / _NUCLEI_PER_STRAY * rng.gamma(0.8, 1.25))):
            _add(rng, density, mask, stray, kind, style)
    return density, mask & (labels == 0)


def _add(rng: Generator, density: Density, mask: Mask, stray: _Kind, kind: Population, style: Style) -> None:
    from scipy import ndimage

    shape = (density.shape[0], density.shape[1])
    rows, columns, drawn = nucleus_mask(rng, _placement(rng, stray, kind, shape), shape)
    if not drawn.any():
        return
    level = np.exp(rng.uniform(*np.log(stray.level)))
    blob = np.where(drawn, nucleus_density(rng, drawn, kind.diameter, style), 0.0) * level
    sigma = rng.uniform(*stray.blur) * kind.diameter * max(stray.size)
    reach = int(4.0 * sigma + 0.5)  # where the filter ends
    box = tuple(
        slice(max(part.start - reach, 0), min(part.stop + reach, side))
        for part, side in zip((rows, columns), shape, strict=True)
    )
    before = [(part.start - own.start, own.stop - part.stop) for part, own in zip((rows, columns), box, strict=True)]
    blob = ndimage.gaussian_filter(np.pad(blob, before), sigma)
    density[box] += blob
    mask[box] |= blob > 0.15 * level


def _placement(rng: Generator, stray: _Kind, kind: Population, shape: tuple[int, int]) -> Placement:
    centre = anywhere(rng, shape)
    angle, size = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(*stray.size)
    if not stray.crescent:
        return kind.nucleus(rng, centre, angle, size=size)
    form, elongation = bent(rng), rng.uniform(1.5, 4.0)
    return Placement(*centre, max(kind.diameter * size, 3.0), angle, elongation, kind.roughness, form)
