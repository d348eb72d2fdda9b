"""The parts of the report against slow references: outlines, pictures, what is unusual, large label images."""

import base64
import html
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as PillowImage
from skimage.measure import points_in_poly

from stormseg_ij import decode, mapped, page, quality, report, rows, saved
from stormseg_ij.calibration import Calibration
from stormseg_ij.errors import ImageError, SettingsError, StormsegError
from stormseg_ij.image import Image, read_labels, write_labels
from stormseg_ij.metrics import evaluate
from stormseg_ij.overlap import Nuclei, find_nuclei
from stormseg_ij.picture import jpeg, outline_paths, without_outlines
from stormseg_ij.pipeline import Result, overlay
from stormseg_ij.report import page_path, write_report

SLOWLY = settings(deadline=None)


# ---- outlines and pictures


def polygons(data):
    """Read path data back: a list of loops of points."""
    loops = []
    for loop in re.findall(r"M([^z]*)z", data):
        start, moves = ([int(n) for n in re.findall(r"-?\d+", part)] for part in loop.split("l"))
        steps = np.array([start, *np.reshape(moves, (-1, 2)).tolist()])
        loops.append(np.cumsum(steps, axis=0))
    return loops


@SLOWLY
@given(arrays(np.int32, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.sampled_from([0, 1, 2, 9])))
def test_outlines_hold_the_middles_of_their_pixels_and_no_others(labels):
    paths, (width, height) = outline_paths(labels)
    assert (height, width) == (2 * labels.shape[0], 2 * labels.shape[1])
    assert sorted(paths) == [i for i in np.unique(labels).tolist() if i]
    rows, columns = np.indices(labels.shape).reshape(2, -1)
    middles = np.stack([2 * columns + 1, 2 * rows + 1], axis=1)
    for label, data in paths.items():
        inside = np.zeros(len(middles), int)
        for loop in polygons(data):
            inside += points_in_poly(middles, loop)
        np.testing.assert_array_equal((inside % 2 == 1).reshape(labels.shape), labels == label)


def test_large_images_are_traced_coarsely():
    labels = np.zeros((100, 5000), np.uint16)
    labels[:50, 1000:2000] = 7
    labels[:, 4999] = 8  # between the pixels that are looked at
    paths, size = outline_paths(labels)
    assert (list(paths), size) == ([7], (2000, 40))
    (loop,) = polygons(paths[7])
    assert (loop.min(axis=0).tolist(), loop.max(axis=0).tolist()) == ([400, 0], [800, 20])


