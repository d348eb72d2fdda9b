"""What changed between two sets of ROIs, against a slow reference, and the table that tells it."""

import copy
import csv
import time
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from roifile import ROI_TYPE, ImagejRoi

from stormseg_ij.changes import COLUMNS, Change, Entry, Kind, compare, entries, entry_line, position_text, read_entry
from stormseg_ij.roi_files import read_rois, write_rois
from stormseg_ij.rois import labels_to_rois, mask_to_roi, roi_mask

SHAPE = (100, 120)


def _box(name, left, top, width=10, height=8, **attributes):
    right, bottom = left + width, top + height
    return ImagejRoi(
        roitype=ROI_TYPE.RECT, left=left, top=top, right=right, bottom=bottom, name=name, **attributes
    )  # fmt: skip


def _told(before, after, shape=SHAPE):
    """Kinds and names, without the rest."""
    return [(change.kind.value, change.name, change.new_name) for change in compare(before, after, shape)]


def test_nothing_changed():
    rois = [_box("a", 1, 1), _box("b", 30, 1), _box("", 60, 1)]
    assert compare(rois, rois, SHAPE) == []
    assert compare(rois, copy.deepcopy(rois), SHAPE) == []
    assert compare([], [], SHAPE) == []


def test_order_colours_and_properties_are_no_change():
    before = [_box("a", 1, 1), _box("b", 30, 1)]
    after = copy.deepcopy(before[::-1])
    after[0].stroke_color = b"\xff\x00\x00\xff"
    after[0].props = "score: 0.5\n"
    after[1].group, after[1].stroke_width, after[1].options = 4, 3, 8192
    assert compare(before, after, SHAPE) == []


def test_each_kind_of_change():
    before = [_box("stays", 1, 1), _box("goes", 20, 1), _box("grows", 40, 1), _box("moves", 60, 1), _box("x", 1, 40)]
    after = [
        _box("comes", 80, 80, 5, 5), _box("y", 1, 40), _box("moves", 63, 2), _box("grows", 40, 1, 20), before[0],
    ]  # fmt: skip
    assert compare(before, after, SHAPE) == [
        Change(Kind.DELETED, "goes", "goes", 1, None, "", 80, None, None, ""),
        Change(Kind.ADDED, "comes", "comes", None, 0, "", None, 25, None, ""),
        Change(Kind.RENAMED, "x", "y", 4, 1, "", 80, 80, 1.0, ""),
        Change(Kind.MOVED, "moves", "moves", 3, 2, "", 80, 80, 49 / 111, "by 3, 1 px"),
        Change(Kind.REDRAWN, "grows", "grows", 2, 3, "", 80, 160, 0.5, ""),
    ]


def test_numbering_a_set_anew_changes_no_nucleus():
    before = [_box(f"nucleus_{i}", 12 * i, 1) for i in range(1, 6)]
    after = [_box(f"nucleus_{i}", 12 * (i + 1), 1) for i in range(1, 5)]
    assert _told(before, after) == [
        ("deleted", "nucleus_1", "nucleus_1"),
        *[("renamed", f"nucleus_{i + 1}", f"nucleus_{i}") for i in range(1, 5)],
    ]
    swapped = [_box("nucleus_2", 12, 1), _box("nucleus_1", 24, 1)]
    assert [kind for kind, *_ in _told(before[:2], swapped)] == ["renamed", "renamed"]


def test_names_that_occur_several_times():
    before = [_box("a", 1, 1), _box("a", 30, 1), _box("a", 60, 1)]
    assert _told(before, before[:2]) == [("deleted", "a", "a")]
    assert compare(before, [before[2], before[1]], SHAPE)[0].before == 0
    # The one that is redrawn is found by its place, not by its order.
    grown = _box("a", 29, 1, 12)
    [change] = compare(before, [grown, before[2], before[0]], SHAPE)
    assert (change.kind, change.before, change.after, change.iou) == (Kind.REDRAWN, 1, 0, 80 / 96)
    moved = [_box("a", 61, 1), _box("a", 2, 1), _box("a", 31, 1)]
    assert [(change.before, change.after) for change in compare(before, moved, SHAPE)] == [(2, 0), (0, 1), (1, 2)]
    far = [_box("a", 1, 70), _box("a", 30, 70)]
    assert [change.detail for change in compare(before[:2], far, SHAPE)] == ["by 0, 69 px", "by 0, 69 px"]


