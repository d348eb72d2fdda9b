"""The nuclei of an image as the ROI Manager holds them: what belongs to it, undo, numbers, audit, and saving."""

from pathlib import Path

import numpy as np
import pytest
from roifile import ImagejRoi

from stormseg_ij.commands.session import Session
from stormseg_ij.desk import Entry
from stormseg_ij.errors import ImageError
from stormseg_ij.roi_files import decoded, read_rois
from stormseg_ij.rois import labels_to_rois

SHAPE = (60, 80)


class FakeManager:
    """A list of ROIs; each knows the image it was drawn in, and is an object of its own."""

    headless = False

    def __init__(self):
        self.listed, self.chosen, self.opened, self.made = [], [], True, 0

    @property
    def held(self):
        return [entry.data for entry in self.listed]

    def is_open(self):
        return self.opened

    def entries(self):
        return list(self.listed)

    def rois(self):
        return self.held

    def selected(self):
        return self.chosen

    def deselect(self):
        self.chosen = []

    def append(self, rois, imp=None, *, drawn_in=0):
        first = self.made + 1
        for data in rois:
            self.made += 1
            self.listed.append(Entry(data, self.made, drawn_in))
        return list(range(first, self.made + 1))

    def replace(self, identity, roi):
        self.made += 1
        [index] = [i for i, entry in enumerate(self.listed) if entry.identity == identity]
        self.listed[index] = Entry(roi, self.made, 0)
        return self.made

    def changed_in_place(self, index, roi):
        self.listed[index] = self.listed[index]._replace(data=roi)

    def delete(self, identities, imp=None):
        self.listed = [entry for entry in self.listed if entry.identity not in set(identities)]

    def press_delete(self, index):
        """Do what a person does with the button."""
        del self.listed[index]


class FakeDesk:
    """Two open images, 1 and 2; an image is its number."""

    def __init__(self, folder):
        self.manager, self.lines = FakeManager(), []
        self.open, self.batch, self.running = {1, 2}, False, True
        self.files = {1: (str(folder), "one.tif"), 2: (str(folder), "two.tif"), 3: (str(folder), "one.tif")}

    def number(self, imp):
        return imp

    def numbered(self, number):
        return number if number in self.open else None

    def file(self, imp):
        return self.files[imp]

    def title(self, imp):
        return self.files[imp][1]

    def name(self, imp):
        return Path(self.files[imp][1]).stem

    def shape(self, imp):
        return SHAPE

    def overlay(self, imp, tag):
        return []

    def log(self, text):
        self.lines.append(text)


def squares(image, *numbers):
    labels = np.zeros(SHAPE, np.int32)
    for number in numbers:
        labels[10:20, 12 * (number % 6) : 12 * (number % 6) + 9] = number
    return labels_to_rois(labels, image_name=image, model="m")


@pytest.fixture
def desk(tmp_path):
    return FakeDesk(tmp_path)


@pytest.fixture
def session(desk):
    made = Session(desk)
    yield made
    made.close()


def found(session, image, rois, where="append"):
    session.put(image, rois, where, command="Segment Nuclei", by="model m")


def names(session, image):
    return [nucleus.roi.name for nucleus in session.nuclei(image)]


def drawn(name, number=4):
    """A ROI that a person drew: it names no image."""
    [roi] = squares("", number)
    roi.props, roi.name = "", name
    return roi.tobytes()


def test_nuclei_belong_to_the_image_that_they_name_or_were_drawn_in(desk, session):
    found(session, 1, squares("one", 1, 2))
    found(session, 2, squares("two", 1))
    desk.manager.append([drawn("mine")], drawn_in=2)
    desk.manager.append([drawn("of another one")], drawn_in=9)  # it is closed
    desk.manager.append([drawn("opened")])
    assert names(session, 2) == ["nucleus_0001", "mine", "opened"]  # the active one takes what was opened from a file
    assert names(session, 1) == ["nucleus_0001", "nucleus_0002"]


