"""Commands that are called by plugins and scripts, and images that are closed right after a change."""

import csv
import threading
from pathlib import Path

import numpy as np
import pytest
from driver import one_line, until
from roifile import ImagejRoi

from stormseg_ij.bridge.java import proxy
from stormseg_ij.roi_files import read_rois
from stormseg_ij.roi_properties import properties
from stormseg_ij.rois import roi_mask

pytestmark = pytest.mark.window

QUICK = "model=stardist-storm size=256 refine=false"


def rows(imp, driver):
    folder, name = driver.bench.desk.file(imp)
    driver.bench.session.flush()
    with Path(folder, f"{name}_nuclei_changes.csv").open(encoding="utf-8", newline="") as file:
        return [(row["nucleus"], row["change"], row["by"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "command",
    [
        ("Segment Nuclei", QUICK), ("Measure Nuclei", "nuclei=all"), ("Next Nucleus to Review", "zoom=true"),
        ("Labels to ROIs", "rois=append"), ("ROIs to Labels", ""), ("Undo Correction", ""),
    ],
)  # fmt: skip
def test_on_the_thread_that_paints(driver, scene, command):
    """A button of somebody's plugin calls a command there: ImageJ does not freeze."""
    imp = scene()
    driver.macro(f'run("Segment Nuclei", "{QUICK}");')
    done = threading.Event()

    def press():
        thread = driver.java("java.lang.Thread").currentThread()
        name = thread.getName()
        driver.IJ.run(imp, *command)
        thread.setName(name)  # ImageJ gives it that of a macro's, for ever
        done.set()

    queue = driver.java("java.awt.EventQueue")

    def work():
        queue.invokeLater(proxy("java.lang.Runnable", run=press))
        assert done.wait(15.0)

    driver.seen(work)
    assert not driver.bench.running
    driver.IJ.selectWindow(imp.getID())
    assert driver.menu("Next Nucleus to Review").said == []  # and all goes on


def test_an_image_in_no_window(driver, scene, sample, result):
    """Scripts open images without showing them."""
    scene(nuclei=False)
    imp = driver.IJ.openImage(str(sample))
    outcome = driver.seen(lambda: driver.IJ.run(imp, "Segment Nuclei", "rois=append model=stardist-storm"))
    assert outcome.said == []
    assert len(driver.names()) == result.count


def test_a_line_is_newer_than_what_is_selected(driver, scene):
    imp = scene()
    boxes = [(roi.left, roi.top, roi.right, roi.bottom) for roi in map(ImagejRoi.frombytes, driver.rois())]
    centres = [((left + right) // 2, (top + bottom) // 2) for left, top, right, bottom in boxes]
    before = driver.names()
    driver.select(0, 1)
    imp.setRoi(driver.java("ij.gui.Line")(*centres[4], *centres[5]))
    assert driver.seen(lambda: driver.IJ.run(imp, "Merge Nuclei", "")).said == []
    assert {before[0], before[1]} <= set(driver.names())
    assert len({before[4], before[5]} & set(driver.names())) == 1


@pytest.mark.parametrize("command", ["Close", "Close All"])
def test_a_change_just_before_an_image_is_closed(driver, scene, command):
    imp = scene(nuclei=False)
    driver.macro(f'run("Segment Nuclei", "{QUICK}");')
    names, folder = driver.names(), driver.bench.desk.file(imp)[0]
    imp.changes = False
    driver.manager().delete(1)
    driver.windows.setCurrentWindow(imp.getWindow())  # else "Close" may be for the ROI Manager
    driver.windows.setWindow(imp.getWindow())
    driver.menu(command)
    driver.close_manager()
    until(lambda: driver.images() == [], "the image is closed")
    path = f"{folder}/tissue one.tif_nuclei.zip"
    until(lambda: len(read_rois(path)) == len(names) - 1, "the last change is saved")
    assert [roi.name for roi in read_rois(path)] == [names[0], *names[2:]]


def test_a_selected_nucleus_is_no_region(driver, scene):
    imp = scene()
    names = driver.names()
    driver.bench.session.sync(imp)
    driver.manager().select(imp, 2)
    outcome = driver.macro(f'run("Segment Nuclei", "{QUICK} rois=replace");')
    assert any("the whole image was segmented" in line for line in outcome.log)
    assert len(driver.names()) > len(names) / 2


def test_replace_in_a_selection_and_on_a_plane_leaves_the_others(driver, scene):
    imp = scene(nuclei=False)
    driver.macro(f'run("Segment Nuclei", "{QUICK}");')
    height, width = driver.bench.desk.shape(imp)
    before = driver.rois()
    imp.setRoi(0, 0, width // 2, height)
    driver.macro(f'run("Segment Nuclei", "{QUICK} rois=replace");')
    right = [data for data in before if ImagejRoi.frombytes(data).left >= width // 2]
    assert right
    assert set(right) <= set(driver.rois())
    assert not set(driver.rois()) & {data for data in before if ImagejRoi.frombytes(data).right < width // 2}
    image = driver.bench.desk.ij.from_imageplus(imp)
    driver.tidy()
    imp = driver.show(image)
    driver.macro(
        'run("Add Slice"); setSlice(1); run("Select All"); run("Copy"); setSlice(2); run("Paste"); run("Select None");'
    )
    for plane in (1, 2, 2):
        driver.macro(f'setSlice({plane}); run("Segment Nuclei", "{QUICK} rois=replace");')
    positions = [ImagejRoi.frombytes(data).position for data in driver.rois()]
    assert positions.count(1) == positions.count(2) > 0


def test_save_as_keeps_the_nuclei(driver, scene, tmp_path):
    imp = scene(nuclei=False)
    driver.macro(f'run("Segment Nuclei", "{QUICK}");')
    count = len(driver.names())
    driver.macro(f'saveAs("Tiff", "{tmp_path}/other name.tif");')
    assert driver.macro('run("Measure Nuclei", "nuclei=all");').said == []
    assert {change for _, change, _ in rows(imp, driver)} == {"added"}
    assert len(read_rois(tmp_path / "other name.tif_nuclei.zip")) == count
    driver.macro(f'close(); open("{tmp_path}/other name.tif");')
    driver.manager().reset()
    driver.macro('run("Restore Nuclei");')
    assert {properties(ImagejRoi.frombytes(data))["image"] for data in driver.rois()} == {"other name"}
    assert driver.macro('run("Measure Nuclei", "nuclei=all");').said == []


def test_redraw_gives_a_nucleus_the_drawn_outline(driver, scene):
    imp = scene()
    names = driver.names()
    old = ImagejRoi.frombytes(driver.rois()[3])
    imp.setRoi(driver.java("ij.gui.OvalRoi")(old.left + 1, old.top + 1, old.right - old.left, old.bottom - old.top))
    mask = np.zeros(driver.bench.desk.shape(imp), bool)
    shown = imp.getMask()
    part = np.array(memoryview(shown.getPixels())).reshape(int(shown.getHeight()), int(shown.getWidth())) != 0
    mask[old.top + 1 : old.top + 1 + part.shape[0], old.left + 1 : old.left + 1 + part.shape[1]] = part
    assert driver.seen(lambda: driver.IJ.run(imp, "Redraw Nucleus", "")).said == []
    assert driver.names() == names
    made, _ = roi_mask(ImagejRoi.frombytes(driver.rois()[3]), mask.shape)
    whole = np.zeros(mask.shape, bool)
    whole[made.box] = made.mask
    assert (whole == mask).all()
    imp.deleteRoi()
    assert "no outline is drawn" in one_line(driver.menu("Redraw Nucleus"))
