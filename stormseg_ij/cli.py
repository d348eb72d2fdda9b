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
    from stormseg_ij.image import Labels
    from stormseg_ij.models import Model

T = TypeVar("T")
Handler = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    """argparse whose complaints are one line."""

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
    except KeyboardInterrupt:
        print("stormseg: stopped; finished outputs are complete, no half file is left", file=sys.stderr)
        return 1


def run() -> NoReturn:
    """Run as a program and leave at once.

    Taking Python down piece by piece can crash on the threads that Java and TensorFlow leave behind, after all work is
    done and written (seen: "PyGILState_Release", exit code 134).
    """
    try:
        code = main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    with suppress(OSError):  # a reader that has gone away: stormseg ... | head
        sys.stdout.flush()
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

    sub = command(
        "segment", _segment, "Find the nuclei of images; write ROIs, table, overlay.", options.SegmentSettings
    )
    sub.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    _add_folder(sub, "folder for the results")
    _add_overwrite(sub)
    _add_java(sub)

    sub = command("preprocess", _preprocess, "Resize, blur and equalize in ImageJ.", options.PreprocessSettings)
    sub.add_argument("image", type=Path, metavar="IMAGE")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.tif", help="image to write")
    sub.add_argument("--plane", type=int, metavar="N", help="plane of a stack, counted from 1")
    _add_overwrite(sub)
    _add_java(sub)

    sub = command("labels-to-rois", _labels_to_rois, "Turn a label image into an ImageJ ROI zip.")
    sub.add_argument("labels", type=Path, metavar="LABELS")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.zip", help="ROI file to write")
    _add_overwrite(sub)

    sub = command("rois-to-labels", _rois_to_labels, "Turn an ImageJ ROI zip into a label image.")
    sub.add_argument("rois", type=Path, metavar="ROIS.zip")
    sub.add_argument("--like", type=Path, required=True, metavar="IMAGE", help="image that gives size and calibration")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.tif", help="label image to write")
    _add_overwrite(sub)

    sub = command("measure", _measure, "Measure nuclei as ImageJ does, on the original image.")
    sub.add_argument("nuclei", type=Path, metavar="LABELS|ROIS.zip")
    sub.add_argument("image", type=Path, metavar="IMAGE")
    sub.add_argument("--plane", type=int, metavar="N", help="plane of a stack, counted from 1")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.csv", help="table to write")
    _add_overwrite(sub)

    sub = command("evaluate", _evaluate, "Score results against the truth.", options.EvaluateSettings)
    sub.add_argument("pred", type=Path, metavar="PRED", help="labels, ROI zip, or a folder of them")
    sub.add_argument("truth", type=Path, metavar="TRUTH", help="labels, ROI zip, or a folder of them")
    sub.add_argument("--json", type=Path, metavar="FILE", help="write the scores here too")

    sub = command("simulate", _simulate, "Write simulated STORM images with exact labels.", options.SimulateSettings)
    sub.add_argument("output", type=Path, metavar="OUT", help="folder for images, labels, noise and localizations")

    sub = command("train", _train, "Train a model on images and labels of your own.", options.TrainSettings)
    sub.add_argument("data", type=Path, metavar="DATA", help="folder with images/ and labels/, equal stems")
    _add_folder(sub, "model folder to write")

    sub = command("doctor", _doctor, "Look at what is installed; say what to do for each fault.")
    sub.add_argument("--save", action="store_true", help="use this --fiji from now on (with no --fiji: ImageJ 1.54p)")
    _add_java(sub)
    return parser


def _add_folder(sub: argparse.ArgumentParser, text: str) -> None:
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help=text)


