"""Labels to ROIs and back without Java; `test_rois_imagej` asks ImageJ itself."""

import struct
import weakref
import zipfile
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from stormseg_ij import outlines, regions, roi_files, rois
from stormseg_ij.errors import ImageError

LABELS = hnp.arrays(
    np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0, 0, 1, 2, 7, 40_000])
)
RINGS = np.array(
    [
        [3, 3, 3, 3, 3, 3, 3],
        [3, 0, 0, 0, 0, 0, 3],
        [3, 0, 3, 3, 3, 0, 3],
        [3, 0, 3, 5, 3, 0, 3],
        [3, 0, 3, 3, 3, 0, 3],
        [3, 0, 0, 0, 0, 0, 3],
        [3, 3, 3, 3, 3, 3, 3],
    ],
    np.int32,
)


def _square(name: str, left: int, top: int, side: int) -> ImagejRoi:
    return ImagejRoi(roitype=ROI_TYPE.RECT, name=name, left=left, top=top, right=left + side, bottom=top + side)


def _polygon(name: str, points: list[list[float]], roitype: ROI_TYPE = ROI_TYPE.POLYGON) -> ImagejRoi:
    corners = np.array(points, np.float32)
    return ImagejRoi(
        roitype=roitype,
        name=name,
        options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION,
        n_coordinates=len(corners),
        integer_coordinates=np.zeros(corners.shape, np.int32),
        subpixel_coordinates=corners,
    )


@settings(max_examples=300, deadline=None)
@given(labels=LABELS, block=st.sampled_from([1, 1 << 19]))
def test_round_trip_is_exact(labels, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outlines, "_BLOCK_PX", block)
        made = rois.labels_to_rois(labels)
    present = [label for label in np.unique(labels).tolist() if label]
    assert [roi.name for roi in made] == [f"nucleus_{label:04d}" for label in present]
    back, _ = rois.rois_to_labels([ImagejRoi.frombytes(roi.tobytes()) for roi in made], labels.shape)
    np.testing.assert_array_equal(back, labels)


@settings(max_examples=150, deadline=None)
@given(labels=LABELS, window=st.sampled_from([1, 30]))
def test_outlines_of_windows_are_those_of_the_whole(labels, window):
    whole = outlines.trace(labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regions, "_WINDOW_PX", window)
        made = list(rois.iterate_rois(labels, scores={2: 0.5}, position=3))
        parts = [outlines.trace_window(labels, part) for part in regions.windows(labels)]
    assert [roi.tobytes() for roi in made] == [
        roi.tobytes() for roi in rois.labels_to_rois(labels, scores={2: 0.5}, position=3)
    ]
    for part in parts:
        for i, label in enumerate(part.labels):
            (j,) = np.flatnonzero(whole.labels == label)
            for mine, theirs in zip(_corners(part, i), _corners(whole, j), strict=True):
                np.testing.assert_array_equal(mine, theirs)


def _corners(traced: outlines.Outlines, i: int) -> list[np.ndarray]:
    bounds = traced.loops[traced.owners[i] : traced.owners[i + 1] + 1]
    return [np.stack([traced.x[a:b], traced.y[a:b]]) for a, b in pairwise(bounds)]


@settings(max_examples=200, deadline=None)
@given(labels=LABELS)
def test_loops_run_along_pixel_edges_around_the_object(labels):
    traced = outlines.trace(labels)
    for i, label in enumerate(traced.labels):
        area = 0
        for start, stop in pairwise(traced.loops[traced.owners[i] : traced.owners[i + 1] + 1]):
            x, y = traced.x[start:stop], traced.y[start:stop]
            dx, dy = np.roll(x, -1) - x, np.roll(y, -1) - y
            assert ((dx == 0) != (dy == 0)).all()
            assert (np.abs(np.diff(dx == 0))).all()  # level and upright edges take turns: no corner is superfluous
            area += int((x * dy).sum())  # clockwise around objects, counterclockwise around holes
        assert area == np.count_nonzero(labels == label)


