"""How the constants of the shipped model were chosen, on simulated images only.

Run: python benchmarks/choices.py [--model NAME|FOLDER] [--count N] [--seed N]

Makes N images: two thirds tissue, one third cells, nuclei of 20 to 150 (cells: 300) pixels, every second image with a
texture that the training has not seen; an image with fewer than 2 nuclei is left out. All choices see the same images.
Prints Markdown tables, and progress on stderr.

Scale: how far the size that `find_scale` finds is from the ideal one, at which the median nucleus has the model's
diameter; the error is log2(found / ideal), 1 is a factor of 2. The rule as it is, with other weights of its distrust
of sizes at which nuclei are not as large as the model expects, and without its early end.

Thresholds: F1 at IoU 0.7 for each pair of least probability and NMS, at the size found. Then refinement off and on, at
the best pair. Each F1 is the mean of that of tissue and that of cells, which are means over images.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from unittest import mock

import numpy as np
from accuracy import header, row

from stormseg_ij import bridge, models, postprocess, scale
from stormseg_ij.candidates import Candidates
from stormseg_ij.errors import ModelError, SettingsError, StormsegError
from stormseg_ij.image import Image, Labels
from stormseg_ij.labels import largest_pieces
from stormseg_ij.metrics import f1_curve
from stormseg_ij.preprocess import preprocess
from stormseg_ij.refine import refine
from stormseg_ij.settings import LEAST_PROBABILITY, MOST_NMS, PreprocessSettings, SegmentSettings
from stormseg_ij.simulate import TRAINING_TEXTURES, VALIDATION_TEXTURES, simulate

DIAMETERS_PX = {"tissue": (20.0, 150.0), "cell": (20.0, 300.0)}
SIDE_DIAMETERS, SIDES_PX = (5.0, 14.0), (300, 1200)
DISTRUSTS = (0.0, 0.025, 0.05, 0.1, 0.2, 0.4)
ASTRAY = 0.4  # an error that costs accuracy: a factor of 1.3
PROBABILITIES, NMS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), (0.3, 0.5, 0.7)
PAIRS = [(probability, nms) for nms in NMS for probability in PROBABILITIES]
IOU, LEAST_COUNT, LEAST_NUCLEI = 0.7, 3, 2
CLOSE = 0.005  # pairs within so much F1 of the best one are as good

RULES = {f"distrust {value:g}": value for value in DISTRUSTS}
"""By name: the distrust of `stormseg_ij.scale.find_scale`."""
PRESENT, NO_EARLY_END = "the model's own", "no early end"

Pair = tuple[float, float]
"""Least probability, and NMS."""


@dataclass(frozen=True)
class Case:
    """One image and its truth."""

    kind: str
    image: Image
    truth: Labels

    def f1(self, labels: Labels) -> float:
        """Score labels against the truth."""
        return f1_curve(labels, self.truth, [IOU])[0]


@dataclass(frozen=True)
class Network:
    """A model with ImageJ before it."""

    ij: bridge.ImageJ
    model: models.Model
    diameter: float

    def prepare(self, image: Image, size: int) -> Image:
        """Resize and blur as `pipeline.segment` does."""
        return preprocess(image, PreprocessSettings(size=size, blur=self.model.info.blur_px), self.ij)

    def predict(self, small: Image, pair: Pair) -> Candidates:
        """Find nuclei in a prepared image."""
        return self.model.predict(self.model.info.normalize(small.pixels), probability=pair[0], nms=pair[1])

    def own(self) -> Pair:
        """Return the model's own thresholds, within the limits that the pipeline sets."""
        return max(self.model.probability, LEAST_PROBABILITY), min(self.model.nms, MOST_NMS)


