"""How well nuclei are found, on real and on simulated images, beside a classical baseline.

Run: python benchmarks/accuracy.py [--model NAME|FOLDER] [--real FOLDER] [--simulated N] [--ablation] [--out FOLDER] ...

Prints Markdown tables. Real images are NAME.png with NAME_labels.png beside it. Simulated ones are made on the spot, N
for each kind and nucleus diameter, with seeds and textures that no training uses. F1 is the mean over images, FN % and
FP % are at IoU 0.7, s is the time for one image in a warm process. The baseline (--baseline FILE) is a script that
takes a folder of such images and prints for each `NAME sigma 2: F1 sigma 3: F1 ...`, F1 at IoU 0.7.

With --ablation the same with single choices changed: refinement off and on, the scale known from the truth, the scale
fixed. With --out, pictures: found outlines orange, true ones blue, white where both agree. They show the real images,
whose licence may forbid to pass them on: give a folder outside the repository.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from stormseg_ij import bridge, models, pipeline
from stormseg_ij.errors import ImageError, SettingsError, StormsegError
from stormseg_ij.image import Image, Labels, read_image, read_labels, write_png
from stormseg_ij.metrics import Score, f1_curve, score, summarize
from stormseg_ij.scale import median_diameter
from stormseg_ij.settings import SegmentSettings, from_mapping
from stormseg_ij.simulate import VALIDATION_TEXTURES, simulate

SHARED = Path(__file__).resolve().parents[2] / "shared"
LINES = [("tissue", diameter) for diameter in (20, 30, 50, 80)] + [("cell", d) for d in (60, 115, 180, 300)]
FIRST_SEED, MOST_IMAGES = 900, 100  # with a diameter and a kind: no training has such seeds
SIGMAS = (2, 3, 4)
SCORES = ("F1 at 0.7", "F1 at 0.5", "FN %", "FP %")
DEFAULTS, SCALE_KNOWN = "defaults", "scale known"
ABLATION: dict[str, dict[str, Any]] = {
    "without refinement": {"refine": False},
    "with refinement": {"refine": True},
    SCALE_KNOWN: {},
    "scale fixed 512": {"size": 512},
}
FOUND_COLOUR, TRUE_COLOUR, BOTH_COLOUR = (255, 140, 0), (0, 170, 255), (255, 255, 255)

Baseline = dict[str, dict[int, float]]
"""F1 at IoU 0.7 by image and sigma."""


@dataclass(frozen=True)
class Case:
    """One image and its truth; `groups` are the columns of the summary that it counts in."""

    image: Image
    truth: Labels
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What one method made of one image; `score` is at IoU 0.7, `f1_half` at 0.5."""

    labels: Labels
    score: Score
    f1_half: float
    size: int
    seconds: float


@dataclass(frozen=True)
class Bench:
    """What all images share: the engines, the settings of each method, the baseline's script, where pictures go."""

    ij: bridge.ImageJ
    model: models.Model
    methods: Mapping[str, SegmentSettings]
    baseline: Path | None
    out: Path | None

    def run(self, case: Case, method: str) -> Outcome:
        """Segment one image and score it."""
        settings = self.methods[method]
        if method == SCALE_KNOWN:
            settings = replace(settings, size=self.known_size(case))
        start = time.perf_counter()
        result = pipeline.segment(case.image, settings, ij=self.ij, model=self.model)
        seconds, labels = time.perf_counter() - start, result.labels
        size = int(result.run["settings"]["used"]["size"])
        at_07 = score(labels, case.truth, name=case.image.name)
        return Outcome(labels, at_07, f1_curve(labels, case.truth, [0.5])[0], size, seconds)

    def known_size(self, case: Case) -> int | str:
        """Return the size at which the true nuclei are as wide as the model wants them."""
        diameter, wanted = median_diameter(case.truth), self.model.info.nucleus_diameter_px
        if wanted is None or not diameter:
            return "auto"
        return min(max(round(max(case.image.shape) * wanted / diameter), 8), 4096)  # as the pipeline

    def draw(self, case: Case, outcome: Outcome, prefix: str) -> None:
        """Write the picture of one result, if pictures are wanted."""
        if self.out is not None:
            rgb = two_outlines(case.image.pixels, outcome.labels, case.truth)
            write_png(self.out / f"{prefix}_{case.image.name}.png", rgb)


