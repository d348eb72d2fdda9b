"""One row of measurements per nucleus, the same as Analyze > Measure gives for its ROI in ImageJ."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.errors import ImageError
from stormseg_ij.files import replacing
from stormseg_ij.image import Image, Labels, Pixels
from stormseg_ij.outlines import Outlines, trace_window
from stormseg_ij.regions import Integers, Window, windows
from stormseg_ij.rois import roi_name

Table: TypeAlias = dict[str, NDArray[Any]]
Reals: TypeAlias = NDArray[np.float64]

COLUMNS = (
    "ROI", "Label", "Area", "Mean", "StdDev", "Mode", "Min", "Max", "X", "Y", "XM", "YM", "Perim.", "BX", "BY", "Width",
    "Height", "Major", "Minor", "Angle", "Circ.", "Feret", "IntDen", "Median", "Skew", "Kurt", "%Area", "RawIntDen",
    "FeretX", "FeretY", "FeretAngle", "MinFeret", "AR", "Round", "Solidity", "area_px",
)  # fmt: skip
"""Columns of every table, in ImageJ's order; `measure` adds ``score`` where there are scores."""

_ROWS = 10_000  # of a table written together


def measure(labels: Labels, image: Image, *, scores: Mapping[int, float] | None = None) -> Table:
    """Measure every nucleus as ImageJ 1.54p does with everything ticked in Set Measurements.

    Parameters
    ----------
    labels : ndarray of int, shape (Y, X)
        0 is background.
    image : Image
        What is measured, of the same shape.
    scores : mapping of int to float, optional
        Score of each label; NaN where one has none.

    Returns
    -------
    dict of str to ndarray, shape (N,)
        One row per label, ascending. ``ROI`` is the ROI's name, ``Label`` the label. Then ImageJ's columns, in
        calibrated units where the image has a calibration: lengths in its unit, areas in its square, angles in degrees
        (FeretX and FeretY are in pixels, as in ImageJ). Then ``area_px`` in pixels, and ``score`` if asked for.

    Raises
    ------
    ImageError
        If labels and image differ in shape.

    Notes
    -----
    ImageJ's own peculiarities are kept, so that a number does not depend on who measured it: Major, Minor and what
    follows from them are 0, infinite or NaN where the pixel is not square by 1 % or more, and off by a few percent for
    some mirror-symmetric nuclei of few pixels; Mode of a 32-bit image comes from a histogram of 256 bins; the perimeter
    of a nucleus with holes or several pieces is the sum over all outlines; Skew and Kurt are NaN where all pixels are
    equal, as are XM and YM where all are 0 in a 16-bit image.
    """
    if labels.shape != image.shape:
        raise ImageError(f"labels are {labels.shape}, the image {image.name} is {image.shape} (Y, X); give a pair")
    calibration = image.calibration
    pixel = (1.0, 1.0) if calibration is None else (calibration.pixel_width, calibration.pixel_height)
    nothing = Window(slice(0, 0), slice(0, 0), np.zeros(0, np.int64))
    traced = (trace_window(labels, window) for window in list(windows(labels)) or [nothing])
    table = _joined([_measured(labels, image.pixels, outlines, pixel) for outlines in traced])
    if scores is not None:
        table["score"] = np.array([scores.get(label, np.nan) for label in table["Label"].tolist()], np.float64)
    return table


def _measured(labels: Labels, pixels: Pixels, outlines: Outlines, pixel: tuple[float, float]) -> Table:
    """Measure the nuclei of some outlines; `pixel` is its width and height."""
    table = _places(outlines, pixel)
    table |= _ellipses(outlines, pixel, table["area_px"])
    table |= _grays(labels, pixels, outlines, pixel, table)
    table |= _ferets(outlines, pixel, table["area_px"])
    table["Perim."] = _perimeters(outlines, pixel)
    with np.errstate(divide="ignore", invalid="ignore"):
        table["Circ."] = np.minimum(4.0 * np.pi * (table["Area"] / table["Perim."] ** 2), 1.0)
        table["AR"] = table["Major"] / table["Minor"]
        table["Round"] = 4.0 * table["Area"] / (np.pi * table["Major"] ** 2)
    table["ROI"] = np.array([roi_name(label) for label in outlines.labels.tolist()], np.str_)
    table["Label"] = outlines.labels
    return {name: table[name] for name in COLUMNS}


def _joined(tables: list[Table]) -> Table:
    """Join tables with the same columns to one with ascending labels."""
    joined = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    order = np.argsort(joined["Label"])
    return {name: column[order] for name, column in joined.items()}


