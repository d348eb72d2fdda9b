"""How far simulated images are from real: python benchmarks/simulator.py [--real FOLDER] [--count N] [--out FOLDER].

Prints a table: a row for each statistic, a column for each real image, and the 5, 50 and 95 % points over N simulated
images of each kind. A star marks a real value outside that range of its kind (its name begins with Cell or Tissue).
The rows that miss most follow. `--real` holds NAME.png and NAME_labels.png; `--out` takes pictures to compare by eye.

Nuclei that reach the image's border count in all rows but diameter, solidity and eccentricity. D is the diameter of a
circle of the nucleus' area; the rim lies less than 0.08 D from its outline, the middle up to 0.25 D, the centre deeper.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure, segmentation, transform

from stormseg_ij.image import Labels, read_image, read_labels, write_png
from stormseg_ij.simulate import simulate

EXAMPLES = Path(__file__).parents[2] / "shared" / "data" / "storm_examples"
KINDS = ("cell", "tissue")
SIZE = 512  # px: side of a simulated image, longest side of a real one
FIRST_SEED = 900
SMALLEST_PX = 50  # pieces of a label image below this area are no nuclei
BORDER_PX = 6  # an image may have an empty frame
FURTHEST = 25  # misses that are listed
COLUMNS, GAP_PX = 4, 6  # of the pictures

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Statistics = dict[str, float]


@dataclass(frozen=True)
class Sample:
    """An image with its labels 1..N; kind is cell, tissue or ""."""

    name: str
    image: Floats
    labels: Labels
    kind: str


@dataclass(frozen=True)
class Nucleus:
    """One nucleus, cut out with a margin of one pixel where the image goes on."""

    mask: Mask
    image: Floats
    region: Any  # of scikit-image's regionprops
    touches: bool
    whole: bool
    diameter: float


def read_real(folder: Path) -> list[Sample]:
    """Return the images of a folder that have labels, none longer than `SIZE`."""
    samples = []
    for path in sorted(folder.glob("*_labels.png")):
        name = path.stem.removesuffix("_labels")
        image = read_image(path.with_name(f"{name}.png")).pixels.astype(np.float64)
        labels = read_labels(path)[0]
        if max(image.shape) > SIZE:
            shape = tuple(round(side * SIZE / max(image.shape)) for side in image.shape)
            image = np.asarray(transform.resize(image, shape, anti_aliasing=True, preserve_range=True))
            labels = transform.resize(labels, shape, order=0, anti_aliasing=False, preserve_range=True)
        kind = next((kind for kind in KINDS if name.lower().startswith(kind)), "")
        samples.append(Sample(name, image, without_specks(labels), kind))
    return [sample for sample in samples if sample.labels.any()]


def read_simulated(kind: str, count: int) -> list[Sample]:
    """Return simulated images of one kind, `count` less those that came out without a nucleus."""
    seeds = range(FIRST_SEED, FIRST_SEED + count)
    results = [simulate(np.random.default_rng(seed), kind=kind, size=SIZE) for seed in seeds]
    samples = [Sample(kind, result.image.astype(float), without_specks(result.labels), kind) for result in results]
    return [sample for sample in samples if sample.labels.any()]


def without_specks(labels: Labels) -> Labels:
    """Leave out pieces too small for a nucleus and number the rest 1..N."""
    kept = np.where(np.bincount(labels.ravel())[labels] < SMALLEST_PX, 0, labels)
    return np.asarray(segmentation.relabel_sequential(kept)[0], np.int32)


def nuclei_of(sample: Sample) -> list[Nucleus]:
    """Cut out all nuclei of an image."""
    labels, nuclei, shape = sample.labels, [], np.array(sample.labels.shape)
    for region in measure.regionprops(labels):
        low, high = np.array(region.bbox[:2]), np.array(region.bbox[2:])
        whole = bool((low >= BORDER_PX).all() and (high <= shape - BORDER_PX).all())
        wide, box = (tuple(map(slice, np.maximum(low - margin, 0), high + margin)) for margin in (4, 1))
        distance = ndimage.distance_transform_edt(labels[wide] != region.label)
        touches = bool((distance[labels[wide] > 0] <= 3.0).sum() > region.area)
        diameter = float(region.equivalent_diameter_area)
        nuclei.append(Nucleus(labels[box] == region.label, sample.image[box], region, touches, whole, diameter))
    return nuclei


def median(values: list[float], percent: float = 50.0) -> float:
    """Return the median (or another percentile) of what is no NaN, NaN if nothing is left."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.percentile(known, percent)) if known else math.nan


