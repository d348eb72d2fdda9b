"""Quality control of a folder of results: one HTML page that a person can look through, with nothing outside it."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import stormseg_ij
from stormseg_ij import page, picture, quality
from stormseg_ij.cards import Facts, card, common_unit, distributions, overview, quantities
from stormseg_ij.errors import ImageError, SettingsError, StormsegError
from stormseg_ij.files import replacing
from stormseg_ij.image import Pixels
from stormseg_ij.metrics import Agreement, bare_name, compare, label_files, read_as_labels, summarize
from stormseg_ij.page import Layer
from stormseg_ij.pipeline import OUTPUTS
from stormseg_ij.rois import roi_name
from stormseg_ij.saved import Saved, load, look_up, look_up_number, result_names
from stormseg_ij.settings import EvaluateSettings

PAGE_NAME = "report.html"
TRUTH_FOLDER, TRUTH_ENDING = "truth", "_truth"
"""Where truth is looked for beside the results: FOLDER/truth/NAME.tif, or FOLDER/NAME_truth.tif."""
TRUTH_SUFFIXES = (".zip", ".png", ".tiff", ".tif")
LOW_F1 = 0.5
MANY_IMAGES, PICTURES_BYTES = 50, 4_500_000
"""On a page with more images, their pictures are made smaller until they have so many bytes together."""
_MOST_NAMED = 5

Track = Callable[[Sequence[str]], Iterable[str]]


@dataclass(frozen=True)
class Report:
    """What `write_report` wrote.

    Attributes
    ----------
    path : Path
        The page.
    images, nuclei : int
        How many there are in the folder.
    warnings : tuple of str
        One line each, beginning with the image's name where it is of one.
    """

    path: Path
    images: int
    nuclei: int
    warnings: tuple[str, ...] = field(default=())


def page_path(folder: str | Path, output: str | Path | None = None) -> Path:
    """Return where the page on a folder is written: to `output`, or to ``FOLDER/report.html`` without it.

    Raises
    ------
    SettingsError
        If the name does not end in .html or .htm.

    Examples
    --------
    >>> page_path("results").name, page_path("results", "mine.htm").name
    ('report.html', 'mine.htm')
    """
    path = Path(folder) / PAGE_NAME if output is None else Path(output)
    if path.suffix.lower() not in (".html", ".htm"):
        raise SettingsError(f"--output {path}: give a name that ends in .html")
    return path


def write_report(
    folder: str | Path,
    output: str | Path | None = None,
    *,
    truth: str | Path | None = None,
    iou: float = 0.7,
    overwrite: bool = False,
    track: Track = list,
) -> Report:
    """Write one HTML page on the results in a folder.

    Parameters
    ----------
    folder : str or Path
        What `pipeline.Result.save` wrote, for any number of images. What is missing or damaged is a warning.
    output : str or Path, optional
        The page; ``FOLDER/report.html`` without it.
    truth : str or Path, optional
        Folder of label images or ROI files, paired by name as in `metrics.evaluate`. Without it, truth is looked for
        beside the results: in ``FOLDER/truth``, or in files ``NAME_truth.tif`` (or .png, .zip).
    iou : float
        A nucleus is found if its IoU with a true one is greater.
    overwrite : bool
        Replace the page if it exists.
    track : callable
        Given the images' names, returns them in turn: to show progress.

    Returns
    -------
    Report

    Raises
    ------
    ImageError
        If the folder holds no results, `truth` fits none of them, or the page exists or cannot be written.
    SettingsError
        If `iou` is out of range or the page's name does not end in .html.
    """
    folder, iou = Path(folder), EvaluateSettings(iou=iou).iou
    names = result_names(folder)
    path = page_path(folder, output)
    if path.is_dir():
        raise ImageError(f"{path} is a folder; give the name of a file")
    if path.exists() and not overwrite:
        raise ImageError(f"{path} exists; give --overwrite to replace it, or another name")
    truths, faults = _truths(folder, names, None if truth is None else Path(truth))
    most_bytes = PICTURES_BYTES // len(names) if len(names) > MANY_IMAGES else None
    images = [_examine(load(folder, name), truths.get(name), iou, most_bytes=most_bytes) for name in track(names)]
    images = _with_odd_sizes(images)
    warnings = [*faults, *(f"{facts.name}: {warning}" for facts in images for warning in facts.warnings)]
    with replacing(path) as temporary:
        temporary.write_text(_page(folder, images, faults, iou), encoding="utf-8")
    return Report(path, len(images), sum(facts.count or 0 for facts in images), tuple(warnings))


def _truths(folder: Path, names: Sequence[str], truth: Path | None) -> tuple[dict[str, Path], list[str]]:
    """Find the truth of each image; warn of what has no partner."""
    if truth is None and (folder / TRUTH_FOLDER).is_dir():
        try:
            return _truths(folder, names, folder / TRUTH_FOLDER)
        except ImageError as error:  # nobody asked for it: the page is written all the same
            return {}, [str(error)]
    if truth is None:
        beside = {path.stem: path for suffix in TRUTH_SUFFIXES for path in folder.glob(f"*{TRUTH_ENDING}{suffix}")}
        return {name: beside[name + TRUTH_ENDING] for name in names if name + TRUTH_ENDING in beside}, []
    files = label_files(truth)
    # evaluate takes what ends in _labels and _rois for the same image: so do we, for images whose names end so
    keys = {name: bare_name(Path(f"{name}{OUTPUTS['labels']}")) for name in names}
    found = {name: files[key] for name, key in keys.items() if key in files}
    if not found:
        raise ImageError(
            f"no name in {folder} ({names[0]!r}, ...) is one in {truth} ({min(files)!r}, ...); "
            "give both files of an image one name (_labels and _rois at its end do not count)"
        )
    faults = [f"{name}: there is no truth for it in {truth.name}" for name in names if name not in found]
    lonely = sorted(path.name for key, path in files.items() if key not in keys.values())
    return found, faults + [f"{truth.name}/{file}: there are no results for it" for file in lonely]


def _examine(saved: Saved, truth: Path | None, iou: float, *, most_bytes: int | None) -> Facts:
    """Gather what the page tells of one image; its pixels are not kept."""
    warnings, notes = list(saved.faults), _texts(look_up(saved.run, "notes"))
    agreement, true_labels = None, None
    if truth is not None and saved.labels is not None:
        try:
            true_labels, remarks = read_as_labels(truth, _shape(saved.labels))
            notes += [f"truth: {remark}" for remark in remarks]
            agreement = compare(saved.labels, true_labels, iou=iou, name=truth.name)
        except StormsegError as error:
            warnings.append(str(error).replace(f"{truth.parent}/", ""))
    warnings += _doubts(saved, agreement)
    nuclei, table, none = saved.nuclei, saved.table, np.zeros(0)
    areas = table.get("area_px", none) if nuclei is None else nuclei.areas.astype(np.float64)
    seconds = look_up(saved.run, "seconds")
    return Facts(
        name=saved.name,
        shape=None if saved.labels is None else _shape(saved.labels),
        count=len(areas) if nuclei is not None or table else saved.count,
        areas_px=areas,
        circularities=table.get("Circ.", none),
        probabilities=table.get("score", none),
        calibration=saved.calibration,
        size_px=look_up_number(saved.run, "settings", "used", "size"),
        seconds=sum(_numbers(seconds)) if isinstance(seconds, dict) and seconds else None,
        settings=_settings(saved.run),
        picture=_picture(saved, agreement, true_labels, iou, most_bytes=most_bytes),
        agreement=agreement,
        notes=tuple(notes),
        warnings=tuple(warnings),
    )


def _doubts(saved: Saved, agreement: Agreement | None) -> list[str]:
    """Warn of what is unusual in one image."""
    doubts = []
    if saved.labels is not None and saved.nuclei is not None:
        nuclei, shape = saved.nuclei, _shape(saved.labels)
        if not len(nuclei.ids):
            doubts.append("no nuclei")
        at_border = quality.border_warning(nuclei, shape)
        doubts += [at_border] if at_border else []
        for odd, size in zip(quality.odd_nuclei(nuclei, shape), ("larger", "smaller"), strict=True):
            doubts += _named(nuclei.ids[odd], nuclei.areas[odd], size)
    if agreement is not None and agreement.score.f1 < LOW_F1:
        score = agreement.score
        found = f"{score.n_matched} of {score.n_true} true nuclei were found"
        doubts.append(f"F1 is only {score.f1:.2f}: {found}, {score.n_pred - score.n_matched} nuclei are false")
    return doubts


def _named(ids: NDArray[np.int64], areas: NDArray[np.int64], size: str) -> list[str]:
    """Name nuclei of unusual size, those farthest from the others first."""
    if not len(ids):
        return []
    order = np.argsort(areas)[:: 1 if size == "smaller" else -1][:_MOST_NAMED]
    names = ", ".join(f"{roi_name(int(ids[i]))} ({int(areas[i]):,} px)" for i in order)
    rest = f" and {len(ids) - _MOST_NAMED} more" if len(ids) > _MOST_NAMED else ""
    are = "1 nucleus is" if len(ids) == 1 else f"{len(ids)} nuclei are"
    return [f"{are} far {size} than the others: {names}{rest}"]


def _with_odd_sizes(images: Sequence[Facts]) -> list[Facts]:
    """Add the warnings that need all images."""
    calibrated = common_unit(images) is not None
    areas = [facts.areas if calibrated else facts.areas_px for facts in images]
    found = quality.odd_images([float(np.median(one)) if len(one) else None for one in areas])
    return [
        facts if warning is None else dataclasses.replace(facts, warnings=(*facts.warnings, warning))
        for facts, warning in zip(images, found, strict=True)
    ]


def _picture(
    saved: Saved, agreement: Agreement | None, truth: Pixels | None, iou: float, *, most_bytes: int | None
) -> str:
    """Draw the image and outlines over it: of hits, missed and false nuclei where there is a truth."""

    def drawn(gray: Pixels | None, size: tuple[int, int], layers: Sequence[Layer], alt: str) -> str:
        data = None if gray is None else picture.jpeg(gray, most_bytes=most_bytes)
        return page.picture(data, size, layers, alt=alt, lazy=most_bytes is not None)

    if saved.labels is None or saved.nuclei is None:
        if saved.overlay is None:
            return '<p class="soft">There is no picture: label image and overlay cannot be read.</p>'
        height, width = saved.overlay.shape
        alt = f"Image {saved.name} with the outlines that stormseg segment drew"
        return drawn(saved.overlay, (width, height), [], alt)
    paths, size = picture.outline_paths(saved.labels)
    areas = dict(zip(saved.nuclei.ids.tolist(), saved.nuclei.areas.tolist(), strict=True))

    def layer(kind: str, meaning: str, ids: NDArray[np.int64]) -> Layer:
        chosen = [(paths[i], f"{roi_name(i)}: {areas[i]:,} px") for i in ids.tolist() if i in paths]
        return Layer(kind, f"{meaning}: {len(ids):,}", chosen)

    if agreement is None or truth is None:
        odd = np.logical_or(*quality.odd_nuclei(saved.nuclei, _shape(saved.labels)))
        layers = [layer("nucleus", "nuclei", saved.nuclei.ids[~odd])]
        layers += [layer("odd", "of unusual size", saved.nuclei.ids[odd])] if odd.any() else []
    else:
        true_paths, _ = picture.outline_paths(truth)
        missed = [(true_paths[i], f"true nucleus {i}") for i in agreement.missed.tolist() if i in true_paths]
        layers = [
            layer("hit", f"found (IoU > {iou:g})", agreement.hits),
            Layer("missed", f"missed: {len(agreement.missed):,}", missed),
            layer("false", "false", agreement.false),
        ]
    gray = None if saved.overlay is None else picture.without_outlines(saved.overlay, saved.labels)
    counts = ", ".join(one.meaning for one in layers)
    alt = f"Image {saved.name} with outlines of nuclei; {counts}"
    return drawn(gray, size, layers, alt)


def _page(folder: Path, images: Sequence[Facts], faults: Sequence[str], iou: float) -> str:
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    name = folder.resolve().name
    linked = [
        f'<a href="#image-{i}">{page.text(facts.name)}</a>: {page.text(warning)}'
        for i, facts in enumerate(images)
        for warning in facts.warnings
    ]
    lines = [page.text(fault) for fault in faults] + linked
    told = page.items("warnings", lines) or "<p>None: nothing is missing, damaged or unusual.</p>"
    hint = "Point at an outline to see the name of its ROI."
    hint += " Gray bars are the whole folder, scaled to the same height." if len(images) > 1 else ""
    plotted = quantities(images)
    cards = [card(facts, i, plotted, iou=iou, several=len(images) > 1) for i, facts in enumerate(images)]
    hint = f'<p class="soft hint">{hint}</p>'
    parts = [
        f"<h2>Warnings</h2>{told}",
        f"<h2>All images</h2>{overview(images, iou)}",
        f"<h2>Distributions over the folder</h2>{distributions(images, plotted, iou)}",
        f"<h2>Images</h2>{hint}{''.join(cards)}",
    ]
    header = f'<p class="soft">Segmentation report</p><h1>{page.text(name)}</h1>{_tiles(images, len(lines), iou)}'
    footer = f"<p>Written by stormseg {page.text(stormseg_ij.__version__)} on {when}.</p>"
    return page.document(f"{name}: segmentation report", header, "\n".join(parts), footer)


def _tiles(images: Sequence[Facts], n_warnings: int, iou: float) -> str:
    """Sum the folder up in a line of numbers."""
    nuclei = sum(facts.count or 0 for facts in images)
    values = [(f"{len(images):,}", "image" if len(images) == 1 else "images", "")]
    values.append((f"{nuclei:,}", "nucleus" if nuclei == 1 else "nuclei", ""))
    values.append((f"{n_warnings:,}", "warning" if n_warnings == 1 else "warnings", "warn" if n_warnings else ""))
    scores = [facts.agreement.score for facts in images if facts.agreement]
    if scores:
        told = summarize(scores)
        of = f"of {len(scores)} image{'s' * (len(scores) != 1)} with truth"
        values.append((f"{told['mean']['f1']:.3f}", f"mean F1 at IoU > {iou:g} {of}", ""))
        values.append((f"{told['pooled']['f1']:.3f}", "F1 of all their nuclei together", ""))
    tiles = (
        f'<li class="{kind}"><b>{value}</b><span class="soft">{label}</span></li>' for value, label, kind in values
    )
    return f'<ul class="tiles">{"".join(tiles)}</ul>'


def _settings(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List settings as used (and as asked, where that differs), model, scale, versions and timings."""
    asked, used = look_up(run, "settings", "asked"), look_up(run, "settings", "used")
    rows = []
    for key, value in used.items() if isinstance(used, dict) else ():
        wish = asked.get(key, value) if isinstance(asked, dict) else value
        rows.append((str(key), _shown(value) + ("" if wish == value else f" (asked: {_shown(wish)})")))
    digest = look_up(run, "model", "sha256")
    rows += [("model's SHA-256", str(digest))] if digest else []
    found_by = look_up(run, "scale", "found_by")
    rows += [("size found by", str(found_by))] if found_by else []
    for title, unit in (("seconds", " s"), ("versions", "")):
        group = look_up(run, title)
        if isinstance(group, dict):
            rows += [(str(key), f"{_shown(value)}{unit}") for key, value in group.items()]
    return rows


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _numbers(values: Mapping[str, Any]) -> list[float]:
    return [found for key in values if (found := look_up_number(values, key)) is not None]


def _texts(notes: object) -> list[str]:
    return [str(note) for note in notes] if isinstance(notes, list) else []


def _shape(labels: Pixels) -> tuple[int, int]:
    height, width = labels.shape
    return height, width
