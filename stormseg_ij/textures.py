"""How localizations are distributed inside simulated nuclei: patches, rims, nucleoli, gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stormseg_ij.shapes import Mask, random_field

Density = NDArray[np.float64]

TEXTURES = ("patches", "fibres", "domains", "foam")
"""Cloudy, thread-like and discrete chromatin; foam (dense walls around empty bubbles) is there for validation."""


@dataclass(frozen=True)
class Style:
    """What the nuclei of one image share.

    Strength of rim, hollowness, contrast and grain of the texture, how much the sides of a nucleus differ (0 to 1) and
    the share of nuclei with a fold.
    """

    texture: str
    rim: float
    hollow: float
    contrast: float
    grain: float
    uneven: float
    folded: float

    @classmethod
    def random(cls, rng: Generator, textures: tuple[str, ...]) -> Style:
        """Draw a style with one of these textures."""
        texture = textures[int(rng.integers(len(textures)))]
        rim = rng.choice([rng.gamma(1.2, 0.8), rng.uniform(0.0, 0.4)], p=[0.75, 0.25])
        hollow = rng.uniform(0.0, 0.9) * rng.choice([1.0, 0.3])
        contrast, grain, uneven = rng.uniform(0.05, 1.2), rng.uniform(0.01, 0.08), rng.uniform(0.1, 1.0)
        return cls(texture, rim, hollow, contrast, grain, uneven, rng.choice([0.0, rng.uniform(0.0, 0.5)]))


def nucleus_density(rng: Generator, mask: Mask, diameter: float, style: Style) -> Density:
    """Draw the relative density of localizations in one nucleus.

    Parameters
    ----------
    rng : numpy.random.Generator
    mask : ndarray of bool, shape (Y, X)
        The nucleus; at least one pixel.
    diameter : float
        Mean one of the image's nuclei, in pixels.
    style : Style

    Returns
    -------
    ndarray of float64, shape (Y, X)
        Of mean 1 over the mask; without meaning outside.
    """
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.indices(mask.shape) - np.array(ndimage.center_of_mass(mask))[:, None, None]
    direction = rng.uniform(0.0, 2.0 * np.pi)
    toward = (x * np.cos(direction) + y * np.sin(direction)) / diameter
    angle = np.arctan2(y, x)

    inner = _inner(rng, mask.shape, diameter, style)
    hollow = np.clip(style.hollow * rng.uniform(0.3, 1.3), 0.0, 0.98)
    inner = inner * (1.0 - hollow * np.clip(depth / depth.max() * 1.6, 0.0, 1.0))
    inner = np.asarray(inner * np.exp(np.clip(rng.normal(scale=0.9 * style.uneven), -1.5, 1.5) * toward))
    if rng.random() < 0.4 * style.uneven:  # regions without stain, that are nucleus all the same
        inner[random_field(rng, mask.shape, 0.12 * diameter) > rng.uniform(0.4, 1.5)] *= rng.uniform(0.02, 0.4)
    inner = _nucleoli(rng, inner, mask, diameter)
    total = inner + _rim(rng, depth, angle, diameter, style)
    if rng.random() < style.folded:
        total = _folded(rng, total, diameter)
    if rng.random() < 0.35 * style.uneven:  # a side that the stain or the section has not reached
        edge = 8.0 * toward + random_field(rng, mask.shape, 0.1 * diameter) - rng.uniform(0.5, 2.5)
        total = total * (1.0 - rng.uniform(0.5, 0.9) / (1.0 + np.exp(-4.0 * edge)))
    return np.asarray(total / total[mask].mean())


def _inner(rng: Generator, shape: tuple[int, ...], diameter: float, style: Style) -> Density:
    """Draw chromatin without rim and nucleoli."""
    from scipy import spatial

    grain = max(style.grain * diameter * rng.lognormal(sigma=0.3), 0.5)
    if style.texture == "foam":
        bubble = max(4.0 * grain, 2.5)
        number = max(int(shape[0] * shape[1] / bubble**2), 3)
        seeds = rng.uniform(0.0, 1.0, (number, 2)) * shape
        near = np.asarray(spatial.KDTree(seeds).query(np.indices(shape).reshape(2, -1).T, k=2)[0])
        wall = np.exp(-(((near[:, 1] - near[:, 0]) / (0.4 * bubble)) ** 2)).reshape(shape)
        return np.asarray(0.05 + style.contrast * wall)
    field = random_field(rng, shape, grain)
    if style.texture == "fibres":
        return np.asarray(np.exp(1.5 * style.contrast * (0.8 - np.abs(field))))
    if style.texture == "domains":
        sharp = np.clip(4.0 * (field - rng.uniform(-0.5, 0.8)), 0.0, 1.0)
        return np.asarray(np.exp(-2.5 * style.contrast) + sharp)
    return np.asarray(np.exp(style.contrast * field))


def _rim(rng: Generator, depth: Density, angle: Density, diameter: float, style: Style) -> Density:
    """Draw the bright wall under the outline, weaker on one side, patchy."""
    width = max(rng.uniform(0.02, 0.055) * diameter, 0.7)
    open_side = np.clip(
        1.0 + 1.6 * style.uneven * rng.random() * np.cos(angle - rng.uniform(0.0, 2.0 * np.pi)), 0.0, None
    )
    patchy = np.exp(0.5 * random_field(rng, depth.shape, max(0.04 * diameter, 0.7)))
    strength = style.rim * rng.lognormal(sigma=0.4)
    return np.asarray(strength * open_side * patchy * np.exp(-(((depth - width) / width) ** 2)))


def _folded(rng: Generator, density: Density, diameter: float) -> Density:
    """Let a bright line run through the nucleus, with another density behind it: still one nucleus."""
    field = random_field(rng, density.shape, rng.uniform(0.2, 0.5) * diameter)
    slope = np.hypot(*np.gradient(field)).mean() + 1e-6
    distance = (field - rng.uniform(-0.7, 0.7)) / slope  # pixels from the line, about
    width = max(rng.uniform(0.015, 0.04) * diameter, 0.7)
    behind = np.where(distance > 0.0, density * rng.uniform(0.35, 1.0), density)
    return np.asarray(behind + density.mean() * rng.uniform(0.0, 2.0) * np.exp(-((distance / width) ** 2)))


def _nucleoli(rng: Generator, inner: Density, mask: Mask, diameter: float) -> Density:
    """Thin out up to four discs, some of them with a bright wall."""
    rows, columns = np.nonzero(mask)
    y, x = np.indices(mask.shape)
    for _ in range(int(rng.integers(0, 5))):
        pick = int(rng.integers(rows.size))
        distance = np.hypot(y - rows[pick], x - columns[pick])
        radius = rng.uniform(0.05, 0.16) * diameter
        inner = np.where(distance < radius, inner * rng.uniform(0.0, 0.35), inner)
        if rng.random() < 0.4:
            inner = inner + rng.uniform(0.5, 2.5) * np.exp(-(((distance - radius) / max(0.02 * diameter, 0.6)) ** 2))
    return inner
