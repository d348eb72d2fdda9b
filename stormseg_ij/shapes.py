"""Outlines of simulated nuclei and where they lie: the geometry behind `simulate`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stormseg_ij.image import Labels

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Placement:
    """One nucleus to try: centre (y, x), mean diameter, orientation in radians, how long, rough and likely dented."""

    y: float
    x: float
    diameter: float
    angle: float
    elongation: float
    roughness: float
    dented: float = 0.0


def nucleus_mask(rng: Generator, place: Placement, shape: tuple[int, int]) -> tuple[slice, slice, Mask]:
    """Draw one closed outline: an ellipse, roughened by Fourier terms, bent, sometimes with a dent.

    Parameters
    ----------
    rng : numpy.random.Generator
    place : Placement
        Centre and diameter in pixels of an image of `shape`.
    shape : (int, int)

    Returns
    -------
    rows, columns : slice
        The box that holds the outline, cut at the image's border; empty where it lies outside.
    mask : ndarray of bool
        Of the box.
    """
    from skimage import draw

    theta = np.linspace(0.0, 2.0 * np.pi, 120, endpoint=False)
    orders = np.arange(2, 14)
    amplitude = place.roughness * rng.normal(size=orders.size) / orders**1.2
    phase = rng.uniform(0.0, 2.0 * np.pi, orders.size)
    radius = 1.0 + (amplitude * np.cos(orders * theta[:, None] + phase)).sum(axis=1)
    if rng.random() < place.dented:
        distance = np.angle(np.exp(1j * (theta - rng.uniform(0.0, 2.0 * np.pi))))
        radius -= rng.uniform(0.15, 0.45) * np.exp(-((distance / rng.uniform(0.25, 0.7)) ** 2))
    radius = np.clip(radius, 0.25, 2.0) * place.diameter / 2.0
    stretch = np.sqrt(place.elongation)
    along, across = radius * np.cos(theta) * stretch, radius * np.sin(theta) / stretch
    across = across + rng.normal(scale=2.0 * place.roughness) * (along**2 / place.diameter - place.diameter / 8.0)
    cos, sin = np.cos(place.angle), np.sin(place.angle)
    y = place.y + along * sin + across * cos
    x = place.x + along * cos - across * sin
    top, left = max(int(y.min()), 0), max(int(x.min()), 0)
    height = max(min(int(y.max()) + 2, shape[0]) - top, 0)
    width = max(min(int(x.max()) + 2, shape[1]) - left, 0)
    mask = draw.polygon2mask((height, width), np.column_stack([y - top, x - left]))
    return slice(top, top + height), slice(left, left + width), np.asarray(mask, bool)


def tissue_layout(rng: Generator, shape: tuple[int, int], diameter: float) -> list[Placement]:
    """Place nuclei as in a section: in rows along gland walls, in packed groups, and scattered between."""
    kind = _Tissue(diameter, rng.uniform(0.03, 0.16), rng.uniform(0.1, 0.5))
    places: list[Placement] = []
    area = shape[0] * shape[1] / diameter**2
    for _ in range(1 + rng.poisson(area / 70.0)):
        places += _gland(rng, shape, kind)
    for _ in range(rng.poisson(area / 100.0)):
        places += _group(rng, shape, kind)
    for _ in range(rng.poisson(area / 14.0)):
        y, x = rng.uniform(0.0, shape[0]), rng.uniform(0.0, shape[1])
        places.append(_tissue_nucleus(rng, (y, x), kind, rng.uniform(0.0, np.pi)))
    return places


def cell_layout(rng: Generator, shape: tuple[int, int], diameter: float) -> list[Placement]:
    """Place nuclei as in a culture dish: smooth, large and apart, now and then touching."""
    number = 2 + rng.poisson(0.4 * shape[0] * shape[1] / diameter**2)
    roughness = rng.uniform(0.01, 0.07)
    return [
        Placement(
            rng.uniform(0.0, shape[0]),
            rng.uniform(0.0, shape[1]),
            diameter * rng.lognormal(sigma=0.12),
            rng.uniform(0.0, np.pi),
            rng.uniform(1.0, 1.9),
            roughness,
        )
        for _ in range(number)
    ]


def place_nuclei(rng: Generator, field: Mask, places: list[Placement], *, most_overlap: float, gap_px: float) -> Labels:
    """Draw nuclei one after another; where two meet, a pixel goes to the one in which it lies deeper.

    Parameters
    ----------
    rng : numpy.random.Generator
    field : ndarray of bool, shape (Y, X)
        Where the field of view is; no nucleus reaches beyond it.
    places : list of Placement
    most_overlap : float
        A nucleus that would share more than this fraction of itself with those before is left out.
    gap_px : float
        Nuclei give up this much at the border they share.

    Returns
    -------
    ndarray of int32, shape (Y, X)
        Labels 1..N, each one piece (8 neighbours) without holes.
    """
    from scipy import ndimage

    labels = np.zeros(field.shape, np.int32)
    depth = np.zeros(field.shape, np.float32)
    for number, place in enumerate(places, start=1):
        rows, columns, mask = nucleus_mask(rng, place, (field.shape[0], field.shape[1]))
        if mask.sum() < 30:
            continue
        taken = labels[rows, columns]
        if (taken[mask] > 0).mean() > most_overlap:
            continue
        own = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1].astype(np.float32)
        own /= own.max()
        won = mask & (own > depth[rows, columns])
        taken[won] = number
        depth[rows, columns][won] = own[won]
    return _whole_pieces(np.where(field, labels, 0), gap_px)


def _whole_pieces(labels: Labels, gap_px: float) -> Labels:
    """Keep the largest piece of each label, fill it, open a gap to its neighbours, renumber."""
    from scipy import ndimage

    out = np.zeros_like(labels)
    number = 0
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        grown = tuple(slice(max(part.start - 2, 0), part.stop + 2) for part in box)
        crop = labels[grown]
        pieces, count = ndimage.label(crop == index)
        if count == 0:
            continue
        piece = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
        piece = ndimage.binary_fill_holes(piece) & ((crop == index) | (crop == 0))
        neighbours = (crop > 0) & (crop != index)
        if gap_px > 0.0 and neighbours.any():
            piece &= ndimage.distance_transform_edt(~neighbours) > gap_px
        if piece.sum() >= 30:
            number += 1
            out[grown][piece] = number
    return out


@dataclass(frozen=True)
class _Tissue:
    """What the nuclei of one section share."""

    diameter: float
    roughness: float
    dented: float


def _tissue_nucleus(rng: Generator, centre: tuple[float, float], kind: _Tissue, angle: float) -> Placement:
    return Placement(
        centre[0],
        centre[1],
        kind.diameter * rng.lognormal(sigma=0.2),
        angle + rng.normal(scale=0.3),
        rng.uniform(1.0, 2.2),
        kind.roughness * rng.uniform(0.5, 1.6),
        kind.dented,
    )


def _gland(rng: Generator, shape: tuple[int, int], kind: _Tissue) -> list[Placement]:
    """Nuclei side by side along an arc, their long axes across it."""
    centre = rng.uniform(-0.2, 1.2, 2) * shape
    radii = rng.uniform(2.0, 6.0) * kind.diameter * rng.uniform(0.7, 1.3, 2)
    start, sweep = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(1.5, 2.0 * np.pi)
    spacing = kind.diameter * rng.uniform(0.75, 1.4)
    places = []
    angle = start
    while angle < start + sweep:
        radial = 1.0 + rng.normal(scale=0.06)
        y = centre[0] + radii[0] * radial * np.sin(angle)
        x = centre[1] + radii[1] * radial * np.cos(angle)
        places.append(_tissue_nucleus(rng, (y, x), kind, angle))
        angle += spacing / radii.mean() * rng.uniform(0.8, 1.3)
    return places


def _group(rng: Generator, shape: tuple[int, int], kind: _Tissue) -> list[Placement]:
    """Nuclei packed on a disturbed grid."""
    centre = rng.uniform(0.0, 1.0, 2) * shape
    side = int(rng.integers(2, 5))
    spacing = kind.diameter * rng.uniform(0.8, 1.15)
    grid = (np.mgrid[:side, :side].reshape(2, -1).T - (side - 1) / 2.0) * spacing
    grid = grid + rng.normal(scale=0.15 * kind.diameter, size=grid.shape) + centre
    angle = rng.uniform(0.0, np.pi)
    return [_tissue_nucleus(rng, (float(y), float(x)), kind, angle + rng.normal(scale=0.5)) for y, x in grid]
