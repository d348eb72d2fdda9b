"""Where simulated nuclei lie, and which pixels each of them gets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from stormseg_ij.image import Labels
from stormseg_ij.shapes import FORMS, Form, Mask, Placement, nucleus_mask

_LEAST_PX = 30  # smaller nuclei show no shape
_LEAST_SEEN = 0.25  # of a nucleus' area: what others cover nearly whole is no nucleus to find


@dataclass(frozen=True)
class Population:
    """What the nuclei of one image share.

    Attributes
    ----------
    diameter : float
        Mean, in pixels.
    spread : float
        Standard deviation of the diameter's logarithm.
    roughness : float
        Of the outlines, in radii.
    longest : float
        Largest elongation.
    irregular : float
        Share of nuclei with a form (lobed, cornered, bent, bitten or from a template).
    templates : tuple of Form
        Shapes of real nuclei; where there are any, half of the forms come from them.
    """

    diameter: float
    spread: float
    roughness: float
    longest: float
    irregular: float
    templates: tuple[Form, ...] = ()

    @classmethod
    def tissue(cls, rng: Generator, diameter: float, templates: tuple[Form, ...] = ()) -> Population:
        """Draw a section's nuclei: rough, of many shapes and sizes."""
        irregular = rng.choice([0.0, rng.uniform(0.1, 1.0)], p=[0.15, 0.85])
        return cls(
            diameter, rng.uniform(0.1, 0.35), rng.uniform(0.02, 0.18), rng.uniform(1.4, 2.6), irregular, templates
        )

    @classmethod
    def cells(cls, rng: Generator, diameter: float, templates: tuple[Form, ...] = ()) -> Population:
        """Draw a cell line's nuclei: smooth and alike."""
        irregular = rng.choice([0.0, rng.uniform(0.05, 0.4)])
        return cls(
            diameter, rng.uniform(0.06, 0.2), rng.uniform(0.01, 0.07), rng.uniform(1.3, 2.0), irregular, templates
        )

    def nucleus(self, rng: Generator, centre: tuple[float, float], angle: float, *, size: float = 1.0) -> Placement:
        """Draw one nucleus; `size` multiplies its diameter."""
        diameter = self.diameter * size * np.exp(self.spread * np.clip(rng.normal(), -2.0, 2.0))
        elongation = rng.uniform(1.0, self.longest)
        roughness = self.roughness * rng.uniform(0.5, 1.6)
        form = None
        if rng.random() < self.irregular:
            if self.templates and rng.random() < 0.5:
                form = self.templates[int(rng.integers(len(self.templates)))]
            else:
                form = FORMS[int(rng.integers(len(FORMS)))](rng)
            elongation = np.exp(rng.normal(scale=0.2))  # forms are long already
        return Placement(centre[0], centre[1], diameter, angle, elongation, roughness, form)


def tissue_layout(rng: Generator, shape: tuple[int, int], kind: Population) -> list[Placement]:
    """Place nuclei as in a section: in rows along gland walls, in packed groups, and scattered between."""
    places: list[Placement] = []
    area = shape[0] * shape[1] / kind.diameter**2
    for _ in range(rng.poisson(area / 60.0 + 0.7)):
        places += _gland(rng, shape, kind)
    for _ in range(rng.poisson(area / 80.0)):
        places += _group(rng, shape, kind)
    for _ in range(1 + rng.poisson(area / rng.uniform(8.0, 40.0))):
        places.append(kind.nucleus(rng, anywhere(rng, shape), rng.uniform(0.0, np.pi)))
    return places


def cell_layout(rng: Generator, shape: tuple[int, int], kind: Population) -> list[Placement]:
    """Place nuclei as in a culture dish: apart, now and then touching."""
    number = 2 + rng.poisson(0.4 * shape[0] * shape[1] / kind.diameter**2)
    return [kind.nucleus(rng, anywhere(rng, shape), rng.uniform(0.0, np.pi)) for _ in range(number)]


def place_nuclei(
    rng: Generator, field: Mask, places: list[Placement], *, most_overlap: float, gap_px: float, in_front: bool = False
) -> Labels:
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
        Each of two nuclei gives up this much at the border they share.
    in_front : bool
        Shared pixels go to the later nucleus instead: it lies in front and takes a bite out of the others.

    Returns
    -------
    ndarray of int32, shape (Y, X)
        Labels 1..N, each one piece.
    """
    from scipy import ndimage

    labels = np.zeros(field.shape, np.int32)
    drawn: dict[int, int] = {}
    depth = np.zeros(field.shape, np.float32)
    for number, place in enumerate(places, start=1):
        rows, columns, mask = nucleus_mask(rng, place, (field.shape[0], field.shape[1]))
        if mask.sum() < _LEAST_PX:
            continue
        taken = labels[rows, columns]
        if (taken[mask] > 0).mean() > most_overlap:
            continue
        drawn[number] = int(mask.sum())
        own = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1].astype(np.float32)
        own /= own.max()
        won = mask if in_front else mask & (own > depth[rows, columns])
        taken[won] = number
        depth[rows, columns][won] = own[won]
    return _whole_pieces(np.where(field, labels, 0), gap_px, drawn)


def _whole_pieces(labels: Labels, gap_px: float, drawn: dict[int, int]) -> Labels:
    """Keep the largest piece of each label, fill it, open a gap to its neighbours, renumber; drop mere slivers."""
    from scipy import ndimage

    out = np.zeros_like(labels)
    number = 0
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        grown = tuple(slice(max(part.start - 2, 0), part.stop + 2) for part in box)
        crop = labels[grown]
        piece = ndimage.binary_fill_holes(_largest(crop == index)) & ((crop == index) | (crop == 0))
        neighbours = (crop > 0) & (crop != index)
        if gap_px > 0.0 and neighbours.any():
            piece = _largest(piece & (ndimage.distance_transform_edt(~neighbours) > gap_px))
        if piece.sum() >= max(_LEAST_PX, _LEAST_SEEN * drawn[index]):
            number += 1
            out[grown][piece] = number
    return out


def _largest(mask: Mask) -> Mask:
    """Return the largest piece of a mask (4 neighbours)."""
    from scipy import ndimage

    pieces, count = ndimage.label(mask)
    return mask if count < 2 else np.asarray(pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:])))


def anywhere(rng: Generator, shape: tuple[int, int]) -> tuple[float, float]:
    """Draw a place (y, x) in an image of this shape."""
    return rng.uniform(0.0, shape[0]), rng.uniform(0.0, shape[1])


def _gland(rng: Generator, shape: tuple[int, int], kind: Population) -> list[Placement]:
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
        places.append(kind.nucleus(rng, (y, x), angle + rng.normal(scale=0.3)))
        angle += spacing / radii.mean() * rng.uniform(0.8, 1.3)
    return places


def _group(rng: Generator, shape: tuple[int, int], kind: Population) -> list[Placement]:
    """Nuclei packed on a disturbed grid."""
    centre = rng.uniform(0.0, 1.0, 2) * shape
    side = int(rng.integers(2, 5))
    spacing = kind.diameter * rng.uniform(0.8, 1.15)
    grid = (np.mgrid[:side, :side].reshape(2, -1).T - (side - 1) / 2.0) * spacing
    grid = grid + rng.normal(scale=0.15 * kind.diameter, size=grid.shape) + centre
    angle = rng.uniform(0.0, np.pi)
    return [kind.nucleus(rng, (float(y), float(x)), angle + rng.normal(scale=0.5)) for y, x in grid]