def test_images_of_one_name_keep_their_nuclei_apart(desk, session, tmp_path):
    (tmp_path / "day 2").mkdir()
    desk.files[2] = (str(tmp_path / "day 2"), "one.tif")
    found(session, 1, squares("one", 1, 2))
    assert names(session, 2) == []
    found(session, 2, squares("one", 1), where="replace")
    assert [names(session, image) for image in (1, 2)] == [["nucleus_0001", "nucleus_0002"], ["nucleus_0001"]]


def test_a_set_follows_its_image_to_another_file(desk, session, tmp_path):
    found(session, 1, squares("one", 1, 2))
    desk.files[1] = (str(tmp_path), "renamed.tif")
    assert names(session, 1) == ["nucleus_0001", "nucleus_0002"]
    session.sync(1)
    session.flush()
    assert [row.change for row in session.changes(1)] == ["added", "added"]
    assert [roi.name for roi in read_rois(tmp_path / "renamed.tif_nuclei.zip")] == ["nucleus_0001", "nucleus_0002"]


def test_an_image_that_is_opened_again_has_its_nuclei(desk, session):
    found(session, 1, squares("one", 1, 2))
    desk.manager.append([drawn("mine")], drawn_in=1)
    session.sync(1)
    desk.open = {2, 3}
    assert names(session, 3) == ["nucleus_0001", "nucleus_0002", "mine"]
    assert names(session, 2) == []


def test_undo_gives_back_what_was_there_and_touches_no_other_image(desk, session):
    found(session, 2, squares("two", 1, 2))
    found(session, 1, squares("one", 1, 2, 3))
    before = sorted(desk.manager.held)
    one, two, _ = session.nuclei(1)
    session.change(1, "Merge Nuclei", removed=[two], replaced=[(one, squares("one", 5)[0])])
    assert sorted(desk.manager.held) != before
    assert session.undo(1) == "Merge Nuclei"
    assert sorted(desk.manager.held) == before
    assert session.undo(1) == "Segment Nuclei"
    assert names(session, 1) == []
    assert names(session, 2) == ["nucleus_0001", "nucleus_0002"]
    with pytest.raises(ImageError, match="nothing to undo"):
        session.undo(1)


def test_undo_refuses_where_a_person_changed_it_since(desk, session):
    found(session, 1, squares("one", 1))
    desk.manager.press_delete(0)
    session.sync(1)
    with pytest.raises(ImageError, match="nucleus_0001 was changed or deleted since"):
        session.undo(1)


def test_no_number_is_given_twice(session):
    found(session, 1, squares("one", 1, 2, 3))
    session.change(1, "Delete Nuclei", removed=session.nuclei(1)[2:])
    assert names(session, 1) == ["nucleus_0001", "nucleus_0002"]
    assert session.next_number(1) == 4
    assert session.next_number(2) == 1


def test_replace_takes_out_only_what_a_model_found(desk, session):
    found(session, 1, squares("one", 1, 2))
    desk.manager.append([drawn("mine")], drawn_in=1)
    found(session, 1, squares("one", 3), where="replace")
    assert names(session, 1) == ["mine", "nucleus_0003"]


def test_the_audit_tells_hand_from_model_and_the_set_is_saved(desk, session, tmp_path):
    found(session, 1, squares("one", 1, 2))
    desk.manager.press_delete(0)
    session.sync(1)
    told = [(row.command, row.by) for row in session.changes(1)]
    assert told == [("Segment Nuclei", "model m")] * 2 + [("ROI Manager", "hand")]
    session.flush()
    [path] = tmp_path.glob("one*_nuclei.zip")
    assert [roi.name for roi in read_rois(path)] == ["nucleus_0002"]
    assert desk.lines == []


def test_a_closed_roi_manager_deletes_no_nucleus(desk, session, tmp_path):
    found(session, 1, squares("one", 1, 2))
    desk.manager.listed, desk.manager.opened = [], False
    session.sync(1)
    assert len(session.changes(1)) == 2  # both were added; none was deleted
    desk.manager.opened = True
    assert session.restore(1)[0] == 2
    assert len(session.changes(1)) == 2
    assert [decoded(data).name for data in desk.manager.held] == ["nucleus_0001", "nucleus_0002"]
    with pytest.raises(ImageError, match="in the ROI Manager already"):
        session.restore(1)