class Tally:
    """F1 by method and group, for the summary."""

    def __init__(self) -> None:
        self.f1: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self.f1_half: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self.seconds: list[float] = []

    def add(self, method: str, case: Case, outcome: Outcome) -> None:
        """Count what a method made of an image."""
        self.seconds += [outcome.seconds] if method == DEFAULTS else []
        for group in case.groups:
            self.f1[method, group].append(outcome.score.f1)
            self.f1_half[method, group].append(outcome.f1_half)

    def add_baseline(self, scores: Baseline, cases: Iterable[Case]) -> None:
        """Count what the baseline got for these images."""
        for case in cases:
            for sigma, f1 in scores.get(case.image.name, {}).items():
                for group in case.groups:
                    self.f1[f"baseline, sigma {sigma}", group].append(f1)

    def print(self, groups: Sequence[str]) -> None:
        """Print methods against groups, and how long an image takes."""
        print("\nMean F1 at IoU 0.7 (at IoU 0.5):\n")
        header("method", *groups)
        for method in dict.fromkeys(method for method, _ in self.f1):
            row(method, *(mean(self.f1[method, g]) + mean(self.f1_half[method, g], " ({:.2f})", "") for g in groups))
        print(f"\nMean time per image with the defaults: {fmean(self.seconds):.1f} s", flush=True)


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def row(*cells: object) -> None:
    """Print one line of a table at once, so that one can watch it grow."""
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def header(*names: str) -> None:
    """Print the head of a table."""
    row(*names)
    print("|" + "---|" * len(names))


def mean(numbers: Sequence[float], pattern: str = "{:.2f}", nothing: str = "-") -> str:
    """Write a mean, or `nothing` where there are no numbers."""
    return pattern.format(fmean(numbers)) if numbers else nothing


def baseline_scores(script: Path | None, folder: Path) -> Baseline:
    """Run the baseline on a folder; what it does not print is missing from the result."""
    if script is None:
        return {}
    child = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True, check=False)
    if child.returncode:
        reason = (child.stderr.strip() or "no message").splitlines()[-1]
        print(f"accuracy: {script} failed on {folder} ({child.returncode}): {reason}", file=sys.stderr)
    scores: Baseline = {}
    for line in child.stdout.splitlines():
        found = re.fullmatch(r"(.+?)((?: sigma \d+: \S+)+)", line.strip())
        if found:
            scores[found[1]] = {int(s): float(f1) for s, f1 in re.findall(r"sigma (\d+): (\S+)", found[2])}
    return scores


def two_outlines(pixels: NDArray[Any], found: Labels, truth: Labels) -> NDArray[np.uint8]:
    """Draw both outlines over the image, whose square root shows faint nuclei too; small images twice as large."""
    from skimage import segmentation

    high = float(np.percentile(pixels, 99.8)) or float(pixels.max()) or 1.0
    gray = np.rint(255.0 * np.sqrt(np.clip(pixels / high, 0.0, 1.0))).astype(np.uint8)
    factor = 2 if max(pixels.shape) < 1024 else 1
    big_gray, big_found, big_truth = (np.kron(a, np.ones((factor, factor), a.dtype)) for a in (gray, found, truth))
    rgb = np.repeat(big_gray[..., None], 3, axis=2)
    found_edge, true_edge = (segmentation.find_boundaries(a, mode="inner") for a in (big_found, big_truth))
    rgb[found_edge], rgb[true_edge] = FOUND_COLOUR, TRUE_COLOUR
    rgb[found_edge & true_edge] = BOTH_COLOUR
    return rgb


