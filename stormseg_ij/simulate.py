"""Simulated STORM images of nuclei with exact labels, for training, tests and the demo.

A nucleus is a density of localizations (rim, patches, nucleoli, gradient); molecules are drawn from it in blinking
clusters, then counted per pixel or drawn as small Gaussians. Out-of-focus nuclei, debris and unbound fluorophores lie
in the image too: unlabelled, and in the noise mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stormseg_ij.errors import SettingsError
from stormseg_ij.files import replacing
from stormseg_ij.image import Calibration, Labels, write_labels, write_png, write_tiff
from stormseg_ij.layouts import Population, cell_layout, place_nuclei, tissue_layout
from stormseg_ij.settings import SimulateSettings
from stormseg_ij.shapes import Form, random_field, read_templates
from stormseg_ij.stray import stray_density
from stormseg_ij.textures import TEXTURES, Density, Style, nucleus_density

LOCALIZATION_COLUMNS = ("frame", "x [nm]", "y [nm]", "intensity [photon]", "uncertainty [nm]")
"""Headings of the localization table, as ThunderSTORM names them."""

TRAINING_TEXTURES, VALIDATION_TEXTURES = TEXTURES[:3], TEXTURES[3:]

_DIAMETER_UM = {"tissue": 8.0, "cell": 18.4}  # 50 and 115 pixels in the paper's example images of 512 x 512
_PIXEL_SIZE_NM = 160.0  # theirs
_VARIATION = 0.25  # of the logarithm of the mean diameter, between images; twice this at most
_LEAST_DIAMETER_PX = 8.0
_LEAST_LIT = 0.01  # localizations per pixel: below is what a Gaussian's tail leaves


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
    points : ndarray of float64, shape (L, 2)
        Places (y, x) of the localizations in pixels, from the image's upper left corner.
    pixel_size_nm : float
    """

    image: NDArray[np.uint8]
    labels: Labels
    noise: NDArray[np.bool_]
    points: NDArray[np.float64]
    pixel_size_nm: float


def simulate(
    rng: Generator,
    *,
    kind: str,
    size: int,
    diameter: float | None = None,
    pixel_size_nm: float | None = None,
    textures: tuple[str, ...] = TRAINING_TEXTURES,
    templates: tuple[Form, ...] = (),
) -> Simulation:
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
        Mean diameter of the nuclei in pixels. Without it about 8 um (tissue) or 18.4 um (cell), varied by a third.
    pixel_size_nm : float, optional
        Without it such that the nuclei have that size; 160 nm, as in the paper's images at 512 x 512, where
        the diameter is not given either.
    textures : tuple of str
        Of `textures.TEXTURES`; each image has one.
    templates : tuple of Form
        Nucleus shapes to use beside the drawn ones (`shapes.read_templates`).

    Raises
    ------
    SettingsError
        If nuclei would be larger than the image, or at this pixel size smaller than 8 pixels.

    References
    ----------
    Mela & Liu 2021, Fig. 1 (discrete packages in place of gradients) and "Noise removal".
    """
    shape = (size, size)
    _check_sizes(kind, size, diameter, pixel_size_nm)
    varied = 1000.0 * _DIAMETER_UM[kind] * np.exp(_VARIATION * np.clip(rng.normal(), -2.0, 2.0))  # nm
    if pixel_size_nm is None:
        pixel_size_nm = _PIXEL_SIZE_NM if diameter is None else varied / diameter
    if diameter is None:
        diameter = varied / pixel_size_nm
    frame = int(rng.choice([0.0, rng.uniform(0.004, 0.012)]) * size)  # many reconstructions leave an empty frame
    inside = np.zeros(shape, bool)
    inside[frame : size - frame, frame : size - frame] = True
    if kind == "tissue":
        population = Population.tissue(rng, diameter, templates)
        places = tissue_layout(rng, shape, population)
    else:
        population = Population.cells(rng, diameter, templates)
        places = cell_layout(rng, shape, population)
    labels = place_nuclei(
        rng,
        inside,
        places,
        most_overlap=rng.uniform(0.05, 0.35),
        gap_px=rng.choice([0.0, 0.0, 1.0, rng.uniform(0.0, 0.04) * diameter]),
        in_front=bool(rng.random() < 0.35),
    )
    style = Style.random(rng, textures)
    nuclei = _nuclei_density(rng, labels, diameter, style)
    stray, stray_mask = stray_density(rng, labels, population, style)
    background = _background_density(rng, labels)
    per_pixel = np.exp(rng.uniform(np.log(1.2), np.log(70.0)))  # localizations: some stains are 40 times as dense
    cluster = _Cluster.random(rng, diameter, most=per_pixel * diameter**2 / 250.0)
    signal = _draw_localizations(rng, (nuclei + stray) * inside * per_pixel, cluster)
    unbound = _draw_localizations(rng, background * inside * per_pixel, _Cluster(rng.uniform(1.0, 6.0), 0.4))
    points = np.concatenate([signal, unbound])
    image = _render(rng, points, shape)
    hit = np.zeros(shape, bool)
    hit[tuple(_pixels_of(unbound).T)] = True
    noise = (stray_mask | hit) & (labels == 0) & inside
    return Simulation(image, labels, noise, points, pixel_size_nm)


def _check_sizes(kind: str, size: int, diameter: float | None, pixel_size_nm: float | None) -> None:
    """Refuse nuclei that would show no shape or not fit, whatever the random numbers."""
    if diameter is not None:
        if diameter > size:
            raise SettingsError(f"--diameter {diameter:g} does not fit an image of --size {size}; give a larger size")
        return
    usual, most = 1000.0 * _DIAMETER_UM[kind], float(np.exp(2.0 * _VARIATION))
    pixel = _PIXEL_SIZE_NM if pixel_size_nm is None else pixel_size_nm
    if usual / pixel / most < _LEAST_DIAMETER_PX:
        least = usual / most / _LEAST_DIAMETER_PX
        raise SettingsError(f"--pixel-size {pixel:g}: nuclei show no shape there; give {least:.0f} nm or less")
    if pixel_size_nm is not None and usual / pixel > size:
        least = usual / size
        raise SettingsError(f"--pixel-size {pixel:g}: nuclei do not fit in --size {size}; give {least:.0f} nm or more")


def localization_table(rng: Generator, result: Simulation) -> NDArray[np.float32]:
    """Make up frame, photons and uncertainty of each localization; return shape (L, 5) as `LOCALIZATION_COLUMNS`."""
    number = len(result.points)
    photons = rng.lognormal(np.log(800.0), 0.5, number)
    uncertainty = 300.0 / np.sqrt(photons)  # nm: the precision of a 300 nm wide spot improves with photons
    frame = rng.integers(1, 20_001, number)
    order = np.argsort(frame, kind="stable")
    places = result.points[:, ::-1] * result.pixel_size_nm  # x, y
    return np.column_stack([frame, places, photons, uncertainty])[order].astype(np.float32)


def image_stem(settings: SimulateSettings, index: int) -> str:
    """Return the name, without an ending, of an image that `write_dataset` writes.

    >>> image_stem(SimulateSettings(kind="cell", seed=7), 3)
    'cell_7_0003'
    """
    return f"{settings.kind}_{settings.seed}_{index:04d}"


def output_names(settings: SimulateSettings, index: int) -> dict[str, Path]:
    """Return the files of one image in the folder that `write_dataset` writes to, by what they hold.

    >>> output_names(SimulateSettings(seed=7), 3)["noise"].as_posix()
    'noise/tissue_7_0003.png'
    """
    endings = {"images": ".tif", "labels": ".tif", "noise": ".png", "localizations": ".csv"}
    return {name: Path(name, image_stem(settings, index) + ending) for name, ending in endings.items()}


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
        If the folder cannot be written to, or that of the shapes holds none.
    SettingsError
        If the pixels are too large to show nuclei.
    """
    templates = read_templates(Path(settings.shapes)) if settings.shapes else ()
    images = []
    for index in track(range(settings.count)):
        rng = np.random.default_rng([settings.seed, index, sum(settings.kind.encode())])
        result = simulate(
            rng,
            kind=settings.kind,
            size=settings.size,
            diameter=settings.diameter,
            pixel_size_nm=settings.pixel_size,
            templates=templates,
        )
        paths = {name: folder / path for name, path in output_names(settings, index).items()}
        side = result.pixel_size_nm / 1000.0
        calibration = Calibration(side, side, "micron")
        write_tiff(paths["images"], result.image, calibration=calibration)
        write_labels(paths["labels"], result.labels, calibration=calibration)
        write_png(paths["noise"], result.noise.astype(np.uint8) * np.uint8(255))
        if settings.localizations:
            _write_localizations(paths["localizations"], localization_table(rng, result))
        else:
            paths["localizations"].unlink(missing_ok=True)  # of an image that this one replaces
        images.append(paths["images"])
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