@dataclass(frozen=True)
class Found:
    """What the network finds in one image at the size found: candidates from the least probability on, by NMS."""

    case: Case
    factor: tuple[float, float]
    by_nms: Mapping[float, Candidates]

    @classmethod
    def of(cls, case: Case, network: Network, size: int) -> Found:
        """Run the network once for each NMS."""
        small = network.prepare(case.image, size)
        return cls(case, small.scale, {nms: network.predict(small, (PROBABILITIES[0], nms)) for nms in NMS})

    def labels(self, pair: Pair) -> Labels:
        """Go on as `pipeline.segment` does with these thresholds and without refinement."""
        # NMS is greedy: whether a candidate stays depends on more probable ones only. So the candidates above a
        # higher probability are those that a prediction with it gives ("above" is StarDist's own comparison).
        every = self.by_nms[pair[1]]
        kept = every.take(np.flatnonzero(every.scores > pair[0]))
        usual = SegmentSettings()
        labels, _ = postprocess.resolve(
            kept,
            self.case.image.shape,
            scale=self.factor,
            rules=postprocess.RULES[usual.overlap_rules],
            min_area_fraction=usual.min_area_fraction,
            rng=np.random.default_rng(usual.seed),
        )
        return largest_pieces(labels)


class ByKind:
    """F1 of images, by their kind."""

    def __init__(self, found: Sequence[Found], f1: Sequence[float]) -> None:
        both = list(zip(found, f1, strict=True))
        self.parts = [fmean(value for one, value in both if one.case.kind == kind) for kind in DIAMETERS_PX]
        self.mean = fmean(self.parts)

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({', '.join(f'{part:.3f}' for part in self.parts)})"


def make_cases(count: int, seed: int) -> Iterator[Case]:
    """Simulate the images; each depends on the seed and its number only."""
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        kind = "cell" if index % 3 == 2 else "tissue"
        diameter = float(np.exp(rng.uniform(*np.log(DIAMETERS_PX[kind]))))
        side = int(np.clip(diameter * rng.uniform(*SIDE_DIAMETERS), *SIDES_PX))
        textures = TRAINING_TEXTURES if index % 2 else VALIDATION_TEXTURES
        made = simulate(rng, kind=kind, size=side, diameter=diameter, textures=textures)
        if made.labels.max(initial=0) >= LEAST_NUCLEI:
            yield Case(kind, Image(made.image, f"{kind}_{index:03d}"), made.labels)


def find_sizes(case: Case, network: Network) -> dict[str, int]:
    """Return what each rule finds; the network runs once at each size of the ladder, for all rules."""
    own = network.own()
    loose = (min(own[0], scale.MOST_PROBABILITY), own[1])  # as the pipeline has it

    @cache
    def predict(size: int) -> Candidates:
        return network.predict(network.prepare(case.image, size), loose)

    def size(distrust: float) -> int:
        return scale.find_scale(case.image, network.diameter, predict, distrust=distrust).size

    found = {rule: size(distrust) for rule, distrust in RULES.items()}
    found[PRESENT] = size(network.model.info.size_distrust)
    with mock.patch.object(scale, "_CLEARLY", math.inf):
        found[NO_EARLY_END] = size(network.model.info.size_distrust)
    return found


def print_scale(found: Sequence[Found], errors: Sequence[Mapping[str, float]]) -> None:
    """Print how far the sizes found are from the ideal ones, by kind and rule."""
    print("\n## Scale: log2(size found / ideal size); by the distrust of the rule\n")
    header("kind", "rule", "median", "median of absolute", "90 %", "maximum", f"beyond {ASTRAY:g}")
    for kinds in ("tissue",), ("cell",), ("tissue", "cell"):
        for rule in (*RULES, PRESENT, NO_EARLY_END):
            signed = [error[rule] for one, error in zip(found, errors, strict=True) if one.case.kind in kinds]
            absolute = np.abs(signed)
            numbers = (f"{number:.2f}" for number in np.percentile(absolute, [50, 90, 100]))
            beyond = f"{100.0 * (absolute > ASTRAY).mean():.0f} %"
            row(" and ".join(kinds), rule, f"{np.median(signed):+.2f}", *numbers, beyond)