@pytest.mark.parametrize("shape", [(90, 120), (300, 200), (700, 650), (60, 2100), (4100, 40)])
def test_outlines_are_taken_out_of_the_overlay(shape):
    rng = np.random.default_rng(2)
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = ((y // 30 * 100 + x // 30 + 1) * ((y % 30 > 4) & (x % 30 > 4))).astype(np.int32)
    pixels = (labels % 7 * 20 + rng.integers(0, 4, shape)).astype(np.uint8)
    plain = overlay(pixels, np.zeros_like(labels))[..., 0]
    colours = overlay(pixels, labels)
    drawn = colours.mean(axis=2).round().astype(np.uint8)
    restored = without_outlines(drawn, labels)
    factor, step = max(plain.shape[0] // shape[0], 1), -(-max(shape) // 2048)
    plain, before = plain[::factor, ::factor], drawn[::factor, ::factor]
    assert restored.shape == plain.shape == labels[::step, ::step].shape
    if factor > 1:
        np.testing.assert_array_equal(restored, plain)  # no enlarged pixel is all outline
        return
    outline = (colours != plain[..., None]).any(axis=2)
    np.testing.assert_array_equal(restored[~outline], plain[~outline])
    left, before = (np.abs(gray.astype(int) - plain)[outline].mean() for gray in (restored, before))
    assert before > 20
    assert left < 0.3 * before


def slowly_without_outlines(gray, labels, factor):
    """Take each pixel from where it has no outline; the others from those beside them, one after the other."""
    outline = overlay(np.zeros_like(labels), labels).max(axis=2) > 0
    values = np.full(labels.shape, -1.0)
    for y, x in np.ndindex(labels.shape):
        block = np.s_[factor * y : factor * (y + 1), factor * x : factor * (x + 1)]
        plain = gray[block][~outline[block]]
        values[y, x] = plain[0] if len(plain) else -1.0
    for same in (True, False):
        while True:
            before = values.copy()
            for y, x in np.argwhere(before < 0):
                around = [(v, u) for v in (y - 1, y, y + 1) for u in (x - 1, x, x + 1)]
                inside = [(v, u) for v, u in around if 0 <= v < len(labels) and 0 <= u < labels.shape[1]]
                known = [before[p] for p in inside if before[p] >= 0 and (labels[p] == labels[y, x] or not same)]
                values[y, x] = np.rint(np.mean(known)) if known else -1.0
            if (values == before).all():
                break
    return values


@pytest.mark.parametrize("width", [6, 400, 600])
@pytest.mark.parametrize("seed", range(4))
def test_outlines_are_filled_as_one_would_slowly(width, seed):
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.choice([0, 3, 5], (3, 4)), np.ones((3, 4), int))[:, : max(6, seed * 4)].astype(np.int32)
    labels[rng.random(labels.shape) < 0.1] = 9
    labels = np.pad(labels, ((0, 0), (0, max(0, width - labels.shape[1]))))
    pixels = rng.integers(0, 250, labels.shape).astype(np.uint8)
    drawn = overlay(pixels, labels).mean(axis=2).round().astype(np.uint8)
    factor = drawn.shape[0] // labels.shape[0]
    assert factor == {6: 4, 400: 2, 600: 1}[width]
    np.testing.assert_array_equal(without_outlines(drawn, labels), slowly_without_outlines(drawn, labels, factor))


def test_another_picture_is_left_as_it_is():
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert without_outlines(gray, np.ones((100, 120), np.int32)) is gray


@pytest.mark.parametrize(
    ("shape", "size"), [((100, 50), (50, 100)), ((1280, 640), (320, 640)), ((33, 2048), (640, 10))]
)
def test_thumbnails(shape, size):
    assert PillowImage.open(io.BytesIO(jpeg(np.full(shape, 7, np.uint8)))).size == size


def test_thumbnails_of_few_bytes():
    noise = np.random.default_rng(0).poisson(60.0, (700, 500)).astype(np.uint8)
    free = len(jpeg(noise))
    assert jpeg(noise, most_bytes=free) == jpeg(noise)
    sizes = [len(jpeg(noise, most_bytes=most)) for most in (free - 1, free // 4, free // 8, 1)]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0] < free, sizes[1] <= free // 4, sizes[2] <= free // 8) == (True, True, True)
    assert PillowImage.open(io.BytesIO(jpeg(noise, most_bytes=1))).size == (171, 240)  # still to be seen


# ---- page


@given(st.text())
def test_text_is_told_and_adds_no_tags(value):
    escaped = page.text(value)
    assert not set(escaped) & set("<>\"'\x00")
    kept = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", value)
    assert html.unescape(escaped) == kept


def test_half_characters_of_file_names_are_replaced():
    assert page.text("a\udcffb") == "a?b"


@given(arrays(np.float64, st.integers(0, 40), elements=st.floats(0, 1e6) | st.just(float("nan"))))
def test_histograms_hold_every_value(values):
    bins = page.bins_of(values)
    finite = values[np.isfinite(values)]
    assert bins.counts.sum() == len(finite)
    assert np.count_nonzero(finite > bins.edges[-1]) <= 0.01 * len(finite) + 1
    drawn = page.histogram(values, bins, title="x")
    assert sum(int(count) for count in re.findall(r"<title>[^<]*: (\d+)</title>", drawn)) == len(finite)
    assert (f"n = {len(finite)}" if len(finite) else "no values") in drawn
    assert "nan" not in drawn


def test_numbers_of_any_size_are_short():
    for value in (1e308, -1e308, 1e15, 999999999999999.0, 1e-308):
        for digits in (None, 0, 1, 3):
            assert len(page.number(value, digits)) < 25
    assert page.number(1e308, 1) == "1e+308"
    assert page.number(999999999999999.0, 0) == "999,999,999,999,999"
    assert [page.number(value) for value in (None, float("nan"), float("inf"))] == ["\N{EN DASH}"] * 3


def test_pictures_have_the_place_that_outlines_have():
    drawn = page.picture(b"x", (600, 400), [], alt="a", lazy=True)
    assert '<img width="600" height="400" loading="lazy" decoding="async" src="data:image/jpeg;base64,eA=="' in drawn
    assert 'viewBox="0 0 600 400"' in drawn
    assert "lazy" not in page.picture(b"x", (600, 400), [], alt="a")


# ---- what is unusual


@pytest.mark.parametrize(("shape", "diameter"), [((200, 300), 20), ((100, 100), 40), ((60, 400), 30)])
def test_share_at_the_border_against_chance(shape, diameter):
    rng = np.random.default_rng(0)
    tops = rng.integers(-diameter + 1, shape[0], 40_000)
    lefts = rng.integers(-diameter + 1, shape[1], 40_000)
    boxes = np.stack([tops, lefts, tops + diameter, lefts + diameter], axis=1)
    boxes = np.clip(boxes, 0, [shape[0], shape[1], shape[0], shape[1]])
    nuclei = Nuclei(np.arange(1, 40_001), np.full(40_000, 9), boxes)
    share = quality.touching(nuclei, shape).mean()
    assert quality.expected_touching(nuclei, shape) == pytest.approx(share, abs=0.04)
    assert quality.border_warning(nuclei, shape) is None  # however many of them there are


def test_many_nuclei_at_the_border():
    boxes = [[0, 20 * n, 10, 20 * n + 10] for n in range(8)] + [[50, 50 * n + 5, 60, 50 * n + 15] for n in range(4)]
    nuclei = Nuclei(np.arange(12), np.full(12, 90), np.array(boxes))
    warning = quality.border_warning(nuclei, (200, 200))
    assert warning is not None
    assert warning.startswith("8 of 12 nuclei touch the border of the image (67 %; 18 % are expected from their size)")
    few = Nuclei(np.arange(4), np.full(4, 90), nuclei.boxes[:4])
    assert quality.border_warning(few, (200, 200)) is None


def test_unusual_images_and_nuclei():
    assert quality.odd_images([100.0, 105.0, 98.0, 114.0, None]) == [None] * 5
    found = quality.odd_images([100.0, 105.0, 98.0, 400.0, 20.0, None])
    assert found[3].startswith("its median nucleus area is 4 times that of the folder's images (z = +")
    assert found[4].startswith("its median nucleus area is 1/5 of that of the folder's images (z = -")
    assert found[:3] + found[5:] == [None] * 4
    assert quality.odd_images([1.0, 1.0, 900.0]) == [None] * 3  # too few to know what is usual
    labels = np.zeros((100, 400), np.int32)
    for n in range(1, 11):
        labels[20:32, 35 * n : 35 * n + 12] = n
    labels[40:90, 100:180], labels[60:62, 300:302], labels[98:, 200:202] = 11, 12, 13
    large, small = quality.odd_nuclei(find_nuclei(labels), labels.shape)
    assert (np.flatnonzero(large).tolist(), np.flatnonzero(small).tolist()) == ([10], [11])  # 13 is cut by the border


# ---- what is read back

DISCS = np.kron(np.arange(12).reshape(3, 4), np.pad(np.ones((10, 10), int), 5)).astype(np.int32)
COUNTS = (0, 7, 2**24)
NO_COUNTS = (-5, 2**24 + 1, 10**400, 1e308, 12.0, "12", True, None, [12], float("nan"))
AREAS, SHARES = ("Area", "area_px"), ("Circ.", "score")


@pytest.fixture
def folder(tmp_path):
    """Results for one image with 11 nuclei."""
    run = {"settings": {"used": {"plane": None}}, "model": {"name": "none"}, "seconds": {"network": 1.5}, "nuclei": 11}
    image = Image((DISCS * 9).astype(np.uint8), "b", Calibration(0.5, 0.5, "micron"))
    Result(image, DISCS, dict.fromkeys(range(1, 12), 0.8), run).save(tmp_path / "out")
    return tmp_path / "out"


def with_value(path, column, value):
    """Put a value into the first row of a table."""
    heads, first, *rest = path.read_text().splitlines()
    cells = first.split(",")
    cells[heads.split(",").index(column)] = value
    path.write_text("\n".join([heads, ",".join(cells), *rest]))
    return path


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *((column, value) for column in AREAS for value in ("nan", "inf", "-inf", "-5", "0", "1e309")),
        *((column, value) for column in SHARES for value in ("inf", "-inf", "-5", "1e308", "1.1")),
        ("area_px", "1e308"),
    ],
)
def test_tables_with_values_that_nobody_measured(folder, column, value):
    path = with_value(folder / "b_measurements.csv", column, value)
    wanted = {"Area": "a finite number above 0", "area_px": "1 to 10"}.get(column, "0 to 1")
    fault = f"b_measurements.csv is damaged: line 2 has '{value}' in column {column}, not {wanted}"
    with pytest.raises(ImageError, match=re.escape(fault)):
        saved.read_table(path)
    written = write_report(folder)
    (warning,) = written.warnings
    assert warning.startswith(f"b: {fault}")
    assert ("\n" in warning, str(folder) in warning, written.nuclei) == (False, False, 11)


@pytest.mark.parametrize(("column", "value"), [("score", "NaN"), ("Circ.", "NaN"), ("Area", "1e308"), ("score", "0")])
def test_tables_with_what_is_unknown_or_extreme(folder, column, value):
    table = saved.read_table(with_value(folder / "b_measurements.csv", column, value))
    np.testing.assert_array_equal(table[column][0], float(value))
    assert write_report(folder).warnings == ()


@pytest.mark.parametrize("count", [*COUNTS, *NO_COUNTS])
def test_counts_of_run_files(folder, count):
    for key in ("_labels.tif", "_measurements.csv"):
        (folder / f"b{key}").unlink()
    (folder / "b_run.json").write_text(json.dumps({"seconds": {"network": 1.5}, "nuclei": count}))
    written = write_report(folder)
    missing = ("b: b_labels.tif is missing", "b: b_measurements.csv is missing")
    if count in COUNTS:
        assert (written.nuclei, written.warnings) == (count, missing)
        return
    fault, *others = written.warnings
    assert (written.nuclei, tuple(others)) == (0, missing)
    assert fault.startswith(f"b: b_run.json is damaged: its number of nuclei is {repr(count)[:20]}")
    assert fault.endswith(", not a whole one from 0 to 16777216; segment the image again")
    assert ("\n" in fault, len(fault) < 200) == (False, True)
    assert saved.load(folder, "b").run["seconds"] == {"network": 1.5}  # the rest of the file is believed


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_pixel_sizes_that_nothing_has(folder, size):
    path = folder / "b_labels.tif"
    metadata = {"axes": "YX", "PhysicalSizeX": size, "PhysicalSizeY": size}
    tifffile.imwrite(path, DISCS.astype(np.uint16), ome=True, metadata=metadata)
    fault = f"b: b_labels.tif states pixels of {size:g} x {size:g}; set its scale in ImageJ again"
    assert write_report(folder).warnings == (fault,)


# ---- the page's file


def test_the_name_of_the_page(tmp_path):
    assert page_path(tmp_path) == page_path(str(tmp_path), None) == tmp_path / "report.html"
    assert page_path(tmp_path, "b/x.HTM") == Path("b/x.HTM")
    for name in ("x", "x.pdf", "html", tmp_path / "a.html" / "b", ""):
        with pytest.raises(SettingsError, match=r"^--output .*: give a name that ends in \.html$"):
            page_path(tmp_path, name)


def test_the_page_is_refused_before_the_work(folder, tmp_path):
    def work(names):
        pytest.fail(f"began with {names[0]}")

    (tmp_path / "folder.html").mkdir()
    (tmp_path / "there.html").touch()
    for name, words in (("folder.html", "is a folder"), ("there.html", "exists"), ("x.txt", "ends in .html")):
        with pytest.raises(StormsegError, match=words):
            write_report(folder, tmp_path / name, track=work)
    with pytest.raises(ImageError, match="is a folder"):
        write_report(folder, tmp_path / "folder.html", overwrite=True, track=work)


def test_many_pictures_are_small(folder, monkeypatch):
    def shown():
        (tag,) = re.findall("<img [^>]*>", write_report(folder, overwrite=True).path.read_text("utf-8"))
        assert 'width="160" height="120"' in tag
        return "lazy" in tag, base64.b64decode(tag.split("base64,")[1].split('"')[0])

    lazy, usual = shown()
    assert (lazy, PillowImage.open(io.BytesIO(usual)).size) == (False, (80, 60))
    monkeypatch.setattr(report, "PICTURES_BYTES", len(usual) - 1)
    assert shown() == (False, usual)
    monkeypatch.setattr(report, "MANY_IMAGES", 0)
    lazy, small = shown()
    assert (lazy, len(small) < len(usual)) == (True, True)


# ---- large label images

GRID = np.kron(np.arange(12).reshape(3, 4), np.ones((7, 9), int)).astype(np.int32)


@pytest.fixture
def everything_is_large(monkeypatch):
    monkeypatch.setattr(mapped, "_LARGE_PX", 1)
    monkeypatch.setattr(rows, "BAND_PIXELS", 50)
    monkeypatch.setattr(decode, "MAPPED_BYTES", 1)


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "int16", "int32", "uint32"])
def test_large_label_images_stay_in_their_file(tmp_path, dtype):
    order = ">" if dtype.startswith(">") else "<"
    tifffile.imwrite(tmp_path / "a.tif", GRID.astype(dtype), byteorder=order)
    labels, notes = mapped.open_labels(tmp_path / "a.tif")
    assert isinstance(labels.base, np.memmap)
    np.testing.assert_array_equal(labels, read_labels(tmp_path / "a.tif")[0])
    assert notes == ()
    write_labels(tmp_path / "b.tif", np.roll(GRID, 1, axis=0), calibration=Calibration(0.5, 0.5, "micron"))
    assert isinstance(mapped.open_labels(tmp_path / "b.tif")[0].base, np.memmap)
    scores = evaluate(tmp_path / "b.tif", tmp_path / "a.tif", iou=0.5)["pooled"]
    assert (scores["n_true"], scores["n_pred"], scores["f1"]) == (11, 11, 1.0)


@pytest.mark.usefixtures("everything_is_large")
def test_what_cannot_stay_in_its_file_is_read(tmp_path):
    path = tmp_path / "a.tif"
    for array, options in ((GRID > 0, {}), (GRID, {"compression": "zlib"}), (GRID.astype(np.float32), {})):
        tifffile.imwrite(path, array.astype(np.uint8) if array.dtype == bool else array, **options)
        labels, notes = mapped.open_labels(path)
        assert not isinstance(labels.base, np.memmap)
        np.testing.assert_array_equal(labels, read_labels(path)[0])
        assert notes == read_labels(path)[1]
    for array, words in ((GRID - 1, "its values run from -1"), (np.stack([GRID, GRID]), "3 dimensions")):
        tifffile.imwrite(path, array)
        with pytest.raises(ImageError, match=words):
            mapped.open_labels(path)
    tifffile.imwrite(path, GRID)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ImageError, match="truncated"):
        mapped.open_labels(path)
    with pytest.raises(ImageError, match="no file"):
        mapped.open_labels(tmp_path / "none.tif")