@pytest.mark.parametrize(
    ("pixels", "n_loops"),
    [
        ([[1]], 1),
        ([[1, 1], [1, 0]], 1),
        ([[1, 0], [0, 1]], 2),  # touching diagonally: two pieces
        ([[0, 1], [1, 0]], 2),
        ([[1, 1, 1], [1, 0, 1], [1, 1, 1]], 2),  # a hole
        ([[1, 1, 1], [1, 0, 1], [1, 1, 0]], 1),  # the hole opens at a corner: part of the outside
        ([[1, 1, 1], [1, 0, 1], [0, 1, 1]], 1),
        ([[1, 0, 1]], 2),
    ],
)
def test_kind_of_roi(pixels, n_loops):
    (roi,) = rois.labels_to_rois(np.array(pixels, np.int32))
    assert len(roi.coordinates(multi=True)) == n_loops
    assert roi.roitype == (ROI_TYPE.TRACED if n_loops == 1 else ROI_TYPE.RECT)
    assert roi.composite == (n_loops > 1)


def test_nested_holes_hold_other_nuclei():
    outer, inner = rois.labels_to_rois(RINGS)
    assert (outer.name, inner.name) == ("nucleus_0003", "nucleus_0005")
    assert len(outer.coordinates(multi=True)) == 4
    back, notes = rois.rois_to_labels([outer, inner], RINGS.shape)
    np.testing.assert_array_equal(back, RINGS)
    assert notes == ("nucleus_0003: lies in 2 pieces",)


@pytest.mark.parametrize("offset", [32_755, 40_000, 65_530, 69_980])
@pytest.mark.parametrize("axis", [0, 1])
def test_far_coordinates(offset, axis):
    labels = np.zeros((8, 70_000), np.int32)
    labels[1:5, offset : offset + 20] = 1
    labels[2, offset + 3] = 2
    labels[7, offset - 40 : offset] = 3
    labels = labels if axis else np.ascontiguousarray(labels.T)
    made = [ImagejRoi.frombytes(roi.tobytes()) for roi in rois.labels_to_rois(labels)]
    back, notes = rois.rois_to_labels(made, labels.shape)
    np.testing.assert_array_equal(back, labels)
    assert notes == ()


def test_object_larger_than_a_short():
    labels = np.ones((2, 70_000), np.int32)
    labels[0, 5] = 0
    back, _ = rois.rois_to_labels(
        [ImagejRoi.frombytes(roi.tobytes()) for roi in rois.labels_to_rois(labels)], (2, 70_000)
    )
    np.testing.assert_array_equal(back, labels)


def test_properties_and_position():
    labels = np.array([[1, 0, 2]], np.int32)
    first, second = rois.labels_to_rois(
        labels, image_name="Tissue 1", model="stardist", scores={1: 0.123456789}, position=4
    )
    assert first.properties == {"image": "Tissue 1", "model": "stardist", "score": 0.123457}
    assert second.properties == {"image": "Tissue 1", "model": "stardist"}
    assert (first.position, second.position) == (4, 4)
    assert rois.labels_to_rois(labels)[0].props == ""


def test_property_stays_one_line_of_plain_letters():
    (roi,) = rois.labels_to_rois(np.ones((1, 1), np.int32), image_name="a\nb\\µ\U0001f52c")
    assert roi.props == "image: a b\\\\\\u00b5\\ud83d\\udd2c\n"


def test_no_labels_no_rois():
    assert rois.labels_to_rois(np.zeros((3, 4), np.int32)) == []
    labels, notes = rois.rois_to_labels([], (3, 4))
    assert (labels.shape, labels.dtype, labels.any(), notes) == ((3, 4), np.int32, False, ())


def test_negative_labels_are_refused():
    with pytest.raises(ImageError, match="labels go down to -2; give"):
        rois.labels_to_rois(np.array([[0, -2, 1]], np.int32))
    with pytest.raises(ImageError, match="labels go down to -2; give"):
        rois.iterate_rois(np.array([[0, -2, 1]], np.int32))  # before one is asked for


