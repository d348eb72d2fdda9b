"""What each part of the simulator is worth: a model trained without it, beside one trained with everything.

Run: python benchmarks/ablation.py [--shapes FOLDER] [--start-from NAME|FOLDER] [--epochs N] [--work FOLDER] ...

For each variant of the simulator it makes training images, with the same seeds, trains a StarDist model on them, with
the same patches and the same first weights, and scores it: on the real images (NAME.png with NAME_labels.png beside
it) and on images of the full simulator with textures that no training uses. Prints a Markdown table, a row per variant
as soon as it is done: mean F1 at IoU 0.7, that at IoU 0.5 in brackets. Refinement is on, the rest as usual. The less
of the full simulator's score a variant keeps, the more the part that it lacks is worth. With one seed and a handful
of images a difference of a few hundredths means nothing: repeat with other seeds (--seed). Without shapes, folds or
gaps the same seed gives other random numbers from there on, and so an image of another contrast.

- irregular shapes: lobed, cornered, bent and bitten nuclei, and those from --shapes
- strays: dim and out-of-focus nuclei, crescents, debris
- folds and gaps: bright lines through nuclei; in them regions, sides or rims with less stain
- Gaussian rendering: half of the images; without it all show counts of localizations
- DSB2018 shapes: those from --shapes; the images that are scored on have none of them

With --start-from, training goes on from a model, which is scored too. It may have learned before what a variant
leaves out: from random weights differences are larger, but need many more epochs.

Takes about 10 minutes a variant on 2 cores: 2 to simulate 240 images, 6 to train 12 epochs of 100 steps, 1 to score.
With --work, images and models stay there, and the next run goes on where this one was stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import numpy as np
from accuracy import DEFAULTS, MOST_IMAGES, SHARED, Bench, Case, Parser, header, mean, optional, read_real, row
from accuracy import simulated_cases as make_cases
from numpy.random import Generator

from stormseg_ij import bridge, models, simulate, stream
from stormseg_ij.errors import ImageError, SettingsError, StormsegError
from stormseg_ij.image import Labels, write_labels, write_png
from stormseg_ij.layouts import Population
from stormseg_ij.models.info import ModelInfo
from stormseg_ij.models.stardist import TrainingState
from stormseg_ij.settings import SegmentSettings, TrainSettings
from stormseg_ij.shapes import Form, Mask, read_templates
from stormseg_ij.stray import stray_density
from stormseg_ij.textures import Density, Style
from stormseg_ij.train import train

FULL, SHAPES = "full simulator", "without DSB2018 shapes"
LINES = (("tissue", 50), ("cell", 115))  # the simulated images that are scored on
PURPOSE = 6  # of the seeds: `train` has 1 to 5
RENDER, DRAW_STYLE = simulate._render, Style.random  # the real ones
GROUPS = {"real cell": "real cell", "real tissue": "real tissue"} | {
    f"{kind} {diameter}": f"simulated {kind}" for kind, diameter in LINES
}
"""Columns of the table by group of a case."""


def regular(draw: Callable[..., Population]) -> Callable[..., Population]:
    """Return what draws a population without irregular nuclei."""

    def drawn(rng: Generator, diameter: float, templates: tuple[Form, ...] = ()) -> Population:
        return replace(draw(rng, diameter, templates), irregular=0.0)

    return drawn


def no_strays(rng: Generator, labels: Labels, kind: Population, style: Style) -> tuple[Density, Mask]:
    """Draw strays and forget them, so that the background is drawn with the same random numbers as with them."""
    density, mask = stray_density(rng, labels, kind, style)
    return np.zeros_like(density), np.zeros_like(mask)


def whole_style(rng: Generator, textures: tuple[str, ...]) -> Style:
    """Draw a style of nuclei that are stained all over and have no folds."""
    return replace(DRAW_STYLE(rng, textures), folded=0.0, uneven=0.1)


def counts_only(rng: Generator, *arguments: Any) -> Any:  # noqa: ANN401 (what simulate._render takes and gives)
    """Render as counts: the choice falls on them where `random` gives 0.5 or more."""
    return RENDER(Mock(wraps=rng, random=Mock(return_value=1.0)), *arguments)


VARIANTS: Mapping[str, tuple[AbstractContextManager[object], ...]] = {
    FULL: (),
    "without irregular shapes": (
        patch.object(Population, "tissue", regular(Population.tissue)),
        patch.object(Population, "cells", regular(Population.cells)),
    ),
    "without strays": (patch.object(simulate, "stray_density", no_strays),),
    "without folds and gaps": (patch.object(Style, "random", whole_style),),
    "without Gaussian rendering": (patch.object(simulate, "_render", counts_only),),
    SHAPES: (patch.object(stream, "_templates", ()),),
}
"""What is put in the place of the simulator's parts; the most important ones first."""