def ratio(part: float, whole: float) -> float:
    """Return part / whole, NaN for a whole of 0."""
    return float(part / whole) if whole else math.nan


def layout(sample: Sample, nuclei: list[Nucleus]) -> Statistics:
    """Return number, size, shape and neighbourhood of the nuclei."""
    whole = [nucleus for nucleus in nuclei if nucleus.whole] or nuclei
    low, middle, high = np.percentile([nucleus.diameter for nucleus in whole], [10, 50, 90])
    return {
        "nucleus diameter, median (px)": middle,
        "nucleus diameter, (90 % - 10 %) / median": float((high - low) / middle),
        "nuclei": float(len(nuclei)),
        "area covered by nuclei": float((sample.labels > 0).mean()),
        "solidity, 10 %": median([nucleus.region.solidity for nucleus in whole], 10.0),
        "solidity, median": median([nucleus.region.solidity for nucleus in whole]),
        "eccentricity, median": median([nucleus.region.eccentricity for nucleus in whole]),
        "nuclei within 3 px of another": float(np.mean([nucleus.touches for nucleus in nuclei])),
    }


def intensity(sample: Sample) -> Statistics:
    """Return how bright and how empty the image is inside and outside the nuclei."""
    image, inside = sample.image, sample.labels > 0
    lit, around = image[image > 0], ndimage.convolve((image > 0).astype(float), np.ones((3, 3)), mode="constant")
    return {
        "zero pixels, overall": float((image == 0).mean()),
        "zero pixels, in nuclei": float((image[inside] == 0).mean()),
        "zero pixels, outside": float((image[~inside] == 0).mean()),
        **{f"nonzero pixels, {q:g} %": float(np.percentile(lit, q)) for q in (50, 90, 99, 99.8)},
        "lit pixels in nuclei, lit among their 8 neighbours": float(around[inside & (image > 0)].mean()) - 1.0,
        "mean in nuclei": float(image[inside].mean()),
        "mean outside": float(image[~inside].mean()),
        "mean outside / in nuclei": ratio(image[~inside].mean(), image[inside].mean()),
        "share of all intensity outside": ratio(image[~inside].sum(), image.sum()),
    }


def profile(nuclei: list[Nucleus]) -> Statistics:
    """Return how the density changes from the rim to the centre, and around the rim."""
    rims, centres, openness = [], [], []
    for nucleus in nuclei:
        mask, image = nucleus.mask, nucleus.image
        depth = (ndimage.distance_transform_edt(mask) - 0.5) / nucleus.diameter  # the image's border is no outline
        rim, centre = mask & (depth < 0.08), mask & (depth > 0.25)
        middle = mask & ~rim & ~centre
        if rim.any() and middle.any():
            rims.append(ratio(image[rim].mean(), image[middle].mean()))
            y, x = np.indices(mask.shape) - np.array(ndimage.center_of_mass(mask))[:, None, None]
            sector = np.floor((np.arctan2(y, x) / (2.0 * np.pi) + 0.5) * 8.0).astype(int)[rim] % 8
            means = [image[rim][sector == number].mean() for number in np.unique(sector)]
            openness.append(ratio(min(means), max(means)))
        if centre.any() and middle.any():
            centres.append(ratio(image[centre].mean(), image[middle].mean()))
    return {
        "rim / middle": median(rims),
        "rim / middle, 90 % of the nuclei": median(rims, 90.0),
        "centre / middle": median(centres),
        "rim, darkest / brightest of 8 sectors": median(openness),
    }


