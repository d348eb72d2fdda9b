"""The examples for Fiji do what their headers say, on simulated images."""

import csv
import shutil

import numpy as np
import pytest
import tifffile
from fiji import put_on_class_path, running
from results import table
from roifile import roiread

from stormseg_ij import pipeline
from stormseg_ij.image import read_image
from stormseg_ij.models import load
from stormseg_ij.settings import SegmentSettings

pytestmark = pytest.mark.window

OPEN = "Examples > Segment and Measure Open Images"
BATCH = "Examples > Batch with a Table per Condition"
TIME = "Examples > Segment Every Time Point"


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


def users_roi(fiji):
    """Put a ROI of another image into the ROI Manager."""
    driver = fiji.driver
    driver.macro('newImage("other", "8-bit ramp", 64, 64, 1); makeRectangle(1, 1, 5, 5); roiManager("add");')
    driver.macro('roiManager("select", 0); roiManager("rename", "mine"); close("other"); run("Clear Results");')


# Segment and Measure Open Images


def test_all_open_images_are_measured(fiji, sample, pixels, result, tmp_path):
    users_roi(fiji)
    tifffile.imwrite(tmp_path / "half.tif", pixels[:, :140])
    for path in (sample, tmp_path / "half.tif"):
        fiji.driver.open(path)
    outcome = fiji.menu(OPEN)
    assert outcome.said == []
    names = fiji.driver.names()
    rows = table(fiji.java)
    images = rows["Image"][1]
    count = images.count("half.tif")
    assert images == [sample.name] * result.count + ["half.tif"] * count
    assert 0 < count < result.count
    assert names == ["mine", *rows["ROI"]]
    assert outcome.log == [f"{sample.name}: {result.count} nuclei", f"half.tif: {count} nuclei"]
    assert fiji.menu(OPEN).said == []
    assert len(fiji.driver.names()) == len(names)  # they took the place of the others
    assert table(fiji.java)["Image"][1] == images * 2


def test_an_image_without_nuclei_is_no_fault(fiji, tmp_path):
    tifffile.imwrite(tmp_path / "empty.tif", np.zeros((128, 128), np.uint16))
    fiji.driver.open(tmp_path / "empty.tif")
    outcome = fiji.menu(OPEN)
    assert outcome.said == []  # a window would hold up the images after it
    assert outcome.log[-1] == "empty.tif: no nuclei"


def test_without_an_open_image_it_says_so(fiji):
    (said,) = fiji.menu(OPEN).said
    assert "No image is open" in said


# Batch with a Table per Condition


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
    return {"input": tmp_path / "in put", "output": tmp_path / "out"}


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


def test_a_batch_has_a_table_for_each_condition_and_goes_on(fiji, experiment, sample):
    users_roi(fiji)
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
        "control/control_measurements.csv", "über 5 nM/a_labels.tif", "über 5 nM/a_rois.zip",
        "über 5 nM/über 5 nM_measurements.csv",
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


def test_a_batch_that_was_stopped_has_no_row_twice(fiji, experiment):
    fiji.menu(BATCH, experiment)
    out = experiment["output"] / "control"
    rows = rows_of(out / "control_measurements.csv")
    (out / "a_labels.tif").unlink()
    (out / "a_rois.zip").rename(out / "part of a_rois.zip")
    fiji.menu(BATCH, experiment)
    assert rows_of(out / "control_measurements.csv") == rows
    assert sorted(path.name for path in out.iterdir()) == [
        "a_labels.tif", "a_rois.zip", "b, 1_labels.tif", "b, 1_rois.zip", "control_measurements.csv"
    ]  # fmt: skip


@pytest.mark.parametrize("fault", ["no condition", "no image", "twins", "columns", "leftover"])
def test_a_batch_stops_with_one_line(fiji, experiment, fault):
    source, out = experiment["input"], experiment["output"] / "control"
    if fault == "no condition":
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


# Segment Every Time Point


def test_every_time_point_has_its_nuclei_and_a_row(fiji, ij, pixels, tmp_path):
    frames = np.stack([pixels, np.zeros_like(pixels), pixels[::-1]])
    tifffile.imwrite(
        tmp_path / "movie.tif", frames, imagej=True, resolution=(2.0, 2.0),
        metadata={"axes": "TYX", "unit": "um", "finterval": 30.0, "tunit": "sec"},
    )  # fmt: skip
    users_roi(fiji)
    imp = fiji.driver.open(tmp_path / "movie.tif")
    outcome = fiji.menu(TIME, {"imp": imp})
    assert outcome.said == []
    names, rois = fiji.driver.names(), list(fiji.driver.manager().getRoisAsArray())
    assert names[0] == "mine"
    times = [int(roi.getTPosition()) or int(roi.getPosition()) for roi in rois[1:]]
    (text,) = (text for title, text in fiji.driver.texts().items() if title == "Nuclei over time of movie.tif")
    heading, *rows = (line.split("\t") for line in text.splitlines())
    assert heading[-4:] == [
        "Frame",
        "Time (sec)",
        "Nuclei",
        "Mean area (" + str(imp.getCalibration().getUnit()) + "^2)",
    ]
    frame, seconds, counts, areas = zip(*([float(cell) for cell in row[-4:]] for row in rows), strict=True)
    assert (frame, seconds) == ((1, 2, 3), (0, 30, 60))
    first = pipeline.segment(
        read_image(tmp_path / "movie.tif", plane=1), SegmentSettings(), ij=ij, model=load("stardist-storm")
    )
    assert counts == (times.count(1), 0, times.count(3))
    assert counts[0] == first.count > 10
    assert areas[0] == pytest.approx(np.bincount(first.labels.ravel())[1:].mean() / 4, abs=1e-3)  # 0.5 micron a pixel
    assert np.isnan(areas[1])


def test_what_is_no_stack_is_refused(fiji, sample):
    imp = fiji.driver.open(sample)
    (said,) = fiji.menu(TIME, {"imp": imp}).said
    assert said.endswith("is no stack with one slice for each time point; choose another")