def test_only_one_roi_at_a_time_is_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(regions, "_WINDOW_PX", 500)
    labels = np.zeros((60, 60), np.int32)
    labels[::3, ::3] = np.arange(1, 401).reshape(20, 20)
    made: list[weakref.ref[ImagejRoi]] = []
    most = []

    def watched(found):
        for roi in found:
            made.append(weakref.ref(roi))
            most.append(sum(reference() is not None for reference in made))
            yield roi

    rois.write_rois(tmp_path / "many.zip", watched(rois.iterate_rois(labels)))
    assert len(most) == 400
    assert max(most) <= 2
    back, notes = rois.rois_to_labels(rois.read_rois(tmp_path / "many.zip"), labels.shape)
    np.testing.assert_array_equal(back, labels)
    assert notes == ()


def test_first_roi_keeps_the_pixel():
    labels, notes = rois.rois_to_labels(
        [_square("nucleus_0002", 0, 0, 3), _square("nucleus_0001", 1, 1, 3), _square("nucleus_0003", 0, 0, 2)], (4, 4)
    )
    assert labels.tolist() == [[2, 2, 2, 0], [2, 2, 2, 1], [2, 2, 2, 1], [0, 1, 1, 1]]
    assert notes == (
        "nucleus_0001: overlaps earlier ROIs: they keep 4 of its 9 pixels",
        "nucleus_0003: left out: it lies under earlier ROIs",
    )


def test_numbers_come_from_names_and_others_go_above():
    names = ["0012-0034", "nucleus_0005", "nucleus_0002", "nucleus_0005", "", "nucleus_0000", "nucleus_99999999999"]
    labels, notes = rois.rois_to_labels([_square(name, i, 0, 1) for i, name in enumerate(names)], (1, 7))
    assert labels.tolist() == [[6, 5, 2, 7, 8, 9, 10]]
    assert notes == (
        "nucleus_0005: its number is taken, it is label 7",
        "nucleus_0000: its number is out of range, it is label 9",
        "nucleus_99999999999: its number is out of range, it is label 10",
    )


def test_a_left_out_roi_keeps_its_number_from_others():
    labels, _ = rois.rois_to_labels([_square("nucleus_0001", 90, 0, 1), _square("new", 0, 0, 1)], (1, 1))
    assert labels.tolist() == [[2]]


def test_pieces_are_reported():
    first = _square("nucleus_0001", 1, 0, 1)
    first.bottom = 3
    labels, notes = rois.rois_to_labels([first, _square("nucleus_0002", 0, 0, 3)], (3, 3))
    assert labels.tolist() == [[2, 1, 2]] * 3
    assert notes[-1] == "nucleus_0002: lies in 2 pieces"


@pytest.mark.parametrize(
    ("roi", "remark"),
    [
        (_square("a", 10, 0, 3), "it lies outside the image"),
        (_square("a", -3, -3, 3), "it lies outside the image"),
        (_square("a", 1, 1, 0), "it is empty"),
        (_polygon("a", [[0.1, 0.1], [0.3, 0.1], [0.2, 0.3]]), "no pixel's centre lies in it"),
        (_polygon("a", [[0, 0], [np.nan, 1], [1, 1]]), "some of its coordinates are no numbers"),
        (_polygon("a", [[0, 0], [2, 2]], ROI_TYPE.POLYLINE), "a polyline selection has no area"),
        (_polygon("a", [[1, 1]], ROI_TYPE.POINT), "a point selection has no area"),
        (ImagejRoi(name="a", roitype=ROI_TYPE.LINE, x2=3.0, y2=3.0), "a line selection has no area"),
        (ImagejRoi(name="a", roitype=ROI_TYPE.POLYGON), "it is empty"),
        (
            ImagejRoi(name="a", roitype=ROI_TYPE.RECT, subtype=ROI_SUBTYPE.TEXT, right=2, bottom=2),
            "it is a text overlay",
        ),
    ],
)
def test_what_has_no_pixels_is_left_out_and_reported(roi, remark):
    labels, notes = rois.rois_to_labels([roi], (4, 4))
    assert not labels.any()
    assert notes == (f"a: left out: {remark}",)


def test_what_reaches_over_the_edge_is_cut():
    labels, notes = rois.rois_to_labels([_square("a", -1, 2, 3)], (4, 4))
    assert labels.tolist() == [[0] * 4, [0] * 4, [1, 1, 0, 0], [1, 1, 0, 0]]
    assert notes == ("a: reaches over the image's edge: cut off there",)