def texture(nuclei: list[Nucleus]) -> Statistics:
    """Return how much pixels vary in a nucleus (median over the nuclei) and from nucleus to nucleus."""
    variation: dict[str, list[float]] = {"": [], ", blurred 2 px": [], ", blurred 0.1 D": []}
    for nucleus in nuclei:
        for name, sigma in zip(variation, (0.0, 2.0, 0.1 * nucleus.diameter), strict=True):
            pixels = nucleus.image[nucleus.mask]
            if sigma:  # only from pixels of the nucleus
                weight = ndimage.gaussian_filter(nucleus.mask.astype(float), sigma)
                blurred = ndimage.gaussian_filter(nucleus.image * nucleus.mask, sigma)
                pixels = blurred[nucleus.mask] / weight[nucleus.mask]
            variation[name].append(ratio(pixels.std(), pixels.mean()))
    means = [nucleus.image[nucleus.mask].mean() for nucleus in nuclei]
    rows = {f"variation (CV) in a nucleus{name}": median(values) for name, values in variation.items()}
    return rows | {"variation (CV) between nuclei's means": ratio(float(np.std(means)), float(np.mean(means)))}


def grain(sample: Sample) -> Statistics:
    """Return how far neighbouring pixels of a nucleus are alike, and at which wavelengths they vary."""
    labels, inside = sample.labels, sample.labels > 0
    numbers = np.arange(1, int(labels.max()) + 1)
    mean = np.concatenate([[0.0], ndimage.mean(sample.image, labels, numbers)])
    residual = np.where(inside, sample.image - mean[labels], 0.0)
    rows: Statistics = {}
    for lag in (1, 2, 4):
        products = [
            (field[lag:] * field[:-lag])[(same[lag:] == same[:-lag]) & (same[lag:] > 0)]
            for field, same in ((residual, labels), (residual.T, labels.T))
        ]
        rows[f"autocorrelation in nuclei, {lag} px"] = np.concatenate(products).mean() / (residual[inside] ** 2).mean()
    power = np.abs(np.fft.fft2(residual)) ** 2
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in power.shape), indexing="ij"))
    bands = [power[(frequency >= 1.0 / (2 * px)) & (frequency < 1.0 / px)] for px in (2, 4, 8, 16)]
    total = sum(float(band.sum()) for band in bands)
    rows |= {f"power at {px} to {2 * px} px": ratio(b.sum(), total) for px, b in zip((2, 4, 8, 16), bands, strict=True)}
    slope = np.polyfit(-np.log([3.0, 6.0, 12.0, 24.0]), np.log([band.mean() + 1e-12 for band in bands]), 1)[0]
    return rows | {"power, slope of log over log frequency": float(slope)}


def unlabelled(sample: Sample, nuclei: list[Nucleus]) -> Statistics:
    """Return what shines like a nucleus at half its level but carries no label."""
    inside = sample.labels > 0
    smooth = ndimage.gaussian_filter(np.sqrt(sample.image), 2.0)
    bright = smooth > 0.5 * np.median(smooth[inside])
    pieces, count = ndimage.label(bright)
    area = ndimage.sum_labels(np.ones(pieces.shape), pieces, np.arange(1, count + 1))
    overlap = ndimage.sum_labels(inside, pieces, np.arange(1, count + 1)) / np.maximum(area, 1)
    nucleus_area = float(np.median([np.count_nonzero(nucleus.mask) for nucleus in nuclei]))
    found = np.flatnonzero((area > 0.05 * nucleus_area) & (overlap < 0.2)) + 1
    levels = ndimage.mean(sample.image, pieces, found) / sample.image[inside].mean() if found.size else []
    return {
        "unlabelled objects per nucleus": len(found) / len(nuclei),
        "unlabelled objects, median area / nucleus": median([float(area[i - 1]) / nucleus_area for i in found]),
        "unlabelled objects, median mean / nuclei": median([float(level) for level in levels]),
        "bright area outside / area of nuclei": ratio((bright & ~inside).sum(), inside.sum()),
        "bright share of the nuclei's area": float(bright[inside].mean()),
    }


