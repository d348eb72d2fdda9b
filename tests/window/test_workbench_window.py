"""From an image to corrected labels in the real ImageJ, by mouse and keyboard alone."""

import csv
import shutil
from collections import Counter

import numpy as np
import pytest
from person import until

from stormseg_ij.image import read_image
from stormseg_ij.pipeline import segment
from stormseg_ij.rois import roi_name
from stormseg_ij.settings import SegmentSettings

pytestmark = pytest.mark.window

FIRST_SECONDS = 120.0
"""The first segmentation of a process imports TensorFlow."""


class Nuclei:
    """A plain model of the nuclei: a label image, and what a person does to it."""

    def __init__(self, labels):
        self.labels = labels.copy()

    def ring_px(self, label):
        """Return two radii: around the whole nucleus, and as far as no other one and no border is reached."""
        x, y = self.middle(label)
        rows, columns = np.indices(self.labels.shape)
        distance = np.hypot(rows - y, columns - x)
        other = distance[(self.labels > 0) & (self.labels != label)].min()
        border = min(x, y, *(np.array(self.labels.shape[::-1]) - 1 - (x, y)))
        return distance[self.labels == label].max(), min(other, border)

    def middle(self, label):
        """Return x and y of a nucleus, in whole pixels."""
        rows, columns = np.nonzero(self.labels == label)
        return round(columns.mean()), round(rows.mean())

    def apart(self):
        """Return labels, those with most space around them first."""
        free_px = {label: np.subtract(*self.ring_px(label)) for label in range(1, self.labels.max() + 1)}
        return sorted(free_px, key=free_px.__getitem__)

    def touching(self):
        """Return the two labels with the longest common edge."""
        pairs = Counter()
        for one, other in ((self.labels[1:], self.labels[:-1]), (self.labels[:, 1:], self.labels[:, :-1])):
            edge = (one != other) & (one > 0) & (other > 0)
            pairs.update(tuple(sorted(pair)) for pair in zip(one[edge].tolist(), other[edge].tolist(), strict=True))
        return pairs.most_common(1)[0][0]


def circle(middle, radius, count=40):
    """Return points (x, y) once around."""
    angles = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    return [(round(middle[0] + radius * np.cos(a)), round(middle[1] + radius * np.sin(a))) for a in angles]


@pytest.fixture
def tissue(person, repository, tmp_path):
    """The sample, opened with File > Open."""
    path = tmp_path / "tissue.tif"
    shutil.copy(repository / "stormseg_ij" / "samples" / "tissue.tif", path)
    person.open(path)
    return path


def current_labels(person, bench):
    """Return the pixels of the image that ROIs to Labels makes, and close it."""
    person.choose("Plugins", "StormSeg", "ROIs to Labels")
    imp = until(lambda: not bench.running and person.image("tissue_labels"), "the label image")
    labels = bench.desk.ij.from_imageplus(imp).pixels.astype(np.int64)
    imp.close()
    return labels


def left(bench, count):
    """Wait until the ROI Manager holds so many nuclei and no command runs."""
    until(lambda: not bench.running and bench.desk.manager.count() == count, f"{count} nuclei")


def mask_of(person, name, shape):
    """Return the pixels of a ROI, as ImageJ fills it."""
    roi = person.manager.getRoi(person.row(name))
    filled = person.java("ij.process.ByteProcessor")(shape[1], shape[0])
    filled.setColor(255)
    filled.fill(roi)
    return np.frombuffer(bytes(filled.getPixels()), np.uint8).reshape(shape) > 0


