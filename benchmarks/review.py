"""How many wrong nuclei stand at the top of the ranking that Next Nucleus to Review walks along.

Run: python benchmarks/review.py [--images N] [--seed S] [--kind tissue|cell]

Simulated images of 512 x 512 pixels are segmented by the shipped model with its defaults. A nucleus is wrong if its IoU
with every true one is at most 0.7. Printed is the share of the wrong ones among the first 10, 20 and 30 % of each
image's ranking, beside that by score alone and by chance, and how often nuclei of some doubt are wrong. The weights of
`stormseg_ij.review` were fitted on seed 9101; the figures in its docstring are those of seed 9202.
"""

from __future__ import annotations

import argparse
import math
from itertools import pairwise

import numpy as np

from stormseg_ij import bridge, models, pipeline
from stormseg_ij.image import Image, Labels
from stormseg_ij.overlap import find_overlap
from stormseg_ij.review import doubts
from stormseg_ij.rois import labels_to_rois
from stormseg_ij.settings import SegmentSettings
from stormseg_ij.simulate import simulate

PARTS = (0.1, 0.2, 0.3)
DOUBTS = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0)


def is_wrong(labels: Labels, truth: Labels) -> list[bool]:
    """Tell of each label, ascending, whether it matches no true nucleus."""
    overlap = find_overlap(labels, truth)
    best = np.zeros(len(overlap.pred.ids))
    np.maximum.at(best, overlap.pairs[:, 1], overlap.iou)
    return [bool(iou <= 0.7) for iou in best]


def main() -> None:
    """Segment, rank, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--seed", type=int, default=9202)
    parser.add_argument("--kind", choices=("tissue", "cell"), default="tissue")
    arguments = parser.parse_args()
    settings = SegmentSettings()
    ranked: list[tuple[float, bool]] = []
    found = {way: dict.fromkeys(PARTS, 0.0) for way in ("ranking", "score alone", "chance")}
    ij, model = bridge.start(), models.load(settings.model)
    for index in range(arguments.images):
        rng = np.random.default_rng([arguments.seed, index, sum(arguments.kind.encode())])
        simulation = simulate(rng, kind=arguments.kind, size=512)
        result = pipeline.segment(Image(simulation.image, f"image {index}"), settings, ij=ij, model=model)
        wrong = is_wrong(result.labels, simulation.labels)
        ranking = doubts(labels_to_rois(result.labels, scores=result.scores), result.labels.shape)
        ranked += [(doubt.doubt, wrong[doubt.index]) for doubt in ranking]
        by_score = sorted(range(len(wrong)), key=lambda i, scores=result.scores: scores[i + 1])
        for part in PARTS:
            first = math.ceil(part * len(wrong))
            found["ranking"][part] += sum(wrong[doubt.index] for doubt in ranking[:first])
            found["score alone"][part] += sum(wrong[i] for i in by_score[:first])
            found["chance"][part] += sum(wrong) * first / max(len(wrong), 1)
    ij.close()
    total = max(sum(wrong for _, wrong in ranked), 1)
    print(f"{len(ranked)} nuclei in {arguments.images} images, {total / max(len(ranked), 1):.0%} of them wrong\n")
    print(f"| wrong ones among the first | {' | '.join(f'{part:.0%}' for part in PARTS)} |")
    print("|---" * (len(PARTS) + 1) + "|")
    for way, counts in found.items():
        print(f"| {way} | {' | '.join(f'{counts[part] / total:.0%}' for part in PARTS)} |")
    print("\n| doubt | nuclei | wrong |\n|---|---|---|")
    for low, high in pairwise(DOUBTS):
        here = [wrong for doubt, wrong in ranked if low <= doubt < high]
        print(f"| {low:.1f} to {high:.1f} | {len(here)} | {sum(here) / max(len(here), 1):.0%} |")


if __name__ == "__main__":
    main()
