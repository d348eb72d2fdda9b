"""Simulated STORM images of nuclei with exact labels, for training, tests and the demo.

A nucleus is a density of localizations (rim, patches, nucleoli, gradient); molecules are drawn from it in blinking
clusters and rendered as a histogram. Out-of-focus nuclei, debris and unbound fluorophores lie in the image too:
unlabelled, and in the noise mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stormseg_ij import shapes
from stormseg_ij.files import replacing
from stormseg_ij.image import Calibration, Labels, write_labels, write_png, write_tiff
from stormseg_ij.settings import SimulateSettings

Density = NDArray[np.float64]

LOCALIZATION_COLUMNS = ("frame", "x [nm]", "y [nm]", "intensity [photon]", "uncertainty [nm]")
"""Headings of the localization table, as ThunderSTORM names them."""

_DIAMETER_PX = {"tissue": 50.0, "cell": 115.0}  # the paper's example images at 512 x 512
_PIXEL_SIZE_NM = 160.0


@dataclass(frozen=True)
class Simulation:
    """One simulated image and all that is known about it.

    Attributes
    ----------
    image : ndarray of uint8, shape (Y, X)
    labels : ndarray of int32, shape (Y, X)
        Nuclei in focus, 1..N.
    noise : ndarray of bool, shape (Y, X)
        Signal that belongs to no labelled nucleus: out-of-focus nuclei, debris, unbound fluorophores.
    localizations : ndarray of float32, shape (L, 5)
        Columns as `LOCALIZATION_COLUMNS`.
    pixel_size_nm : float
    """

    image: NDArray[np.uint8]
    labels: Labels
    noise: NDArray[np.bool_]
    localizations: NDArray[np.float32]
    pixel_size_nm: float


def simulate(rng: Generator, *, kind: str, size: int, diameter: float | None = None) -> Simulation:
    """Simulate one square image.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of randomness: the same state gives the same image.
    kind : {"tissue", "cell"}
        Crowded rough nuclei with bright rims, or few large smooth ones.
    size : int
        Side in pixels.
    diameter : float, optional
        Mean diameter of the nuclei in pixels. Without it 50 (tissue) or 115 (cell), as in the paper's
        images at 512 x 512, varied by a third.

    References
    ----------
    Mela & Liu 2021, Fig. 1 (discrete packages in place of gradients) and "Noise removal".
    """
    shape = (size, size)
    if diameter is None:
        diameter = _DIAMETER_PX[kind] * rng.lognormal(sigma=0.25)
    layout = shapes.tissue_layout if kind == "tissue" else shapes.cell_layout
    frame = int(rng.choice([0, 0, round(0.01 * size)]))  # some reconstructions leave an empty frame
    inside = np.zeros(shape, bool)
    inside[frame : size - frame, frame : size - frame] = True
    labels = shapes.place_nuclei(
        rng, inside, layout(rng, shape, diameter), most_overlap=rng.uniform(0.05, 0.3), gap_px=rng.choice([0.0, 1.0])
    )
    nuclei = _nuclei_density(rng, labels, diameter)
    stray, stray_mask = _stray_density(rng, labels, diameter)
    background = _background_density(rng, labels)
    per_pixel = np.exp(rng.uniform(np.log(1.0), np.log(50.0)))  # localizations: some stains are 40 times as dense
    cluster = _Cluster.random(rng, diameter, most=per_pixel * diameter**2 / 250.0)
    signal = _draw_localizations(rng, (nuclei + stray) * inside * per_pixel, cluster)
    unbound = _draw_localizations(rng, background * inside * per_pixel, _Cluster(rng.uniform(1.0, 6.0), 0.4))
    points = np.concatenate([signal, unbound])
    image = _render(rng, points, shape)
    hit = np.zeros(shape, bool)
    hit[tuple(_pixels_of(unbound, shape).T)] = True
    noise = (stray_mask | hit) & (labels == 0) & inside
    return Simulation(image, labels, noise, _table(rng, points), _PIXEL_SIZE_NM)


def image_stem(settings: SimulateSettings, index: int) -> str:
    """Return the name, without an ending, of an image that `write_dataset` writes.

    >>> image_stem(SimulateSettings(kind="cell", seed=7), 3)
    'cell_7_0003'
    """
    return f"{settings.kind}_{settings.seed}_{index:04d}"


def write_dataset(
    folder: Path, settings: SimulateSettings, *, track: Callable[[range], Iterable[int]] = iter
) -> list[Path]:
    """Write `settings.count` simulated images as `images`, `labels`, `noise` and `localizations` with equal stems.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    settings : SimulateSettings
        Image i depends on the seed, the kind and i only, not on the count.
    track : callable, optional
        Is handed the range of images and gives it back one by one: a progress bar.

    Returns
    -------
    list of Path
        The images.

    Raises
    ------
    ImageError
        If the folder cannot be written to.
    """
    images = []
    for index in track(range(settings.count)):
        rng = np.random.default_rng([settings.seed, index, sum(settings.kind.encode())])
        result = simulate(rng, kind=settings.kind, size=settings.size, diameter=settings.diameter)
        stem = image_stem(settings, index)
        side = result.pixel_size_nm / 1000.0
        calibration = Calibration(side, side, "micron")
        write_tiff(folder / "images" / f"{stem}.tif", result.image, calibration=calibration)
        write_labels(folder / "labels" / f"{stem}.tif", result.labels, calibration=calibration)
        write_png(folder / "noise" / f"{stem}.png", result.noise.astype(np.uint8) * np.uint8(255))
        if settings.localizations:
            _write_localizations(folder / "localizations" / f"{stem}.csv", result.localizations)
        images.append(folder / "images" / f"{stem}.tif")
    return images


@dataclass(frozen=True)
class _Cluster:
    """How localizations lump: their mean number per cluster and its radius (standard deviation) in pixels."""

    mean_count: float
    sigma_px: float

    @classmethod
    def random(cls, rng: Generator, diameter: float, *, most: float) -> _Cluster:
        mean_count = min(np.exp(rng.uniform(np.log(2.0), np.log(60.0))), most)
        return cls(mean_count, diameter * np.exp(rng.uniform(np.log(0.003), np.log(0.014))))


def _nuclei_density(rng: Generator, labels: Labels, diameter: float) -> Density:
    """Localizations per pixel of the labelled nuclei, 1.0 on average."""
    from scipy import ndimage

    density = np.zeros(labels.shape)
    style = _Style.random(rng)
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        mask = labels[box] == index
        texture = _texture(rng, mask, diameter, style)
        density[box][mask] = texture[mask] * rng.lognormal(sigma=0.28)
    return density


@dataclass(frozen=True)
class _Style:
    """What the nuclei of one image share: strength of rim, hollowness, contrast and grain of the patches."""

    rim: float
    hollow: float
    contrast: float
    grain: float

    @classmethod
    def random(cls, rng: Generator) -> _Style:
        return cls(rng.gamma(1.2, 0.8), rng.uniform(0.0, 0.85), rng.uniform(0.1, 1.2), rng.uniform(0.01, 0.08))


def _texture(rng: Generator, mask: NDArray[np.bool_], diameter: float, style: _Style) -> Density:
    """Relative density inside one nucleus, mean 1 over the mask."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.indices(mask.shape) - np.array(ndimage.center_of_mass(mask))[:, None, None]
    direction = rng.uniform(0.0, 2.0 * np.pi)
    toward = (x * np.cos(direction) + y * np.sin(direction)) / diameter
    angle = np.arctan2(y, x)

    grain = max(style.grain * diameter * rng.lognormal(sigma=0.3), 0.5)
    inner = np.exp(style.contrast * _field(rng, mask.shape, grain))
    hollow = np.clip(style.hollow * rng.uniform(0.3, 1.3), 0.0, 0.97)
    inner *= 1.0 - hollow * np.clip(depth / depth.max() * 1.6, 0.0, 1.0)
    inner *= np.exp(np.clip(rng.normal(scale=0.6), -1.5, 1.5) * toward)
    if rng.random() < 0.25:  # regions without stain, that are nucleus all the same
        inner[_field(rng, mask.shape, 0.12 * diameter) > rng.uniform(0.4, 1.5)] *= rng.uniform(0.02, 0.4)
    inner = _nucleoli(rng, inner, mask, diameter)

    width = max(rng.uniform(0.02, 0.055) * diameter, 0.7)
    open_side = np.clip(1.0 + rng.uniform(0.0, 1.3) * np.cos(angle - rng.uniform(0.0, 2.0 * np.pi)), 0.0, None)
    patchy = np.exp(0.5 * _field(rng, mask.shape, max(0.04 * diameter, 0.7)))
    rim = style.rim * rng.lognormal(sigma=0.4) * open_side * patchy * np.exp(-(((depth - width) / width) ** 2))
    total = inner + rim
    return np.asarray(total / total[mask].mean())


