"""Pieces of a self-contained HTML page: text, tables, plots as SVG, pictures with outlines. It reads no results."""

from __future__ import annotations

import base64
import hashlib
import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]

WIDTH_PX, HEIGHT_PX = 320, 130
"""Of a plot, before it is scaled to its place."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 312, 8, 104
_MOST_CURVES = 60
_MOST_WRITTEN_OUT = 1e15


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes
    ----------
    html : str
        Its content, escaped already.
    value : float, str or None
        What it is sorted by; cells with None come last.
    """

    html: str
    value: float | str | None = None


@dataclass(frozen=True)
class Bins:
    """The bins of a histogram, and all values in them.

    Attributes
    ----------
    edges : ndarray of float, shape (bins + 1,)
        Evenly spaced.
    counts : ndarray of int, shape (bins,)
        Of all values.
    beyond : bool
        Whether the last bin also holds values beyond its end.
    """

    edges: Reals
    counts: NDArray[np.int64]
    beyond: bool


@dataclass(frozen=True)
class Layer:
    """Outlines of one kind.

    Attributes
    ----------
    kind : str
        CSS class: ``nucleus``, ``odd``, ``hit``, ``missed`` or ``false``.
    meaning : str
        For the legend.
    paths : sequence of (str, str)
        Path data, and what is told about the nucleus under the pointer.
    """

    kind: str
    meaning: str
    paths: Sequence[tuple[str, str]]


def text(value: object) -> str:
    """Escape any text for HTML, also inside quotes; control characters and halves of characters become a sign.

    Examples
    --------
    >>> text('<b a="1">')
    '&lt;b a=&quot;1&quot;&gt;'
    """
    whole = str(value).encode("utf-8", "replace").decode("utf-8")
    return html.escape(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", whole))


def number(value: float | None, digits: int | None = None) -> str:
    """Write a number for people: so many decimals, or three significant figures; a dash for what is no finite number.

    Examples
    --------
    >>> number(1234.5), number(0.56789), number(12.345, 2)
    ('1,234', '0.568', '12.35')
    """
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    if digits is not None and abs(value) < _MOST_WRITTEN_OUT:
        return f"{value:,.{digits}f}"
    return f"{value:,.0f}" if 100 <= abs(value) < _MOST_WRITTEN_OUT else f"{value:.3g}"


def items(kind: str, lines: Iterable[str]) -> str:
    """Return an unordered list of escaped HTML; nothing if it is empty."""
    listed = "".join(f"<li>{line}</li>" for line in lines)
    return f'<ul class="{kind}">{listed}</ul>' if listed else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[Cell]], *, label: str) -> str:
    """Return a table that a click on a heading sorts; its first column names the rows."""
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in heads)
    body = []
    for row in rows:
        values = ["" if cell.value is None else text(cell.value) for cell in row]
        cells = [f'<td data-value="{value}">{cell.html}</td>' for cell, value in zip(row, values, strict=True)]
        first = f'<th scope="row" data-value="{values[0]}">{row[0].html}</th>'
        body.append(f"<tr>{first}{''.join(cells[1:])}</tr>")
    inside = f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'
    return f'<div class="card scroll" role="region" tabindex="0" aria-label="{text(label)}">{inside}</div>'


