"""The nuclei of an image as the ROI Manager holds them: what belongs to it, undo, numbers, audit, and saving."""

import numpy as np
import pytest

from stormseg_ij.commands.session import Session
from stormseg_ij.errors import ImageError
from stormseg_ij.roi_files import decoded, read_rois
from stormseg_ij.rois import labels_to_rois

SHAPE = (60, 80)


class FakeManager:
    """A list of ROIs as bytes; each knows the image it was drawn in."""

    headless = False

    def __init__(self):
        self.held, self.drawn_in, self.chosen, self.opened = [], [], [], True

    def is_open(self):
        return self.opened

    def rois(self, indexes=None):
        return list(self.held) if indexes is None else [self.held[i] for i in indexes]

    def image_numbers(self, indexes):
        return [self.drawn_in[i] for i in indexes]

    def selected(self):
        return self.chosen

    def deselect(self):
        self.chosen = []

    def append(self, rois, imp):
        self.held += rois
        self.drawn_in += [0] * len(rois)

    def replace(self, index, roi):
        self.held[index] = roi

    def delete(self, indexes, imp=None):
        for index in sorted(indexes, reverse=True):
            del self.held[index], self.drawn_in[index]


class FakeDesk:
    """Two open images, 1 and 2, in one folder; an image is its number."""

    def __init__(self, folder):
        self.manager, self.folder, self.lines = FakeManager(), folder, []
        self.open, self.batch, self.running = {1, 2}, False, True

    def number(self, imp):
        return imp

    def numbered(self, number):
        return number if number in self.open else None

    def title(self, imp):
        return f"{self.name(imp)}.tif"

    def name(self, imp):
        return {1: "one", 2: "two"}.get(imp, "one")

    def directory(self, imp):
        return str(self.folder)

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


def test_nuclei_belong_to_the_image_that_they_name_or_were_drawn_in(desk, session):
    found(session, 1, squares("one", 1, 2))
    found(session, 2, squares("two", 1))
    [drawn] = squares("", 3)
    drawn.props, drawn.name = "", "mine"
    for number in (2, 9):  # 9 is closed: it may belong to any
        desk.manager.held.append(drawn.tobytes())
        desk.manager.drawn_in.append(number)
    assert names(session, 1) == ["nucleus_0001", "nucleus_0002", "mine"]
    assert names(session, 2) == ["nucleus_0001", "mine", "mine"]


def test_undo_gives_back_what_was_there_and_touches_no_other_image(desk, session):
    found(session, 2, squares("two", 1, 2))
    found(session, 1, squares("one", 1, 2, 3))
    before = sorted(desk.manager.held)
    session.change(1, "Merge Nuclei", removed=[3], replaced={2: squares("one", 5)[0]})
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
    desk.manager.delete([0])
    session.sync(1)
    with pytest.raises(ImageError, match="nucleus_0001 was changed or deleted since"):
        session.undo(1)


def test_no_number_is_given_twice(session):
    found(session, 1, squares("one", 1, 2, 3))
    session.change(1, "Delete Nuclei", removed=[2])
    assert names(session, 1) == ["nucleus_0001", "nucleus_0002"]
    assert session.next_number(1) == 4
    assert session.next_number(2) == 1


def test_replace_takes_out_only_what_a_model_found(desk, session):
    [drawn] = squares("", 4)
    drawn.props, drawn.name = "", "mine"
    found(session, 1, squares("one", 1, 2))
    desk.manager.append([drawn.tobytes()], 1)
    found(session, 1, squares("one", 3), where="replace")
    assert names(session, 1) == ["mine", "nucleus_0003"]


def test_the_audit_tells_hand_from_model_and_the_set_is_saved(desk, session, tmp_path):
    found(session, 1, squares("one", 1, 2))
    desk.manager.delete([0])
    session.sync(1)
    told = [(row.command, row.by) for row in session.changes(1)]
    assert told == [("Segment Nuclei", "model m")] * 2 + [("ROI Manager", "hand")]
    session.flush()
    [path] = tmp_path.glob("one*_nuclei.zip")
    assert [roi.name for roi in read_rois(path)] == ["nucleus_0002"]
    assert desk.lines == []


def test_a_closed_roi_manager_deletes_no_nucleus(desk, session, tmp_path):
    found(session, 1, squares("one", 1, 2))
    desk.manager.held, desk.manager.drawn_in, desk.manager.opened = [], [], False
    session.sync(1)
    assert len(session.changes(1)) == 2  # both were added; none was deleted
    desk.manager.opened = True
    assert session.restore(1) == 2
    assert [decoded(data).name for data in desk.manager.held] == ["nucleus_0001", "nucleus_0002"]
    with pytest.raises(ImageError, match="in the ROI Manager already"):
        session.restore(1)


def test_nothing_is_saved_where_a_macro_saves_itself(desk, session, tmp_path):
    session.saves = False
    found(session, 1, squares("one", 1))
    session.flush()
    assert list(tmp_path.iterdir()) == []
