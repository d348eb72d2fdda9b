"""Every command as the menu starts it and as the recorder writes it: one line, all keys, and the same result again."""

import dataclasses
import re
import shutil

import numpy as np
import pytest
import tifffile
from driver import Driver, pixels

from stormseg_ij import bridge, commands, doctor, pipeline, store
from stormseg_ij.commands import COMMANDS
from stormseg_ij.image import read_image
from stormseg_ij.macro_options import parse
from stormseg_ij.models import load
from stormseg_ij.rois import iterate_rois, labels_to_rois, read_rois, write_rois
from stormseg_ij.settings import SegmentSettings

pytestmark = pytest.mark.window

BY_NAME = {command.name: command for command in COMMANDS if command is not None}
TITLE = "tissue one.tif"
"""With a blank, as people's files have them."""
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^\t\n]*")


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


def select_two(driver, imp):
    driver.select(0, 1)


def select_one(driver, imp):
    driver.select(2)


def delete_one(driver, imp):
    driver.select(1)
    driver.macro('run("Delete Nuclei");')


def lose_all(driver, imp):
    delete_one(driver, imp)
    driver.bench.session.flush()
    driver.manager().close()


def only_labels(driver, imp):
    driver.macro('run("ROIs to Labels");')
    driver.manager().reset()


PREPARED = {
    "Merge Nuclei": select_two, "Split Nucleus": select_one, "Delete Nuclei": select_one,
    "Fill Holes in Nuclei": select_two, "Smooth Nuclei": select_two, "Undo Correction": delete_one,
    "Labels to ROIs": only_labels, "Restore Nuclei": lose_all, "Show Corrections": delete_one,
}  # fmt: skip
WITHOUT_NUCLEI = ("Preprocess STORM Image", "Segment Nuclei")


def recorded_once(driver, scene, command, *, mode, answer):
    """Choose a command with the recorder open; return its line and the state that it left."""
    imp = scene(nuclei=command.name not in WITHOUT_NUCLEI)
    PREPARED.get(command.name, lambda *_: None)(driver, imp)
    recorder = driver.recorder(mode)
    outcome = driver.menu(command.name, answer=answer)
    assert outcome.said == []
    lines = driver.recorded(recorder)
    assert len(lines) == 1, lines
    driver.close_window("Recorder")
    return lines[0], left_by(driver)


def left_by(driver):
    """Return what a command left, without the times of day in tables."""
    state = driver.state()
    return {**state, "texts": {title: _TIME.sub("TIME", text) for title, text in state["texts"].items()}}


def replayed(driver, scene, command, run):
    imp = scene(nuclei=command.name not in WITHOUT_NUCLEI)
    PREPARED.get(command.name, lambda *_: None)(driver, imp)
    outcome = driver.seen(run)
    assert (outcome.said, outcome.dialogs) == ([], [])
    return left_by(driver)


@pytest.mark.parametrize("command", BY_NAME.values(), ids=lambda command: command.name)
def test_the_recorded_line_does_the_same_again(driver, scene, tmp_path, command):
    truth = str(tmp_path / "truth.zip")

    def fill_in(dialog):
        if command.name == "Score Against Truth":
            dialog.getStringFields().firstElement().setText("0.5")
            dialog.getStringFields().lastElement().setText(truth)

    line, done = recorded_once(driver, scene, command, mode="Macro", answer=fill_in)
    name, options = re.fullmatch(r'run\("([^"]*)"(?:, "(.*)")?\);', line).groups()
    assert name == command.name
    assert list(parse(options or "")) == [field.name for field in dataclasses.fields(command.settings)]
    assert replayed(driver, scene, command, lambda: driver.IJ.runMacro(line, "")) == done

    script, again = recorded_once(driver, scene, command, mode="JavaScript", answer=fill_in)
    assert again == done
    # Java has no JavaScript of its own any more; without the semicolon, the line is Python too, with Java's own IJ.
    code = compile(script.removesuffix(";"), "line", "eval")
    run = lambda: eval(code, {"IJ": driver.IJ, "imp": driver.IJ.getImage()})  # noqa: E731, S307
    assert replayed(driver, scene, command, run) == done
