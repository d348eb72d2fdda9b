"""Measurements without Java: by hand, and against slow references; `test_rois_imagej` asks ImageJ itself."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from stormseg_ij import measure, regions
from stormseg_ij.errors import ImageError
from stormseg_ij.image import Calibration, Image
from stormseg_ij.outlines import trace

LABELS = hnp.arrays(
    np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.sampled_from([0, 0, 1, 3])
)
CUT = 2.0 - np.sqrt(2.0)


def _measure(labels, pixels=None, **keywords):
    labels = np.asarray(labels, np.int32)
    image = Image(np.ones(labels.shape, np.uint8) if pixels is None else pixels, "cells", **keywords)
    return measure.measure(labels, image)


@settings(max_examples=150, deadline=None)
@given(labels=LABELS)
def test_geometry_against_a_slow_reference(labels):
    table = _measure(labels)
    present = [label for label in np.unique(labels).tolist() if label]
    assert table["Label"].tolist() == present
    for row, label in enumerate(present):
        y, x = np.nonzero(labels == label)
        corners = np.concatenate([np.stack([x + i, y + j], axis=1) for i in (0, 1) for j in (0, 1)])
        expected = {
            "area_px": len(x),
            "X": x.mean() + 0.5,
            "Y": y.mean() + 0.5,
            "BX": x.min(),
            "BY": y.min(),
            "Width": np.ptp(x) + 1,
            "Height": np.ptp(y) + 1,
            "Feret": pdist(corners).max(),
            "Solidity": len(x) / ConvexHull(corners).volume,
            "%Area": 100.0,
        }
        for name, value in expected.items():
            assert table[name][row] == pytest.approx(value), name
        # The ellipse has the pixels' area and the ratio of their second moments, pixels taken as squares.
        covariance = np.cov(x, y, bias=True)
        moments = np.linalg.eigvalsh(covariance + np.eye(2) / 12.0)
        assert table["Major"][row] * table["Minor"][row] == pytest.approx(4.0 * len(x) / np.pi)
        if abs(covariance[0, 1]) > 1e-9:  # else rounding decides in ImageJ's fit, see test_rois_imagej.py
            assert table["AR"][row] == pytest.approx(np.sqrt(moments[1] / moments[0]), rel=1e-3)


@settings(max_examples=80, deadline=None)
@given(labels=LABELS, kind=st.sampled_from([np.uint8, np.uint16, np.float32]), seed=st.integers(0, 99))
def test_grays_against_a_slow_reference(labels, kind, seed):
    pixels = np.random.default_rng(seed).integers(0, 9, labels.shape).astype(kind)
    table = _measure(labels, pixels)
    for row, label in enumerate(table["Label"]):
        values = pixels[labels == label].astype(np.float64)
        expected = {"Mean": values.mean(), "Min": values.min(), "Max": values.max(), "RawIntDen": values.sum()}
        expected["StdDev"] = values.std(ddof=1) if len(values) > 1 else 0.0
        expected["%Area"] = 100.0 * np.mean(values != 0)
        if kind != np.float32:  # of an even number ImageJ takes the upper middle one, of 32-bit images their mean
            expected["Median"] = np.sort(values)[len(values) // 2]
            expected["Mode"] = np.bincount(values.astype(int)).argmax()
        else:
            expected["Median"] = np.median(values)
        for name, value in expected.items():
            assert table[name][row] == pytest.approx(value), name


@pytest.mark.parametrize(
    ("labels", "perimeter"),
    [
        ([[1]], 4 - 2 * CUT),
        ([[1, 1], [1, 1]], 8 - 4 * CUT),
        ([[1, 1, 1]], 8 - 3 * CUT),
        ([[1, 1, 1], [1, 0, 1], [1, 1, 1]], 12 - 4 * CUT + 4 - 2 * CUT),
        ([[1, 0, 1]], 2 * (4 - 2 * CUT)),
    ],
)
def test_perimeter_cuts_corners(labels, perimeter):
    assert _measure(labels)["Perim."] == pytest.approx([perimeter])


@settings(max_examples=60, deadline=None)
@given(labels=LABELS, kind=st.sampled_from([np.uint8, np.uint16, np.float32]), seed=st.integers(0, 99))
def test_by_windows_as_all_at_once(labels, kind, seed):
    image = Image(
        np.random.default_rng(seed).integers(0, 9, labels.shape).astype(kind), "x", Calibration(0.3, 0.7, "nm")
    )
    whole = measure._measured(labels, image.pixels, trace(labels), (0.3, 0.7))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regions, "_WINDOW_PX", 10)
        table = measure.measure(labels, image, scores={3: 0.5})
    assert [*whole, "score"] == list(table)
    for name, column in whole.items():
        assert column.dtype == table[name].dtype, name
        np.testing.assert_array_equal(column, table[name], err_msg=name)  # to the last bit
    np.testing.assert_array_equal(table["score"], np.where(whole["Label"] == 3, 0.5, np.nan))


def test_calibrated_units():
    labels = np.zeros((6, 9), np.int32)
    labels[2:4, 1:7] = 4
    pixels = np.full(labels.shape, 10, np.uint8)
    plain, scaled = _measure(labels, pixels), _measure(labels, pixels, calibration=Calibration(0.5, 0.5, "micron"))
    halved = ["X", "Y", "XM", "YM", "Perim.", "BX", "BY", "Width", "Height", "Major", "Minor", "Feret", "MinFeret"]
    for name in plain:
        if name != "ROI":
            factor = {"Area": 0.25, "IntDen": 0.25} | dict.fromkeys(halved, 0.5)
            np.testing.assert_allclose(scaled[name], plain[name] * factor.get(name, 1.0), err_msg=name)
    assert plain["area_px"].dtype == np.int64
    assert (plain["Area"][0], plain["IntDen"][0], plain["Mean"][0]) == (12.0, 120.0, 10.0)


def test_oblong_pixels():
    labels = np.zeros((6, 9), np.int32)
    labels[2:4, 1:7] = 4
    table = _measure(labels, calibration=Calibration(1.0, 3.0, "nm"))
    assert (table["Area"][0], table["Width"][0], table["Height"][0]) == (36.0, 6.0, 6.0)
    assert table["Feret"] == pytest.approx([np.sqrt(72.0)])
    assert (table["Major"][0], table["Minor"][0], table["Round"][0]) == (0.0, 0.0, np.inf)
    assert np.isnan(table["AR"][0])


def test_rows_and_columns():
    labels = np.array([[2, 0, 2], [0, 0, 70_000]], np.int32)
    table = measure.measure(labels, Image(np.ones((2, 3), np.uint8), "x"), scores={2: 0.5})
    assert list(table) == [*measure.COLUMNS, "score"]
    assert table["ROI"].tolist() == ["nucleus_0002", "nucleus_70000"]
    assert table["area_px"].tolist() == [2, 1]
    np.testing.assert_array_equal(table["score"], [0.5, np.nan])
    assert list(_measure(labels)) == list(measure.COLUMNS)


def test_no_nuclei(tmp_path):
    table = _measure(np.zeros((4, 5)))
    assert {column.shape for column in table.values()} == {(0,)}
    measure.write_csv(tmp_path / "none.csv", table)
    assert (tmp_path / "none.csv").read_text() == ",".join(measure.COLUMNS) + "\n"


def test_shapes_must_agree():
    with pytest.raises(ImageError, match=r"labels are \(2, 3\), the image cells is \(3, 2\) \(Y, X\); give a pair"):
        _measure(np.ones((2, 3)), np.ones((3, 2), np.uint8))


def test_csv(tmp_path, monkeypatch):
    table = {
        "ROI": np.array(["nucleus_0001", 'odd, "name"']),
        "Label": np.array([1, 2**40]),
        "Area": np.array([1 / 3, 1e-7]),
        "Skew": np.array([np.nan, -np.inf]),
        "Round": np.array([np.inf, 12345678.25]),
    }
    path = tmp_path / "new" / "table.csv"
    measure.write_csv(str(path), table)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["ROI", "Label", "Area", "Skew", "Round"],
        ["nucleus_0001", "1", "0.3333333333", "NaN", "Infinity"],
        ['odd, "name"', "1099511627776", "1e-07", "-Infinity", "12345678.25"],
    ]
    monkeypatch.setattr(measure, "_ROWS", 1)
    measure.write_csv(tmp_path / "by rows.csv", table)
    assert (tmp_path / "by rows.csv").read_bytes() == path.read_bytes()
    with pytest.raises(ImageError, match="cannot write"):
        measure.write_csv(path / "below a file.csv", table)
