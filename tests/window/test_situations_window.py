"""Situations that commands meet: one clear line, and nothing of the user's is lost."""

import os
import threading

import numpy as np
import pytest
from driver import one_line, pixels, until
from roifile import ImagejRoi

from stormseg_ij.commands import COMMANDS
from stormseg_ij.image import Image
from stormseg_ij.review import doubts
from stormseg_ij.roi_files import decoded
from stormseg_ij.roi_properties import properties
from stormseg_ij.rois import labels_to_rois

pytestmark = pytest.mark.window

ON_IMAGE = [command.name for command in COMMANDS if command is not None and command.on_image]
NEEDS_NUCLEI = [
    name
    for name in ON_IMAGE
    if name not in ("Preprocess STORM Image", "Segment Nuclei", "Labels to ROIs", "Score Against Truth")
]


def users_roi(left, name, *, size=9):
    """A ROI that a person drew, without our properties."""
    corners = np.array([[0, 0], [size, 0], [size, size + 3], [0, size + 3]]) + np.array([left, 5])
    roi = ImagejRoi.frompoints(corners)
    roi.name = name
    return roi


@pytest.mark.parametrize("command", ON_IMAGE)
def test_without_an_image(driver, command):
    driver.tidy()
    assert one_line(driver.menu(command)) == f"{command}: there is no image; open one first"
    assert "there is no image; open one first" in one_line(driver.macro(f'run("{command}");'))


@pytest.mark.parametrize("command", NEEDS_NUCLEI)
def test_without_a_nucleus(driver, scene, command):
    imp = scene(nuclei=False)
    before = driver.state()
    options = {"Score Against Truth": "truth=nowhere.zip", "Smooth Nuclei": "sigma=1"}.get(command, "")
    assert one_line(driver.macro(f'run("{command}", "{options}");'))
    assert driver.state() == before
    assert driver.bench.running == ""
    assert driver.bench.desk.is_open(imp)


@pytest.mark.parametrize("key", ["probabilty=0.5", "sise=9", "zzz"])
def test_a_misspelt_key_ends_the_macro(driver, scene, key):
    scene(nuclei=False)
    said = one_line(driver.macro(f'run("Segment Nuclei", "{key}");\nprint("went on");'))
    nearest = {"probabilty=0.5": "did you mean 'probability'?", "sise=9": "did you mean 'size'?", "zzz": "choose from"}
    assert nearest[key] in said
    assert "went on" not in driver.log()
    assert driver.names() == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers(driver, value):
    driver.tidy()
    bad = np.ones((64, 64), np.float32)
    bad[3, 4] = value
    driver.show(Image(bad, "bad"))
    for command in ("Segment Nuclei", "Preprocess STORM Image"):
        assert "bad" in one_line(driver.macro(f'run("{command}", "size=64");'))
    assert len(driver.images()) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (64, 64)])
def test_an_image_without_a_nucleus(driver, shape):
    driver.tidy()
    driver.show(Image(np.zeros(shape, np.uint8), "empty"))
    outcome = driver.macro('run("Segment Nuclei", "label_image=true");')
    assert outcome.said == []
    assert "0 nuclei" in outcome.status
    assert any("empty" in line or "no nuclei" in line or "try" in line for line in outcome.log), outcome.log
    assert driver.names() == []
    assert not pixels(driver.images()[-1]).any()
    outcome = driver.menu("Segment Nuclei")
    assert one_line(outcome)  # a person is told in a window


def test_the_users_rois_stay(driver, scene):
    """Whatever is done to the nuclei, what somebody drew stays: byte for byte, and in its order."""
    imp = scene(nuclei=False)
    imp2 = driver.show(Image(np.zeros((90, 80), np.uint8), "other"))
    driver.put(users_roi(3, "mine"), users_roi(20, "0001-0002"))
    driver.put(*labels_to_rois(np.eye(60, dtype=np.int32).repeat(3, axis=0)[:60], image_name="other"))
    driver.IJ.selectWindow(imp.getID())
    mine = driver.rois()

    def kept():
        now = [data for data in driver.rois() if data in mine]
        return now == mine

    for line in (
        'run("Segment Nuclei", "");', 'run("Segment Nuclei", "rois=append");', 'run("Segment Nuclei", "rois=replace");',
        'run("Measure Nuclei", "nuclei=all");', 'run("Next Nucleus to Review", "zoom=true");',
        'run("Split Nucleus", "by=bisector");', 'run("Undo Correction");', 'run("Show Corrections");',
        'run("ROIs to Labels");', 'run("Labels to ROIs", "rois=replace");',
    ):  # fmt: skip
        if "Split" in line:
            driver.select(len(driver.names()) - 1)
        driver.IJ.selectWindow(imp.getID())
        outcome = driver.macro(line)
        assert kept(), (line, outcome)
    driver.IJ.selectWindow(imp.getID())
    last = len(driver.names())
    driver.select(last - 1, last - 2)
    outcome = driver.macro('run("Merge Nuclei");')
    assert outcome.said == []
    assert kept()
    assert driver.bench.desk.is_open(imp2)