def test_huge_coordinates_take_no_memory():
    huge = _polygon("a", [[-1e30, -1e30], [1e30, -1e30], [1e30, 1e30], [-1e30, 1e30]])
    labels, notes = rois.rois_to_labels([huge, _square("b", -30_000, -30_000, 60_000)], (3, 3))
    assert (labels == 1).all()
    assert notes[-1] == "b: left out: it lies under earlier ROIs"


def test_drawn_shapes():
    oval = _square("nucleus_0001", 0, 0, 5)
    oval.roitype = ROI_TYPE.OVAL
    labels, notes = rois.rois_to_labels([oval], (5, 5))
    assert labels.tolist() == [[0, 1, 1, 1, 0], [1] * 5, [1] * 5, [1] * 5, [0, 1, 1, 1, 0]]
    labels, notes = rois.rois_to_labels([_polygon("b", [[0, 0], [4, 0], [0, 4]], ROI_TYPE.FREEHAND)], (4, 4))
    assert labels.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]
    assert notes == ()


def test_shapes_that_are_only_nearly_imagejs_are_reported():
    rounded = _square("a", 0, 0, 4)
    rounded.rounded_rect_arc_size = 3
    smooth = _polygon("b", [[5, 0], [8, 0], [5, 3]])
    smooth.options |= ROI_OPTIONS.SPLINE_FIT
    _, notes = rois.rois_to_labels([rounded, smooth], (4, 8))
    assert notes == (
        "a: has rounded corners: taken as square",
        "b: is smoothed by a spline in ImageJ: taken with straight edges",
    )


def test_path_with_curves_and_a_broken_end():
    circle = [0, 8, 4, 3, 8, 6.209, 6.209, 8, 4, 8, 3, 1.791, 8, 0, 6.209, 0, 4]
    circle += [3, 0, 1.791, 1.791, 0, 4, 0, 2, 8, 0, 8, 4, 4]
    loops = outlines.path_to_loops(np.array([*circle, 0, 9, 9, 1, 12, 9, 1, 12, 12, 77, 1], np.float32))
    assert [len(loop) for loop in loops] == [65, 3]
    filled = outlines.fill(loops, 13, 13)
    assert filled[:8, :8].sum() == pytest.approx(16 * np.pi, abs=4)
    assert outlines.path_to_loops(np.array([0, 1], np.float32)) == []


def test_zip_round_trip(tmp_path):
    path = tmp_path / "new" / "cells.zip"
    made = rois.labels_to_rois(RINGS, image_name="rings")
    rois.write_rois(path, made)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["nucleus_0003.roi", "nucleus_0005.roi"]
    assert rois.read_rois(path) == made
    content = path.read_bytes()
    rois.write_rois(path, rois.read_rois(path))
    assert path.read_bytes() == content  # the same ROIs give the same bytes


def test_single_roi_file(tmp_path):
    path = tmp_path / "one.roi"
    made = rois.labels_to_rois(RINGS)
    rois.write_rois(path, made[1:])
    assert rois.read_rois(str(path)) == made[1:]
    with pytest.raises(ImageError, match=r"one.roi can hold one ROI, not 2; choose a name that ends in \.zip"):
        rois.write_rois(path, made)


def test_empty_zip(tmp_path):
    rois.write_rois(tmp_path / "none.zip", [])
    assert rois.read_rois(tmp_path / "none.zip") == []


def test_entry_names_are_safe_and_unique(tmp_path):
    names = ["../up", "a/b", "same", "same", ""]
    rois.write_rois(tmp_path / "x.zip", [_square(name, 1, 2, 3) for name in names])
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.namelist() == [".._up.roi", "a_b.roi", "same.roi", "same-1.roi", "roi.roi"]
    assert [roi.name for roi in rois.read_rois(tmp_path / "x.zip")] == [*names[:4], "roi"]


