"""StormSeg's commands in ImageJ's window, a person who uses them, and a `Driver` that starts them from its threads."""

import shutil
from contextlib import suppress

import pytest
import tifffile
from driver import Driver
from person import Person, until

TITLE = "tissue one.tif"
"""With a blank, as people's files have them."""


@pytest.fixture(scope="module")
def bench(ij, tmp_path_factory):
    """The commands in ImageJ; nuclei of unsaved images are kept in a folder of the tests."""
    from stormseg_ij import commands

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        made = commands.install(ij)
        yield made
        made.close()


@pytest.fixture
def person(ij, bench):
    """Somebody before a tidy desk: no image, no ROI Manager, no remembered values; and so it is left."""
    someone = Person()
    yield someone
    _tidy(someone, bench)


def _tidy(someone, bench):
    """Close what is open."""
    java = someone.java
    for _ in range(5):  # a dialog that was refused comes again
        for window in someone.dialogs():
            window.toFront()
            window.requestFocus()
            someone.press("ESCAPE")
            with suppress(AssertionError):
                until(lambda: not window.isShowing(), "the dialog closes", seconds=3.0)  # noqa: B023
            window.dispose()
    with suppress(AssertionError):
        until(lambda: not bench.running, "the command ends", seconds=5.0)
    if bench.running:  # the test failed in the middle of long work, which would make the next one fail too
        java("ij.IJ").setKeyDown(someone.keys.VK_ESCAPE)
    until(lambda: not bench.running, "the command ends")
    images = java("ij.WindowManager")
    for number in list(images.getIDList() or ()):
        imp = images.getImage(number)
        imp.changes = False
        imp.close()
    if someone.manager is not None:
        someone.manager.reset()
        someone.manager.close()
    results = images.getWindow("Results")
    if results is not None:
        java("ij.IJ").run("Clear Results")
        results.dispose()
    for title in list(images.getNonImageTitles()):
        window = images.getWindow(title)
        if window is not None:
            window.dispose()
            images.removeWindow(window)
    if java("ij.IJ").getLog() is not None:
        java("ij.IJ").log("\\Close")
    java("ij.gui.Toolbar").getInstance().setTool(0)
    _forget(java)


def _forget(java):
    """Take the values that dialogs remember out of ImageJ's preferences."""
    import dataclasses

    from stormseg_ij.commands import COMMANDS

    for command in COMMANDS:
        if command is not None:
            for option in dataclasses.fields(command.settings):
                java("ij.Prefs").set(f"stormseg.{command.name.lower().replace(' ', '-')}.{option.name}", None)
    java("ij.Prefs").set("stormseg.model-folders", None)


@pytest.fixture(scope="module")
def driver(bench):
    """ImageJ with a tidy desk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stormseg_ij.commands.checking.examine", quick_findings)
        made = Driver(bench)
        made.tidy()
        yield made
        made.tidy()


def quick_findings(_):
    """Say what the doctor says, without its ten seconds."""
    from stormseg_ij import doctor

    return [doctor.Finding("Java", True, "25", ""), doctor.Finding("display", False, "none", "apt-get install xvfb")]


@pytest.fixture(scope="module")
def sample(repository, tmp_path_factory):
    """A small image, the nuclei in it, and their ROI zip."""
    folder = tmp_path_factory.mktemp("sample")
    cut = tifffile.imread(repository / "stormseg_ij" / "samples" / "tissue.tif")[100:340, 100:380]
    tifffile.imwrite(folder / TITLE, cut)
    return folder / TITLE


@pytest.fixture(scope="module")
def result(ij, sample):
    """What the engine finds in the small image."""
    from stormseg_ij import pipeline
    from stormseg_ij.image import read_image
    from stormseg_ij.models import load
    from stormseg_ij.settings import SegmentSettings

    return pipeline.segment(read_image(sample), SegmentSettings(), ij=ij, model=load("stardist-storm"))


@pytest.fixture
def scene(driver, sample, result, tmp_path):
    """Make the same scene again and again: the image in a folder of its own, its nuclei in the ROI Manager."""
    from stormseg_ij.roi_files import write_rois
    from stormseg_ij.rois import iterate_rois

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