def test_the_users_overlay_and_selection_stay(driver, scene):
    imp = scene(nuclei=False)
    driver.macro('makeRectangle(5, 6, 20, 30); run("Add Selection..."); run("Select None");')
    encode = driver.java("ij.io.RoiEncoder").saveAsByteArray
    before = bytes(encode(imp.getOverlay().get(0)))
    driver.macro('run("Segment Nuclei", "rois=overlay");')
    assert int(imp.getOverlay().size()) > 3
    assert bytes(encode(imp.getOverlay().get(0))) == before


def test_the_roi_manager_was_closed(driver, scene, result):
    """Its window is the person's: what was in it is no more there, but saved; the next command opens it again."""
    scene(nuclei=False)
    driver.macro('run("Segment Nuclei", "rois=append");')
    driver.bench.session.flush()
    driver.close_manager()
    assert "select one or more nuclei" in one_line(driver.macro('run("Delete Nuclei");'))
    driver.macro('run("Restore Nuclei");')
    assert len(driver.names()) == result.count


def test_two_images_at_once(driver, scene, result):
    """Each command takes the nuclei of its image, also where the names are the same."""
    scene(nuclei=False)
    driver.macro('rename("first"); run("Segment Nuclei", "rois=append");')
    driver.macro('run("Duplicate...", "title=second"); run("Segment Nuclei", "rois=append");')
    names = driver.names()
    assert names == names[: result.count] * 2
    driver.macro('selectImage("first"); run("Segment Nuclei", "rois=replace");')
    owners = [properties(decoded(data))["image"] for data in driver.rois()]
    assert sorted(owners) == ["first"] * result.count + ["second"] * result.count
    driver.macro('selectImage("second"); run("ROIs to Labels");')
    assert np.array_equal(pixels(driver.images()[-1]), result.labels)


def test_a_second_macro_while_one_runs(driver, scene, monkeypatch, result):
    from stormseg_ij import pipeline

    scene(nuclei=False)
    begun, go_on, segment = threading.Event(), threading.Event(), pipeline.segment

    def slow(*arguments, **keywords):
        begun.set()
        assert go_on.wait(15)
        return segment(*arguments, **keywords)

    monkeypatch.setattr("stormseg_ij.pipeline.segment", slow)
    thread = driver.start_macro('run("Segment Nuclei", "rois=append");')
    assert begun.wait(15)
    outcome = driver.macro('run("Measure Nuclei", "nuclei=all");')
    go_on.set()
    until(lambda: not thread.isAlive(), "the first macro ends")
    assert "Segment Nuclei still runs; wait for it, or press Escape to stop it" in one_line(outcome)
    assert len(driver.names()) == result.count


def test_a_macro_in_batch_mode(driver, scene, result):
    """No window opens, nothing waits, and the images that the macro made are its own."""
    imp = scene(nuclei=False)
    outcome = driver.macro(
        'setBatchMode(true); run("Segment Nuclei", "label_image=true"); getStatistics(area, mean, min, max);'
        'print("highest", max); print("rois", roiManager("count")); setBatchMode(false);'
    )
    assert outcome.said == []
    assert {f"highest {result.count}", f"rois {result.count}"} <= set(outcome.log)
    # ImageJ shows the active image at the end of batch mode: what the command made.
    assert [str(shown.getTitle()) for shown in driver.images()] == [str(imp.getTitle()), "tissue one_labels"]


def test_the_menu_comes_back_after_refresh_menus(driver, scene):
    scene()

    def ours():
        plugins = driver.java("ij.Menus").getImageJMenu("Plugins")
        return [str(plugins.getItem(i).getLabel()) for i in range(plugins.getItemCount())].count("StormSeg")

    driver.macro('run("Refresh Menus");')
    until(lambda: ours() == 1, "the menu comes back", seconds=8)
    assert driver.menu("Next Nucleus to Review").said == []