def write_csv(path: str | Path, table: Table) -> None:
    """Write a table as ImageJ's Results can open it, replacing `path` only once the file is complete.

    Parameters
    ----------
    path : str or Path
    table : dict of str to ndarray
        Columns of equal length.

    Raises
    ------
    ImageError
        If the folder cannot be written to.
    """
    with replacing(Path(path)) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        for start in range(0, max((len(column) for column in table.values()), default=0), _ROWS):
            columns = [map(_text, column[start : start + _ROWS].tolist()) for column in table.values()]
            writer.writerows(zip(*columns, strict=True))


def _text(value: str | float) -> str:
    """Write a value with a point as decimal mark and 10 digits; what is no number as Java writes it."""
    if isinstance(value, str | int):
        return str(value)
    if np.isfinite(value):
        return f"{value:.10g}"
    return "NaN" if np.isnan(value) else ("Infinity" if value > 0.0 else "-Infinity")


def _per_label(outlines: Outlines) -> Integers:
    """Where the corners of each label start."""
    return outlines.loops[outlines.owners[:-1]]


def _following(outlines: Outlines) -> Integers:
    """Return the index of the corner after each corner, in its loop."""
    following = np.arange(1, len(outlines.x) + 1)
    following[outlines.loops[1:] - 1] = outlines.loops[:-1]
    return following


def _sums(values: NDArray[Any], starts: Integers) -> NDArray[Any]:
    return np.add.reduceat(values, starts) if len(starts) else values[:0]


def _places(outlines: Outlines, pixel: tuple[float, float]) -> Table:
    """Measure areas and bounding boxes."""
    left, top, right, bottom = outlines.boxes.T.astype(np.float64)
    x, y = outlines.x.astype(np.int64), outlines.y.astype(np.int64)
    count = _sums(x * (y[_following(outlines)] - y), _per_label(outlines))
    return {
        "area_px": count,
        "Area": count * pixel[0] * pixel[1],
        "BX": left * pixel[0],
        "BY": top * pixel[1],
        "Width": (right - left) * pixel[0],
        "Height": (bottom - top) * pixel[1],
    }


def _perimeters(outlines: Outlines, pixel: tuple[float, float]) -> Reals:
    """Measure perimeters as ImageJ does for traced ROIs: edges of pixels, with corners cut.

    Going along a loop, a corner is cut unless the edge before it is one pixel long and the corner before was cut.
    """
    starts = outlines.loops[:-1]
    following = _following(outlines)
    dx = np.abs(outlines.x[following] - outlines.x).astype(np.int64)
    dy = np.abs(outlines.y[following] - outlines.y).astype(np.int64)
    before = np.empty(len(following), np.int64)
    before[following] = dx + dy
    index = np.arange(len(following))
    anew = before > 1
    anew[starts] = True
    cut = (index - np.maximum.accumulate(np.where(anew, index, 0))) % 2 == 0
    width, height = pixel
    saved = (width + height) - np.sqrt(width * width + height * height)
    lengths = _sums(dx, starts) * width + _sums(dy, starts) * height - _sums(cut.astype(np.int64), starts) * saved
    return _sums(lengths, outlines.owners[:-1])


def _moments(outlines: Outlines) -> Integers:
    """Sum x, y, x * x, y * y and x * y over each label's pixels, counted from its bounding box: shape (5, N).

    A sum over pixels is a sum over the vertical edges around them (Green's theorem on the pixel grid).
    """
    starts = _per_label(outlines)
    sizes = np.diff(np.append(starts, len(outlines.x)))
    left, top = (np.repeat(side, sizes) for side in outlines.boxes.T[:2])
    x, y = (outlines.x - left).astype(np.int64), (outlines.y - top).astype(np.int64)
    following = _following(outlines)
    once, twice = y * (y - 1) // 2, (y - 1) * y * (2 * y - 1) // 6
    rows, rows_once, rows_twice = (values[following] - values for values in (y, once, twice))
    x_once, x_twice = x * (x - 1) // 2, (x - 1) * x * (2 * x - 1) // 6
    terms = (x_once * rows, x * rows_once, x_twice * rows, x * rows_twice, x_once * rows_once)
    return np.stack([_sums(term, starts) for term in terms])