def _add_overwrite(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--overwrite", action="store_true", help="replace outputs that exist")


def _add_java(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--fiji", metavar="FOLDER|ENDPOINT", help="Fiji folder or endpoint instead of ImageJ 1.54p (or STORMSEG_FIJI)"
    )
    sub.add_argument(
        "--heap-mb", type=int, metavar="N", help="memory for Java in MB (default: a quarter, at most 8192)"
    )


def _settings(arguments: argparse.Namespace) -> Any:  # noqa: ANN401 (the settings class of the subcommand)
    names = {name for name in vars(arguments) if name in arguments.settings.__dataclass_fields__}
    return options.from_mapping(arguments.settings, {name: getattr(arguments, name) for name in names})


def _start(arguments: argparse.Namespace) -> ImageJ:
    from stormseg_ij import bridge, installation

    return bridge.start(installation.resolve_fiji(arguments.fiji), heap_mb=arguments.heap_mb)


def _refuse_existing(arguments: argparse.Namespace) -> None:
    from stormseg_ij.pipeline import refuse_existing

    if not arguments.overwrite:
        refuse_existing({"output": arguments.output})


def _say(notes: Sequence[str], name: str) -> None:
    for note in notes:
        print(f"stormseg: {name}: {note}", file=sys.stderr)


def _segment(arguments: argparse.Namespace) -> int:
    from stormseg_ij import models
    from stormseg_ij.pipeline import output_paths, refuse_existing

    settings: options.SegmentSettings = _settings(arguments)
    stems: dict[str, Path] = {}
    for path in arguments.images:
        if path.stem in stems:
            raise SettingsError(f"{path} and {stems[path.stem]} would write the same files; segment them one by one")
        stems[path.stem] = path
        if not arguments.overwrite:
            refuse_existing(output_paths(arguments.output, path.stem))
    models.find(settings.model)
    missing = [path for path in arguments.images if not path.is_file()]
    if len(missing) == len(arguments.images):
        raise ImageError(f"no file {missing[0]}; check the name")
    ij = _start(arguments)
    model = models.load(settings.model)
    failed = [
        path for path in _progress(arguments.images, "image") if not _segment_one(path, settings, arguments, ij, model)
    ]
    return 1 if failed else 0


def _segment_one(
    path: Path, settings: options.SegmentSettings, arguments: argparse.Namespace, ij: ImageJ, model: Model
) -> bool:
    """Segment one file; a failure is told and does not stop the others."""
    from stormseg_ij import pipeline
    from stormseg_ij.image import read_image

    start = time.perf_counter()
    try:
        image = read_image(path, plane=settings.plane)
        result = pipeline.segment(image, settings, ij=ij, model=model)
        paths = result.save(arguments.output, overwrite=arguments.overwrite)
    except StormsegError as error:
        _line(f"stormseg: {error}", error=True)
        return False
    for note in result.notes:
        _line(f"stormseg: {path.name}: {note}", error=True)
    nuclei = "1 nucleus" if result.count == 1 else f"{result.count} nuclei"
    _line(f"{path.name}: {nuclei} in {time.perf_counter() - start:.1f} s")
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

    settings = _settings(arguments)
    _refuse_existing(arguments)
    image = read_image(arguments.image, plane=arguments.plane)
    result = preprocess(image, settings, _start(arguments))
    write_tiff(arguments.output, result.pixels, calibration=result.calibration)
    _say(result.notes, arguments.image.name)
    height, width = result.shape
    print(f"{arguments.output}: {width} x {height}, {result.pixels.dtype}")
    return 0


def _labels_to_rois(arguments: argparse.Namespace) -> int:
    from stormseg_ij import rois
    from stormseg_ij.image import read_labels

    _refuse_existing(arguments)
    labels, notes = read_labels(arguments.labels)
    found = rois.labels_to_rois(labels, image_name=arguments.labels.stem)
    rois.write_rois(arguments.output, found)
    _say(notes, arguments.labels.name)
    print(f"{arguments.output}: {len(found)} ROIs")
    return 0


def _rois_to_labels(arguments: argparse.Namespace) -> int:
    from stormseg_ij import rois
    from stormseg_ij.image import read_shape, write_labels

    _refuse_existing(arguments)
    shape, calibration = read_shape(arguments.like)
    labels, notes = rois.rois_to_labels(rois.read_rois(arguments.rois), shape)
    write_labels(arguments.output, labels, calibration=calibration)
    _say(notes, arguments.rois.name)
    print(f"{arguments.output}: {len(set(labels.ravel().tolist()) - {0})} labels")
    return 0


def _measure(arguments: argparse.Namespace) -> int:
    from stormseg_ij import measure
    from stormseg_ij.image import read_image

    _refuse_existing(arguments)
    image = read_image(arguments.image, plane=arguments.plane)
    labels = _labels_of(arguments.nuclei, image.shape)
    table = measure.measure(labels, image)
    measure.write_csv(arguments.output, table)
    _say(image.notes, arguments.image.name)
    print(f"{arguments.output}: {len(next(iter(table.values())))} nuclei")
    return 0


def _labels_of(path: Path, shape: tuple[int, int]) -> Labels:
    from stormseg_ij import rois
    from stormseg_ij.image import read_labels

    if path.suffix.lower() in (".zip", ".roi"):
        labels, notes = rois.rois_to_labels(rois.read_rois(path), shape)
    else:
        labels, notes = read_labels(path)
    _say(notes, path.name)
    if labels.shape != shape:
        raise ImageError(f"{path} is {labels.shape}, the image {shape} (rows, columns); give the image that fits")
    return labels


def _evaluate(arguments: argparse.Namespace) -> int:
    from stormseg_ij import metrics
    from stormseg_ij.files import replacing

    settings: options.EvaluateSettings = _settings(arguments)
    scores = metrics.evaluate(arguments.pred, arguments.truth, iou=settings.iou)
    _say(scores["notes"], "note")
    for name in scores["missing"]:
        print(f"stormseg: {name} has no partner", file=sys.stderr)
    print(f"{'image':30} {'F1':>6} {'FN %':>7} {'FP %':>7} {'Hausdorff':>9} {'true':>6} {'found':>6}")
    rows = [*scores["images"], {"name": "mean", **scores["mean"]}, {"name": "pooled", **scores["pooled"]}]
    for row in rows:
        hausdorff = "-" if row["hausdorff_px"] is None else f"{row['hausdorff_px']:.2f}"
        numbers = f"{row['f1']:6.3f} {row['fn_percent']:7.1f} {row['fp_percent']:7.1f} {hausdorff:>9}"
        print(f"{row['name']:30} {numbers} {row['n_true']:6g} {row['n_pred']:6g}")
    if arguments.json is not None:
        with replacing(arguments.json) as temporary:
            temporary.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    return 0


def _simulate(arguments: argparse.Namespace) -> int:
    from stormseg_ij.simulate import write_dataset

    settings: options.SimulateSettings = _settings(arguments)
    written = write_dataset(arguments.output, settings, track=lambda numbers: _progress(numbers, "image"))
    print(f"{arguments.output}: {len(written)} images of kind {settings.kind}")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from stormseg_ij.train import train

    settings: options.TrainSettings = _settings(arguments)
    print(
        f"training {arguments.output} for {settings.epochs} epochs of {settings.steps} steps; Ctrl-C and --resume work"
    )
    for report in train(arguments.data, arguments.output, settings):
        losses = f"loss {report.loss:.4f}, validation {report.validation_loss:.4f}"
        print(f"epoch {report.epoch}/{settings.epochs}: {losses}", flush=True)
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from stormseg_ij import doctor, installation

    if arguments.save:
        installation.save_fiji(arguments.fiji)
    findings = doctor.examine(installation.resolve_fiji(arguments.fiji))
    for finding in findings:
        print(f"{'ok   ' if finding.ok else 'FAULT'}  {finding.part}: {finding.what}")
        if not finding.ok:
            print(f"       to do: {finding.remedy}")
    return 0 if all(finding.ok for finding in findings) else 1


if __name__ == "__main__":
    run()