def _nucleoli(rng: Generator, inner: Density, mask: NDArray[np.bool_], diameter: float) -> Density:
    """Thin out up to four discs, some of them with a bright wall."""
    rows, columns = np.nonzero(mask)
    y, x = np.indices(mask.shape)
    for _ in range(int(rng.integers(0, 5))):
        pick = int(rng.integers(rows.size))
        distance = np.hypot(y - rows[pick], x - columns[pick])
        radius = rng.uniform(0.05, 0.14) * diameter
        inner = np.where(distance < radius, inner * rng.uniform(0.0, 0.35), inner)
        if rng.random() < 0.4:
            inner = inner + rng.uniform(0.5, 2.5) * np.exp(-(((distance - radius) / max(0.02 * diameter, 0.6)) ** 2))
    return inner


def _stray_density(rng: Generator, labels: Labels, diameter: float) -> tuple[Density, NDArray[np.bool_]]:
    """Out-of-focus nuclei (dim, blurred), torn pieces and small debris: in the image, not in the labels."""
    from scipy import ndimage

    shape = labels.shape
    density, mask = np.zeros(shape), np.zeros(shape, bool)
    area = labels.size / diameter**2
    kinds = [(rng.poisson(area / 30.0), 1.0, "dim"), (rng.poisson(area / 30.0), 0.28, "debris")]
    for number, relative, what in kinds:
        for _ in range(number):
            place = shapes.Placement(
                rng.uniform(0.0, shape[0]),
                rng.uniform(0.0, shape[1]),
                max(diameter * relative * rng.uniform(0.6, 1.2), 3.0),
                rng.uniform(0.0, np.pi),
                rng.uniform(1.0, 2.5),
                rng.uniform(0.03, 0.15),
            )
            rows, columns, drawn = shapes.nucleus_mask(rng, place, (shape[0], shape[1]))
            if not drawn.any():
                continue
            grain = _field(rng, drawn.shape, max(0.06 * diameter, 0.7))
            texture = drawn * np.exp(rng.uniform(0.2, 1.2) * grain)
            level = rng.uniform(0.02, 0.22) if what == "dim" else rng.uniform(0.1, 1.2)
            sigma = rng.uniform(0.02, 0.1) * diameter * relative
            reach = int(4.0 * sigma + 0.5)  # where the filter ends
            box = tuple(
                slice(max(part.start - reach, 0), min(part.stop + reach, side))
                for part, side in zip((rows, columns), shape, strict=True)
            )
            blob = np.zeros(density[box].shape)
            blob[rows.start - box[0].start :, columns.start - box[1].start :][: drawn.shape[0], : drawn.shape[1]] = (
                texture
            )
            blob = ndimage.gaussian_filter(blob, sigma) * level
            density[box] += blob
            mask[box] |= blob > 0.15 * level
    return density * (labels == 0), mask & (labels == 0)


