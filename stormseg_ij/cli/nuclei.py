"""`stormseg labels-to-rois`, `rois-to-labels`, `measure`, `evaluate` and `report`: what is done with found nuclei."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stormseg_ij import settings as options
from stormseg_ij.cli.terminal import check_file, check_outputs, line, plane_of, progress, say, settings_of
from stormseg_ij.errors import ImageError, SettingsError

if TYPE_CHECKING:
    from stormseg_ij.image import Labels


def labels_to_rois(arguments: argparse.Namespace) -> int:
    """Turn a label image into ROIs."""
    from stormseg_ij import rois
    from stormseg_ij.image import read_labels

    check_file(arguments, [arguments.labels], *rois.SUFFIXES)
    labels, notes = read_labels(arguments.labels)
    count = rois.write_rois(arguments.output, rois.iterate_rois(labels, image_name=arguments.labels.stem))
    say(notes, arguments.labels.name)
    print(f"{arguments.output}: {count} {'ROI' if count == 1 else 'ROIs'}")
    return 0


def rois_to_labels(arguments: argparse.Namespace) -> int:
    """Turn ROIs into a label image."""
    import numpy as np

    from stormseg_ij.image import LARGEST_LABEL, read_shape, write_labels

    check_file(arguments, [arguments.rois, arguments.like], ".tif", ".tiff")
    shape, calibration = read_shape(arguments.like)
    labels = _painted(arguments.rois, shape)
    if labels.max(initial=0) > LARGEST_LABEL:
        raise ImageError(
            f"{arguments.rois} has a ROI nucleus_{labels.max()}, but label images hold numbers to {LARGEST_LABEL}; "
            "give the ROIs other names to have them renumbered"
        )
    write_labels(arguments.output, labels, calibration=calibration)
    count = np.count_nonzero(np.unique(labels))
    print(f"{arguments.output}: {count} {'label' if count == 1 else 'labels'}")
    return 0


def measure(arguments: argparse.Namespace) -> int:
    """Measure nuclei on an image."""
    from stormseg_ij import measure as measuring
    from stormseg_ij import rois
    from stormseg_ij.image import read_image, read_labels

    plane = plane_of(arguments)
    check_file(arguments, [arguments.nuclei, arguments.image], ".csv")
    image = read_image(arguments.image, plane=plane)
    if arguments.nuclei.suffix.lower() in rois.SUFFIXES:
        labels = _painted(arguments.nuclei, image.shape)
    else:
        labels, notes = read_labels(arguments.nuclei)
        say(notes, arguments.nuclei.name)
    if labels.shape != image.shape:
        fault = f"{arguments.nuclei} is {labels.shape}, the image {image.shape} (rows, columns)"
        raise ImageError(f"{fault}; give the image that fits")
    table = measuring.measure(labels, image)
    measuring.write_csv(arguments.output, table)
    say(image.notes, arguments.image.name)
    count = len(next(iter(table.values())))
    print(f"{arguments.output}: {count} {'nucleus' if count == 1 else 'nuclei'}")
    return 0


def _painted(path: Path, shape: tuple[int, int]) -> Labels:
    """Read ROIs into a label image of this shape; say if they do not seem to belong to it."""
    from stormseg_ij import rois

    found = rois.read_rois(path)
    labels, notes = rois.rois_to_labels(found, shape)
    size = f"the image of {shape[1]} x {shape[0]} pixels"
    if found and not labels.any():
        raise ImageError(f"{path}: no ROI covers a pixel of {size}; give the image that the ROIs belong to")
    say(notes, path.name)
    outside = sum(note.endswith(rois.OUTSIDE) for note in notes)
    if 2 * outside > len(found):
        say([f"{outside} of {len(found)} ROIs lie outside {size}: wrong image?"], path.name)
    return labels


def evaluate(arguments: argparse.Namespace) -> int:
    """Score nuclei against the truth."""
    from stormseg_ij import metrics
    from stormseg_ij.files import replacing

    settings: options.EvaluateSettings = settings_of(arguments)
    if arguments.json is not None:
        if arguments.json.suffix.lower() != ".json":
            raise SettingsError(f"--json {arguments.json}: give a name that ends in .json")
        check_outputs([arguments.json], [arguments.pred, arguments.truth], overwrite=arguments.overwrite)
    scores = metrics.evaluate(arguments.pred, arguments.truth, iou=settings.iou)
    say(scores["notes"], "note")
    for name in scores["missing"]:
        print(f"stormseg: {name} has no partner; left out of the scores", file=sys.stderr)
    print(f"{'image':30} {'F1':>6} {'FN %':>7} {'FP %':>7} {'Hausdorff':>9} {'true':>6} {'found':>6}")
    rows = [*scores["images"], {"name": "mean", **scores["mean"]}, {"name": "pooled", **scores["pooled"]}]
    for row in rows:
        hausdorff = "-" if row["hausdorff_px"] is None else f"{row['hausdorff_px']:.2f}"
        numbers = f"{row['f1']:6.3f} {row['fn_percent']:7.1f} {row['fp_percent']:7.1f} {hausdorff:>9}"
        counts = " ".join(f"{row[key]:.1f}".removesuffix(".0").rjust(6) for key in ("n_true", "n_pred"))
        print(f"{row['name']:30} {numbers} {counts}")
    if arguments.json is not None:
        with replacing(arguments.json) as temporary:
            temporary.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Write a page that shows a folder of results."""
    from stormseg_ij.report import page_path, write_report

    settings: options.EvaluateSettings = settings_of(arguments)
    check_outputs([page_path(arguments.folder, arguments.output)], [], overwrite=arguments.overwrite)
    page = write_report(
        arguments.folder,
        arguments.output,
        truth=arguments.truth,
        iou=settings.iou,
        overwrite=arguments.overwrite,
        track=lambda names: progress(names, "image"),
    )
    for warning in page.warnings:
        line(f"stormseg: {warning}", error=True)
    images = "1 image" if page.images == 1 else f"{page.images} images"
    print(f"{page.path}: {images}, {page.nuclei} {'nucleus' if page.nuclei == 1 else 'nuclei'}")
    return 0
