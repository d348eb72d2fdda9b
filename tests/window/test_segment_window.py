"""Segment Nuclei from a macro finds what `stormseg segment` finds, in every type of image, selection and stack."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from driver import pixels

from stormseg_ij.image import Image, read_image
from stormseg_ij.models import load
from stormseg_ij.pipeline import segment
from stormseg_ij.roi_files import read_rois
from stormseg_ij.roi_properties import properties
from stormseg_ij.rois import rois_to_labels
from stormseg_ij.settings import SegmentSettings

pytestmark = pytest.mark.window

SEGMENT = 'run("Segment Nuclei", "model=stardist-storm");\n'
TYPES = ("gray8", "gray16", "gray32", "colour", "with blanks µ 'and' quotes")


@pytest.fixture(scope="module")
def files(sample, tmp_path_factory):
    """The sample in every type that ImageJ opens; with a calibration, which must have no influence."""
    folder, gray = tmp_path_factory.mktemp("types"), tifffile.imread(sample)
    shown = {
        "gray8": gray, "gray16": gray.astype(np.uint16) * 200 + 7, "gray32": gray.astype(np.float32) / 3 - 20,
        "colour": np.stack([gray, gray // 2, gray // 3], axis=-1), TYPES[-1]: gray[::-1].copy(),
    }  # fmt: skip
    for name, image in shown.items():
        options = {"photometric": "rgb"} if image.ndim == 3 else {}
        tifffile.imwrite(
            folder / f"{name}.tif", image, imagej=True, resolution=(5.0, 5.0), metadata={"unit": "um"}, **options
        )
    return folder


@pytest.fixture(scope="module")
def by_command_line(files, tmp_path_factory, run_python):
    """The ROI zips of `stormseg segment`, in a process without a window."""
    out = tmp_path_factory.mktemp("out")
    arguments = ["segment", *(str(files / f"{name}.tif") for name in TYPES), "-o", str(out)]
    code = f"import sys; from stormseg_ij.cli import main; sys.exit(main({arguments!r}))"
    done = run_python(code, DISPLAY=None, timeout=120.0)
    assert done.returncode == 0, done.stderr
    return out


def described(roi):
    """Return all of a ROI that a person sees or measures."""
    paths = [path.tolist() for path in roi.coordinates(multi=True)]
    return roi.name, paths, (roi.position, roi.c_position, roi.z_position, roi.t_position), properties(roi)


def saved(driver, path):
    driver.macro(f'roiManager("Deselect"); roiManager("Save", "{path}");')
    return read_rois(path)


@pytest.mark.parametrize("name", TYPES)
def test_the_roi_manager_saves_what_the_command_line_writes(driver, files, by_command_line, tmp_path, name):
    driver.tidy()
    driver.open(files / f"{name}.tif")
    outcome = driver.macro(SEGMENT)
    assert (outcome.said, outcome.dialogs) == ([], [])
    expected = read_rois(by_command_line / f"{name}_rois.zip")
    assert len(expected) > 4
    assert [described(roi) for roi in saved(driver, tmp_path / "set.zip")] == [described(roi) for roi in expected]


def test_mask_r_cnn_finds_the_same_too(driver, files, tmp_path, run_python):
    own = Path(shutil.copy(files / "gray8.tif", tmp_path / "own.tif"))  # names go on where an image had some before
    options = ["--route", "tile", "--tile", "128", "--overlap", "64", "--size", "280", "--model", "mask-rcnn-storm"]
    arguments = ["segment", str(own), "-o", str(tmp_path), *options]
    done = run_python(f"import sys; from stormseg_ij.cli import main; sys.exit(main({arguments!r}))", timeout=120.0)
    assert done.returncode == 0, done.stderr
    driver.tidy()
    driver.open(own)
    outcome = driver.macro('run("Segment Nuclei", "model=mask-rcnn-storm tile=128 overlap=64 route=tile size=280");\n')
    assert (outcome.said, outcome.dialogs) == ([], [])
    expected = read_rois(tmp_path / "own_rois.zip")
    assert len(expected) > 4
    assert {properties(roi)["model"] for roi in expected} == {"mask-rcnn-storm"}
    assert [described(roi) for roi in saved(driver, tmp_path / "set.zip")] == [described(roi) for roi in expected]


@pytest.fixture
def labels_of(ij):
    """Segment pixels with the engine alone; give the labels."""
    model = load("stardist-storm")

    def find(image, **whole):
        return segment(image, SegmentSettings(), ij=ij, model=model, **whole).labels

    return find


def found(driver, shape):
    """Return the nuclei in the ROI Manager as labels."""
    labels, notes = rois_to_labels(decoded_all(driver), shape)
    assert notes == ()
    return labels


def decoded_all(driver):
    from stormseg_ij.roi_files import decoded

    return [decoded(data) for data in driver.rois()]


@pytest.mark.parametrize(
    "change", ['run("Invert LUT");', "setMinAndMax(60, 70);", 'run("Fire");', 'run("Set... ", "zoom=300");']
)
def test_how_it_is_shown_has_no_influence(driver, scene, result, change):
    imp = scene(nuclei=False)
    driver.macro(change + SEGMENT)
    assert np.array_equal(found(driver, pixels(imp).shape), result.labels)


def test_a_rectangle_is_segmented_alone(driver, scene, sample, labels_of):
    image = read_image(sample)
    scene(nuclei=False)
    driver.macro("makeRectangle(30, 20, 150, 130);" + SEGMENT)
    expected = np.zeros(image.shape, np.int32)
    part = image.with_pixels(image.pixels[20:150, 30:180].copy())
    expected[20:150, 30:180] = labels_of(part, whole_shape=image.shape)
    assert expected.max() > 1
    assert np.array_equal(found(driver, image.shape), expected)
    roi = driver.IJ.getImage().getRoi()
    assert roi is not None  # the person's selection stays
    assert str(roi.getTypeAsString()) == "Rectangle"


def test_nuclei_lie_mostly_in_an_oval(driver, scene, sample):
    shape = read_image(sample).shape
    imp = scene(nuclei=False)
    driver.macro("makeOval(30, 20, 150, 130);")
    mask = imp.createRoiMask()
    inside = np.frombuffer(memoryview(mask.getPixels()), np.uint8).reshape(shape) > 0
    driver.macro(SEGMENT)
    labels = found(driver, shape)
    assert labels.max() > 1
    for number in range(1, labels.max() + 1):
        assert inside[labels == number].mean() > 0.5


@pytest.fixture
def planes(sample):
    """Four different planes."""
    gray = tifffile.imread(sample)
    return np.stack([gray, gray[::-1], gray[:, ::-1], gray[::-1, ::-1]])


def test_the_shown_slice_of_a_stack(driver, planes, tmp_path, labels_of):
    driver.tidy()
    tifffile.imwrite(tmp_path / "stack.tif", planes, imagej=True, metadata={"axes": "ZYX"})
    driver.open(tmp_path / "stack.tif")
    driver.macro("setSlice(2);" + SEGMENT)
    rois = decoded_all(driver)
    assert {roi.position for roi in rois} == {2}
    assert np.array_equal(found(driver, planes[0].shape), labels_of(read_image(tmp_path / "stack.tif", plane=2)))


def test_all_planes_of_a_hyperstack(driver, planes, tmp_path, labels_of):
    driver.tidy()
    path = tmp_path / "hyper.tif"
    tifffile.imwrite(path, planes.reshape(2, 2, *planes.shape[1:]), imagej=True, metadata={"axes": "TZYX"})
    driver.open(path)
    driver.macro('run("Segment Nuclei", "planes=all label_image=true");')
    rois = decoded_all(driver)
    assert len({roi.name for roi in rois}) == len(rois)
    shown = driver.images()[-1]
    assert [int(part) for part in shown.getDimensions()] == [280, 240, 1, 2, 2]
    for frame in (1, 2):
        for z in (1, 2):
            plane = (frame - 1) * 2 + z
            here = [roi for roi in rois if (roi.z_position, roi.t_position) == (z, frame)]
            labels, notes = rois_to_labels(here, planes[0].shape)
            assert notes == ()
            expected = labels_of(Image(planes[plane - 1], "hyper"))
            assert len(here) == expected.max() > 2
            # The numbers go on from plane to plane.
            assert np.array_equal(np.where(labels, labels - labels[labels > 0].min() + 1, 0), expected)
            assert np.array_equal(pixels(shown, plane), labels)


def test_the_overlay_in_place_of_the_roi_manager(driver, scene, result):
    imp = scene(nuclei=False)
    driver.macro('run("Segment Nuclei", "rois=overlay");')
    assert driver.names() == []
    assert int(imp.getOverlay().size()) == result.count
    driver.macro('run("Segment Nuclei", "rois=overlay");')
    assert int(imp.getOverlay().size()) == result.count  # in place of those before
    assert [path.name for path in Path(driver.bench.desk.file(imp)[0]).iterdir()] == [str(imp.getTitle())]