def bins_of(values: Reals, *, highest: float | None = None, count: int = 20) -> Bins:
    """Return even bins from 0 to `highest`, or to a round number that at most 1 % of the values exceed.

    Examples
    --------
    >>> bins_of(np.array([3.0, 70.0, 92.0]), count=4).edges.tolist()
    [0.0, 25.0, 50.0, 75.0, 100.0]
    """
    values = values[np.isfinite(values)]
    if highest is None:
        most = max(float(np.quantile(values, 0.99)) if len(values) else 1.0, 1e-30)
        steps = 10.0 ** math.floor(math.log10(most)) * np.array(
            [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        )
        highest = float(steps[min(int(np.searchsorted(steps, most)), len(steps) - 1)])
    edges: Reals = np.linspace(0.0, highest, count + 1)
    return Bins(edges, _counts(values, edges), bool((values > highest).any()))


def histogram(values: Reals, bins: Bins, *, title: str, unit: str = "", with_all: bool = False) -> str:
    """Return a figure with a histogram.

    Parameters
    ----------
    values : ndarray of float, shape (n,)
        Those beyond the last edge are counted in the last bin; what is no number is left out.
    bins : Bins
    title, unit : str
    with_all : bool
        Draw the distribution of all values in gray behind, as high as that of these.
    """
    values, edges = values[np.isfinite(values)], bins.edges
    counts = _counts(values, edges)
    highest = max(int(counts.max(initial=0)), 1)
    bars = [_bars(bins.counts, "shade")] if with_all else []
    bars.append(_bars(counts, "bar", edges))
    last = number(float(edges[-1]))
    ticks = [
        number(float(edges[0])),
        number(float(edges[0] + edges[-1]) / 2),
        f"\N{GREATER-THAN OR EQUAL TO} {last}" if bins.beyond else last,
    ]
    places = [(_LEFT, "start"), ((_LEFT + _RIGHT) / 2, "middle"), (_RIGHT, "end")]
    labels = "".join(
        f'<text x="{x:g}" y="{_BOTTOM + 14}" text-anchor="{anchor}">{tick}</text>'
        for (x, anchor), tick in zip(places, ticks, strict=True)
    )
    labels += f'<text x="{_LEFT - 5}" y="{_TOP + 8}" text-anchor="end">{highest}</text>'
    labels += f'<text x="{_LEFT - 5}" y="{_BOTTOM}" text-anchor="end">0</text>'
    suffix = f" {unit}" if unit else ""
    middle = f"median {number(float(np.median(values)))}{suffix}, n = {len(values):,}" if len(values) else "no values"
    axis = f'<path class="axis" d="M{_LEFT} {_BOTTOM + 0.5}H{_RIGHT}"/>'
    return _plot("".join(bars) + axis + labels, f"{title}{f' ({unit})' if unit else ''}", middle, HEIGHT_PX - 8)


def curves(
    thresholds: Sequence[float], main: Sequence[float], others: Sequence[Sequence[float]] = (), *, mark: float
) -> str:
    """Return a figure with F1 over IoU: one curve in colour, others faint behind; a line at the IoU `mark`."""
    low, high = thresholds[0], thresholds[-1]

    def place(x: float, y: float) -> str:
        across = _LEFT + (x - low) / (high - low) * (_RIGHT - _LEFT)
        return f"{across:.1f},{_BOTTOM - y * (_BOTTOM - _TOP):.1f}"

    def line(values: Sequence[float], kind: str) -> str:
        points = " ".join(place(x, y) for x, y in zip(thresholds, values, strict=True))
        return f'<polyline class="{kind}" points="{points}"/>'

    drawn = [f'<path class="grid" d="M{_LEFT} {_BOTTOM - y * (_BOTTOM - _TOP):g}H{_RIGHT}"/>' for y in (0.5, 1.0)]
    if low <= mark <= high:
        top, bottom = place(mark, 1.0).replace(",", " "), place(mark, 0.0).replace(",", " ")
        drawn.append(f'<path class="grid" d="M{top}L{bottom}"/>')
    drawn += [line(values, "faint") for values in others[:_MOST_CURVES]]
    drawn.append(line(main, "curve"))
    for x, y in zip(thresholds, main, strict=True):
        across, down = place(x, y).split(",")
        drawn.append(
            f'<circle class="dot" cx="{across}" cy="{down}" r="3"><title>IoU {x:.2f}: F1 {y:.3f}</title></circle>'
        )
    drawn.append(f'<path class="axis" d="M{_LEFT} {_BOTTOM + 0.5}H{_RIGHT}"/>')
    for x in (0.5, 0.6, 0.7, 0.8, 0.9):
        across = place(x, 0.0).split(",")[0]
        drawn.append(f'<text x="{across}" y="{_BOTTOM + 14}" text-anchor="middle">{x:g}</text>')
    for y in (0.0, 0.5, 1.0):
        baseline = _BOTTOM - y * (_BOTTOM - _TOP) + 4
        drawn.append(f'<text x="{_LEFT - 5}" y="{baseline:g}" text-anchor="end">{y:g}</text>')
    mean = f"mean {float(np.mean(main)):.3f}"
    return _plot("".join(drawn), f"F1 over IoU {low:g} to {high:g}", mean, HEIGHT_PX - 8)


def picture(jpeg: bytes | None, size: tuple[int, int], layers: Sequence[Layer], *, alt: str, lazy: bool = False) -> str:
    """Return a figure: the image as a data URI, outlines over it, and a legend.

    Parameters
    ----------
    jpeg : bytes or None
        None where there is no image: the outlines stand alone.
    size : (int, int)
        Width and height in the units of the paths.
    layers : sequence of Layer
    alt : str
        What the picture shows, for those who cannot see it.
    lazy : bool
        Let the browser decode the image only when it comes near the window: for pages with many.
    """
    shapes = "".join(
        f'<path class="{layer.kind}" d="{data}"><title>{text(told)}</title></path>'
        for layer in layers
        for data, told in layer.paths
    )
    box = f'viewBox="0 0 {size[0]} {size[1]}"'
    if jpeg is not None:
        place = f'width="{size[0]}" height="{size[1]}"'  # the page does not move when the image comes
        wait = ' loading="lazy" decoding="async"' if lazy else ""
        source = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
        image = f'<img {place}{wait} src="{source}" alt="{text(alt)}">'
        shown = f'{image}<svg {box} preserveAspectRatio="none" aria-hidden="true">{shapes}</svg>'
        stage = f'<div class="stage">{shown}</div>'
    else:
        stage = f'<div class="stage bare"><svg {box} role="img" aria-label="{text(alt)}">{shapes}</svg></div>'
    sample = '<path class="{}" d="M5 11C5 1 29 1 29 11S5 21 5 11z"/>'
    key = f'<svg class="key" viewBox="0 0 34 22" aria-hidden="true">{sample}</svg>'
    legend = items("legend", (f"{key.format(layer.kind)}<span>{text(layer.meaning)}</span>" for layer in layers))
    return f'<figure class="picture">{stage}{legend}</figure>'


def document(title: str, header: str, main: str, footer: str) -> str:
    """Return the whole page; its policy forbids every connection and every script but its own."""
    folder = Path(__file__).parent
    style, script = (folder.joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    hashes = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in (style, script)]
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"<header>{header}</header>\n<main>\n{main}\n</main>\n<footer>{footer}</footer>\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _counts(values: Reals, edges: Reals) -> NDArray[np.int64]:
    return np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].astype(np.int64)


def _bars(counts: NDArray[np.int64], kind: str, edges: Reals | None = None) -> str:
    step, highest = (_RIGHT - _LEFT) / len(counts), max(int(counts.max(initial=0)), 1)
    drawn = []
    for i in np.flatnonzero(counts).tolist():
        height = (_BOTTOM - _TOP) * int(counts[i]) / highest
        told = "" if edges is None else f"<title>{number(edges[i])} to {number(edges[i + 1])}: {counts[i]}</title>"
        place = (
            f'x="{_LEFT + i * step + 0.5:.1f}" y="{_BOTTOM - height:.1f}" width="{step - 1:.1f}" height="{height:.1f}"'
        )
        drawn.append(f'<rect class="{kind}" {place}>{told}</rect>')
    return "".join(drawn)


def _plot(inside: str, title: str, told: str, height_px: int) -> str:
    svg = f'<svg viewBox="0 0 {WIDTH_PX} {height_px}" role="img" aria-label="{text(f"{title}: {told}")}">{inside}</svg>'
    return f'<figure class="plot"><figcaption><b>{text(title)}</b><br>{text(told)}</figcaption>{svg}</figure>'