def test_nothing_is_saved_where_a_macro_saves_itself(desk, session, tmp_path):
    session.saves = False
    found(session, 1, squares("one", 1))
    session.flush()
    assert list(tmp_path.iterdir()) == []


def test_an_old_set_is_kept_where_the_image_is_segmented_anew(desk, session, tmp_path):
    found(session, 1, squares("one", 1, 2, 3))
    session.change(1, "Delete Nuclei", removed=session.nuclei(1)[:1])
    session.flush()
    later = FakeDesk(tmp_path)
    again = Session(later)
    found(again, 1, squares("one", 1, 2, 3))
    again.close()
    old = read_rois(tmp_path / "one.tif_nuclei-1.zip")
    assert [roi.name for roi in old] == ["nucleus_0002", "nucleus_0003"]
    assert len(read_rois(tmp_path / "one.tif_nuclei.zip")) == 3
    assert "one.tif_nuclei-1.zip" in later.lines[0]


def opened_again(tmp_path, first):
    """Start ImageJ again, and open the saved file from its ROI number `first` on."""
    later = FakeDesk(tmp_path)
    again = Session(later)
    later.manager.append([roi.tobytes() for roi in read_rois(tmp_path / "one.tif_nuclei.zip")[first:]])
    again.sync(1)
    return later, again


def test_who_opens_the_saved_file_goes_on_with_it(desk, session, tmp_path):
    found(session, 1, squares("one", 1, 2, 3))
    session.flush()
    later, again = opened_again(tmp_path, 0)
    later.manager.press_delete(0)
    again.sync(1)
    assert [(row.nucleus, row.change, row.by) for row in again.changes(1)][3:] == [("nucleus_0001", "deleted", "hand")]
    again.close()
    assert len(read_rois(tmp_path / "one.tif_nuclei.zip")) == 2
    assert not (tmp_path / "one.tif_nuclei-1.zip").exists()


def test_who_opens_a_part_of_it_does_not(desk, session, tmp_path):
    found(session, 1, squares("one", 1, 2, 3))
    session.flush()
    _, again = opened_again(tmp_path, 1)
    again.close()
    assert len(read_rois(tmp_path / "one.tif_nuclei-1.zip")) == 3


def test_a_nucleus_that_is_deleted_meanwhile_takes_no_other_with_it(desk, session):
    found(session, 1, squares("one", 1, 2, 3))
    one, two, _ = session.nuclei(1)
    desk.manager.press_delete(0)
    session.change(1, "Delete Nuclei", removed=[two])
    assert names(session, 1) == ["nucleus_0003"]
    with pytest.raises(ImageError, match="nucleus_0001 was changed or deleted meanwhile"):
        session.change(1, "Delete Nuclei", removed=[one])
    assert names(session, 1) == ["nucleus_0003"]


def test_the_roi_manager_closed_right_after_a_change(desk, session):
    found(session, 1, squares("one", 1, 2))
    desk.manager.press_delete(0)
    session.before_closing()
    desk.manager.listed, desk.manager.opened = [], False
    session.look([])
    assert [(row.nucleus, row.change) for row in session.changes(1)][2:] == [("nucleus_0001", "deleted")]
    assert session.restore(1)[0] == 1


def test_two_images_closed_one_after_the_other(desk, session, tmp_path):
    found(session, 1, squares("one", 1, 2))
    found(session, 2, squares("two", 1, 2))
    desk.manager.press_delete(0)
    session.before_closing()
    desk.open = {2}
    session.before_closing()
    desk.open = set()
    session.look(desk.manager.entries())
    session.flush()
    assert [len(read_rois(tmp_path / f"{name}.tif_nuclei.zip")) for name in ("one", "two")] == [1, 2]


