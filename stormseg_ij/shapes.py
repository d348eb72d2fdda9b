"""Outlines of simulated nuclei: the shapes behind `simulate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stormseg_ij.errors import ImageError
from stormseg_ij.image import SUFFIXES, read_labels

Mask = NDArray[np.bool_]
Form = NDArray[np.float32]
"""Positive inside, negative outside, on a grid from -2 to 2 radii; its area is that of the unit disc."""

_FORM_SIDE, _FORM_REACH = 96, 2.0
_MOST_TEMPLATES = 2000
_TEMPLATE_LEAST_PX = 250  # smaller masks show their pixels when they are enlarged


@dataclass(frozen=True)
class Placement:
    """One nucleus to try.

    Attributes
    ----------
    y, x : float
        Centre in pixels.
    diameter : float
        Of the disc with the same area, in pixels.
    angle : float
        Orientation in radians.
    elongation : float
        Length by width.
    roughness : float
        Standard deviation of the radius, roughly, in radii.
    form : ndarray of float32, shape (96, 96), optional
        What `lobed`, `cornered`, `bent`, `bitten` or `read_templates` give; without it a rough ellipse.
    """

    y: float
    x: float
    diameter: float
    angle: float
    elongation: float
    roughness: float
    form: Form | None = None


def lobed(rng: Generator) -> Form:
    """Draw two or three discs that run into each other."""
    y, x = _grid()
    level = np.full(y.shape, -np.inf)
    for _ in range(int(rng.integers(2, 4))):
        distance, angle = rng.uniform(0.3, 0.75), rng.uniform(0.0, 2.0 * np.pi)
        stretch = rng.uniform(0.7, 1.4)
        v, u = y - distance * np.sin(angle), x - distance * np.cos(angle)
        level = np.logaddexp(level, 8.0 * (rng.uniform(0.45, 0.8) - np.hypot(v * stretch, u / stretch)))
    return _unit(level)


def cornered(rng: Generator) -> Form:
    """Draw a wedge or a polygon of three to six sides with rounded corners, as neighbours press it."""
    y, x = _grid()
    while True:
        sides = int(rng.integers(3, 7))
        turns = 2.0 * np.pi * (np.arange(sides) + rng.uniform(-0.2, 0.2, sides)) / sides
        walls = [rng.uniform(0.45, 0.8) - x * np.cos(turn) - y * np.sin(turn) for turn in turns]
        sharp = rng.uniform(6.0, 15.0)  # of the corners
        form = _unit(-np.logaddexp.reduce([-sharp * wall for wall in walls]) / sharp)
        if max(edge.max() for edge in (form[0], form[-1], form[:, 0], form[:, -1])) < 0.0:  # no long wedge is cut off
            return form


def bent(rng: Generator) -> Form:
    """Draw a kidney, or a crescent."""
    y, x = _grid()
    radius = rng.uniform(0.7, 2.0)
    middle = np.hypot(y, x - radius) - radius  # a ring through the centre
    along = radius * np.arctan2(y, radius - x)
    return _unit(1.0 - np.hypot(along / rng.uniform(1.2, 1.8), middle / rng.uniform(0.45, 0.8)))


def bitten(rng: Generator) -> Form:
    """Draw an ellipse of which a neighbour, a vacuole or the knife has taken a piece."""
    y, x = _grid()
    stretch = rng.uniform(0.8, 1.25)
    whole = 1.0 - np.hypot(y * stretch, x / stretch)
    distance, radius = rng.uniform(0.8, 1.2), rng.uniform(0.3, 0.7)
    bite = np.hypot(y, x - distance) - radius
    return _unit(np.minimum(whole, bite))


FORMS = (lobed, cornered, bent, bitten)


def read_templates(folder: Path) -> tuple[Form, ...]:
    """Read nucleus shapes from ``folder/labels``, such as those of DSB2018 (BBBC038).

    Parameters
    ----------
    folder : Path
        With label images: 0 is background, every other value a nucleus.

    Returns
    -------
    tuple of ndarray of float32
        Of nuclei that are large enough and do not touch the image's border, in the order of the file names. Of
        more than 2,000 every second, third ...: each takes 36 KB.

    Raises
    ------
    ImageError
        If there are no label images, or no such nucleus in them.
    """
    from scipy import ndimage

    paths = sorted(path for path in (folder / "labels").glob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ImageError(f"{folder / 'labels'} holds no label images; give the folder above labels/")
    masks = []
    for path in paths:
        labels = np.pad(read_labels(path)[0], 1)
        for index, box in enumerate(ndimage.find_objects(labels), start=1):
            if box is None or any(
                part.start <= 1 or part.stop >= side - 1 for part, side in zip(box, labels.shape, strict=True)
            ):
                continue
            mask = labels[box] == index
            if mask.sum() >= _TEMPLATE_LEAST_PX:
                masks.append(mask)
    if not masks:
        least = f"a nucleus of {_TEMPLATE_LEAST_PX} pixels or more that is not cut by the border"
        raise ImageError(f"{folder / 'labels'} does not hold {least}; give other shapes")
    return tuple(_template(np.pad(mask, 8)) for mask in masks[:: -(-len(masks) // _MOST_TEMPLATES)])


def _template(mask: Mask) -> Form:
    """Return a mask as a form: signed distances, smoothed, around the centre."""
    from scipy import ndimage

    radius = np.sqrt(mask.sum() / np.pi)
    signed = (ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)) / radius
    smooth = ndimage.gaussian_filter(signed, 0.03 * np.sqrt(mask.sum()))
    centre = ndimage.center_of_mass(mask)
    y, x = _grid()
    return _unit(
        ndimage.map_coordinates(smooth, [centre[0] + y * radius, centre[1] + x * radius], order=1, mode="nearest")
    )


def _grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return y and x of a form's points, in radii."""
    side = np.linspace(-_FORM_REACH, _FORM_REACH, _FORM_SIDE)
    y, x = np.meshgrid(side, side, indexing="ij")
    return y, x


