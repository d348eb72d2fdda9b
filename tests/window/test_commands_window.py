"""Every command as the menu starts it and as the recorder writes it: one line, all keys, and the same result again."""

import dataclasses
import re

import numpy as np
import pytest

from stormseg_ij.commands import COMMANDS
from stormseg_ij.macro_options import parse
from stormseg_ij.rois import labels_to_rois

pytestmark = pytest.mark.window

BY_NAME = {command.name: command for command in COMMANDS if command is not None}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^\t\n]*")


def select_two(driver, imp):
    driver.select(0, 1)


def select_one(driver, imp):
    driver.select(2)


def select_holed(driver, imp):
    labels = np.zeros((imp.getHeight(), imp.getWidth()), np.int32)
    labels[20:60, 30:80] = 900
    labels[30:40, 40:55] = 0
    driver.put(*labels_to_rois(labels, image_name="tissue one"))
    driver.select(len(driver.names()) - 1)


def redraw_one(driver, imp):
    driver.select(2)
    driver.macro("getSelectionBounds(x, y, width, height); makeRectangle(x + 1, y + 2, width - 3, height - 3);")


def delete_one(driver, imp):
    driver.select(1)
    driver.macro('run("Delete Nuclei");')


def lose_all(driver, imp):
    delete_one(driver, imp)
    driver.bench.session.flush()
    driver.close_manager()


def only_labels(driver, imp):
    driver.macro('run("ROIs to Labels");')
    driver.manager().reset()


PREPARED = {
    "Redraw Nucleus": redraw_one,
    "Merge Nuclei": select_two, "Split Nucleus": select_one, "Delete Nuclei": select_one,
    "Fill Holes in Nuclei": select_holed, "Smooth Nuclei": select_two, "Undo Correction": delete_one,
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
    # ImageJ itself writes down which window comes to the front.
    lines = [line for line in driver.recorded(recorder) if "selectImage(" not in line]
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
            dialog.getStringFields().firstElement().setText(truth)
            dialog.getStringFields().lastElement().setText("0.5")

    line, done = recorded_once(driver, scene, command, mode="Macro", answer=fill_in)
    name, options = re.fullmatch(r'run\("([^"]*)"(?:, "(.*)")?\);', line).groups()
    assert name == command.name
    assert list(parse(options or "")) == [field.name for field in dataclasses.fields(command.settings)]
    assert replayed(driver, scene, command, lambda: driver.IJ.runMacro(line, "")) == done

    script, again = recorded_once(driver, scene, command, mode="JavaScript", answer=fill_in)
    assert again == done
    # Java has no JavaScript of its own any more; without the semicolon, the line is Python too, with Java's own IJ.
    code = compile(script.removesuffix(";"), "line", "eval")
    run = lambda: eval(code, {"IJ": driver.IJ, "imp": driver.IJ.getImage()})  # noqa: E731
    assert replayed(driver, scene, command, run) == done