def test_the_narrow_status_bar_begins_with_the_nucleus(driver, scene):
    imp = scene()
    least = doubts([decoded(data) for data in driver.rois()], driver.bench.desk.shape(imp))[0]
    outcome = driver.menu("Next Nucleus to Review")
    place = f"{driver.names()[least.index]} (1 of {len(driver.names())}): "
    assert least.reasons
    assert outcome.status == place + ", ".join(least.reasons)


@pytest.mark.parametrize("title", ["[x.tif", "a ]b[.tif"])
def test_a_value_that_no_macro_can_hold_is_used_and_not_recorded(driver, scene, title):
    imp = scene()
    truth = np.zeros((imp.getHeight(), imp.getWidth()), np.uint16)
    truth[20:60, 30:80] = 1
    driver.show(Image(truth, "truth")).setTitle(title)

    def score():
        driver.IJ.selectWindow(imp.getID())
        outcome = driver.menu(
            "Score Against Truth", answer=lambda dialog: dialog.getStringFields().firstElement().setText(title)
        )
        assert (outcome.dialogs, outcome.said) == (["Score Against Truth"], [])
        return outcome.log

    assert not any("record" in line for line in score())
    recorder = driver.recorder()
    lines = [line for line in score() if "record" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"Score Against Truth: not recorded: {title!r} has brackets that do not pair")
    assert not any("Score" in line for line in driver.recorded(recorder))
    assert driver.java("ij.measure.ResultsTable").getResultsTable("Nuclei Scores").size() == 2


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_to(driver, scene):
    imp = scene(nuclei=False)
    folder = driver.bench.desk.file(imp)[0]
    os.chmod(folder, 0o500)  # noqa: PTH101
    try:
        outcome = driver.macro('run("Segment Nuclei", "rois=append");')
        driver.bench.session.flush()
    finally:
        os.chmod(folder, 0o700)  # noqa: PTH101
    assert outcome.said == []
    assert "saved" in driver.log()


@pytest.mark.parametrize("title", ["with blanks", "näher µ 核", 'it\'s "it"', "[1] of [2", "size=3"])
def test_titles_of_all_sorts(driver, scene, result, title):
    imp = scene(nuclei=False)
    imp.setTitle(title)
    driver.macro('run("Segment Nuclei", "rois=append");')
    driver.macro('run("ROIs to Labels");')
    labels = driver.images()[-1]
    assert str(labels.getTitle()) == f"{title}_labels"
    assert np.array_equal(pixels(labels), result.labels)


def test_composites_and_nuclei_at_the_border_go_there_and_back(driver, scene):
    imp = scene(nuclei=False)
    height, width = driver.bench.desk.shape(imp)
    labels = np.zeros((height, width), np.int32)
    labels[:20, :15], labels[-30:, -1:], labels[40:90, 40:100] = 1, 2, 3
    labels[50:60, 50:70] = 0
    labels[100:110, 10:20] = labels[120:130, 10:20] = 4
    driver.put(*labels_to_rois(labels, image_name="tissue one"))
    driver.macro('run("ROIs to Labels");')
    assert np.array_equal(pixels(driver.images()[-1]), labels)
    driver.manager().reset()
    driver.macro('run("Labels to ROIs", "image=[tissue one.tif]");')
    assert [str(name) for name in driver.names()] == [f"nucleus_{i:04d}" for i in (1, 2, 3, 4)]
    driver.macro('selectImage("tissue one.tif"); run("ROIs to Labels");')
    assert np.array_equal(pixels(driver.images()[-1]), labels)


def test_an_error_in_the_menu_is_told_after_a_macro_that_failed(driver):
    driver.tidy()
    assert "no image" in one_line(driver.macro('run("Merge Nuclei");'))
    assert "no image" in one_line(driver.menu("Merge Nuclei"))


def test_undo_leaves_the_nuclei_of_other_images(driver, scene, result):
    scene()
    other = driver.show(Image(np.zeros((90, 80), np.uint8), "other"))
    squares = np.kron(np.arange(1, 5).reshape(2, 2), np.ones((30, 30), int)).astype(np.int32)
    driver.put(*labels_to_rois(squares, image_name="other"))
    before = driver.rois()
    driver.IJ.selectWindow(driver.images()[0].getID())
    driver.select(0)
    driver.macro('run("Split Nucleus", "by=bisector"); run("Undo Correction");')
    assert sorted(driver.rois()) == sorted(before)
    assert driver.bench.desk.is_open(other)
