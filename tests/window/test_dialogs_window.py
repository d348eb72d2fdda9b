"""The dialogs of StormSeg's commands, used as a person uses them."""

import dataclasses
import time

import numpy as np
import pytest
from person import until

from stormseg_ij import models
from stormseg_ij.commands import COMMANDS, previewing
from stormseg_ij.image import Image, read_image, write_labels
from stormseg_ij.imagej_settings import in_keys
from stormseg_ij.rois import labels_to_rois
from stormseg_ij.settings import Settings, help_text

pytestmark = pytest.mark.window

ASKING = [command for command in COMMANDS if command is not None and command.settings is not Settings]
FIRST_SECONDS = 120.0
SEGMENT = "Segment Nuclei"


@pytest.fixture
def part(ij, person, repository):
    """A part of the sample in a window: quick to segment."""
    image = read_image(repository / "stormseg_ij" / "samples" / "tissue.tif")
    imp = ij.to_imageplus(dataclasses.replace(image, pixels=image.pixels[100:260, 180:340].copy(), name="part"))
    imp.show()
    person.put_at(imp.getWindow(), 20, 100)
    return imp


def state(person, bench):
    """Return what a cancelled command must leave as it is."""
    images = sorted(bench.desk.titles())
    overlays = [bench.desk.titled(title).getOverlay() for title in images]
    return images, overlays, bench.desk.manager.count(), person.ij.getLog()


def ask(person, command):
    """Choose a command so that it asks: with Alt held down where it does not by itself."""
    if command.asks:
        person.choose("Plugins", "StormSeg", command.name)
    else:
        person.choose("Plugins", "StormSeg", command.name, held="ALT")
    return person.window(command.name)


@pytest.mark.parametrize("command", ASKING, ids=lambda command: command.name)
def test_a_dialog_explains_each_field_and_can_be_cancelled(person, bench, part, command):
    before = state(person, bench)
    ask(person, command)
    options = [option for option in dataclasses.fields(command.settings) if option.metadata]
    usual = [option for option in options if not option.metadata["rare"]]
    parts = person.inputs(command.name)
    assert len(parts) - (command.name == SEGMENT) == len(usual)  # there, "Preview" comes last
    for component, option in zip(parts, usual, strict=False):
        component.requestFocus()
        wanted = " ".join(in_keys(help_text(option)).split())
        until(lambda: person.said(command.name) == wanted, f"{option.name}: {person.said(command.name)!r}")  # noqa: B023
    person.answer(command.name, "Cancel")
    until(lambda: not bench.running, "the command ends")
    assert state(person, bench) == before


def test_rare_fields_come_with_more(person, bench, part):
    person.choose("Plugins", "StormSeg", SEGMENT)
    person.fill(SEGMENT, "Probability", "0.45")
    usual = person.labels(SEGMENT)
    person.answer(SEGMENT, "More...")
    every = person.labels(SEGMENT)
    assert set(every) - set(usual) == {"Route", "Tile", "Overlap", "Seed", "Plane"}
    assert str(person.field(SEGMENT, "Probability").getText()) == "0.45"
    person.hit("ESCAPE")
    person.gone(SEGMENT)


def test_a_dialog_remembers_its_values(person, bench, part):
    for text, shown in (("0.6", "auto"), ("0.55", "0.6")):
        person.choose("Plugins", "StormSeg", SEGMENT)
        assert str(person.field(SEGMENT, "Probability").getText()) == shown
        person.fill(SEGMENT, "Probability", text)
        person.pick(SEGMENT, "ROIs", "overlay")
        person.answer(SEGMENT, "OK")
        until(lambda: not bench.running, "the command ends", seconds=FIRST_SECONDS)
        assert part.getOverlay().size() > 0
    person.choose("Plugins", "StormSeg", SEGMENT)
    person.fill(SEGMENT, "Probability", "0.7")
    person.answer(SEGMENT, "Cancel")  # what is cancelled is not remembered
    person.choose("Plugins", "StormSeg", SEGMENT)
    assert str(person.field(SEGMENT, "Probability").getText()) == "0.55"
    assert str(person.field(SEGMENT, "ROIs").getSelectedItem()) == "overlay"
    person.answer(SEGMENT, "Cancel")


def test_a_dialog_forgets_what_belongs_to_one_image(person, bench, ij, part, tmp_path):
    name = "Score Against Truth"
    labels = np.zeros((160, 160), np.int32)
    labels[10:40, 10:40] = 1
    write_labels(tmp_path / "truth.tif", labels)
    bench.desk.manager.append([roi.tobytes() for roi in labels_to_rois(labels, image_name="part")], part)
    person.put_at(person.manager, 760, 300)
    person.choose("Plugins", "StormSeg", name)
    person.fill(name, "Truth", str(tmp_path / "truth.tif"))
    person.fill(name, "IoU", "0.5")
    person.answer(name, "OK")
    until(lambda: person.java("ij.measure.ResultsTable").getResultsTable("Nuclei Scores"), "a table of scores")
    until(lambda: not bench.running, "the command ends")
    bench.desk.remember("score-against-truth.truth", "kept by an older version.tif")
    person.choose("Plugins", "StormSeg", name)
    assert str(person.field(name, "IoU").getText()) == "0.5"
    assert str(person.field(name, "Truth").getText()) == ""
    person.answer(name, "Cancel")