def test_rois_without_a_name_belong_together_only_by_their_pixels():
    assert _told([_box("", 1, 1)], [_box("", 2, 1)]) == [("deleted", "", ""), ("added", "", "")]
    assert _told([_box("", 1, 1)], [_box("now", 1, 1)]) == [("renamed", "", "now")]


def test_another_outline_of_the_same_pixels_is_no_change():
    mask = np.ones((8, 10), bool)
    traced = mask_to_roi(1, 1, mask, name="a")
    assert traced.roitype == ROI_TYPE.TRACED
    assert compare([_box("a", 1, 1)], [traced], SHAPE) == []
    assert compare([_box("", 1, 1)], [mask_to_roi(1, 1, mask, name="")], SHAPE) == []
    renamed = mask_to_roi(1, 1, mask, name="b")
    assert _told([_box("a", 1, 1)], [renamed]) == [("renamed", "a", "b")]


def test_what_was_saved_and_read_again_is_equal(tmp_path):
    labels = np.zeros((60, 60), np.int32)
    labels[2:20, 3:30] = 1
    labels[8:12, 8:12] = 0  # a hole: composite
    labels[30:50, 30:41] = 2
    rois = labels_to_rois(labels, image_name="µm", scores={1: 0.5})
    rois += [ImagejRoi.frompoints([[50.5, 5.25], [58, 6], [55, 12.5]], name="drawn by hand")]
    write_rois(tmp_path / "set.zip", rois)
    again = read_rois(tmp_path / "set.zip")
    assert compare(rois, again, labels.shape) == []
    start = time.process_time()
    for _ in range(100):
        compare(rois, again, labels.shape)
    assert time.process_time() - start < 1.0  # by their outlines alone


def test_planes():
    before = [_box("a", 1, 1, z_position=1), _box("a", 1, 1, z_position=2), _box("b", 40, 1)]
    after = [_box("a", 1, 1, z_position=2), _box("a", 1, 1, 12, z_position=1), _box("b", 40, 1, position=3)]
    first, second = compare(before, after, SHAPE)
    assert (first.kind, first.position, first.before) == (Kind.REDRAWN, "z1", 0)
    assert (second.kind, second.position, second.detail) == (Kind.MOVED, "3", "from plane any to 3")
    assert second.iou == 1.0
    # Nuclei with the same name on different planes are different ones, unless they overlap.
    assert [kind for kind, *_ in _told([_box("a", 1, 1, position=1)], [_box("a", 60, 1, position=2)])] == [
        "deleted", "added",
    ]  # fmt: skip
    assert [kind for kind, *_ in _told([_box("a", 1, 1, position=1)], [_box("a", 2, 1, 9, position=2)])] == ["redrawn"]
    assert _told([_box("a", 1, 1, position=1)], [_box("b", 1, 1, position=2)]) == [
        ("deleted", "a", "a"), ("added", "b", "b"),
    ]  # fmt: skip