def _nuclei_density(rng: Generator, labels: Labels, diameter: float, style: Style) -> Density:
    """Localizations per pixel of the labelled nuclei, 1.0 on average."""
    from scipy import ndimage

    density = np.zeros(labels.shape)
    uneven = rng.uniform(0.1, 0.35)
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        mask = labels[box] == index
        density[box][mask] = nucleus_density(rng, mask, diameter, style)[mask] * rng.lognormal(sigma=uneven)
    return density


def _background_density(rng: Generator, labels: Labels) -> Density:
    """Unbound fluorophores everywhere, denser in some regions."""
    level = np.exp(rng.uniform(np.log(1e-4), np.log(8e-2)))
    uneven = random_field(rng, labels.shape, labels.shape[0] / rng.uniform(6.0, 25.0))
    return np.asarray(level * np.exp(rng.uniform(0.0, 1.5) * uneven))


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
    points = points + rng.normal(scale=cluster.sigma_px, size=points.shape)
    return np.asarray(points[((points >= 0.0) & (points < density.shape)).all(axis=1)])


def _pixels_of(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the pixel (row, column) of each point."""
    return np.floor(points).astype(np.intp)


def _render(rng: Generator, points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Count localizations per pixel, or draw each as a small Gaussian, as the usual reconstructions are.

    Counted ones may saturate in their brightest pixels, as 8-bit exports do.
    """
    from scipy import ndimage

    pixels = _pixels_of(points)
    counts = np.bincount(pixels[:, 0] * shape[1] + pixels[:, 1], minlength=shape[0] * shape[1]).reshape(shape)
    values = counts.astype(np.float64)
    if rng.random() < 0.5:
        values = ndimage.gaussian_filter(values, rng.uniform(0.4, 1.1))
        brightest, gain = 99.9, rng.uniform(150.0, 260.0)
    else:
        brightest, gain = 99.0, rng.uniform(70.0, 400.0)
    lit = values[values > _LEAST_LIT]
    scale = gain / np.percentile(lit, brightest) if lit.size else 1.0
    return np.asarray(np.clip(np.rint(values * scale), 0.0, 255.0), np.uint8)


def _write_localizations(path: Path, table: NDArray[np.float32]) -> None:
    with replacing(path) as temporary:
        header = ",".join(f'"{name}"' for name in LOCALIZATION_COLUMNS)
        np.savetxt(
            temporary, table, fmt=("%d", "%.1f", "%.1f", "%.0f", "%.1f"), delimiter=",", header=header, comments=""
        )
