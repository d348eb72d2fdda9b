"""The parts of a report on segmented images: what is known of each image in, HTML out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stormseg_ij import page
from stormseg_ij.calibration import Calibration
from stormseg_ij.metrics import CURVE_THRESHOLDS, Agreement
from stormseg_ij.page import Bins, Cell, Reals, number, text

_UNITS = {"micron": "µm", "microns": "µm", "um": "µm", "μm": "µm"}


@dataclass(frozen=True)
class Facts:
    """What a report tells of one image.

    Attributes
    ----------
    name : str
    shape : (int, int) or None
        Y, X in pixels.
    count : int or None
        Nuclei; None if it is not known.
    areas_px, circularities, probabilities : ndarray of float, shape (n,)
        Of the nuclei; empty where they are not known.
    calibration : Calibration or None
    size_px, seconds : float or None
        Longer side of the network's input, and time that segmentation took.
    settings : sequence of (str, str)
        Names and values to show.
    picture : str
        HTML.
    agreement : Agreement or None
        With the truth, where there is one.
    notes, warnings : tuple of str
    """

    name: str
    shape: tuple[int, int] | None
    count: int | None
    areas_px: Reals
    circularities: Reals
    probabilities: Reals
    calibration: Calibration | None
    size_px: float | None
    seconds: float | None
    settings: Sequence[tuple[str, str]]
    picture: str
    agreement: Agreement | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def unit(self) -> str | None:
        """Unit of length as it is written; None without calibration."""
        return None if self.calibration is None else _UNITS.get(self.calibration.unit, self.calibration.unit)

    @property
    def areas(self) -> Reals:
        """Areas in the square of `unit`; in pixels without calibration."""
        if self.calibration is None:
            return self.areas_px
        return self.areas_px * (self.calibration.pixel_width * self.calibration.pixel_height)


def common_unit(images: Sequence[Facts]) -> str | None:
    """Return the unit of length of all images that have nuclei; None if they differ or one has none."""
    units = {facts.unit for facts in images if len(facts.areas_px)}
    return units.pop() if len(units) == 1 else None


def overview(images: Sequence[Facts], iou: float) -> str:
    """Return the table of all images; columns that would be empty are left out."""
    flags = [f'<span class="flag">{len(facts.warnings)}</span>' if facts.warnings else "0" for facts in images]
    counts = [len(facts.warnings) for facts in images]
    columns: list[tuple[str, list[Cell]]] = [
        ("Image", [Cell(f'<a href="#image-{i}">{text(facts.name)}</a>', facts.name) for i, facts in enumerate(images)]),
        ("Warnings", [Cell(flag, count) for flag, count in zip(flags, counts, strict=True)]),
        ("Nuclei", [_cell(facts.count, 0) for facts in images]),
        ("Median area (px)", [_cell(_median(facts.areas_px)) for facts in images]),
    ]
    units = {facts.unit for facts in images} - {None}
    if units:
        same = len(units) == 1
        head = f"Median area ({units.pop()}²)" if same else "Median area (calibrated)"
        columns.append((head, [_calibrated(facts, with_unit=not same) for facts in images]))
    columns += [
        ("Mean probability", [_cell(_mean(facts.probabilities), 2) for facts in images]),
        ("Network size (px)", [_cell(facts.size_px, 0) for facts in images]),
        ("Time (s)", [_cell(facts.seconds, 1) for facts in images]),
    ]
    if any(facts.agreement for facts in images):
        columns += _score_columns(images, iou)
    rows = zip(*(cells for _, cells in columns), strict=True)
    return page.table([head for head, _ in columns], rows, label="All images")


@dataclass(frozen=True)
class Quantity:
    """What is plotted of the nuclei.

    Attributes
    ----------
    title, unit : str
    values : callable
        Takes `Facts`, returns an ndarray of float, shape (n,).
    bins : Bins
        Of the nuclei of all images.
    everything : ndarray of float, shape (N,)
        The values of all images.
    """

    title: str
    unit: str
    values: Callable[[Facts], Reals]
    bins: Bins
    everything: Reals


def quantities(images: Sequence[Facts]) -> list[Quantity]:
    """Return what there is to plot: areas in calibrated units where all images share one, and what lies from 0 to 1."""
    unit = common_unit(images)
    kinds: list[tuple[str, str, float | None, Callable[[Facts], Reals]]] = [
        ("Nucleus area", "px", None, lambda facts: facts.areas_px)
        if unit is None
        else ("Nucleus area", f"{unit}²", None, lambda facts: facts.areas),
        ("Circularity", "", 1.0, lambda facts: facts.circularities),
        ("Probability", "", 1.0, lambda facts: facts.probabilities),
    ]
    made = []
    for title, unit_of_it, highest, values in kinds:
        everything = np.concatenate([values(facts) for facts in images])
        made.append(Quantity(title, unit_of_it, values, page.bins_of(everything, highest=highest), everything))
    return [quantity for quantity in made if len(quantity.everything)]


def distributions(images: Sequence[Facts], plotted: Sequence[Quantity], iou: float) -> str:
    """Return the histograms of all nuclei of the folder, and the mean F1 over IoU where there is truth."""
    plots = [page.histogram(one.everything, one.bins, title=one.title, unit=one.unit) for one in plotted]
    curves = [facts.agreement.curve for facts in images if facts.agreement]
    if curves:
        mean = np.mean(curves, axis=0).tolist()
        plots.append(page.curves(CURVE_THRESHOLDS, mean, curves if len(curves) > 1 else [], mark=iou))
    drawn = "".join(plots) or '<p class="soft">There is nothing to plot.</p>'
    return f'<div class="card plots">{drawn}</div>'


def card(facts: Facts, number_of_card: int, plotted: Sequence[Quantity], *, iou: float, several: bool) -> str:
    """Return the part on one image: picture, warnings, numbers, notes, settings, and its distributions.

    Those have the folder's behind them if there are `several` images.
    """
    warnings = page.items("warnings", (text(warning) for warning in facts.warnings))
    notes = page.items("notes", (text(note) for note in facts.notes))
    notes = f"<h4>Notes</h4>{notes}" if notes else ""
    rows = "".join(f'<tr><th scope="row">{text(key)}</th><td>{text(value)}</td></tr>' for key, value in facts.settings)
    settings = f"<details><summary>Settings</summary><table><tbody>{rows}</tbody></table></details>" if rows else ""
    described = "".join(f"<dt>{text(key)}</dt><dd>{text(value)}</dd>" for key, value in _described(facts, iou))
    size = f'<span class="soft">{facts.shape[1]} x {facts.shape[0]} px</span>' if facts.shape else ""
    return (
        f'<article class="card" id="image-{number_of_card}"><div class="head"><h3>{text(facts.name)}</h3>{size}</div>'
        f'<div class="image">{facts.picture}<div>{warnings}<dl>{described}</dl>{notes}'
        f'<div class="plots">{_plots(facts, plotted, iou, several=several)}</div>{settings}</div></div></article>'
    )


def _plots(facts: Facts, plotted: Sequence[Quantity], iou: float, *, several: bool) -> str:
    drawn = [
        page.histogram(values, one.bins, title=one.title, unit=one.unit, with_all=several)
        for one in plotted
        if len(values := one.values(facts))
    ]
    if facts.agreement:
        drawn.append(page.curves(CURVE_THRESHOLDS, facts.agreement.curve, mark=iou))
    return "".join(drawn)


def _described(facts: Facts, iou: float) -> list[tuple[str, str]]:
    median = number(_median(facts.areas_px))
    if facts.unit and len(facts.areas_px):
        median = f"{number(_median(facts.areas))} {facts.unit}² ({median} px)"
    lines = [("Nuclei", number(facts.count, 0)), ("Median area", median)]
    lines += [
        (name, number(_mean(values), 2))
        for name, values in (("Mean circularity", facts.circularities), ("Mean probability", facts.probabilities))
    ]
    if facts.agreement is None:
        return lines
    score = facts.agreement.score
    return [
        *lines,
        ("True nuclei", f"{score.n_true:,}, of which {score.n_matched:,} found at IoU > {iou:g}"),
        (f"F1 at {iou:g}", number(score.f1, 3)),
        ("F1 at 0.5", number(facts.agreement.curve[0], 3)),
        ("Mean F1, 0.5 to 0.95", number(facts.agreement.mean_f1, 3)),
        ("Missed (FN)", f"{number(score.fn_percent, 1)} %"),
        ("False (FP)", f"{number(score.fp_percent, 1)} %"),
        ("Hausdorff distance", f"{number(score.hausdorff_px, 2)} px"),
        ("Splits, merges", f"{facts.agreement.splits}, {facts.agreement.merges}"),
    ]


def _score_columns(images: Sequence[Facts], iou: float) -> list[tuple[str, list[Cell]]]:
    values: list[tuple[str, int, Callable[[Agreement], float | None]]] = [
        (f"F1 at {iou:g}", 3, lambda one: one.score.f1),
        ("F1 at 0.5", 3, lambda one: one.curve[0]),
        ("FN %", 1, lambda one: one.score.fn_percent),
        ("FP %", 1, lambda one: one.score.fp_percent),
        ("Hausdorff (px)", 2, lambda one: one.score.hausdorff_px),
        ("Splits", 0, lambda one: one.splits),
        ("Merges", 0, lambda one: one.merges),
    ]
    known = [facts.agreement for facts in images]
    columns = [(head, [_cell(get(one) if one else None, digits) for one in known]) for head, digits, get in values]
    return columns if iou != CURVE_THRESHOLDS[0] else [columns[0], *columns[2:]]


def _cell(value: float | None, digits: int | None = None) -> Cell:
    return Cell(number(value, digits), value)


def _calibrated(facts: Facts, *, with_unit: bool) -> Cell:
    value = None if facts.unit is None else _median(facts.areas)
    unit = f" {text(facts.unit)}²" if with_unit and value is not None else ""
    return Cell(number(value) + unit, value)


def _mean(values: Reals) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def _median(values: Reals) -> float | None:
    return float(np.median(values)) if len(values) else None