@dataclass(frozen=True)
class Plan:
    """What all variants share: images for training, how to train, and where all of it lies."""

    images: int
    templates: tuple[Form, ...]
    settings: TrainSettings
    work: Path

    def prepare(self, variant: str) -> Path:
        """Simulate the training images that are not there yet; return their folder."""
        folder = self.work / variant.replace(" ", "_")
        info = ModelInfo(nucleus_diameter_px=self.settings.diameter)
        with contextlib.ExitStack() as stack:
            for change in (patch.object(stream, "_templates", self.templates), *VARIANTS[variant]):
                stack.enter_context(change)
            for index in range(self.images):
                labels = folder / "labels" / f"{index:04d}.tif"  # written last
                if labels.exists():
                    continue
                order = stream._Order((self.settings.seed, PURPOSE, index), simulate.TRAINING_TEXTURES, info)
                example = stream._make(order)
                if example is not None:
                    write_png(folder / "images" / f"{index:04d}.png", example.pixels)
                    write_labels(labels, example.labels)
        return folder

    def train(self, variant: str) -> Path:
        """Train the variant's model, or what is left of it; return its folder."""
        data = self.prepare(variant)
        model = data / "model"
        begun = TrainingState.file(model).exists()
        if begun and TrainingState.read(model).epoch >= self.settings.epochs:
            return model
        for report in train(data, model, replace(self.settings, resume=begun)):
            losses = f"loss {report.loss:.3f}, validation loss {report.validation_loss:.3f}"
            print(f"{variant}: epoch {report.epoch} of {report.epochs}, {losses}", file=sys.stderr, flush=True)
        return model


@dataclass(frozen=True)
class Judge:
    """Scores models on the same images."""

    ij: bridge.ImageJ
    cases: Sequence[Case]

    def columns(self) -> list[str]:
        """Return the groups that have images."""
        return [group for group in GROUPS if any(group in case.groups for case in self.cases)]

    def print(self, variant: str, model: str) -> None:
        """Print the row of a model."""
        settings = SegmentSettings(model=model, refine=True)
        bench = Bench(self.ij, models.load(model), {DEFAULTS: settings}, None, None)
        outcomes = [(case.groups, bench.run(case, DEFAULTS)) for case in self.cases]
        cells = []
        for column in self.columns():
            counted = [outcome for groups, outcome in outcomes if column in groups]
            cells.append(f"{mean([o.score.f1 for o in counted])} ({mean([o.f1_half for o in counted])})")
        row(variant, *cells)


def read_cases(real: Path | None, count: int) -> list[Case]:
    """Return all images to score on; real ones are grouped apart from simulated ones."""
    found = [] if real is None else read_real(real)
    cases = [replace(case, groups=tuple(f"real {group}" for group in case.groups)) for case in found]
    for kind, diameter in LINES:
        cases += make_cases(kind, diameter, count)
    if not cases:
        raise SettingsError("--simulated 0 without real images: nothing to score on; give a number or --real FOLDER")
    return cases


def keep_to(work: Path, values: Mapping[str, object]) -> None:
    """Write down with what a folder was begun, and refuse to go on with anything else."""
    path = work / "ablation.json"
    wanted = json.dumps(values, indent=2) + "\n"
    try:
        if path.exists() and path.read_text(encoding="utf-8") != wanted:
            raise SettingsError(f"--work {work} was begun with other settings (see {path.name}); give another folder")
        work.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted, encoding="utf-8")
    except OSError as error:
        raise ImageError(f"cannot use {work}: {error.strerror or error}; give another folder") from error


def run(arguments: argparse.Namespace, work: Path) -> None:
    """Check what was given, then train and score one variant after the other."""
    if not 2 <= arguments.images <= 10_000 or not 0 <= arguments.simulated <= MOST_IMAGES:
        raise SettingsError(f"give --images of 2 to 10000 and --simulated of 0 to {MOST_IMAGES}")
    settings = TrainSettings(
        epochs=arguments.epochs, steps=arguments.steps, batch=4, learning_rate=3e-4, cosine=True, diameter=30.0,
        blur=1.0, gamma=0.5, largest_scale=2.0, seed=arguments.seed, start_from=arguments.start_from,
    )  # fmt: skip
    templates = () if arguments.shapes is None else read_templates(arguments.shapes)
    start = [models.load(settings.start_from)] if settings.start_from else []
    names = ("images", "epochs", "steps", "seed")
    keep_to(
        work,
        {name: getattr(arguments, name) for name in names}
        | {"templates": len(templates), "start": [model.sha256 for model in start]},
    )
    real = optional(arguments.real, SHARED / "data" / "storm_examples", "folder of real images")
    plan = Plan(arguments.images, templates, settings, work)
    judge = Judge(bridge.start(), read_cases(real, arguments.simulated))
    header("trained on", *(GROUPS[group] for group in judge.columns()))
    if start:
        judge.print("nothing more (start)", settings.start_from)
    for variant in VARIANTS:
        if templates or variant != SHAPES:
            judge.print(variant, str(plan.train(variant)))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 or 2 and one line on stderr if something is wrong with the call or the files."""
    parser = Parser(prog="ablation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=240, metavar="N", help="for training, per variant")
    parser.add_argument("--epochs", type=int, default=12, metavar="N")
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="batches of 4 patches per epoch")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of images, patches and first weights")
    parser.add_argument("--start-from", default="", metavar="NAME|FOLDER", help="default: random weights")
    parser.add_argument("--shapes", type=Path, metavar="FOLDER", help="with labels/ whose nuclei lend their shapes")
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="default: ../shared/data/storm_examples")
    parser.add_argument("--simulated", type=int, default=6, metavar="N", help="images to score on, per kind")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="for images and models, which stay there")
    arguments = parser.parse_args(argv)
    try:
        with contextlib.ExitStack() as stack:
            work = arguments.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            run(arguments, work)
    except StormsegError as error:
        print(f"ablation: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
