"""How long it takes to score 10,000 nuclei in 10,000 x 10,000 pixels, and whether that is under 5 s.

Run: python benchmarks/metrics.py [--nuclei 10000]
"""

import argparse
import sys
import time

import numpy as np
import psutil

from stormseg_ij.image import Labels
from stormseg_ij.metrics import f1_curve, score

CELL = 100
LIMIT_S = 5.0


def nuclei(per_side: int, seed: int) -> Labels:
    """One ellipse in each square of a grid, its axes 60 to 88 pixels, its centre up to 4 pixels off."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((per_side * CELL, per_side * CELL), np.int32)
    y, x = np.mgrid[:CELL, :CELL]
    for i in range(per_side * per_side):
        (cy, cx), (ry, rx) = rng.uniform(46, 54, 2), rng.uniform(30, 44, 2)
        top, left = (CELL * place for place in divmod(i, per_side))
        labels[top : top + CELL, left : left + CELL][((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1.0] = i + 1
    return labels


def main() -> int:
    """Measure and print; the exit status is 1 if F1, FN % and FP % take 5 s or more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nuclei", type=int, default=10_000)
    per_side = round(parser.parse_args().nuclei ** 0.5)
    truth, pred = nuclei(per_side, 0), nuclei(per_side, 1)
    height, width = truth.shape
    print(f"{per_side**2:,} nuclei in each of two images of {width:,} x {height:,} pixels, ", end="")
    score(pred[:CELL, :CELL], truth[:CELL, :CELL])  # imports
    print(f"{psutil.Process().memory_info().rss / 2**30:.1f} GiB in memory")
    start = time.perf_counter()
    f1_curve(pred, truth, [0.7])
    counts_s = time.perf_counter() - start
    start = time.perf_counter()
    result = score(pred, truth)
    all_s = time.perf_counter() - start
    print(f"F1, FN % and FP %:               {counts_s:5.2f} s (limit {LIMIT_S:.0f} s)")
    print(f"with Hausdorff of {result.n_matched:,} matches: {all_s:5.2f} s")
    print(result)
    return 0 if counts_s < LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())
