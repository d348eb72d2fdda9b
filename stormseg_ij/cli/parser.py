"""The subcommands and their flags."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import stormseg_ij
from stormseg_ij import settings as options
from stormseg_ij.cli import fiji, gui, images, macros, making, nuclei
from stormseg_ij.mask_settings import MaskTrainSettings

Handler = Callable[[argparse.Namespace], int]
Command = Callable[..., argparse.ArgumentParser]


class _Parser(argparse.ArgumentParser):
    """argparse whose complaints are one line, and which takes no shortened options."""

    def __init__(self, **keywords: Any) -> None:  # noqa: ANN401 (argparse's own)
        super().__init__(allow_abbrev=False, **keywords)

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """Build the parser; each subcommand's handler and settings class stand in its namespace."""
    top = _Parser(prog="stormseg", description="Segment cell nuclei in STORM images; every nucleus an ImageJ ROI.")
    top.add_argument("--version", action="version", version=f"stormseg {stormseg_ij.__version__}")
    commands = top.add_subparsers(metavar="SUBCOMMAND", required=True, parser_class=_Parser)

    def command(name: str, handler: Handler, text: str, used: type[options.Settings] | None = None) -> _Parser:
        sub: _Parser = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(handler=handler, settings=used)
        if used is not None:
            options.add_arguments(sub, used)
        return sub

    _add_images(command)
    _add_gui(command)
    _add_nuclei(command)
    _add_results(command)
    _add_making(command)
    return top


def _add_images(command: Command) -> None:
    text = "Find the nuclei of images; write ROIs, table, overlay."
    sub = command("segment", images.segment, text, options.SegmentSettings)
    sub.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="TIFF or PNG file")
    _add_output(sub, "DIR", "folder for the results")
    _add_java(sub)

    sub = command("preprocess", images.preprocess, "Resize, blur and equalize in ImageJ.", options.PreprocessSettings)
    _add_image(sub)
    _add_output(sub, "FILE.tif", "image to write")
    _add_java(sub)


def _add_gui(command: Command) -> None:
    sub = command("gui", gui.gui, "Open ImageJ or Fiji with StormSeg's commands under Plugins > StormSeg.")
    sub.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="image to open")
    _add_java(sub)

    text = "Put StormSeg into your own Fiji: menu commands, macros and what they need; run twice it changes nothing."
    sub = command("install-fiji", fiji.install, text)
    sub.add_argument("folder", type=Path, metavar="FOLDER", help="Fiji's folder, for example Fiji.app")
    either = sub.add_mutually_exclusive_group()
    either.add_argument("--uninstall", action="store_true", help="take out again what was put in")
    either.add_argument("--python", type=Path, metavar="PATH", help="the Python that Fiji starts; this one without it")
    sub.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing in Fiji")


def _add_nuclei(command: Command) -> None:
    sub = command("labels-to-rois", nuclei.labels_to_rois, "Turn a label image into an ImageJ ROI zip.")
    sub.add_argument("labels", type=Path, metavar="LABELS", help="label image: 0 is background, every value a nucleus")
    _add_output(sub, "FILE.zip", "ROI file to write")

    sub = command("rois-to-labels", nuclei.rois_to_labels, "Turn an ImageJ ROI zip into a label image.")
    sub.add_argument("rois", type=Path, metavar="ROIS.zip", help="file of ImageJ's ROI Manager")
    sub.add_argument("--like", type=Path, required=True, metavar="IMAGE", help="image that gives size and calibration")
    _add_output(sub, "FILE.tif", "label image to write")

    sub = command("measure", nuclei.measure, "Measure nuclei as ImageJ does, on the original image.")
    sub.add_argument("nuclei", type=Path, metavar="LABELS|ROIS.zip", help="label image or ROI file")
    _add_image(sub)
    _add_output(sub, "FILE.csv", "table to write")


def _add_results(command: Command) -> None:
    sub = command("evaluate", nuclei.evaluate, "Score results against the truth.", options.EvaluateSettings)
    sub.add_argument("pred", type=Path, metavar="PRED", help="labels, ROI zip, or a folder of them")
    sub.add_argument("truth", type=Path, metavar="TRUTH", help="labels, ROI zip, or a folder of them")
    sub.add_argument("--json", type=Path, metavar="FILE", help="write the scores here too")
    _add_overwrite(sub)

    sub = command("report", nuclei.report, "Write one page that shows a folder of results.", options.EvaluateSettings)
    sub.add_argument("folder", type=Path, metavar="FOLDER", help="what stormseg segment wrote")
    text = "folder of label images or ROI zips of equal names (default: FOLDER/truth, or NAME_truth.* in FOLDER)"
    sub.add_argument("--truth", type=Path, metavar="DIR", help=text)
    sub.add_argument(
        "-o", "--output", type=Path, metavar="FILE.html", help="page to write (default: FOLDER/report.html)"
    )
    _add_overwrite(sub)


def _add_making(command: Command) -> None:
    sub = command(
        "simulate", making.simulate, "Write simulated STORM images with exact labels.", options.SimulateSettings
    )
    sub.add_argument("output", type=Path, metavar="OUT", help="folder for images, labels, noise and localizations")
    _add_overwrite(sub)

    sub = command(
        "train",
        making.train,
        "Train a model on images and labels of your own, or on simulated ones.",
        options.TrainSettings,
    )
    options.add_arguments(sub, MaskTrainSettings, beyond=options.TrainSettings)
    text = "folder with images/ and labels/, equal stems; or none, and --simulate"
    sub.add_argument("data", type=Path, nargs="?", metavar="DATA", help=text)
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="model folder to write")

    text = "Run an ImageJ macro, which may use StormSeg's commands; no window opens on your display."
    sub = command("macro", macros.run, text)
    sub.add_argument("macro", type=Path, metavar="FILE.ijm", help="macro file, .ijm or .txt")
    sub.add_argument("argument", nargs="?", default="", metavar="ARGUMENT", help="what its getArgument() gives")
    text = "use no display of its own (Xvfb, where it is installed): no ROI Manager then"
    sub.add_argument("--headless", action="store_true", help=text)
    _add_java(sub)

    sub = command("doctor", making.doctor, "Look at what is installed; say what to do for each fault.")
    sub.add_argument("--save", action="store_true", help="use this --fiji from now on (with no --fiji: ImageJ 1.54p)")
    _add_fiji(sub)


def _add_image(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("image", type=Path, metavar="IMAGE", help="TIFF or PNG file")
    sub.add_argument("--plane", metavar="N", help="plane of a stack, counted from 1")


def _add_output(sub: argparse.ArgumentParser, metavar: str, text: str) -> None:
    sub.add_argument("-o", "--output", type=Path, required=True, metavar=metavar, help=text)
    _add_overwrite(sub)


def _add_overwrite(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--overwrite", action="store_true", help="replace outputs that exist")


def _add_fiji(sub: argparse.ArgumentParser) -> None:
    text = "Fiji folder or endpoint instead of ImageJ 1.54p (or STORMSEG_FIJI)"
    sub.add_argument("--fiji", metavar="FOLDER|ENDPOINT", help=text)


def _add_java(sub: argparse.ArgumentParser) -> None:
    _add_fiji(sub)
    text = "memory for Java in MB (default: a quarter, at most 8192)"
    sub.add_argument("--heap-mb", type=int, metavar="N", help=text)