def test_other_entries_are_passed_over(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("__MACOSX/._nucleus_0001.roi", b"\0\5\x16\7")
        archive.writestr("readme.txt", "no ROI")
        archive.writestr("folder/nucleus_0004.roi", ImagejRoi(roitype=ROI_TYPE.RECT, right=2, bottom=2).tobytes())
    assert [roi.name for roi in rois.read_rois(tmp_path / "x.zip")] == ["nucleus_0004"]


def _archive(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


GOOD = _square("good", 0, 0, 2).tobytes()
TOO_MANY_POINTS = bytearray(_polygon("x", [[0, 0], [1, 0], [0, 1]]).tobytes())
TOO_MANY_POINTS[16:18] = struct.pack(">H", 60_000)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"../../evil.roi": GOOD}, "its entry '../../evil.roi' leads out of it; get the file anew"),
        ({"..\\evil.roi": GOOD}, "leads out of it"),
        ({"/etc/evil.roi": GOOD}, "leads out of it"),
        ({"good.roi": GOOD, "short.roi": b"Iout"}, "cannot read the ROI short"),
        ({"noise.roi": b"\xff" * 200}, "cannot read the ROI noise"),
        ({"points.roi": bytes(TOO_MANY_POINTS)}, "cannot read the ROI points"),
        ({"letter.txt": "hello"}, "holds no ROIs but another file;"),
    ],
)
def test_damaged_and_hostile_archives(tmp_path, entries, message):
    path = tmp_path / "bad.zip"
    _archive(path, entries)
    with pytest.raises(ImageError) as caught:
        rois.read_rois(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


def test_zip_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(roi_files, "_LARGEST_FILE", 5 << 20)
    _archive(tmp_path / "bomb.zip", {f"{i}.roi": bytes(3 << 20) for i in range(2)})
    with pytest.raises(ImageError, match="would unpack to 6 MiB, too much for ROIs"):
        rois.read_rois(tmp_path / "bomb.zip")


def test_truncated_and_foreign_files(tmp_path):
    rois.write_rois(tmp_path / "whole.zip", rois.labels_to_rois(RINGS))
    content = (tmp_path / "whole.zip").read_bytes()
    for stop in (0, 10, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.zip").write_bytes(content[:stop])
        with pytest.raises(ImageError, match="save it again with ImageJ's ROI Manager"):
            rois.read_rois(tmp_path / "cut.zip")
    flipped = bytearray(content)
    flipped[60] ^= 0xFF
    (tmp_path / "flipped.zip").write_bytes(flipped)
    with pytest.raises(ImageError, match="cannot read"):
        rois.read_rois(tmp_path / "flipped.zip")
    encrypted = bytearray(content)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[content.index(signature) + offset] |= 1
    (tmp_path / "locked.zip").write_bytes(encrypted)
    with pytest.raises(ImageError, match="is encrypted"):
        rois.read_rois(tmp_path / "locked.zip")
    (tmp_path / "text.roi").write_text("hello " * 50)
    with pytest.raises(ImageError, match=r"cannot read the ROI text in .*not an ImageJ ROI"):
        rois.read_rois(tmp_path / "text.roi")
    with pytest.raises(ImageError, match="there is no file"):
        rois.read_rois(tmp_path / "missing.zip")
    with pytest.raises(ImageError, match=r"image.tif is no ROI file; give a \.zip or \.roi"):
        rois.read_rois(tmp_path / "image.tif")
    with pytest.raises(ImageError, match=r"choose a name that ends in \.zip"):
        rois.write_rois(tmp_path / "rois.tif", [])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_damage_to_a_roi_is_an_image_error_or_a_roi(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzzed.roi"
    content = bytearray(rois.labels_to_rois(RINGS)[data.draw(st.integers(0, 1))].tobytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(64, len(content)))])
    with suppress(ImageError):  # anything else is a failure
        rois.rois_to_labels(rois.read_rois(path), (9, 9))


def test_failing_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "cells.zip"
    rois.write_rois(path, rois.labels_to_rois(RINGS))
    content = path.read_bytes()
    broken = ImagejRoi(roitype=ROI_TYPE.POLYGON, n_coordinates=3, integer_coordinates=np.zeros((2, 2), np.int32))
    with pytest.raises(ValueError, match="shape"):
        rois.write_rois(path, [broken])
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(zipfile, "ZipFile", forbidden)
    with pytest.raises(ImageError, match=r"you may not read .*cells\.zip; "):
        rois.read_rois(tmp_path / "cells.zip")