def _ellipses(outlines: Outlines, pixel: tuple[float, float], count: Integers) -> Table:
    """Fit ellipses of equal area and second moments, as ``ij.process.EllipseFitter`` does, constants included."""
    n = count.astype(np.float64)
    x, y, xx, yy, xy = _moments(outlines).astype(np.float64)
    mean_x, mean_y = x / n, y / n
    u20 = (xx + 0.08333333 * n) / n - mean_x * mean_x
    u02 = (yy + 0.08333333 * n) / n - mean_y * mean_y
    u11 = xy / n - mean_x * mean_y
    determinant = np.maximum(4.0 * np.abs(u02 * u20 - u11 * u11), 0.000001)
    a11, a12, a22 = u02 / determinant, u11 / determinant, u20 / determinant
    half_pi = 1.5707963267949
    difference = np.where(a11 == a22, 0.000001, a11 - a22)
    theta = 0.5 * np.arctan(2.0 * a12 / difference)
    theta = np.where(theta < 0.0, theta + half_pi, theta)
    theta = np.where(a12 > 0.0, theta + half_pi, theta)
    upright, level = (a12 == 0.0) & (a22 < a11), (a12 == 0.0) & (a22 > a11)
    theta = np.where(upright, half_pi, np.where(level, 0.0, theta))
    a11, a22 = np.where(level, a22, a11), np.where(level, a11, a22)
    sine = np.sin(theta)
    z = a12 * np.cos(theta) / np.where(sine == 0.0, 0.000001, sine)
    first, second = np.sqrt(1.0 / np.abs(a22 + z)), np.sqrt(1.0 / np.abs(a11 - z))
    scale = np.sqrt(n / (np.pi * first * second)) * 2.0
    angle = 180.0 * theta / np.pi
    side = pixel[0] if abs(pixel[0] - pixel[1]) / pixel[0] < 0.01 else 0.0
    boxes = outlines.boxes
    return {
        "X": (boxes[:, 0] + mean_x + 0.5) * pixel[0],
        "Y": (boxes[:, 1] + mean_y + 0.5) * pixel[1],
        "Major": np.maximum(first, second) * scale * side,
        "Minor": np.minimum(first, second) * scale * side,
        "Angle": np.where(angle == 180.0, 0.0, angle),
    }


def _grays(labels: Labels, pixels: Pixels, outlines: Outlines, pixel: tuple[float, float], places: Table) -> Table:
    """Measure gray values, one label after the other."""
    rows = []
    statistics = _binned if pixels.dtype == np.float32 else _counted
    for label, (left, top, right, bottom) in zip(outlines.labels.tolist(), outlines.boxes.tolist(), strict=True):
        part = pixels[top:bottom, left:right]
        mask = labels[top:bottom, left:right] == label
        weights = np.where(mask, part, 0)
        across = weights.sum(axis=0, dtype=np.float64) @ np.arange(left, right)
        down = weights.sum(axis=1, dtype=np.float64) @ np.arange(top, bottom)
        rows.append((across, down, *statistics(part[mask])))
    columns = np.array(rows, np.float64).reshape(-1, 11).T
    across, down, total, squares, cubes, fourths, zeros = columns[:7]
    n = places["area_px"]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / n
        square = mean * mean
        spread = (n * squares - total * total) / n
        # Terms in ImageJ's order: where pixels are nearly equal, rounding decides.
        variance = squares / n - square
        third = (cubes - 3.0 * mean * squares) / n + 2.0 * mean * square
        fourth = (fourths - 4.0 * mean * cubes + 6.0 * square * squares) / n - 3.0 * square * square
        skew, kurt = third / (variance * np.sqrt(variance)), fourth / (variance * variance) - 3.0
        deviation = np.where(spread > 0.0, np.sqrt(spread / (n - 1.0)), 0.0)
        x_mass, y_mass = (across / total + 0.5) * pixel[0], (down / total + 0.5) * pixel[1]
    if pixels.dtype != np.uint16:  # of these, ImageJ raises every pixel a trifle above zero
        x_mass, y_mass = np.where(squares == 0.0, (places["X"], places["Y"]), (x_mass, y_mass))
    named = zip(("Min", "Max", "Mode", "Median"), columns[7:11], strict=True)
    return dict(named) | {
        "Mean": mean, "StdDev": deviation, "Skew": skew, "Kurt": kurt, "%Area": (n - zeros) * 100.0 / n,
        "XM": x_mass, "YM": y_mass, "IntDen": places["Area"] * mean, "RawIntDen": n * mean,
    }  # fmt: skip


def _counted(values: Pixels) -> list[float]:
    """Return sums of powers 1 to 4, number of zeros, least, largest, most frequent and middle of whole numbers."""
    levels, counts = np.unique(values, return_counts=True)
    gray = levels.astype(np.float64)
    square = gray * gray
    middle = np.searchsorted(np.cumsum(counts), len(values) / 2.0, side="right")
    powers = [float(power @ counts) for power in (gray, square, gray * square, square * square)]
    zeros = counts[0] if levels[0] == 0 else 0
    return [*powers, zeros, gray[0], gray[-1], gray[np.argmax(counts)], gray[middle]]