def read_real(folder: Path) -> list[Case]:
    """Read all pairs of a folder; a binary truth comes back split into its connected components."""
    truths = sorted(folder.glob("*_labels.png"))
    if not truths:
        raise ImageError(f"{folder} has no NAME_labels.png; give a folder with NAME.png and NAME_labels.png")
    cases = []
    for path in truths:
        name = path.name.removesuffix("_labels.png")
        image, truth = read_image(path.with_name(f"{name}.png")), read_labels(path)[0]
        if image.shape != truth.shape:
            raise ImageError(f"{path} is {truth.shape}, its image {image.shape} (rows, columns); give truth that fits")
        group = next((kind for kind in ("cell", "tissue") if name.lower().startswith(kind)), "other")
        cases.append(Case(image, truth, (group,)))
    return cases


def simulated_cases(kind: str, diameter: int, count: int) -> list[Case]:
    """Make the images of one line, large enough to hold several nuclei."""
    cases = []
    for index in range(count):
        rng = np.random.default_rng([FIRST_SEED + index, diameter, sum(kind.encode())])
        size = max(512, min(8 * diameter, 1536))
        made = simulate(rng, kind=kind, size=size, diameter=diameter, textures=VALIDATION_TEXTURES)
        image = Image(made.image, f"{kind}_{diameter:03d}_{index:02d}")
        cases.append(Case(image, made.labels, (f"{kind} {diameter}", kind)))
    return cases


def bench_real(bench: Bench, cases: Sequence[Case], folder: Path) -> None:
    """Print one line per real image and method, then the summary."""
    scores, tally = baseline_scores(bench.baseline, folder), Tally()
    tally.add_baseline(scores, cases)
    print(f"\n## Real images ({len(cases)})\n")
    sigmas = [f"baseline, sigma {sigma}" for sigma in SIGMAS]
    header("image", "method", *SCORES, "Hausdorff px", "found / true", "size px", "s", *sigmas)
    for case in cases:
        by_sigma = scores.get(case.image.name, {})
        for method in bench.methods:
            outcome = bench.run(case, method)
            one = outcome.score
            hausdorff = [] if one.hausdorff_px is None else [one.hausdorff_px]
            row(
                case.image.name, method, f"{one.f1:.2f}", f"{outcome.f1_half:.2f}",
                f"{one.fn_percent:.0f}", f"{one.fp_percent:.0f}", mean(hausdorff, "{:.1f}"),
                f"{one.n_pred} / {one.n_true}", outcome.size, f"{outcome.seconds:.1f}",
                *(f"{by_sigma[sigma]:.2f}" if sigma in by_sigma else "-" for sigma in SIGMAS),
            )  # fmt: skip
            tally.add(method, case, outcome)
            if method == DEFAULTS:
                bench.draw(case, outcome, "real")
    tally.print([group for group in ("cell", "tissue", "other") if any(group in case.groups for case in cases)])


def bench_simulated(bench: Bench, count: int) -> None:
    """Print one line per kind, diameter and method, then the summary."""
    tally = Tally()
    print(f"\n## Simulated images ({count} a line)\n")
    header("kind", "diameter px", "method", "nuclei", *SCORES, "s", "baseline, sigma 3")
    for number, (kind, diameter) in enumerate(LINES):
        cases = simulated_cases(kind, diameter, count)
        scores = baseline_of(bench.baseline, cases)
        tally.add_baseline(scores, cases)
        sigma_3 = mean([by_sigma[3] for by_sigma in scores.values() if 3 in by_sigma])
        for method in bench.methods:
            outcomes = [bench.run(case, method) for case in cases]
            means = summarize(one.score for one in outcomes)["mean"]
            row(
                kind, diameter, method, sum(one.score.n_true for one in outcomes),
                f"{means['f1']:.2f}", mean([one.f1_half for one in outcomes]),
                f"{means['fn_percent']:.0f}", f"{means['fp_percent']:.0f}",
                mean([one.seconds for one in outcomes], "{:.1f}"), sigma_3,
            )  # fmt: skip
            drawn = 1 + (number % 2 == 0) if method == DEFAULTS else 0  # twelve pictures from eight lines
            for index, (case, outcome) in enumerate(zip(cases, outcomes, strict=True)):
                tally.add(method, case, outcome)
                if index < drawn:
                    bench.draw(case, outcome, "simulated")
    tally.print([*(f"{kind} {diameter}" for kind, diameter in LINES), "tissue", "cell"])