def _background_density(rng: Generator, labels: Labels) -> Density:
    """Unbound fluorophores everywhere, denser in some regions."""
    level = np.exp(rng.uniform(np.log(2e-4), np.log(6e-2)))
    uneven = _field(rng, labels.shape, labels.shape[0] / rng.uniform(6.0, 25.0))
    return np.asarray(level * np.exp(rng.uniform(0.0, 1.5) * uneven))


def _field(rng: Generator, shape: tuple[int, ...], grain_px: float) -> Density:
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


def _draw_localizations(rng: Generator, density: Density, cluster: _Cluster) -> NDArray[np.float64]:
    """Draw (y, x) in pixels: clusters from the density, in each a number of blinks around its centre."""
    expected = density.sum() / cluster.mean_count
    number = int(rng.poisson(expected))
    if number == 0:
        return np.zeros((0, 2))
    cumulative = np.cumsum(density.ravel())
    picks = np.searchsorted(cumulative, rng.uniform(0.0, cumulative[-1], number), side="right")
    picks = np.minimum(picks, density.size - 1)
    centres = np.column_stack(np.unravel_index(picks, density.shape)) + rng.uniform(0.0, 1.0, (number, 2))
    counts = rng.poisson(rng.gamma(1.5, cluster.mean_count / 1.5, number))
    points = np.repeat(centres, counts, axis=0)
    return points + rng.normal(scale=cluster.sigma_px, size=points.shape)


def _pixels_of(points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.intp]:
    """Return the pixel (row, column) of each point that lies in the image."""
    pixels = np.floor(points).astype(np.intp)
    return pixels[((pixels >= 0) & (pixels < shape)).all(axis=1)]


def _render(rng: Generator, points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Count localizations per pixel; the gain lets the brightest pixels saturate, as 8-bit exports do."""
    pixels = _pixels_of(points, shape)
    counts = np.bincount(pixels[:, 0] * shape[1] + pixels[:, 1], minlength=shape[0] * shape[1]).reshape(shape)
    bright = np.percentile(counts[counts > 0], 99.0) if counts.any() else 1.0
    gain = rng.uniform(110.0, 400.0) / bright
    return np.asarray(np.clip(np.rint(counts * gain), 0.0, 255.0), np.uint8)


def _table(rng: Generator, points: NDArray[np.float64]) -> NDArray[np.float32]:
    number = len(points)
    photons = rng.lognormal(np.log(800.0), 0.5, number)
    uncertainty = 300.0 / np.sqrt(photons)  # nm: the precision of a 300 nm wide spot improves with photons
    frame = rng.integers(1, 20_001, number)
    order = np.argsort(frame, kind="stable")
    places = points[:, ::-1] * _PIXEL_SIZE_NM  # x, y
    return np.column_stack([frame, places, photons, uncertainty])[order].astype(np.float32)


def _write_localizations(path: Path, table: NDArray[np.float32]) -> None:
    with replacing(path) as temporary:
        header = ",".join(f'"{name}"' for name in LOCALIZATION_COLUMNS)
        np.savetxt(
            temporary, table, fmt=("%d", "%.1f", "%.1f", "%.0f", "%.1f"), delimiter=",", header=header, comments=""
        )