def test_nuclei_in_the_list_keep_their_image_known(desk, session, tmp_path):
    for number in range(3, 33):
        desk.files[number] = (str(tmp_path), f"{number}.tif")
        desk.open = {number}
        found(session, number, squares(str(number), 1))
    desk.open = {99}
    session.look(desk.manager.entries())
    desk.files[99] = desk.files[3]
    assert names(session, 99) == ["nucleus_0001"]


def test_hand_work_during_long_work_is_the_persons(desk, session):
    found(session, 1, squares("one", 1))
    desk.manager.append([drawn("mine")], drawn_in=1)
    found(session, 1, squares("one", 2))
    by = {row.nucleus: (row.command, row.by) for row in session.changes(1)}
    assert by["mine"] == ("ROI Manager", "hand")
    assert by["nucleus_0002"] == ("Segment Nuclei", "model m")
    session.undo(1)
    assert names(session, 1) == ["nucleus_0001", "mine"]


def test_undo_of_the_same_again_doubles_nothing(desk, session):
    found(session, 1, squares("one", 1, 2))
    found(session, 1, squares("one", 1, 2), where="replace")
    session.undo(1)
    assert names(session, 1) == ["nucleus_0001", "nucleus_0002"]


def test_undo_does_not_mind_another_colour_and_passes_over_what_was_changed(desk, session):
    found(session, 1, squares("one", 1, 2))
    one, two = session.nuclei(1)
    session.change(1, "Merge Nuclei", removed=[two], replaced=[(one, squares("one", 3)[0])])
    roi = ImagejRoi.frombytes(desk.manager.held[0])
    roi.stroke_color = bytes([255, 1, 2, 3])
    desk.manager.changed_in_place(0, roi.tobytes())
    assert session.undo(1) == "Merge Nuclei"
    session.change(1, "Delete Nuclei", removed=session.nuclei(1)[:1])
    session.change(1, "Smooth Nuclei", replaced=[(session.nuclei(1)[0], squares("one", 5)[0])])
    desk.manager.press_delete(0)
    with pytest.raises(ImageError, match="cannot undo Smooth Nuclei"):
        session.undo(1)
    assert session.undo(1) == "Delete Nuclei"


def test_what_a_macro_in_batch_mode_leaves_behind_is_saved_after_it(desk, session, tmp_path):
    desk.batch = True
    found(session, 1, squares("one", 1, 2))
    session.look(desk.manager.entries())
    assert not list(tmp_path.iterdir())
    desk.batch = False
    session.look(desk.manager.entries())
    assert [(row.by, row.change) for row in session.changes(1)] == [("model m", "added")] * 2


def test_the_last_changes_before_closing_are_noted(desk, session):
    found(session, 1, squares("one", 1, 2))
    desk.manager.press_delete(1)
    session.before_closing()
    desk.open, desk.manager.listed, desk.manager.opened = {2}, [], False
    session.look([])
    desk.open = {2, 3}
    assert [(row.nucleus, row.change) for row in session.changes(3)][2:] == [("nucleus_0002", "deleted")]


def test_restore_takes_no_set_of_another_image(desk, session, tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: tmp_path / "data")
    desk.files[1] = desk.files[2] = (None, "Untitled")
    monkeypatch.setattr(desk, "shape", lambda imp: SHAPE if imp == 1 else (15, 15))
    found(session, 1, squares("Untitled", 1, 2))
    session.flush()
    with pytest.raises(ImageError, match="no nuclei are saved for Untitled that fit into it"):
        session.restore(2)
    monkeypatch.setattr(desk, "shape", lambda imp: SHAPE)
    desk.open = {3}
    desk.files[3] = (None, "Untitled")
    desk.manager.listed = []
    assert session.restore(3)[0] == 2
    session.change(3, "Delete Nuclei", removed=session.nuclei(3)[:1])
    session.flush()
    sizes = sorted(len(read_rois(path)) for path in (tmp_path / "data").rglob("*_nuclei.zip"))
    assert sizes == [1, 2]