def baseline_of(script: Path | None, cases: Iterable[Case]) -> Baseline:
    """Run the baseline on images that are in no folder yet."""
    from skimage import io

    if script is None:
        return {}
    with tempfile.TemporaryDirectory() as name:
        for case in cases:
            path = Path(name) / case.image.name
            io.imsave(f"{path}.png", case.image.pixels, check_contrast=False)
            io.imsave(f"{path}_labels.png", case.truth.astype(np.uint16), check_contrast=False)
        return baseline_scores(script, Path(name))


def optional(given: Path | None, usual: Path, what: str) -> Path | None:
    """Return the path to use: one that was given must be there, the usual one may be missing."""
    if given is not None and not given.exists():
        raise ImageError(f"no {what} {given}; check the name")
    if given or usual.exists():
        return given or usual
    print(f"No {what} {usual}: left out.")
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Print all tables; 1 or 2 and one line on stderr if something is wrong with the call or the files."""
    parser = Parser(prog="accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stardist-storm", metavar="NAME|FOLDER")
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="default: ../shared/data/storm_examples")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="default: ../shared/tools/baseline.py")
    parser.add_argument("--simulated", type=int, default=4, metavar="N", help="images per line; 0 for none")
    parser.add_argument("--ablation", action="store_true", help="also with single choices changed")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write pictures here")
    try:
        bench_all(parser.parse_args(argv))
    except StormsegError as error:
        print(f"accuracy: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def bench_all(arguments: argparse.Namespace) -> None:
    """Check everything that was given, start the engines once, and run both parts."""
    count: int = arguments.simulated
    if not 0 <= count <= MOST_IMAGES:
        raise SettingsError(f"--simulated {count}: give 0 to {MOST_IMAGES}")
    if arguments.out is not None and arguments.out.exists() and not arguments.out.is_dir():
        raise ImageError(f"{arguments.out} is no folder; give a folder for the pictures")
    variants = {DEFAULTS: {}, **(ABLATION if arguments.ablation else {})}
    shared = {"model": arguments.model}
    methods = {name: from_mapping(SegmentSettings, shared | more) for name, more in variants.items()}
    models.find(arguments.model)
    folder = optional(arguments.real, SHARED / "data" / "storm_examples", "folder of real images")
    script = optional(arguments.baseline, SHARED / "tools" / "baseline.py", "baseline")
    real = [] if folder is None else read_real(folder)
    bench = Bench(bridge.start(), models.load(arguments.model), methods, script, arguments.out)
    if SCALE_KNOWN in methods and bench.model.info.nucleus_diameter_px is None:
        print(f"{bench.model.name} states no scale: left out {SCALE_KNOWN!r}.")
        del methods[SCALE_KNOWN]
    print(f"# Accuracy of {bench.model.name} ({bench.model.sha256[:12]})")
    for case in real[:1] or simulated_cases("cell", 60, min(count, 1)):  # the first image takes longer
        bench.run(case, DEFAULTS)
    if folder is not None:
        bench_real(bench, real, folder)
    if count:
        bench_simulated(bench, count)


if __name__ == "__main__":
    sys.exit(main())
