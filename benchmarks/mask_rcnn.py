"""What a Mask R-CNN costs: python benchmarks/mask_rcnn.py [--model NAME|FOLDER] [--runs N].

Prediction: one simulated image of 512 x 512 and one of 1,024 x 1,024 pixels with nuclei of the model's size, the
network alone, median of some runs after one that is not counted; beside it `stardist-storm` on the same image, in turn,
and the ratio. Training: one step of the paper's ResNet-50 (batch 1, patches of 256) and one of the shipped model's
network (batch 4, patches of 192), medians alike. Each line is a process of its own; its memory is the largest resident
set, and what it held before the network was built is told first.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from stormseg_ij import models
from stormseg_ij.mask_settings import MaskTrainSettings, train_settings
from stormseg_ij.models.mask_rcnn.config import Config
from stormseg_ij.models.mask_rcnn.training import Trainer, make_batch
from stormseg_ij.simulate import simulate

SIDES_PX = (512, 1024)
SHIPPED = {
    "backbone": "resnet26", "backbone_width": 32, "pyramid_width": 128, "rpn_width": 128, "head_width": 256,
    "mask_width": 64, "train_anchors": 128, "train_rois": 96, "batch": 4, "patch": 192,
}  # fmt: skip
TRAININGS: dict[str, dict[str, Any]] = {"paper (resnet50)": {}, "mask-rcnn-storm": SHIPPED}


def median_seconds(work: Callable[[], object], runs: int) -> float:
    """Return the median of some runs, after one that is not counted."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def peak_mib() -> float:
    """Return the largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def predict(name: str, side: int, runs: int) -> dict[str, float]:
    """Measure prediction, in turn with StarDist."""
    model, other = models.load(name), models.load("stardist-storm")
    made = simulate(np.random.default_rng(1), kind="tissue", size=side, diameter=model.info.nucleus_diameter_px or 32.0)
    planes = [each.info.normalize(made.image) for each in (model, other)]
    before = peak_mib()
    found = model.predict(planes[0], probability=model.probability, nms=model.nms)
    peak = peak_mib()
    own, reference = [], []
    for _ in range(runs):  # in turn: a busy computer is busy for both
        own.append(median_seconds(lambda: model.predict(planes[0], probability=0.5, nms=model.nms), 1))
        reference.append(median_seconds(lambda: other.predict(planes[1], probability=0.5, nms=other.nms), 1))
    masks = sum(mask.nbytes for mask in found.masks) / 2**20
    return {
        "found": len(found), "seconds": statistics.median(own), "stardist": statistics.median(reference),
        "before": before, "peak": peak, "masks": masks,
    }  # fmt: skip


def train(name: str, runs: int) -> dict[str, float]:
    """Measure one step of training."""
    from stormseg_ij.models.keras_setup import load_tensorflow
    from stormseg_ij.models.mask_rcnn.network import Network

    load_tensorflow()  # first: it silences what TensorFlow says while it is imported
    import keras

    settings = train_settings({"model": "mask-rcnn", **TRAININGS[name]})
    assert isinstance(settings, MaskTrainSettings)
    keras.utils.set_random_seed(0)
    shared = set(Config.__dataclass_fields__) & set(TRAININGS[name])
    config = Config(**{key: TRAININGS[name][key] for key in shared})
    rng = np.random.default_rng(2)
    made = [simulate(rng, kind="tissue", size=settings.patch, diameter=32.0) for _ in range(settings.batch)]
    gray, labels = (np.stack([getattr(one, part) for one in made]) for part in ("image", "labels"))
    before = peak_mib()
    trainer = Trainer(Network.build(config), learning_rate=1e-4, train_bn=True, truth_proposals=True)
    batch = make_batch(gray.astype(np.float32), labels, config, rng)
    seconds = median_seconds(lambda: trainer.step(batch), runs)
    return {"batch": settings.batch, "patch": settings.patch, "seconds": seconds, "before": before, "peak": peak_mib()}


def child(*words: str) -> dict[str, float]:
    """Measure in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def main() -> None:
    """Print one table for prediction and one for training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mask-rcnn-storm")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--predict", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--train", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.predict or arguments.train:
        one = (
            predict(arguments.model, arguments.predict, arguments.runs)
            if arguments.predict
            else train(arguments.train, arguments.runs)
        )
        print(json.dumps(one))
        return
    same = ["--model", arguments.model, "--runs", str(arguments.runs)]
    print("| image | nuclei | network, s | stardist-storm, s | ratio | peak MiB (before) | masks, MiB |")
    print("|---|---|---|---|---|---|---|")
    for side in SIDES_PX:
        one = child("--predict", str(side), *same)
        print(
            f"| {side} x {side} | {one['found']} | {one['seconds']:.2f} | {one['stardist']:.2f} | "
            f"{one['seconds'] / one['stardist']:.1f} | {one['peak']:.0f} ({one['before']:.0f}) | {one['masks']:.1f} |",
            flush=True,
        )
    print("\n| training step | batch | patch | s | peak MiB (before) |")
    print("|---|---|---|---|---|")
    for name in TRAININGS:
        one = child("--train", name, *same)
        print(
            f"| {name} | {one['batch']} | {one['patch']} | {one['seconds']:.2f} | "
            f"{one['peak']:.0f} ({one['before']:.0f}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
