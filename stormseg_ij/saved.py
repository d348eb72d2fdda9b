"""Reading back what was saved for an image; what is missing or damaged is told and does not stop the rest."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.calibration import Calibration
from stormseg_ij.errors import ImageError
from stormseg_ij.image import LARGEST_LABEL, LARGEST_LABEL_IMAGE_PX, Pixels, read_image, read_shape
from stormseg_ij.mapped import open_labels
from stormseg_ij.overlap import Nuclei, find_nuclei
from stormseg_ij.pipeline import OUTPUTS, output_paths
from stormseg_ij.rois import read_rois

T = TypeVar("T")
Reals = NDArray[np.float64]

_TELLING = ("run", "labels", "measurements")
"""Outputs by which a result is known; ROI files and pictures may have been put there by the user."""
_NEEDED = ("Area", "Circ.", "area_px")
_RANGES = {
    "Area": (math.ulp(0.0), sys.float_info.max, "a finite number above 0"),
    "Circ.": (0.0, 1.0, "0 to 1"),
    "area_px": (1.0, float(LARGEST_LABEL_IMAGE_PX), f"1 to {LARGEST_LABEL_IMAGE_PX}"),
    "score": (0.0, 1.0, "0 to 1"),
}
_LARGEST_PIXEL = 1e100
"""In the square of any unit; areas of larger pixels, or of smaller ones than its inverse, could not be added up."""
_LONGEST_TOLD = 20


@dataclass(frozen=True)
class Saved:
    """The outputs for one image, as far as they can be read.

    Attributes
    ----------
    name : str
    run : mapping
        What ``NAME_run.json`` holds; empty if it cannot be read.
    count : int or None
        Nuclei according to `run`.
    labels : ndarray of int, shape (Y, X), or None
        Perhaps a view of the file.
    nuclei : Nuclei or None
        Of `labels`.
    table : mapping of str to ndarray of float
        Columns ``Area``, ``Circ.``, ``area_px`` and, if there, ``score`` of the measurements; empty if unreadable.
    overlay : ndarray of uint8, shape (Y', X'), or None
        In gray.
    calibration : Calibration or None
    faults : tuple of str
        What is missing, damaged or contradicts another output, one line each.
    """

    name: str
    run: Mapping[str, Any]
    count: int | None
    labels: Pixels | None
    nuclei: Nuclei | None
    table: Mapping[str, Reals]
    overlay: Pixels | None
    calibration: Calibration | None
    faults: tuple[str, ...]


def result_names(folder: Path) -> list[str]:
    """Return the names of the images whose results are in a folder, sorted.

    Raises
    ------
    ImageError
        If it is no folder, or holds no results.
    """
    if not folder.is_dir():
        raise ImageError(f"{folder} is no folder; give the folder that stormseg segment wrote")
    endings = [OUTPUTS[key] for key in _TELLING]
    files = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    names = {name.removesuffix(ending) for name in files for ending in endings if name.endswith(ending)} - {""}
    if not names:
        wanted = ", ".join(f"NAME{ending}" for ending in endings)
        raise ImageError(f"{folder} has no results ({wanted}); give the folder that stormseg segment wrote")
    return sorted(names)


def load(folder: Path, name: str) -> Saved:
    """Read the outputs for one image."""
    paths = output_paths(folder, name)
    faults: list[str] = []

    def attempt(key: str, read: Callable[[Path], T]) -> T | None:
        if not paths[key].is_file():
            faults.append(f"{paths[key].name} is missing")
            return None
        try:
            return read(paths[key])
        except ImageError as error:
            faults.append(str(error).replace(f"{folder}/", ""))
            return None

    run = attempt("run", read_run) or {}
    count = attempt("run", lambda path: _count(run, path)) if "nuclei" in run else None
    labels = attempt("labels", lambda path: open_labels(path)[0])
    calibration = attempt("labels", _calibration) if labels is not None else None
    nuclei = None if labels is None else find_nuclei(labels, name)
    table = attempt("measurements", read_table)
    overlay = attempt("overlay", _read_overlay)
    rois = attempt("rois", read_rois)
    counts = {
        paths["labels"].name: None if nuclei is None else len(nuclei.ids),
        paths["measurements"].name: None if table is None else len(table["area_px"]),
        paths["rois"].name: None if rois is None else len(rois),
    }
    known = {file: count for file, count in counts.items() if count is not None}
    if len(set(known.values())) > 1:
        said = ", ".join(f"{count} in {file}" for file, count in known.items())
        faults.append(f"numbers of nuclei differ: {said}; make all from one of them, or segment again")
    return Saved(name, run, count, labels, nuclei, table or {}, overlay, calibration, tuple(faults))


def read_run(path: Path) -> dict[str, Any]:
    """Read ``NAME_run.json``.

    Raises
    ------
    ImageError
        If it cannot be read or is no JSON object.
    """
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(f"cannot read {path}: {line}; segment the image again") from error
    if not isinstance(run, dict):
        raise ImageError(f"cannot read {path}: it holds no JSON object; segment the image again")
    return run


def read_table(path: Path) -> dict[str, Reals]:
    """Read from ``NAME_measurements.csv`` what a report shows: ``Area``, ``Circ.``, ``area_px``, perhaps ``score``.

    Raises
    ------
    ImageError
        If it cannot be read, lacks one of these columns, or has something in them that `measure.write_csv` never
        writes: areas are positive, of no more pixels than a label image has; the others lie from 0 to 1, or are NaN.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            names = list(rows.fieldnames or [])
            missing = [name for name in _NEEDED if name not in names]
            if missing:
                raise ImageError(f"{path} has no column {missing[0]}; measure again with stormseg measure")
            wanted = [*_NEEDED, *(["score"] if "score" in names else [])]
            values = [[_number(row[name], name, path, rows.line_num) for name in wanted] for row in rows]
    except (OSError, ValueError, csv.Error) as error:
        raise ImageError(f"cannot read {path}: {error}; measure again with stormseg measure") from error
    columns = np.array(values, np.float64).reshape(-1, len(wanted)).T
    return dict(zip(wanted, columns, strict=True))