def _unit(level: NDArray[np.float64]) -> Form:
    """Bring a form to the area of the unit disc, and its centre of mass to the middle."""
    from scipy import ndimage

    inside = level > 0.0
    step = 2.0 * _FORM_REACH / (_FORM_SIDE - 1)
    scale = np.sqrt(max(inside.sum(), 1) * step**2 / np.pi)
    centre = ndimage.center_of_mass(inside) if inside.any() else (0.5 * (_FORM_SIDE - 1),) * 2
    steps = np.linspace(-_FORM_REACH, _FORM_REACH, _FORM_SIDE) * scale / step
    places = np.meshgrid(steps + centre[0], steps + centre[1], indexing="ij")
    return np.asarray(ndimage.map_coordinates(level, places, order=1, mode="nearest"), np.float32)


def nucleus_mask(rng: Generator, place: Placement, shape: tuple[int, int]) -> tuple[slice, slice, Mask]:
    """Draw one closed outline: a rough and bent ellipse, or the placement's form, roughened.

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
    return _ellipse_mask(rng, place, shape) if place.form is None else _form_mask(rng, place, place.form, shape)


def _ellipse_mask(rng: Generator, place: Placement, shape: tuple[int, int]) -> tuple[slice, slice, Mask]:
    from skimage import draw

    theta = np.linspace(0.0, 2.0 * np.pi, 120, endpoint=False)
    orders = np.arange(2, 14)
    amplitude = place.roughness * rng.normal(size=orders.size) / orders**1.2
    phase = rng.uniform(0.0, 2.0 * np.pi, orders.size)
    radius = 1.0 + (amplitude * np.cos(orders * theta[:, None] + phase)).sum(axis=1)
    radius = np.clip(radius, 0.25, 2.0) * place.diameter / 2.0
    stretch = np.sqrt(place.elongation)
    along, across = radius * np.cos(theta) * stretch, radius * np.sin(theta) / stretch
    across = across + rng.normal(scale=2.0 * place.roughness) * (along**2 / place.diameter - place.diameter / 8.0)
    cos, sin = np.cos(place.angle), np.sin(place.angle)
    y = place.y + along * sin + across * cos
    x = place.x + along * cos - across * sin
    rows, columns = _box((y.min(), x.min()), (y.max(), x.max()), shape)
    size = (rows.stop - rows.start, columns.stop - columns.start)
    mask = draw.polygon2mask(size, np.column_stack([y - rows.start, x - columns.start]))
    return rows, columns, np.asarray(mask, bool)


def _form_mask(rng: Generator, place: Placement, form: Form, shape: tuple[int, int]) -> tuple[slice, slice, Mask]:
    from scipy import ndimage

    level = form + 0.6 * place.roughness * random_field(rng, form.shape, _FORM_SIDE * rng.uniform(0.03, 0.09))
    stretch, radius = np.sqrt(place.elongation), place.diameter / 2.0
    reach = _FORM_REACH * radius * max(stretch, 1.0 / stretch)
    rows, columns = _box((place.y - reach, place.x - reach), (place.y + reach, place.x + reach), shape)
    y = np.arange(rows.start, rows.stop)[:, None] - place.y
    x = np.arange(columns.start, columns.stop)[None] - place.x
    cos, sin = np.cos(place.angle), np.sin(place.angle)
    along, across = (x * cos + y * sin) / (radius * stretch), (y * cos - x * sin) * stretch / radius
    step = 2.0 * _FORM_REACH / (_FORM_SIDE - 1)
    places = [(part + _FORM_REACH) / step for part in (across, along)]
    mask = ndimage.map_coordinates(level, places, order=1, cval=-1.0) > 0.0
    return rows, columns, np.asarray(mask, bool)


def _box(least: tuple[float, float], most: tuple[float, float], shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return rows and columns from `least` to `most` (y, x), cut at the image's border."""
    starts = [max(int(value), 0) for value in least]
    stops = [max(min(int(value) + 2, side), start) for value, side, start in zip(most, shape, starts, strict=True)]
    return slice(starts[0], stops[0]), slice(starts[1], stops[1])


def random_field(rng: Generator, shape: tuple[int, ...], grain_px: float) -> NDArray[np.float64]:
    """Make a smooth random field of mean 0 and standard deviation 1; `grain_px` is the filter's sigma."""
    from scipy import ndimage

    step = max(int(grain_px / 3.0), 1)  # a coarse grid holds a smooth field
    coarse = rng.normal(size=[side // step + 2 for side in shape])
    coarse = ndimage.gaussian_filter(coarse, grain_px / step, mode="reflect")
    coarse = (coarse - coarse.mean()) / max(coarse.std(), 1e-12)
    if step == 1:
        return np.asarray(coarse[: shape[0], : shape[1]])
    grid = np.meshgrid(*(np.arange(side) / step for side in shape), indexing="ij")
    return np.asarray(ndimage.map_coordinates(coarse, grid, order=1))