def print_thresholds(f1: Mapping[Pair, ByKind], own: Pair) -> Pair:
    """Print F1 by probability and NMS; return the best pair, of equals the one nearest the model's own."""
    print(f"\n## Thresholds: F1 at IoU {IOU:g}, mean ({', '.join(DIAMETERS_PX)})\n")
    header("probability", *(f"NMS {nms:g}" for nms in NMS))
    for probability in PROBABILITIES:
        row(f"{probability:g}", *(f1[probability, nms] for nms in NMS))
    best = max(f1, key=lambda pair: (f1[pair].mean, -math.dist(pair, own)))
    close = [pair for pair in f1 if f1[pair].mean >= f1[best].mean - CLOSE]
    print(f"\nBest: probability {best[0]:g} and NMS {best[1]:g}: {f1[best]}")
    print(f"Within {CLOSE:g} of it: {', '.join(f'{probability:g} and {nms:g}' for probability, nms in close)}")
    print(f"The model's own: {own[0]:g} and {own[1]:g}: {f1.get(own, 'not in the table')}", flush=True)
    return best


def print_refinement(found: Sequence[Found], best: Pair) -> None:
    """Print F1 without and with refinement."""
    print(f"\n## Refinement at probability {best[0]:g} and NMS {best[1]:g}: F1 at IoU {IOU:g}\n")
    header("refinement", f"mean ({', '.join(DIAMETERS_PX)})")
    row("off", ByKind(found, [one.case.f1(one.labels(best)) for one in found]))
    row("on", ByKind(found, [one.case.f1(refine(one.labels(best), one.case.image.pixels)) for one in found]))


def bench(network: Network, count: int, seed: int) -> None:
    """Run all images, then print the tables."""
    found, errors, scores = list[Found](), list[dict[str, float]](), list[dict[Pair, float]]()
    start = time.perf_counter()
    for case in make_cases(count, seed):
        longest, diameter = max(case.image.shape), scale.median_diameter(case.truth)
        ideal = longest * network.diameter / diameter
        sizes = find_sizes(case, network)
        errors.append({rule: math.log2(size / ideal) for rule, size in sizes.items()})
        found.append(Found.of(case, network, sizes[PRESENT]))
        scores.append({pair: case.f1(found[-1].labels(pair)) for pair in PAIRS})
        text = f"{case.image.name}: side {longest}, nuclei {diameter:.0f}, size {sizes[PRESENT]}, ideal {ideal:.0f} px"
        print(f"{time.perf_counter() - start:4.0f} s  {text}", file=sys.stderr, flush=True)
    tissue, cells = (sum(one.case.kind == kind for one in found) for kind in DIAMETERS_PX)
    if not (tissue and cells):
        raise SettingsError(f"--count {count} gives {tissue} images of tissue and {cells} of cells; give more")
    print(f"# Choices for {network.model.name} ({network.model.sha256[:12]})\n")
    print(f"{tissue} images of tissue, {cells} of cells, {count - len(found)} left out; seed {seed}")
    print_scale(found, errors)
    f1 = {pair: ByKind(found, [score[pair] for score in scores]) for pair in PAIRS}
    print_refinement(found, print_thresholds(f1, network.own()))


def main(argv: Sequence[str] | None = None) -> int:
    """Print all tables; 1 or 2 and one line on stderr if something is wrong with the call or the model."""
    parser = argparse.ArgumentParser("choices", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="stardist-storm", metavar="NAME|FOLDER")
    parser.add_argument("--count", type=int, default=48, metavar="N", help="simulated images")
    parser.add_argument("--seed", type=int, default=950, metavar="N")
    arguments = parser.parse_args(argv)
    if arguments.count < LEAST_COUNT or arguments.seed < 0:
        parser.error(f"give --count of at least {LEAST_COUNT} and --seed of at least 0")
    try:
        model = models.load(arguments.model)
        if model.info.nucleus_diameter_px is None:
            raise ModelError(f"{model.name} states no diameter of nuclei; give a model with nucleus_diameter_px")
        bench(Network(bridge.start(), model, model.info.nucleus_diameter_px), arguments.count, arguments.seed)
    except StormsegError as error:
        print(f"choices: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