def test_what_has_no_area_or_lies_outside():
    line = ImagejRoi(roitype=ROI_TYPE.LINE, x1=1, y1=1, x2=9, y2=9, name="bar")
    longer = ImagejRoi(roitype=ROI_TYPE.LINE, x1=1, y1=1, x2=19, y2=9, name="bar")
    [added] = compare([], [line], SHAPE)
    assert (added.kind, added.area_after_px, added.detail) == (Kind.ADDED, 0, "a line selection has no area")
    [redrawn] = compare([line], [longer], SHAPE)
    assert (redrawn.kind, redrawn.area_before_px, redrawn.iou) == (Kind.REDRAWN, 0, None)
    assert compare([line], [copy.deepcopy(line)], SHAPE) == []
    [cut] = compare([_box("a", 1, 1)], [_box("a", 115, 1)], SHAPE)
    assert (cut.kind, cut.area_after_px, cut.iou) == (Kind.REDRAWN, 40, 0.0)
    assert cut.detail == "reaches over the image's edge: cut off there"
    [gone] = compare([_box("a", 1, 1)], [_box("a", 500, 1)], SHAPE)
    assert (gone.kind, gone.area_after_px, gone.iou, gone.detail) == (
        Kind.REDRAWN, 0, None, "it lies outside the image",
    )  # fmt: skip


BOXES = st.builds(
    _box, st.sampled_from(["a", "b", "c", ""]), st.integers(0, 6), st.integers(0, 6), st.integers(1, 6),
    st.integers(1, 6), position=st.integers(0, 2),
)  # fmt: skip


@given(before=st.lists(BOXES, max_size=6), after=st.lists(BOXES, max_size=6))
def test_every_change_is_told_once_with_the_right_numbers(before, after):
    shape = (10, 11)

    def pixels(roi):
        canvas = np.zeros(shape, bool)
        canvas[roi.top : roi.bottom, roi.left : roi.right] = True
        return canvas

    changes = compare(before, after, shape)
    for side, rois in (("before", before), ("after", after)):
        told = [getattr(change, side) for change in changes if getattr(change, side) is not None]
        assert len(set(told)) == len(told)
        assert all(0 <= index < len(rois) for index in told)
    # What is not told is in both sets with name, pixels and plane.
    quiet = [
        sorted(
            (roi.name, pixels(roi).tobytes(), roi.position)
            for i, roi in enumerate(rois)
            if i not in {getattr(change, side) for change in changes}
        )
        for side, rois in (("before", before), ("after", after))
    ]
    assert quiet[0] == quiet[1]
    for change in changes:
        one = None if change.before is None else pixels(before[change.before])
        two = None if change.after is None else pixels(after[change.after])
        assert change.area_before_px == (None if one is None else one.sum())
        assert change.area_after_px == (None if two is None else two.sum())
        assert (change.kind, one is None, two is None) in [
            (Kind.ADDED, True, False), (Kind.DELETED, False, True), (Kind.REDRAWN, False, False),
            (Kind.MOVED, False, False), (Kind.RENAMED, False, False),
        ]  # fmt: skip
        if one is not None and two is not None:
            assert change.iou == pytest.approx((one & two).sum() / (one | two).sum())
        if change.kind is Kind.RENAMED:
            assert change.iou == 1.0
            assert change.name != change.new_name
    assert len(compare(after, before, shape)) == len(changes)


