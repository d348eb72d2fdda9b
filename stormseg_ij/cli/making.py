"""`stormseg simulate`, `train` and `doctor`: images, models, and what is installed."""

from __future__ import annotations

import argparse
from functools import partial

from stormseg_ij import settings as options
from stormseg_ij.cli.terminal import check_outputs, check_place, given, progress, settings_of
from stormseg_ij.mask_settings import MaskTrainSettings, train_settings


def simulate(arguments: argparse.Namespace) -> int:
    """Write simulated images."""
    from stormseg_ij.simulate import output_names, write_dataset

    settings: options.SimulateSettings = settings_of(arguments)
    outputs = [arguments.output / name for i in range(settings.count) for name in output_names(settings, i).values()]
    check_outputs(outputs, [], overwrite=arguments.overwrite)
    written = write_dataset(arguments.output, settings, track=lambda numbers: progress(numbers, "image"))
    count = "1 image" if len(written) == 1 else f"{len(written)} images"
    print(f"{arguments.output}: {count} of kind {settings.kind}")
    return 0


def train(arguments: argparse.Namespace) -> int:
    """Train a model."""
    from stormseg_ij import train as training

    settings = train_settings(given(arguments, MaskTrainSettings))
    check_place(arguments.output / "config.json")
    print(f"training {arguments.output}: Ctrl-C stops it, --resume goes on after the last epoch", flush=True)
    for report in training.train(arguments.data, arguments.output, settings, told=partial(print, flush=True)):
        losses = f"loss {report.loss:.4f}, validation {report.validation_loss:.4f}"
        print(f"epoch {report.epoch}/{report.epochs}: {losses}", flush=True)
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """Look at what is installed."""
    from stormseg_ij import doctor as checks
    from stormseg_ij import installation

    if arguments.save:
        installation.save_fiji(arguments.fiji)
    findings = checks.examine(arguments.fiji)
    for finding in findings:
        print(f"{'ok   ' if finding.ok else 'FAULT'}  {finding.part}: {finding.what}")
        if not finding.ok:
            print(f"       to do: {finding.remedy}")
    return 0 if all(finding.ok for finding in findings) else 1