def _binned(values: Pixels) -> list[float]:
    """Do as `_counted` for 32-bit numbers; the most frequent is the middle of the fullest of 256 bins."""
    gray = values.astype(np.float64)
    square = gray * gray
    ranked = np.sort(values)
    low, high = float(ranked[0]), float(ranked[-1])
    median = float((ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2]) / np.float32(2.0))
    mode = low
    if high > low:
        counts = np.bincount(np.minimum((256.0 / (high - low) * (gray - low)).astype(np.int64), 255), minlength=256)
        size = (high - low) / 256.0
        mode += int(counts.argmax()) * size + (size / 2.0 if size != 1.0 else 0.0)
    powers = [float(power.sum()) for power in (gray, square, gray * square, square * square)]
    return [*powers, len(gray) - int(np.count_nonzero(gray)), low, high, mode, median]


def _hulls(outlines: Outlines) -> Iterator[tuple[Reals, Reals]]:
    """Yield each label's convex hull, x and y of its corners, as ImageJ lists them.

    It starts at the upper left and goes down first; no three corners are in line.
    """
    if not outlines.labels.size:
        return
    owner = np.repeat(np.arange(len(outlines.labels)), np.diff(np.append(_per_label(outlines), len(outlines.x))))
    order = np.lexsort((outlines.x, outlines.y, owner))
    x, y, owner = outlines.x[order].astype(np.int64), outlines.y[order].astype(np.int64), owner[order]
    changes = np.flatnonzero((np.diff(y) != 0) | (np.diff(owner) != 0)) + 1
    left = _chain(x, y, owner, np.concatenate([[0], changes]), 1)
    right = _chain(x, y, owner, np.concatenate([changes, [len(x)]]) - 1, -1)
    bounds = [np.searchsorted(owner[chain], np.arange(len(outlines.labels) + 1)) for chain in (left, right)]
    for i in range(len(outlines.labels)):
        down, up = left[bounds[0][i] : bounds[0][i + 1]], right[bounds[1][i] : bounds[1][i + 1]][::-1]
        hull = np.concatenate([down, up])
        yield x[hull].astype(np.float64), y[hull].astype(np.float64)


def _chain(x: Integers, y: Integers, owner: Integers, kept: Integers, side: int) -> Integers:
    """Keep what is convex of the outermost corner of every row, for all labels at once; side 1: left, -1: right.

    A corner that is not outside the line between its neighbours cannot be on the hull: all of them go at once, until
    there are none.
    """
    while True:
        before, here, after = kept[:-2], kept[1:-1], kept[2:]
        cross = (x[here] - x[before]) * (y[after] - y[here]) - (y[here] - y[before]) * (x[after] - x[here])
        going = (owner[before] == owner[after]) & (cross * side >= 0)
        if not going.any():
            return kept
        kept = np.delete(kept, np.flatnonzero(going) + 1)


def _ferets(outlines: Outlines, pixel: tuple[float, float], count: Integers) -> Table:
    """Measure calipers and solidity from convex hulls, as ``ij.gui.Roi.getFeretValues`` does."""
    rows = []
    width, height = pixel
    for x, y in _hulls(outlines):
        dx, dy = x[:, np.newaxis] - x, y[:, np.newaxis] - y
        squared = (dx * width) ** 2 + (dy * height) ** 2
        a, b = divmod(int(np.argmax(squared)), len(x))  # the first of several, with a < b
        if x[a] > x[b]:
            a, b = b, a
        angle = np.degrees(np.arctan2((y[a] - y[b]) * height, (x[b] - x[a]) * width))
        before = np.arange(-1, len(x) - 1)
        edge_x, edge_y = (y - y[before]) * height, (x[before] - x) * width
        length = np.sqrt(edge_x * edge_x + edge_y * edge_y)
        distance = (-dx * (edge_x / length * width)[:, np.newaxis]) - dy * (edge_y / length * height)[:, np.newaxis]
        hull_px = abs(float((x + x[before]) @ (y - y[before]))) / 2.0
        feret = np.sqrt(squared[a, b])
        rows.append((feret, x[a], y[a], angle + 180.0 * (angle < 0.0), distance.max(axis=1).min(), hull_px))
    columns = np.array(rows, np.float64).reshape(-1, 6).T
    named = zip(("Feret", "FeretX", "FeretY", "FeretAngle", "MinFeret"), columns, strict=False)
    return dict(named) | {"Solidity": count / columns[5]}