def test_a_wrong_value_is_told_and_asked_again(person, bench, part):
    before = state(person, bench)
    person.choose("Plugins", "StormSeg", SEGMENT)
    person.fill(SEGMENT, "Min area fraction", "0.1")
    person.fill(SEGMENT, "Probability", "7")
    person.answer(SEGMENT, "OK")
    assert person.message(SEGMENT) == "probability '7': give a number from 0.05 to 1"
    until(lambda: "Model" in person.labels(SEGMENT), "the dialog comes again")
    assert str(person.field(SEGMENT, "Probability").getText()) == "7"
    assert str(person.field(SEGMENT, "Min area fraction").getText()) == "0.1"
    person.answer(SEGMENT, "Cancel")
    assert state(person, bench) == before


def test_the_preview_redraws_without_the_network_and_goes_away(person, bench, part, monkeypatch):
    runs = []

    class Counted(previewing.Preview):
        def __init__(self, *args, **keywords):
            runs.append(1)
            super().__init__(*args, **keywords)

    monkeypatch.setattr(previewing, "Preview", Counted)
    own = person.java("ij.gui.Overlay")(person.java("ij.gui.Roi")(5, 5, 20, 20))
    part.setOverlay(own)
    person.choose("Plugins", "StormSeg", SEGMENT)
    person.tick(SEGMENT, "Preview")
    until(lambda: person.said(SEGMENT).startswith("Preview: ") and "at prob" in person.said(SEGMENT), "a preview",
          seconds=FIRST_SECONDS)  # fmt: skip
    found = part.getOverlay().size() - 1
    assert person.said(SEGMENT).startswith(f"Preview: {found} nuclei")
    assert found > 3
    start = time.monotonic()
    person.fill(SEGMENT, "Probability", "0.8")
    until(lambda: "at probability 0.8" in person.said(SEGMENT), "the preview is drawn anew")
    seconds = time.monotonic() - start
    assert 0 < part.getOverlay().size() - 1 < found
    person.fill(SEGMENT, "Probability", "9")
    until(lambda: "give a number from 0.05 to 1" in person.said(SEGMENT), "a wrong value is told at once")
    assert len(runs) == 1
    assert seconds < 10.0
    person.tick(SEGMENT, "Preview")
    until(lambda: part.getOverlay() is not None and part.getOverlay().size() == 1, "the preview goes away")
    person.tick(SEGMENT, "Preview")
    person.answer(SEGMENT, "Cancel")
    until(lambda: not bench.running, "the command ends")
    assert part.getOverlay().size() == 1
    assert bench.desk.manager.count() == 0


def test_a_model_folder_is_found_by_browsing_and_stays_in_the_list(person, bench, part, repository):
    folder = repository / "stormseg_ij" / "weights" / "stardist-storm"
    person.choose("Plugins", "StormSeg", SEGMENT)
    person.button(SEGMENT, "Browse...")
    person.choose_folder("Select Model", folder)
    assert str(person.field(SEGMENT, "Model").getSelectedItem()) == str(folder)
    person.pick(SEGMENT, "ROIs", "overlay")
    person.answer(SEGMENT, "OK")
    until(lambda: not bench.running, "the command ends", seconds=FIRST_SECONDS)
    assert part.getOverlay().size() > 3
    person.choose("Plugins", "StormSeg", SEGMENT)
    model = person.field(SEGMENT, "Model")
    assert [str(model.getItem(i)) for i in range(model.getItemCount())] == [*models.shipped(), str(folder)]


def test_labels_to_rois_and_score_use_other_open_images(person, bench, ij, part, tmp_path):
    labels = np.zeros((160, 160), np.int32)
    labels[10:40, 10:40], labels[60:90, 50:100] = 1, 2
    path = tmp_path / "truth.tif"
    write_labels(path, labels)
    ij.to_imageplus(Image(labels.astype(np.uint16), "drawn")).show()
    person.choose("Plugins", "StormSeg", "Labels to ROIs")
    image = person.field("Labels to ROIs", "Image")
    assert [str(image.getItem(i)) for i in range(image.getItemCount())] == ["(active image)", "part", "drawn"]
    person.pick("Labels to ROIs", "Image", "part")
    person.answer("Labels to ROIs", "OK")
    until(lambda: bench.desk.manager.count() == 2 and not bench.running, "two ROIs")
    person.put_at(person.manager, 760, 300)
    person.focus(part.getWindow())
    person.choose("Plugins", "StormSeg", "Score Against Truth")
    person.fill("Score Against Truth", "Truth", str(path))
    person.answer("Score Against Truth", "OK")
    table = until(lambda: person.java("ij.measure.ResultsTable").getResultsTable("Nuclei Scores"), "a table of scores")
    assert table.getValue("F1", 0) == 1.0
    assert table.getValue("True", 0) == 2
