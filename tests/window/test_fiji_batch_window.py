"""The batch for Fiji does what its header says, on simulated images; whatever stops it, what it wrote is whole."""

import csv
import os
import shutil
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import tifffile
from fiji import put_on_class_path, running
from roifile import roiread

from stormseg_ij import pipeline
from stormseg_ij.image import read_image
from stormseg_ij.models import load
from stormseg_ij.settings import SegmentSettings

pytestmark = pytest.mark.window

BATCH = "Examples > Batch with a Table per Condition"
DEFAULTS = {"model": "stardist-storm", "size": "auto"}
"""Given each time: SciJava remembers what was entered last."""


@pytest.fixture(scope="session", autouse=True)
def _jars():
    """Before ImageJ starts, if it does not run already: as in Fiji."""
    put_on_class_path()


@pytest.fixture(scope="module")
def made(ij, tmp_path_factory):
    with running(ij, tmp_path_factory.mktemp("fiji")) as fiji:
        yield fiji


@pytest.fixture
def fiji(made):
    made.driver.tidy()
    yield made
    made.driver.tidy()


@pytest.fixture(scope="module")
def pixels(sample):
    return read_image(sample).pixels


@pytest.fixture
def experiment(tmp_path, pixels):
    """Two conditions, one with blanks and an umlaut in its name, and a folder for the results."""
    for condition, name, part in (
        ("control", "a", pixels[:120]),
        ("control", "b, 1", pixels[120:]),
        ("über 5 nM", "a", pixels[:, :140]),
    ):
        (tmp_path / "in put" / condition).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(tmp_path / "in put" / condition / f"{name}.tif", part)
    (tmp_path / "in put" / "control" / "notes.txt").write_text("none", encoding="utf-8")
    (tmp_path / "out").mkdir()
    return {"input": tmp_path / "in put", "output": tmp_path / "out", **DEFAULTS}


