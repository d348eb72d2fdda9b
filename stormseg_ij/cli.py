"""The command line: `stormseg SUBCOMMAND ...`. Java and TensorFlow load only when a subcommand needs them."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import stormseg_ij
from stormseg_ij import settings as options
from stormseg_ij.errors import ImageError, SettingsError, StormsegError

if TYPE_CHECKING:
    from stormseg_ij.bridge import ImageJ
    from stormseg_ij.image import Image, Labels
    from stormseg_ij.models import Model

T = TypeVar("T")
Handler = Callable[[argparse.Namespace], int]

_LONGEST_NAME = 255
"""Bytes that file systems take."""
_MOST_NOTES = 5


class _Parser(argparse.ArgumentParser):
    """argparse whose complaints are one line, and which takes no shortened options."""

    def __init__(self, **keywords: Any) -> None:  # noqa: ANN401 (argparse's own)
        super().__init__(allow_abbrev=False, **keywords)

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Parameters
    ----------
    argv : sequence of str, optional
        Without the program's name; by default that of this process.

    Returns
    -------
    int
        0: done; 1: failed; 2: the call was wrong.
    """
    arguments = _parser().parse_args(argv)
    handler: Handler = arguments.handler
    try:
        return handler(arguments)
    except StormsegError as error:
        print(f"stormseg: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        _complain(error)
        return 1
    except KeyboardInterrupt:
        print("stormseg: stopped; finished outputs are complete, no half file is left", file=sys.stderr)
        return 1


def _complain(error: OSError) -> None:
    """Tell what the system refused in one line, but not that a reader has gone away: stormseg ... | head."""
    if not isinstance(error, BrokenPipeError):
        with suppress(OSError):
            print(f"stormseg: {error if error.filename else f'cannot write output: {error}'}", file=sys.stderr)


def run() -> NoReturn:
    """Run as a program and leave at once.

    Taking Python down piece by piece can crash on the threads that Java and TensorFlow leave behind, after all work is
    done and written (seen: "PyGILState_Release", exit code 134).
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller; now no output file can get its number
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    try:
        code = main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    try:
        sys.stdout.flush()
    except OSError as error:
        code = code or 1
        _complain(error)
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="stormseg", description="Segment cell nuclei in STORM images; every nucleus an ImageJ ROI.")
    parser.add_argument("--version", action="version", version=f"stormseg {stormseg_ij.__version__}")
    commands = parser.add_subparsers(metavar="SUBCOMMAND", required=True, parser_class=_Parser)

    def command(name: str, handler: Handler, text: str, used: type[options.Settings] | None = None) -> _Parser:
        sub: _Parser = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(handler=handler, settings=used)
        if used is not None:
            options.add_arguments(sub, used)
        return sub

    text = "Find the nuclei of images; write ROIs, table, overlay."
    sub = command("segment", _segment, text, options.SegmentSettings)
    sub.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="TIFF or PNG file")
    _add_output(sub, "DIR", "folder for the results")
    _add_java(sub)

    sub = command("preprocess", _preprocess, "Resize, blur and equalize in ImageJ.", options.PreprocessSettings)
    _add_image(sub)
    _add_output(sub, "FILE.tif", "image to write")
    _add_java(sub)

    sub = command("labels-to-rois", _labels_to_rois, "Turn a label image into an ImageJ ROI zip.")
    sub.add_argument("labels", type=Path, metavar="LABELS", help="label image: 0 is background, every value a nucleus")
    _add_output(sub, "FILE.zip", "ROI file to write")

    sub = command("rois-to-labels", _rois_to_labels, "Turn an ImageJ ROI zip into a label image.")
    sub.add_argument("rois", type=Path, metavar="ROIS.zip", help="file of ImageJ's ROI Manager")
    sub.add_argument("--like", type=Path, required=True, metavar="IMAGE", help="image that gives size and calibration")
    _add_output(sub, "FILE.tif", "label image to write")

    sub = command("measure", _measure, "Measure nuclei as ImageJ does, on the original image.")
    sub.add_argument("nuclei", type=Path, metavar="LABELS|ROIS.zip", help="label image or ROI file")
    _add_image(sub)
    _add_output(sub, "FILE.csv", "table to write")

    sub = command("evaluate", _evaluate, "Score results against the truth.", options.EvaluateSettings)
    sub.add_argument("pred", type=Path, metavar="PRED", help="labels, ROI zip, or a folder of them")
    sub.add_argument("truth", type=Path, metavar="TRUTH", help="labels, ROI zip, or a folder of them")
    sub.add_argument("--json", type=Path, metavar="FILE", help="write the scores here too")
    _add_overwrite(sub)

    sub = command("simulate", _simulate, "Write simulated STORM images with exact labels.", options.SimulateSettings)
    sub.add_argument("output", type=Path, metavar="OUT", help="folder for images, labels, noise and localizations")
    _add_overwrite(sub)

    sub = command(
        "train", _train, "Train a model on images and labels of your own, or on simulated ones.", options.TrainSettings
    )
    text = "folder with images/ and labels/, equal stems; or none, and --simulate"
    sub.add_argument("data", type=Path, nargs="?", metavar="DATA", help=text)
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="model folder to write")

    sub = command("doctor", _doctor, "Look at what is installed; say what to do for each fault.")
    sub.add_argument("--save", action="store_true", help="use this --fiji from now on (with no --fiji: ImageJ 1.54p)")
    _add_fiji(sub)
    return parser


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


def _settings(arguments: argparse.Namespace) -> Any:  # noqa: ANN401 (the settings class of the subcommand)
    names = {name for name in vars(arguments) if name in arguments.settings.__dataclass_fields__}
    return options.from_mapping(arguments.settings, {name: getattr(arguments, name) for name in names})


def _start(arguments: argparse.Namespace) -> ImageJ:
    from stormseg_ij import bridge, installation

    return bridge.start(installation.resolve_fiji(arguments.fiji), heap_mb=arguments.heap_mb)


def _plane(arguments: argparse.Namespace) -> int | None:
    return options.SegmentSettings(plane=arguments.plane).plane


def _check_file(arguments: argparse.Namespace, inputs: Sequence[Path], *suffixes: str) -> None:
    """Refuse the file of `--output` before the work."""
    output: Path = arguments.output
    if output.suffix.lower() not in suffixes:
        raise SettingsError(f"--output {output}: give a name that ends in {' or '.join(suffixes)}")
    _check_outputs([output], inputs, overwrite=arguments.overwrite)


def _check_outputs(outputs: Sequence[Path], inputs: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse, before the work, outputs that could not be written or would replace what is to stay."""
    for path in outputs:
        _check_place(path)
        if path.is_dir():
            raise ImageError(f"{path} is a folder; give the name of a file")
        if path.exists() and any(other.exists() and path.samefile(other) for other in inputs):
            raise ImageError(f"{path} is an input; give the output another name")
        if path.exists() and not overwrite:
            raise ImageError(f"{path} exists; give --overwrite to replace it, or another name")


def _check_place(path: Path) -> None:
    """Refuse a file whose name is too long, or whose folder cannot be made or written to."""
    for name in (*path.parent.parts, f"{path.name}.8letters."):  # as long as the temporary name while writing
        if len(os.fsencode(name)) > _LONGEST_NAME:
            raise ImageError(f"the name {name[:30]}... is too long for a file or folder; give a shorter one")
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise ImageError(f"{folder} is a file; give a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImageError(f"you may not write to {folder}; choose another folder")


def _say(notes: Sequence[str], name: str) -> None:
    """Tell notes on a file; of many the first only."""
    shown = notes if len(notes) <= _MOST_NOTES else [*notes[:3], f"and {len(notes) - 3} more"]
    for note in shown:
        _line(f"stormseg: {name}: {note}", error=True)


def _segment(arguments: argparse.Namespace) -> int:
    from stormseg_ij import models
    from stormseg_ij.image import read_image
    from stormseg_ij.pipeline import output_paths

    settings: options.SegmentSettings = _settings(arguments)
    images: list[Path] = arguments.images
    stems: dict[str, Path] = {}
    for path in images:
        if path.stem in stems:
            raise SettingsError(f"{path} and {stems[path.stem]} would write the same files; segment them one by one")
        stems[path.stem] = path
    outputs = [path for stem in stems for path in output_paths(arguments.output, stem).values()]
    _check_outputs(outputs, images, overwrite=arguments.overwrite)
    models.find(settings.model)
    first = None
    if len(images) == 1 or not any(path.is_file() for path in images):
        first = read_image(images[0], plane=settings.plane)  # what is wrong with it is told before the engines start
    ij = _start(arguments)
    model = models.load(settings.model)
    done = [_segment_one(path, first, arguments, (ij, model)) for path in _progress(images, "image")]
    return 0 if all(done) else 1


def _segment_one(path: Path, image: Image | None, arguments: argparse.Namespace, engines: tuple[ImageJ, Model]) -> bool:
    """Segment one file, which may have been read before; a failure is told and does not stop the others."""
    from stormseg_ij import pipeline
    from stormseg_ij.image import read_image

    start, settings = time.perf_counter(), _settings(arguments)
    try:
        image = read_image(path, plane=settings.plane) if image is None else image
        result = pipeline.segment(image, settings, ij=engines[0], model=engines[1])
        paths = result.save(arguments.output, overwrite=arguments.overwrite)
    except StormsegError as error:
        _line(f"stormseg: {error}", error=True)
        return False
    _say(result.notes, path.name)
    size = result.run["settings"]["used"]["size"]
    nuclei = "1 nucleus" if result.count == 1 else f"{result.count} nuclei"
    _line(f"{path.name}: {nuclei} in {time.perf_counter() - start:.1f} s (scaled to {size} pixels)")
    for key in ("rois", "measurements", "overlay"):
        _line(f"  {key + ':':14}{paths[key]}")
    return True


def _progress(steps: Iterable[T], unit: str) -> Iterable[T]:
    """Show a bar while stepping through, in a terminal only; lines written meanwhile go through `_line`."""
    from tqdm import tqdm

    return cast("Iterable[T]", tqdm(steps, unit=unit, disable=None, leave=False))


def _line(text: str, *, error: bool = False) -> None:
    """Print a line above the bar, if there is one."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr if error else sys.stdout)


def _preprocess(arguments: argparse.Namespace) -> int:
    from stormseg_ij.image import read_image, write_tiff
    from stormseg_ij.preprocess import preprocess

    settings, plane = _settings(arguments), _plane(arguments)
    _check_file(arguments, [arguments.image], ".tif", ".tiff")
    image = read_image(arguments.image, plane=plane)
    result = preprocess(image, settings, _start(arguments))
    write_tiff(arguments.output, result.pixels, calibration=result.calibration)
    _say(result.notes, arguments.image.name)
    height, width = result.shape
    print(f"{arguments.output}: {width} x {height}, {result.pixels.dtype}")
    return 0


def _labels_to_rois(arguments: argparse.Namespace) -> int:
    from stormseg_ij import rois
    from stormseg_ij.image import read_labels

    _check_file(arguments, [arguments.labels], *rois.SUFFIXES)
    labels, notes = read_labels(arguments.labels)
    found = rois.labels_to_rois(labels, image_name=arguments.labels.stem)
    rois.write_rois(arguments.output, found)
    _say(notes, arguments.labels.name)
    print(f"{arguments.output}: {len(found)} {'ROI' if len(found) == 1 else 'ROIs'}")
    return 0


def _rois_to_labels(arguments: argparse.Namespace) -> int:
    import numpy as np

    from stormseg_ij.image import LARGEST_LABEL, read_shape, write_labels

    _check_file(arguments, [arguments.rois, arguments.like], ".tif", ".tiff")
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


def _measure(arguments: argparse.Namespace) -> int:
    from stormseg_ij import measure, rois
    from stormseg_ij.image import read_image, read_labels

    plane = _plane(arguments)
    _check_file(arguments, [arguments.nuclei, arguments.image], ".csv")
    image = read_image(arguments.image, plane=plane)
    if arguments.nuclei.suffix.lower() in rois.SUFFIXES:
        labels = _painted(arguments.nuclei, image.shape)
    else:
        labels, notes = read_labels(arguments.nuclei)
        _say(notes, arguments.nuclei.name)
    if labels.shape != image.shape:
        fault = f"{arguments.nuclei} is {labels.shape}, the image {image.shape} (rows, columns)"
        raise ImageError(f"{fault}; give the image that fits")
    table = measure.measure(labels, image)
    measure.write_csv(arguments.output, table)
    _say(image.notes, arguments.image.name)
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
    _say(notes, path.name)
    outside = sum(note.endswith(rois.OUTSIDE) for note in notes)
    if 2 * outside > len(found):
        _say([f"{outside} of {len(found)} ROIs lie outside {size}: wrong image?"], path.name)
    return labels


def _evaluate(arguments: argparse.Namespace) -> int:
    from stormseg_ij import metrics
    from stormseg_ij.files import replacing

    settings: options.EvaluateSettings = _settings(arguments)
    if arguments.json is not None:
        _check_outputs([arguments.json], [arguments.pred, arguments.truth], overwrite=arguments.overwrite)
    scores = metrics.evaluate(arguments.pred, arguments.truth, iou=settings.iou)
    _say(scores["notes"], "note")
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


def _simulate(arguments: argparse.Namespace) -> int:
    from stormseg_ij.simulate import output_names, write_dataset

    settings: options.SimulateSettings = _settings(arguments)
    outputs = [arguments.output / name for i in range(settings.count) for name in output_names(settings, i).values()]
    _check_outputs(outputs, [], overwrite=arguments.overwrite)
    written = write_dataset(arguments.output, settings, track=lambda numbers: _progress(numbers, "image"))
    count = "1 image" if len(written) == 1 else f"{len(written)} images"
    print(f"{arguments.output}: {count} of kind {settings.kind}")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from stormseg_ij.train import train

    settings: options.TrainSettings = _settings(arguments)
    _check_place(arguments.output / "config.json")
    print(f"training {arguments.output}: Ctrl-C stops it, --resume goes on after the last epoch", flush=True)
    for report in train(arguments.data, arguments.output, settings):
        losses = f"loss {report.loss:.4f}, validation {report.validation_loss:.4f}"
        print(f"epoch {report.epoch}/{report.epochs}: {losses}", flush=True)
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from stormseg_ij import doctor, installation

    if arguments.save:
        installation.save_fiji(arguments.fiji)
    findings = doctor.examine(arguments.fiji)
    for finding in findings:
        print(f"{'ok   ' if finding.ok else 'FAULT'}  {finding.part}: {finding.what}")
        if not finding.ok:
            print(f"       to do: {finding.remedy}")
    return 0 if all(finding.ok for finding in findings) else 1


if __name__ == "__main__":
    run()