def test_thousands_of_equal_rois_are_compared_quickly():
    theta = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    circle = np.stack([20 + 18 * np.cos(theta), 20 + 18 * np.sin(theta)], axis=1)
    rois = [
        ImagejRoi.frompoints(circle + np.array([i % 70, i // 70]) * 40, name=f"nucleus_{i:04d}") for i in range(5000)
    ]
    again = [ImagejRoi.frombytes(roi.tobytes()) for roi in rois]
    again[17].name = "other"
    start = time.process_time()
    [change] = compare(rois, again, (3000, 3000))
    assert time.process_time() - start < 1.0  # 0.1 s on an idle computer
    assert change.kind is Kind.RENAMED


# ---- the audit table


def test_rows_of_the_table():
    before, after = [_box("a", 1, 1), _box("x", 40, 1)], [_box("a", 1, 1, 20), _box("y", 40, 1)]
    noon = datetime(2026, 1, 31, 13, 0, 5, tzinfo=timezone(timedelta(hours=1)))
    rows = entries(compare(before, after, SHAPE), image="c.tif", by="hand", command="ROI Manager", time=noon)
    stamp = "2026-01-31T12:00:05Z"
    assert rows == [
        Entry(stamp, "c.tif", "", "a", "redrawn", "hand", "ROI Manager", 80, 160, 0.5, ""),
        Entry(stamp, "c.tif", "", "x", "renamed", "hand", "ROI Manager", 80, 80, 1.0, "now y"),
    ]
    [now] = entries(compare([], before[:1], SHAPE), image="c.tif", by="model m", command="Segment Nuclei")
    assert abs(datetime.fromisoformat(now.time) - datetime.now(UTC)) < timedelta(seconds=60)
    assert (now.area_before_px, now.area_after_px, now.iou) == (None, 80, None)


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs", "Cf", "Cn", "Co"]) | st.just(" "))


@given(
    texts=st.lists(TEXTS, min_size=8, max_size=8),
    areas=st.tuples(*[st.none() | st.integers(0, 10**9)] * 2),
    iou=st.none() | st.floats(0, 1).map(lambda value: round(value, 4)),
)
def test_rows_come_back_from_their_lines(texts, areas, iou):
    entry = Entry(*texts[:7], *areas, iou, texts[7])
    line = entry_line(getattr(entry, column) for column in COLUMNS)
    assert line.count("\n") == 1
    assert read_entry(line[:-1]) == entry


@given(st.text())
def test_any_text_gives_one_line_of_a_file(text):
    line = entry_line([text, None, text])
    assert line.splitlines() == [line[:-1]]
    [row] = csv.reader([line.encode().decode()])
    assert row[1] == ""
    assert row[0] == row[2]
    assert len(row[0]) == len(text)


def test_torn_lines_are_no_rows():
    entry = Entry("2026-01-31T12:00:05Z", "a,b.tif", "", 'say "a"', "redrawn", "hand", "c", 80, 160, 0.5, "d, e")
    line = entry_line(getattr(entry, column) for column in COLUMNS)[:-1]
    assert read_entry(line) == entry
    whole = [end for end in range(len(line) + 1) if read_entry(line[:end]) is not None]
    assert whole == [line.rindex(",", 0, line.rindex(",")) + 1, len(line)]
    assert read_entry(line.replace("160", "many")) is None
    assert read_entry(",".join(COLUMNS)) is None
    assert read_entry("") is None


@pytest.mark.parametrize(
    ("fields", "text"),
    [({}, ""), ({"position": 7}, "7"), ({"z_position": 2}, "z2"), ({"c_position": 1, "t_position": 3}, "c1 t3")],
)
def test_planes_as_words(fields, text):
    assert position_text(ImagejRoi(**fields)) == text


@given(labels=hnp.arrays(np.int32, (9, 8), elements=st.sampled_from([0, 0, 1, 2])), by=st.integers(-9, 9))
def test_areas_of_traced_nuclei_against_their_masks(labels, by):
    rois = labels_to_rois(labels)
    for roi in rois:
        roi.left, roi.right = roi.left + by, roi.right + by
    changes = compare([], rois, (9, 8))
    drawn = [roi_mask(roi, (9, 8)) for roi in rois if roi.roitype == ROI_TYPE.TRACED]
    told = [change for change, roi in zip(changes, rois, strict=True) if roi.roitype == ROI_TYPE.TRACED]
    assert [change.area_after_px for change in told] == [0 if one is None else one.area for one, _ in drawn]
    assert [change.detail for change in told] == ["; ".join(said).removeprefix("left out: ") for _, said in drawn]


def test_areas_of_traced_selections_with_slanted_edges():
    slanted = ImagejRoi.frompoints(np.array([[10, 10], [30, 12], [28, 40], [5, 30]]), name="a")
    slanted.roitype = ROI_TYPE.TRACED
    [change] = compare([], [slanted], SHAPE)
    assert change.area_after_px == roi_mask(slanted, SHAPE)[0].area
