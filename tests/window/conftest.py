"""ImageJ with StormSeg's commands in it, driven by a `Driver`, and a small scene to work on."""

import shutil

import pytest
import tifffile
from driver import Driver

from stormseg_ij import commands, doctor, pipeline, store
from stormseg_ij.image import read_image
from stormseg_ij.models import load
from stormseg_ij.roi_files import write_rois
from stormseg_ij.rois import iterate_rois
from stormseg_ij.settings import SegmentSettings

TITLE = "tissue one.tif"
"""With a blank, as people's files have them."""


@pytest.fixture(scope="module")
def driver(ij, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        data = tmp_path_factory.mktemp("data")
        patch.setattr(store, "_data_folder", lambda: data)
        patch.setattr("stormseg_ij.commands.checking.examine", quick_findings)
        bench = commands.install(ij)
        made = Driver(bench)
        made.tidy()
        yield made
        made.tidy()
        bench.close()


def quick_findings(_):
    return [doctor.Finding("Java", True, "25", ""), doctor.Finding("display", False, "none", "apt-get install xvfb")]


@pytest.fixture(scope="module")
def sample(repository, tmp_path_factory):
    """A small image, the nuclei in it, and their ROI zip."""
    folder = tmp_path_factory.mktemp("sample")
    cut = tifffile.imread(repository / "stormseg_ij" / "samples" / "tissue.tif")[:192, :224]
    tifffile.imwrite(folder / TITLE, cut)
    return folder / TITLE


@pytest.fixture(scope="module")
def result(ij, sample):
    return pipeline.segment(read_image(sample), SegmentSettings(), ij=ij, model=load("stardist-storm"))


@pytest.fixture
def scene(driver, sample, result, tmp_path):
    """Make the same scene again and again: the image in a folder of its own, its nuclei in the ROI Manager."""
    rois = list(iterate_rois(result.labels, image_name="tissue one", model="stardist-storm", scores=result.scores))
    write_rois(tmp_path / "truth.zip", rois[:-3])
    numbers = iter(range(99))

    def make(*, nuclei=True):
        driver.tidy()
        folder = tmp_path / f"scene {next(numbers)}"
        folder.mkdir()
        shutil.copy(sample, folder)
        imp = driver.open(folder / TITLE)
        if nuclei:
            driver.put(*rois)
        return imp

    yield make
    driver.tidy()