def rows_of(path):
    """Return what the audit table says: nucleus, change, by, command."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["nucleus"], row["change"], row["by"], row["command"]) for row in csv.DictReader(file)]


def test_the_whole_story(person, ij, bench, tissue):
    imp = person.image("tissue.tif")
    person.choose("Plugins", "StormSeg", "Segment Nuclei")
    person.answer("Segment Nuclei", "OK")
    until(lambda: bench.desk.manager.count() and not bench.running, "nuclei", seconds=FIRST_SECONDS)
    person.put_at(person.manager, 760, 300)

    before = segment(read_image(tissue), SegmentSettings(), ij=ij).labels
    count = int(before.max())
    model = Nuclei(before)
    assert [str(person.manager.getName(i)) for i in range(person.manager.getCount())] == [
        roi_name(label) for label in range(1, count + 1)
    ]
    np.testing.assert_array_equal(current_labels(person, bench), before)

    pair = model.touching()
    redrawn, split, deleted, deleted_by_us = [label for label in model.apart() if label not in pair][:4]
    expected = before.astype(np.int64)

    # The ROI Manager's own Delete, and ours.
    person.select(roi_name(deleted))
    person.button("ROI Manager", "Delete")
    left(bench, count - 1)
    person.select(roi_name(deleted_by_us))
    person.choose("Plugins", "StormSeg", "Delete Nuclei")
    left(bench, count - 2)
    expected[np.isin(before, [deleted, deleted_by_us])] = 0

    # Another outline, by the ROI Manager's own Update: with Shift held, what is drawn is added to the selection.
    person.select(roi_name(redrawn))
    person.tool("FREEROI")
    radius = np.mean(model.ring_px(redrawn))
    with person.holding("SHIFT"):
        person.draw(imp, circle(model.middle(redrawn), radius))
    person.button("ROI Manager", "Update")
    drawn = mask_of(person, roi_name(redrawn), before.shape)
    assert drawn.sum() == pytest.approx(np.pi * radius**2, rel=0.05)
    assert not ((before > 0) & (before != redrawn))[drawn].any()
    expected[before == redrawn] = 0
    expected[drawn] = redrawn
    np.testing.assert_array_equal(current_labels(person, bench), expected)

    # Two become one: the larger one's name stays.
    person.select(*(roi_name(label) for label in pair))
    person.focus(imp.getWindow())
    person.press("F7")
    left(bench, count - 3)
    kept, gone = sorted(pair, key=lambda label: -(before == label).sum())
    expected[before == gone] = kept
    np.testing.assert_array_equal(current_labels(person, bench), expected)

    # One becomes two along a line; F10 takes that back; once more.
    x, y = model.middle(split)
    reach = int(np.mean(model.ring_px(split)))
    person.tool("LINE")
    for again in (False, True):
        person.draw(imp, [(x - reach, y), (x, y), (x + reach, y)])
        person.focus(imp.getWindow())
        person.press("F8")
        left(bench, count - 2)
        if not again:
            person.press("F10")
            left(bench, count - 3)
            np.testing.assert_array_equal(current_labels(person, bench), expected)
    labels = current_labels(person, bench)
    new = set(np.unique(labels)) - set(np.unique(before))
    assert len(new) == 1
    number = int(new.pop())
    assert number == count + 2  # no number is given twice
    pieces = [labels == split, labels == number]
    np.testing.assert_array_equal(pieces[0] | pieces[1], before == split)
    upper, lower = sorted((np.nonzero(piece)[0] for piece in pieces), key=np.mean)
    assert upper.max() <= y <= lower.min() + 1
    expected[pieces[1]] = number
    np.testing.assert_array_equal(labels, expected)

    # The table has a row for each, with its area.
    person.choose("Plugins", "StormSeg", "Measure Nuclei")
    results = person.java("ij.measure.ResultsTable").getResultsTable
    until(lambda: int(results().size()) == count - 2, "a row for each nucleus")
    areas = {str(results().getStringValue("ROI", row)): results().getValue("Area", row) for row in range(count - 2)}
    assert areas == pytest.approx({roi_name(label): (expected == label).sum() * 0.16**2
                                   for label in np.unique(expected[expected > 0])}, rel=1e-6)  # fmt: skip

    # What is saved without a word is enough to begin again.
    bench.session.flush()
    person.focus(imp.getWindow())
    person.press("CONTROL", "W")
    until(lambda: person.image("tissue.tif") is None, "the image closes")
    person.close_manager()
    person.open(tissue)
    person.choose("Plugins", "StormSeg", "Restore Nuclei")
    left(bench, count - 2)
    np.testing.assert_array_equal(current_labels(person, bench), expected)

    bench.session.flush()
    hand = "hand"
    wanted = Counter((roi_name(i), "added", "model stardist-storm", "Segment Nuclei") for i in range(1, count + 1))
    wanted.update([
        (roi_name(deleted), "deleted", hand, "ROI Manager"),
        (roi_name(deleted_by_us), "deleted", hand, "Delete Nuclei"),
        (roi_name(redrawn), "redrawn", hand, "ROI Manager"),
        (roi_name(kept), "redrawn", hand, "Merge Nuclei"),
        (roi_name(gone), "deleted", hand, "Merge Nuclei"),
        (roi_name(split), "redrawn", hand, "Split Nucleus"),
        (roi_name(count + 1), "added", hand, "Split Nucleus"),
        (roi_name(split), "redrawn", hand, "Undo Split Nucleus"),
        (roi_name(count + 1), "deleted", hand, "Undo Split Nucleus"),
        (roi_name(split), "redrawn", hand, "Split Nucleus"),
        (roi_name(number), "added", hand, "Split Nucleus"),
    ])  # fmt: skip
    assert Counter(rows_of(tissue.with_name("tissue.tif_nuclei_changes.csv"))) == wanted
    assert person.ij.getLog() is None