def written(folder):
    """Return the files of a folder with their bytes and times."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture
def one(tmp_path, pixels):
    """One condition with one image, and a folder for the results."""
    (tmp_path / "one" / "c").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    tifffile.imwrite(tmp_path / "one" / "c" / "a.tif", pixels[:120])
    return {"input": tmp_path / "one", "output": tmp_path / "out", **DEFAULTS}


def engine(ij, path):
    """Return the label image that the engine makes of an image file."""
    return pipeline.segment(read_image(path), SegmentSettings(), ij=ij, model=load("stardist-storm")).labels


def users_table(fiji):
    """Put a row into Results, whose window is closed: ImageJ takes such a table for one that nobody wants."""
    table = fiji.java("ij.measure.ResultsTable").getResultsTable()
    table.reset()
    table.incrementCounter()
    table.addValue("mine", 7.0)
    return table


def test_a_batch_has_a_table_for_each_condition_and_goes_on(fiji, experiment, sample):
    fiji.driver.macro('newImage("other", "8-bit ramp", 64, 64, 1); makeRectangle(1, 1, 5, 5); roiManager("add");')
    fiji.driver.macro('roiManager("select", 0); roiManager("rename", "mine"); close("other");')
    fiji.driver.open(sample)
    before, out, source = fiji.driver.state(), experiment["output"], written(experiment["input"])
    outcome = fiji.menu(BATCH, experiment)
    assert outcome.said == []
    assert outcome.log[-1] == f"3 images segmented, 0 were done before; results in {out}"
    assert fiji.driver.state() == {**before, "texts": fiji.driver.state()["texts"]}  # only the Log is new
    assert written(experiment["input"]) == source
    first = written(out)
    assert list(first) == [
        "control/a_labels.tif", "control/a_rois.zip", "control/b, 1_labels.tif", "control/b, 1_rois.zip",
        "control/control_measurements.csv", "control/settings.txt", "über 5 nM/a_labels.tif", "über 5 nM/a_rois.zip",
        "über 5 nM/settings.txt", "über 5 nM/über 5 nM_measurements.csv",
    ]  # fmt: skip
    rows = rows_of(out / "control" / "control_measurements.csv")
    for name in ("a", "b, 1"):
        rois = roiread(out / "control" / f"{name}_rois.zip")
        labels = tifffile.imread(out / "control" / f"{name}_labels.tif")
        ours = [row for row in rows if row["Image"] == f"{name}.tif"]
        assert [row["ROI"] for row in ours] == [roi.name for roi in rois]
        np.testing.assert_allclose([float(row["Area"]) for row in ours], np.bincount(labels.ravel())[1:])

    shutil.copy(experiment["input"] / "control" / "a.tif", experiment["input"] / "control" / "c.tif")
    assert fiji.menu(BATCH, experiment).log[-1] == f"1 images segmented, 3 were done before; results in {out}"
    second = written(out)
    assert set(second) - set(first) == {"control/c_labels.tif", "control/c_rois.zip"}
    grown = "control/control_measurements.csv"
    assert {name: second[name] for name in first if name != grown} == {
        name: first[name] for name in first if name != grown
    }
    assert second[grown][0].startswith(first[grown][0])
    again = [{**row, "Image": "c.tif"} for row in rows if row["Image"] == "a.tif"]
    assert rows_of(out / grown)[len(rows) :] == again


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("moved", ["neither", "the zip"])
def test_a_batch_that_was_stopped_goes_on_and_has_no_row_twice(fiji, experiment, moved):
    fiji.menu(BATCH, experiment)
    out = experiment["output"] / "control"
    before, rows = names_in(out), rows_of(out / "control_measurements.csv")
    (out / "a_labels.tif").rename(out / "part of a_labels.tif")
    if moved == "neither":
        (out / "a_rois.zip").rename(out / "part of a_rois.zip")
    assert fiji.menu(BATCH, experiment).said == []
    a_first = sorted(rows_of(out / "control_measurements.csv"), key=lambda row: row["Image"])
    assert a_first == rows
    assert names_in(out) == before


@pytest.mark.parametrize("letters", [0, 3, 5, 9, 30])
def test_a_table_that_was_torn_is_mended(fiji, experiment, letters):
    fiji.menu(BATCH, experiment)
    out = experiment["output"] / "control"
    table, before = out / "control_measurements.csv", names_in(out)
    lines = table.read_text(encoding="utf-8").splitlines()
    last = next(i for i, line in enumerate(lines) if line.startswith('"b, 1')) + 1
    table.write_text("\n".join([*lines[:last], lines[last][:letters]]), encoding="utf-8")
    (out / "b, 1_labels.tif").unlink()
    (out / "b, 1_rois.zip").unlink()
    assert fiji.menu(BATCH, experiment).said == []
    assert table.read_text(encoding="utf-8").splitlines() == lines
    assert names_in(out) == before


def test_images_that_a_person_opens_meanwhile_are_theirs(fiji, ij, one):
    fiji.menu(BATCH, {**one, "output": one["output"] / "before"})  # Python runs
    theirs = fiji.java("ij.IJ").createImage("theirs", "8-bit ramp", 280, 120, 1)
    theirs.changes = True
    with meanwhile(fiji, theirs.show):
        assert fiji.menu(BATCH, {**one, "output": one["output"] / "after"}).said == []
    assert [str(imp.getTitle()) for imp in fiji.driver.images()] == ["theirs"]
    assert theirs.changes
    expected = engine(ij, one["input"] / "c" / "a.tif")
    np.testing.assert_array_equal(tifffile.imread(one["output"] / "after" / "c" / "a_labels.tif"), expected)


@contextmanager
def meanwhile(fiji, work):
    """Do something as soon as a command runs."""
    door = fiji.java("java.lang.System").getProperties().get("stormseg.door")[1]
    done = []

    def wait():
        end = time.monotonic() + 60.0
        while door.getRunning() is None and time.monotonic() < end:
            time.sleep(0.002)
        done.append(str(door.getRunning()))
        work()
        fiji.java("java.lang.Thread").detach()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    yield
    thread.join()
    assert done == ["Segment Nuclei"]


def test_escape_while_results_are_saved_stops_the_batch(fiji, one, pixels):
    tifffile.imwrite(one["input"] / "c" / "b.tif", pixels[120:])
    pipe = one["output"] / "c" / "part of a_rois.zip"
    pipe.parent.mkdir()
    os.mkfifo(pipe)  # who writes into it waits until somebody reads

    def read():
        with pipe.open("rb") as written:
            fiji.java("ij.IJ").setKeyDown(fiji.java("java.awt.event.KeyEvent").VK_ESCAPE)
            written.read()
        fiji.java("java.lang.Thread").detach()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    (said,) = fiji.menu(BATCH, one).said
    reader.join()
    assert said.endswith("stopped by Escape")
    assert names_in(one["output"] / "c") == ["a_labels.tif", "a_rois.zip", "c_measurements.csv", "settings.txt"]


def test_what_is_drawn_in_a_file_does_not_count(fiji, ij, one):
    path = one["input"] / "c" / "a.tif"
    expected = engine(ij, path)
    imp = fiji.java("ij.IJ").openImage(str(path))
    imp.setOverlay(fiji.java("ij.gui.Roi")(5, 5, 30, 30), fiji.java("java.awt.Color").RED, 1, None)
    imp.setRoi(5, 5, 60, 60)
    fiji.java("ij.io.FileSaver")(imp).saveAsTiff(str(path))
    fiji.menu(BATCH, one)
    np.testing.assert_array_equal(tifffile.imread(one["output"] / "c" / "a_labels.tif"), expected)
    assert len(roiread(one["output"] / "c" / "a_rois.zip")) == expected.max()


@pytest.mark.parametrize("axes", ["ZYX", "TZCYX"])
def test_each_plane_of_a_stack_has_its_nuclei(fiji, ij, one, pixels, axes):
    path = one["input"] / "c" / "a.tif"
    stack = np.stack([pixels[:120], np.zeros_like(pixels[:120]), 2 * (pixels[:119:-1] // 4)])
    if axes == "TZCYX":
        stack = np.stack([stack[[0, 2]], np.zeros_like(stack[:2])], axis=1)[:, None]  # two frames of two channels
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": axes})
    assert fiji.menu(BATCH, one).said == []
    planes = stack[:, 0, 0] if axes == "TZCYX" else stack
    labels = tifffile.imread(one["output"] / "c" / "a_labels.tif").reshape(planes.shape)
    rows, before = rows_of(one["output"] / "c" / "c_measurements.csv"), 0
    for i, plane in enumerate(planes):
        tifffile.imwrite(one["output"] / "plane.tif", plane)
        expected = engine(ij, one["output"] / "plane.tif")
        np.testing.assert_array_equal(labels[i], np.where(expected > 0, expected + before, 0))
        mine = [row for row in rows if row["Slice" if axes == "ZYX" else "Frame"] == str(i + 1)]
        means = [plane[expected == label].mean() for label in range(1, expected.max() + 1)]
        np.testing.assert_allclose([float(row["Mean"]) for row in mine], means, atol=1e-3)
        before += expected.max()
    assert before == len(rows) == len(roiread(one["output"] / "c" / "a_rois.zip")) > 10
    assert {row["Ch"] for row in rows} == {"1"}


def test_what_is_no_image_of_the_experiment_is_left_alone(fiji, one, pixels):
    for name in ("._a.tif", "a_labels.tif", "b_LABELS.TIFF"):
        tifffile.imwrite(one["input"] / "c" / name, pixels[:120])
    shutil.copytree(one["input"] / "c", one["input"] / ".hidden")
    assert fiji.menu(BATCH, one).log[-1].startswith("1 images segmented, 0 were done before")
    assert names_in(one["output"]) == ["c"]
    assert names_in(one["output"] / "c") == ["a_labels.tif", "a_rois.zip", "c_measurements.csv", "settings.txt"]


def test_a_batch_goes_on_after_what_fiji_cannot_open(fiji, one):
    (one["input"] / "c" / "0.tif").write_bytes(b"II*\0" + 60 * b"\xff")
    (one["input"] / "c" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    (one["input"] / "c" / "2.jpg").write_bytes(b"")
    outcome = fiji.menu(BATCH, one)
    assert outcome.said == []  # a window would hold up the images after it
    assert outcome.log[-1] == (
        f"1 images segmented, 0 were done before; results in {one['output']}; "
        "3 could not be opened: c/0.tif, c/1.png, c/2.jpg"
    )
    assert names_in(one["output"] / "c") == ["a_labels.tif", "a_rois.zip", "c_measurements.csv", "settings.txt"]
    assert not fiji.java("ij.IJ").redirectingErrorMessages()


def test_results_that_no_window_shows_stay(fiji, one):
    results = users_table(fiji)
    assert fiji.menu(BATCH, one).said == []
    assert len(rows_of(one["output"] / "c" / "c_measurements.csv")) > 5
    assert (int(results.size()), float(results.getValue("mine", 0))) == (1, 7.0)


def test_what_set_measurements_asks_for_is_measured(fiji, one):
    analyzer = fiji.java("ij.plugin.filter.Analyzer")
    before = analyzer.getMeasurements()
    fiji.driver.macro('run("Set Measurements...", "area stack display redirect=None decimal=5");')
    try:
        fiji.menu(BATCH, one)
    finally:
        analyzer.setMeasurements(before)
        analyzer.setPrecision(3)
    rows = rows_of(one["output"] / "c" / "c_measurements.csv")
    assert list(rows[0]) == ["Image", "ROI", "Ch", "Slice", "Frame", "Area"]


def test_another_image_is_not_measured(fiji, one):
    fiji.driver.macro('newImage("else", "16-bit black", 280, 120, 1);')
    fiji.driver.macro('run("Set Measurements...", "area mean min redirect=else decimal=3");')
    try:
        (said,) = fiji.menu(BATCH, one).said
    finally:
        fiji.driver.macro('run("Set Measurements...", "area mean min redirect=None decimal=3");')
    assert said.endswith("Analyze > Set Measurements redirects to another image; choose None there")
    assert "a_labels.tif" not in names_in(one["output"] / "c")


@pytest.mark.parametrize("name", ["part of a_labels.tif", "part of a_rois.zip", "part of c_measurements.csv"])
def test_what_cannot_be_written_gets_no_right_name(fiji, one, name):
    (one["output"] / "c" / name / "in the way").mkdir(parents=True)
    (said,) = fiji.menu(BATCH, one).said
    assert name in said
    assert "\n" not in said
    assert "a_labels.tif" not in names_in(one["output"] / "c")
    assert fiji.driver.images() == []
    shutil.rmtree(one["output"] / "c" / name)
    assert fiji.menu(BATCH, one).said == []
    assert names_in(one["output"] / "c") == ["a_labels.tif", "a_rois.zip", "c_measurements.csv", "settings.txt"]


@pytest.mark.parametrize("other", [{"size": "320"}, {"model": "unet-storm"}])
def test_results_of_other_settings_are_not_mixed(fiji, one, pixels, other):
    fiji.menu(BATCH, one)
    tifffile.imwrite(one["input"] / "c" / "b.tif", pixels[120:])
    before = written(one["output"])
    (said,) = fiji.menu(BATCH, {**one, **other}).said
    assert said.endswith("/c has results of model stardist-storm, size auto; choose these, or another folder")
    assert written(one["output"]) == before
    assert fiji.menu(BATCH, one).log[-1].startswith("1 images segmented")


@pytest.mark.parametrize(
    "fault",
    [
        "no folder",
        "no condition",
        "no image",
        "twins",
        "columns",
        "leftover",
        "same",
        "inside",
        "around",
    ],
)
def test_a_batch_stops_with_one_line(fiji, experiment, fault):
    source, out = experiment["input"], experiment["output"] / "control"
    if fault == "no folder":
        experiment = {**experiment, "input": source / "none"}
        line = "cannot read the folder " + str(source / "none")
    elif fault in ("same", "inside", "around"):
        place = {"same": source, "inside": source / "out", "around": source.parent}[fault]
        experiment = {**experiment, "output": place}
        line = "one folder lies in the other; choose another for the results"
    elif fault == "no condition":
        shutil.rmtree(source)
        source.mkdir()
        line = "holds no folder of a condition; give the folder that holds them"
    elif fault == "no image":
        for path in source.rglob("*.tif"):
            path.unlink()
        line = "hold no image"
    elif fault == "twins":
        shutil.copy(source / "control" / "a.tif", source / "control" / "A.tiff")
        line = "would have results of the same names; rename one of them"
    elif fault == "columns":
        out.mkdir()
        (out / "control_measurements.csv").write_text("Image,ROI,Mine\n", encoding="utf-8")
        line = "has other columns; set the measurements as before, or choose another folder"
    else:
        out.mkdir()
        (out / "a_rois.zip").write_text("mine", encoding="utf-8")
        line = "a_rois.zip is there without its label image; move it away"
    before = written(experiment["output"])
    (said,) = fiji.menu(BATCH, experiment).said
    assert said.endswith(line)
    assert "\n" not in said
    after = written(experiment["output"])
    assert {name: after[name] for name in before} == before
    assert not any(name.endswith("_labels.tif") and "part of" not in name for name in after)
    assert fiji.driver.images() == []
