"""The two routes for large images, tiles against resizing: python benchmarks/routes.py [--size N] [--folder DIR].

Simulated images of 5,120 x 5,120 (they take up to 10 GB to make; --folder keeps them for the next run). Each route is a
process of its own; scores are those of its label image at an IoU of 0.7, the Hausdorff distance in pixels of the image.
"""

import argparse
import tempfile
from pathlib import Path

from huge import segment

from stormseg_ij import metrics
from stormseg_ij.image import read_labels
from stormseg_ij.settings import SimulateSettings
from stormseg_ij.simulate import output_names, write_dataset

IMAGES = {
    "tissue, usual pixels": {"kind": "tissue"},
    "cells, usual pixels": {"kind": "cell"},
    "tissue, nuclei of 200 px": {"kind": "tissue", "diameter": 200.0, "size": 2560},
}
COLUMNS = ("F1", "FN %", "FP %", "Hausd.", "true", "found", "size", "s", "GiB")
ROUTES = {
    "tile": ["--route", "tile"],
    "resize": ["--route", "resize"],
    "resize to 512, the paper's": ["--route", "resize", "--size", "512"],
}


def main() -> None:
    """Print one line per image and route."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=5120)
    parser.add_argument("--folder", type=Path, help="where images are kept (default: one that is removed)")
    arguments = parser.parse_args()
    columns = (
        f"{'F1':>6} {'FN %':>6} {'FP %':>6} {'Hausd.':>7} {'true':>6} {'found':>6} {'size':>6} {'s':>6} {'GiB':>6}"
    )
    print(f"{'image':26} {'route':28} {columns}")
    with tempfile.TemporaryDirectory() as scratch:
        for number, (title, options) in enumerate(IMAGES.items()):
            settings = SimulateSettings(
                **{"count": 1, "size": arguments.size, "seed": 77, "localizations": False, **options}
            )
            folder = (arguments.folder or Path(scratch)) / str(number)
            paths = {name: folder / path for name, path in output_names(settings, 0).items()}
            if not paths["labels"].is_file():
                write_dataset(folder, settings)
            truth, _ = read_labels(paths["labels"])
            for route, flags in ROUTES.items():
                out = Path(scratch) / "out"
                seconds, peak, run = segment(paths["images"], out, flags)
                found, _ = read_labels(out / f"{paths['images'].stem}_labels.tif")
                score = metrics.score(found, truth, iou=0.7)
                shares = [f"{score.f1:.3f}", f"{score.fn_percent:.1f}", f"{score.fp_percent:.1f}"]
                hausdorff = "-" if score.hausdorff_px is None else f"{score.hausdorff_px:.2f}"
                numbers = [score.n_true, score.n_pred, run["scale"]["size"], f"{seconds:.0f}", f"{peak:.2f}"]
                cells = " ".join(f"{cell:>6}" for cell in (*shares, hausdorff, *numbers))
                print(f"{title:26} {route:28} {cells}", flush=True)


if __name__ == "__main__":
    main()