def statistics_of(sample: Sample) -> Statistics:
    """Return all rows of the table for one image, which has a nucleus."""
    nuclei = nuclei_of(sample)
    rows = layout(sample, nuclei) | intensity(sample) | profile(nuclei) | texture(nuclei)
    return rows | grain(sample) | unlabelled(sample, nuclei)


def print_table(real: list[Sample], simulated: dict[str, list[Sample]]) -> None:
    """Print the table and the rows whose real values lie furthest outside."""
    measured = [statistics_of(sample) for sample in real]
    columns = {kind: [statistics_of(sample) for sample in samples] for kind, samples in simulated.items()}
    heads = [sample.name for sample in real] + [f"simulated {kind}: 5 / 50 / 95 %" for kind in columns]
    print(f"| statistic | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    misses = []
    for row in next(iter(columns.values()))[0]:
        cells, ends = [], {}
        for kind, found in columns.items():
            ends[kind] = [median([column[row] for column in found], percent) for percent in (5.0, 50.0, 95.0)]
        for sample, statistics in zip(real, measured, strict=True):
            value = float(statistics[row])
            low, _, high = ends.get(sample.kind, [math.nan] * 3)  # a comparison with NaN is False
            outside = value < low or value > high
            if outside:
                far = max(low - value, value - high) / max(high - low, 0.05 * abs(high), 1e-9)
                side = "below" if value < low else "above"
                misses.append((far, f"{sample.name}: {row} {value:.3g} {side} {low:.3g} to {high:.3g}"))
            cells.append(f"{value:.3g}{'*' * outside}")
        cells += [" / ".join(f"{value:.3g}" for value in ends[kind]) for kind in columns]
        print(f"| {row} | {' | '.join(cells)} |")
    print(f"\n{len(misses)} real values lie outside; the furthest, in widths of the simulated range:" if real else "")
    print(*(f"- {far:.2f} {words}" for far, words in sorted(misses, reverse=True)[:FURTHEST]), sep="\n")


def write_pictures(folder: Path, kind: str, real: list[Sample], simulated: list[Sample]) -> None:
    """Write the real images of one kind above three rows of simulated ones (square root), without and with outlines."""
    groups = (real, simulated[: 3 * COLUMNS])
    rows = [group[i : i + COLUMNS] for group in groups for i in range(0, len(group), COLUMNS)]
    step = SIZE + GAP_PX
    plain = np.full((len(rows) * step - GAP_PX, COLUMNS * step - GAP_PX, 3), 128, np.uint8)
    outlined = plain.copy()
    for y, row in enumerate(rows):
        for x, sample in enumerate(row):
            top = max(float(np.percentile(sample.image, 99.8)), 1.0)
            gray = np.rint(np.sqrt(np.clip(sample.image / top, 0.0, 1.0)) * 255.0)
            tile = tuple(slice(at * step, at * step + side) for at, side in zip((y, x), gray.shape, strict=True))
            plain[tile] = outlined[tile] = gray[..., None]
            outlined[tile][segmentation.find_boundaries(sample.labels, mode="inner")] = (0, 230, 255)
    write_png(folder / f"real_vs_simulated_{kind}.png", plain)
    write_png(folder / f"real_vs_simulated_{kind}_outlined.png", outlined)


def main() -> None:
    """Read the command line, print the table and write the pictures."""
    parser = argparse.ArgumentParser(description="Compare simulated with real STORM images.")
    parser.add_argument("--real", type=Path, default=EXAMPLES, help="folder of NAME.png and NAME_labels.png")
    parser.add_argument("--count", type=int, default=24, help="simulated images of each kind (default: 24)")
    parser.add_argument("--out", type=Path, help="folder for pictures")
    arguments = parser.parse_args()
    real = read_real(arguments.real)
    if not real:
        print(f"no NAME_labels.png in {arguments.real}: simulated images only\n")
    simulated = {kind: read_simulated(kind, max(arguments.count, 1)) for kind in KINDS}
    print_table(real, simulated)
    if arguments.out:
        for kind, samples in simulated.items():
            write_pictures(arguments.out, kind, [sample for sample in real if sample.kind == kind], samples)


if __name__ == "__main__":
    main()
