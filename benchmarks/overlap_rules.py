"""Time and memory from overlapping candidates to labels: python benchmarks/overlap_rules.py [--counts N ...].

Star-convex polygons of 32 rays and about 50 pixels in diameter, so crowded that each overlaps its neighbours: all are
one chain. Medians of several runs in one process, by the rules for overlaps; in brackets how many times the first
line's. Peaks are those of the process of each line, and what a run allocates at most, per candidate and without the
labels. 160,000 candidates (--counts 160000 --runs 1 --rules paper) have an image of 16,000 x 16,000 pixels; they take
minutes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
import tracemalloc

import numpy as np

from stormseg_ij.candidates import Candidates
from stormseg_ij.postprocess import RULES, resolve

DIAMETER_PX, PITCH_PX, JITTER_PX, RAYS = 50.0, 40, 4.0, 32
COUNTS, RUNS = (1_000, 10_000), 5

Case = tuple[Candidates, tuple[int, int]]


def crowd(count: int) -> Case:
    """Make wavy discs on a jittered grid, and the shape of their image."""
    rng = np.random.default_rng(1)
    side = int(np.ceil(np.sqrt(count)))
    centres = PITCH_PX * (np.stack(np.divmod(np.arange(count), side), axis=1) + 0.5)
    centres += rng.normal(0.0, JITTER_PX, centres.shape)
    angle = 2.0 * np.pi * np.arange(RAYS) / RAYS
    waves = 1.0 + 0.08 * np.sin(rng.integers(2, 6, (count, 1)) * angle + rng.uniform(0.0, 7.0, (count, 1)))
    rays = DIAMETER_PX / 2.0 * rng.lognormal(0.0, 0.12, (count, 1)) * waves
    polygons = centres[:, :, None] + rays[:, None] * np.stack([np.sin(angle), np.cos(angle)])
    scores = rng.uniform(0.5, 1.0, count)
    return Candidates(polygons.astype(np.float32), scores.astype(np.float32)), (side * PITCH_PX, side * PITCH_PX)


def work(case: Case, rules: str) -> tuple[float, float, int]:
    """Run once; return wall time, time of one core and the number of nuclei."""
    candidates, shape = case
    rng = np.random.default_rng(0)
    start, used = time.perf_counter(), time.process_time()
    _, scores = resolve(candidates, shape, scale=(1.0, 1.0), rules=RULES[rules], min_area_fraction=0.25, rng=rng)
    return time.perf_counter() - start, time.process_time() - used, len(scores)


def peak_bytes(case: Case, rules: str) -> int:
    """Most bytes allocated at a time, beside the labels."""
    tracemalloc.start()
    work(case, rules)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - 4 * case[1][0] * case[1][1]


def measure(count: int, runs: int, names: list[str]) -> dict[str, tuple[float, float, int, float, float]]:
    """By rules: median seconds of wall and core, nuclei, peak of the process in MiB, allocated KiB per candidate."""
    case = crowd(count)
    work(crowd(10), "paper")  # imports
    found = {}
    for rules in names:
        done = [work(case, rules) for _ in range(runs)]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        wall, used, nuclei = zip(*done, strict=True)
        found[rules] = (statistics.median(wall), statistics.median(used), nuclei[0], peak)
    return {rules: (*values, peak_bytes(case, rules) / count / 2**10) for rules, values in found.items()}


def main() -> None:
    """Print one line per number of candidates and rules."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS), metavar="N")
    parser.add_argument("--runs", type=int, default=RUNS, metavar="N")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    arguments = parser.parse_args()
    first: dict[str, float] = {}
    print(
        "candidates  rules      nuclei  seconds  (ratio)  of a core  candidates/s  peak MiB  labels MiB  KiB/candidate"
    )
    for count in arguments.counts:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.apply(measure, (count, arguments.runs, arguments.rules))
        side = crowd(count)[1][0]
        for rules, (seconds, used, nuclei, peak, per_candidate) in found.items():
            ratio = seconds / first.setdefault(rules, seconds)
            columns = (
                f"{count:10,}  {rules:9}{nuclei:8,}{seconds:9.2f}  ({ratio:5.1f}){used:11.2f}{count / seconds:14,.0f}"
            )
            print(f"{columns}{peak:10,.0f}{4 * side**2 / 2**20:12,.0f}{per_candidate:15.1f}", flush=True)


if __name__ == "__main__":
    main()
