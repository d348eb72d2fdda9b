"""The parts of the report against slow references: outlines, pictures, what is unusual, large label images."""

import html
import io
import re

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as PillowImage
from skimage.measure import points_in_poly

from stormseg_ij import decode, mapped, page, quality, rows
from stormseg_ij.calibration import Calibration
from stormseg_ij.errors import ImageError
from stormseg_ij.image import read_labels, write_labels
from stormseg_ij.metrics import evaluate
from stormseg_ij.overlap import Nuclei, find_nuclei
from stormseg_ij.picture import jpeg, outline_paths, without_outlines
from stormseg_ij.pipeline import overlay

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
    outline = (colours != plain[..., None]).any(axis=2)
    drawn = colours.mean(axis=2).round().astype(np.uint8)
    restored = without_outlines(drawn, labels)
    assert restored.shape == plain.shape
    np.testing.assert_array_equal(restored[~outline], plain[~outline])
    left, before = (np.abs(gray.astype(int) - plain)[outline].mean() for gray in (restored, drawn))
    assert before > 20
    assert left < 0.3 * before


def test_another_picture_is_left_as_it_is():
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert without_outlines(gray, np.ones((100, 120), np.int32)) is gray


@pytest.mark.parametrize(
    ("shape", "size"), [((100, 50), (50, 100)), ((1280, 640), (320, 640)), ((33, 2048), (640, 10))]
)
def test_thumbnails(shape, size):
    assert PillowImage.open(io.BytesIO(jpeg(np.full(shape, 7, np.uint8)))).size == size


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
