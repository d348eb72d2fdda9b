"""The examples for Fiji that work on open images do what their headers say, on simulated images."""

import numpy as np
import pytest
import tifffile
from fiji import put_on_class_path, running
from results import table

from stormseg_ij import pipeline
from stormseg_ij.image import read_image
from stormseg_ij.models import load
from stormseg_ij.settings import SegmentSettings

pytestmark = pytest.mark.window

OPEN = "Examples > Segment and Measure Open Images"
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


def test_nuclei_that_a_person_corrected_stay(fiji, sample, pixels, result, tmp_path):
    tifffile.imwrite(tmp_path / "half.tif", pixels[:, :140])
    fiji.driver.open(sample)
    fiji.driver.open(tmp_path / "half.tif")
    fiji.menu(OPEN)
    fiji.driver.select(len(fiji.driver.names()) - 1)
    assert fiji.menu("Smooth Nuclei", {"sigma": 1}).said == []
    fiji.driver.macro('roiManager("deselect"); run("Clear Results");')
    half = fiji.driver.rois()[result.count :]
    outcome = fiji.menu(OPEN)
    assert outcome.said == []
    assert "half.tif: left out, its nuclei were corrected; Measure Nuclei measures them" in outcome.log
    assert fiji.driver.rois()[: len(half)] == half  # the others were taken out, and come behind
    assert len(fiji.driver.rois()) == result.count + len(half)
    assert table(fiji.java)["Image"][1] == [sample.name] * result.count


def test_an_image_without_nuclei_is_no_fault(fiji, tmp_path):
    tifffile.imwrite(tmp_path / "empty.tif", np.zeros((128, 128), np.uint16))
    fiji.driver.open(tmp_path / "empty.tif")
    outcome = fiji.menu(OPEN)
    assert outcome.said == []  # a window would hold up the images after it
    assert outcome.log[-1] == "empty.tif: no nuclei"


def test_without_an_open_image_it_says_so(fiji):
    (said,) = fiji.menu(OPEN).said
    assert "No image is open" in said


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
