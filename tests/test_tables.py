"""ImageJ's tables without a window: Measure Nuclei and Score Against Truth in a macro, and rows of our own."""

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from stormseg_ij import measure, metrics, rois
from stormseg_ij.bridge.desktop import Desktop
from stormseg_ij.bridge.tables import Tables
from stormseg_ij.image import Calibration, Image, write_labels

HEADLESS = """
import json, pathlib, sys
from stormseg_ij import bridge, commands, store
from stormseg_ij.bridge.macros import run_macro

folder = pathlib.Path({folder!r})
store._data_folder = lambda: folder / "data"
ij = bridge.start(macros=True)
assert ij.headless
bench = commands.install(ij, unattended=True)
returned = run_macro(ij, (folder / "macro.ijm").read_text(), str(folder))
print("returned:", returned)
bench.close()
ij.close()
"""
MACRO = """
folder = getArgument();
run("Set Measurements...", "area mean perimeter redirect=None decimal=3");
open(folder + "/labels.tif");
labels = getTitle();
open(folder + "/storm.tif");
storm = getTitle();
selectImage(labels);
run("Labels to ROIs", "rois=overlay image=" + storm);
selectImage(storm);
run("Measure Nuclei", "nuclei=all");
first = "" + nResults + " " + getResultString("ROI", nResults - 1) + " " + getResult("Area", 0);
run("Clear Results");
run("Score Against Truth", "truth=[" + folder + "/true.tif]");
return first + " " + nResults + " " + getResult("F1", 0) + " " + Overlay.size;
"""


@pytest.fixture
def java(ij):
    from scyjava import jimport

    yield jimport
    jimport("ij.measure.ResultsTable").getResultsTable().reset()


def _labels():
    field = ndimage.gaussian_filter(np.random.default_rng(2).normal(size=(60, 70)), 2.0)
    return ndimage.label(field > np.quantile(field, 0.7))[0].astype(np.int32)


def test_macro_without_a_window(run_python, tmp_path):
    labels = _labels()
    truth = np.where(labels == 3, 0, labels)
    tifffile.imwrite(tmp_path / "storm.tif", np.ones(labels.shape, np.uint8), imagej=True)
    write_labels(tmp_path / "labels.tif", labels)
    write_labels(tmp_path / "true.tif", truth)
    (tmp_path / "macro.ijm").write_text(MACRO, encoding="utf-8")
    done = run_python(HEADLESS.format(folder=str(tmp_path)), DISPLAY=None)
    assert done.returncode == 0, done.stderr
    count = labels.max()
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("returned: ")]
    rows, roi, area, scores, f1, overlay = line.removeprefix("returned: ").split()
    assert (rows, roi, float(area)) == (str(count), f"nucleus_{count:04d}", np.count_nonzero(labels == 1))
    assert scores == "1"
    assert float(f1) == pytest.approx(metrics.score(labels, truth).f1, abs=1e-4)
    assert overlay == str(count + 1)  # all nuclei, and the false one's outline


def test_rows_for_a_table_of_ours_are_in_results_where_there_is_no_window(ij, java):
    tables = Tables(ij)
    tables.append("Nuclei Scores", [{"Image": "a b", "F1": 0.5}, {"Image": "c", "F1": float("nan")}])
    tables.append("Nuclei Scores", [{"Image": "d", "F1": 1.0, "Found": 3}])
    table = java("ij.measure.ResultsTable").getResultsTable()
    assert [str(heading) for heading in table.getHeadings()] == ["Image", "F1", "Found"]
    assert [str(text) for text in table.getColumnAsStrings("Image")] == ["a b", "c", "d"]
    np.testing.assert_array_equal(table.getColumn("F1"), [0.5, np.nan, 1.0])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_measured_as_measure_does(ij, java, dtype):
    """By ImageJ's Analyzer, and by the formulas of `measure`, with further columns."""
    labels = _labels()
    pixels = (np.random.default_rng(1).random(labels.shape) * 200.0).astype(dtype)
    image = Image(pixels, "cells", Calibration(0.5, 0.5, "micron"))
    imp, expected = ij.to_imageplus(image), measure.measure(labels, image)
    decode = Desktop(ij).manager.decoded
    wanted = [
        (decode(roi.tobytes()), {"ROI": roi.name} | ({"score": 0.25} if i == 1 else {}))
        for i, roi in enumerate(rois.labels_to_rois(labels))
    ]
    tables, analyzer = Tables(ij), java("ij.plugin.filter.Analyzer")
    before = analyzer.getMeasurements()
    try:
        constants = java("ij.measure.Measurements")
        analyzer.setMeasurements(0xFFFFFF & ~(constants.LIMIT | constants.INVERT_Y))
        told = []
        rows = tables.measure(imp, [roi for roi, _ in wanted], [1] * len(wanted), each=told.append)
        assert told == list(range(len(wanted)))
        assert java("ij.measure.ResultsTable").getResultsTable().size() == 0
        assert tables.show(rows, [extra for _, extra in wanted]) == len(wanted)
    finally:
        analyzer.setMeasurements(before)
    table = java("ij.measure.ResultsTable").getResultsTable()
    assert [str(text) for text in table.getColumnAsStrings("ROI")] == expected["ROI"].tolist()
    scores = np.full(len(wanted), np.nan)
    scores[1] = 0.25
    np.testing.assert_array_equal(table.getColumn("score"), scores)
    for name in set(measure.COLUMNS) - {"ROI", "Label", "area_px"}:
        np.testing.assert_allclose(table.getColumn(name), expected[name], rtol=1e-6, atol=1e-9, err_msg=name)
    assert imp.getRoi() is None


def test_nothing_to_measure_adds_nothing(ij, java):
    imp = ij.to_imageplus(Image(np.ones((4, 5), np.uint8), "cells"))
    tables = Tables(ij)
    assert tables.show(tables.measure(imp, [], []), []) == 0
