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


class Story:
    """What a person does to the nuclei one after the other, and what the labels must be then.

    Attributes
    ----------
    before, expected : ndarray, shape (Y, X)
        Labels as segmented, and as they must be now.
    rows : Counter
        What the audit table must say.
    """

    def __init__(self, person, bench, path):
        self.person, self.bench, self.path = person, bench, path
        self.imp = person.image(path.name)
        self.before = segment(read_image(path), SegmentSettings(), ij=bench.desk.ij).labels
        self.expected, self.count = self.before.astype(np.int64), int(self.before.max())
        self.model, self.rows = Nuclei(self.before), Counter()

    def note(self, command, **changes):
        """Add rows to what the audit table must say: the command, and the labels by kind of change."""
        self.rows.update((roi_name(label), change, "hand", command) for change, label in changes.items())

    def left(self, lost):
        """Wait until so many nuclei less are in the ROI Manager, and no command runs."""
        manager = self.bench.desk.manager
        until(lambda: not self.bench.running and manager.count() == self.count - lost, f"{lost} nuclei less")

    def check(self):
        """Compare what ROIs to Labels makes with what must be."""
        np.testing.assert_array_equal(self.labels(), self.expected)

    def labels(self):
        """Return the pixels of the image that ROIs to Labels makes, and close it."""
        self.person.choose("Plugins", "StormSeg", "ROIs to Labels")
        imp = until(lambda: not self.bench.running and self.person.image("tissue_labels"), "the label image")
        labels = self.bench.desk.ij.from_imageplus(imp).pixels.astype(np.int64)
        imp.close()
        return labels

    def delete(self, by_button, by_command):
        """Use the ROI Manager's own Delete, and ours."""
        self.person.select(roi_name(by_button))
        self.person.button("ROI Manager", "Delete")
        self.left(1)
        self.person.select(roi_name(by_command))
        self.person.choose("Plugins", "StormSeg", "Delete Nuclei")
        self.left(2)
        self.expected[np.isin(self.before, [by_button, by_command])] = 0
        self.note("ROI Manager", deleted=by_button)
        self.note("Delete Nuclei", deleted=by_command)

    def redraw(self, label):
        """Add to an outline with Shift held, as a new one would lose its row, and use the ROI Manager's own Update."""
        before, radius = self.before, np.mean(self.model.ring_px(label))
        self.person.select(roi_name(label))
        self.person.tool("FREEROI")
        with self.person.holding("SHIFT"):
            self.person.draw(self.imp, circle(self.model.middle(label), radius))
        until(lambda: self.imp.getRoi().getStatistics().pixelCount > 0.9 * np.pi * radius**2, "the larger selection")
        self.person.button("ROI Manager", "Update")
        until(lambda: mask_of(self.person, roi_name(label), before.shape).sum() > (before == label).sum(), "the update")
        drawn = mask_of(self.person, roi_name(label), before.shape)
        assert drawn.sum() == pytest.approx(np.pi * radius**2, rel=0.05)
        assert not ((before > 0) & (before != label))[drawn].any()
        self.expected[before == label] = 0
        self.expected[drawn] = label
        self.check()
        self.note("ROI Manager", redrawn=label)

    def merge(self, pair):
        """Select two with Ctrl and make them one: the larger one's name stays."""
        self.person.select(*(roi_name(label) for label in pair))
        self.person.focus(self.imp.getWindow())
        self.person.hit("F7")
        self.left(3)
        kept, gone = sorted(pair, key=lambda label: -(self.before == label).sum())
        self.expected[self.before == gone] = kept
        self.check()
        self.note("Merge Nuclei", redrawn=kept, deleted=gone)

    def split(self, label):
        """Draw a line across, F8; F10 takes that back; once more."""
        (x, y), reach = self.model.middle(label), int(np.mean(self.model.ring_px(label)))
        self.person.tool("LINE")
        for again in (False, True):
            number = self.count + 1 + again  # no number is given twice
            self.person.draw(self.imp, [(x - reach, y), (x, y), (x + reach, y)])
            self.person.focus(self.imp.getWindow())
            self.person.hit("F8")
            self.left(2)
            self.note("Split Nucleus", redrawn=label, added=number)
            if not again:
                self.person.hit("F10")
                self.left(3)
                self.check()
                self.note("Undo Split Nucleus", redrawn=label, deleted=number)
        labels = self.labels()
        pieces = [labels == label, labels == number]
        np.testing.assert_array_equal(pieces[0] | pieces[1], self.before == label)
        upper, lower = sorted((np.nonzero(piece)[0] for piece in pieces), key=np.mean)
        assert upper.max() <= y <= lower.min() + 1
        self.expected[pieces[1]] = number
        np.testing.assert_array_equal(labels, self.expected)

    def saved(self):
        """Tell whether the audit table says all of it, and nothing else."""
        return Counter(rows_of(self.path.with_name("tissue.tif_nuclei_changes.csv"))) == self.rows


def test_the_whole_story(person, bench, tissue):
    person.choose("Plugins", "StormSeg", "Segment Nuclei")
    person.answer("Segment Nuclei", "OK")
    until(lambda: bench.desk.manager.count() and not bench.running, "nuclei", seconds=FIRST_SECONDS)
    person.put_at(person.manager, 760, 300)
    story = Story(person, bench, tissue)
    names = [roi_name(label) for label in range(1, story.count + 1)]
    assert [str(person.manager.getName(i)) for i in range(person.manager.getCount())] == names
    story.check()
    story.rows.update((name, "added", "model stardist-storm", "Segment Nuclei") for name in names)

    pair = story.model.touching()
    redrawn, split, *deleted = [label for label in story.model.apart() if label not in pair][:4]
    story.delete(*deleted)
    story.redraw(redrawn)
    story.merge(pair)
    story.split(split)

    # The table has a row for each, with its area.
    person.choose("Plugins", "StormSeg", "Measure Nuclei")
    results = person.java("ij.measure.ResultsTable").getResultsTable
    until(lambda: not bench.running and int(results().size()) == story.count - 2, "a row for each nucleus")
    rows = range(story.count - 2)
    areas = {str(results().getStringValue("ROI", row)): results().getValue("Area", row) for row in rows}
    labels, counts = np.unique(story.expected[story.expected > 0], return_counts=True)
    wanted = {roi_name(label): count * 0.16**2 for label, count in zip(labels, counts, strict=True)}
    assert areas == pytest.approx(wanted, rel=1e-6)

    # What is saved without a word is enough to begin again.
    until(story.saved, "the audit table says it all")
    person.focus(story.imp.getWindow())
    person.hit("CONTROL", "W")
    until(lambda: person.image("tissue.tif") is None, "the image closes")
    person.close_manager()
    person.open(tissue)
    person.choose("Plugins", "StormSeg", "Restore Nuclei")
    story.left(2)
    story.check()
    bench.session.flush()
    assert story.saved()
    assert person.ij.getLog() is None