def look_up(run: Mapping[str, Any], *keys: str) -> Any:  # noqa: ANN401 (whatever the JSON holds)
    """Return a value deep in ``run.json``; None where there is none.

    Examples
    --------
    >>> look_up({"model": {"name": "mine"}}, "model", "name"), look_up({"model": 3}, "model", "name")
    ('mine', None)
    """
    value: Any = run
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def look_up_number(run: Mapping[str, Any], *keys: str) -> float | None:
    """Return a finite number, 0 or greater, deep in ``run.json``; None where there is none."""
    value = look_up(run, *keys)
    try:
        found = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return None
    return found if math.isfinite(found) and found >= 0.0 else None


def _count(run: Mapping[str, Any], path: Path) -> int:
    """Return the number of nuclei in ``run.json``."""
    count = run["nuclei"]
    if isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= LARGEST_LABEL:
        return count
    fault = f"its number of nuclei is {_shortened(repr(count))}, not a whole one from 0 to {LARGEST_LABEL}"
    raise ImageError(f"{path} is damaged: {fault}; segment the image again")


def _number(text: Any, column: str, path: Path, line: int) -> float:  # noqa: ANN401 (csv gives None for a short row)
    fault = f"{path} is damaged: line {line} has {_shortened(str(text))!r} in column {column}"
    try:
        value = float(text)
    except (TypeError, ValueError) as error:
        raise ImageError(f"{fault}; measure again with stormseg measure") from error
    lowest, highest, wanted = _RANGES[column]
    if lowest <= value <= highest or (highest == 1.0 and math.isnan(value)):
        return value
    raise ImageError(f"{fault}, not {wanted}; measure again with stormseg measure")


def _calibration(path: Path) -> Calibration | None:
    calibration = read_shape(path)[1]
    if calibration is not None:
        width, height = calibration.pixel_width, calibration.pixel_height
        if not 1.0 / _LARGEST_PIXEL <= width * height <= _LARGEST_PIXEL:
            raise ImageError(f"{path} states pixels of {width:g} x {height:g}; set its scale in ImageJ again")
    return calibration


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_TOLD else f"{text[:_LONGEST_TOLD]}..."


def _read_overlay(path: Path) -> Pixels:
    pixels = read_image(path).pixels
    if pixels.dtype != np.uint8:
        raise ImageError(f"{path} is no overlay: its pixels are {pixels.dtype}; segment the image again")
    return pixels
