"""Pixels, names and properties of single ROIs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

from stormseg_ij import rois
from stormseg_ij.errors import ImageError

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)).filter(np.any)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


def _roi(roitype, left, top, right, bottom, **others):
    return ImagejRoi(roitype=roitype, left=left, top=top, right=right, bottom=bottom, **others)


def _triangle(points):
    corners = np.array(points, np.float32)
    return ImagejRoi(
        roitype=ROI_TYPE.POLYGON,
        options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION,
        n_coordinates=len(corners),
        integer_coordinates=np.zeros(corners.shape, np.int32),
        subpixel_coordinates=corners,
    )


@settings(max_examples=200, deadline=None)
@given(mask=MASKS, top=st.integers(0, 5), left=st.integers(0, 5), far=st.sampled_from([0, 32_765, 65_533]))
def test_mask_to_roi_and_back(mask, top, left, far):
    roi = ImagejRoi.frombytes(rois.mask_to_roi(top, left + far, mask, name="nucleus_0003").tobytes())
    instance, remarks = rois.roi_mask(roi, (20, far + 20))
    whole, back = np.zeros((2, 20, 20), bool)
    whole[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    back[instance.top : instance.box[0].stop, instance.left - far : instance.box[1].stop - far] = instance.mask
    np.testing.assert_array_equal(back, whole)
    assert remarks == []
    assert instance.mask[[0, -1]].any(axis=1).all()
    assert instance.mask[:, [0, -1]].any(axis=0).all()


@settings(max_examples=150, deadline=None)
@given(mask=MASKS)
def test_mask_to_roi_makes_what_labels_to_rois_makes(mask):
    (expected,) = rois.labels_to_rois(np.where(mask, 12, 0).astype(np.int32), image_name="a", model="b", position=3)
    values = {"image": "a", "model": "b"}
    made = rois.mask_to_roi(0, 0, mask, name="nucleus_0012", values=values, like=ImagejRoi(position=3))
    assert made.tobytes() == expected.tobytes()


def test_an_empty_mask_is_no_roi():
    with pytest.raises(ImageError, match="nucleus_0001 would have no pixel; leave it out"):
        rois.mask_to_roi(0, 0, np.zeros((2, 2), bool), name="nucleus_0001")


def test_appearance_and_slice_are_taken_over():
    like = ImagejRoi(
        stroke_color=b"\xff\x01\x02\x03", fill_color=b"\x40\x01\x02\x03", stroke_width=2, float_stroke_width=2.5,
        group=7, position=4, c_position=1, z_position=2, t_position=3, name="other", props="a: b\n",
    )  # fmt: skip
    made = rois.mask_to_roi(0, 0, np.ones((2, 2), bool), name="new", like=like)
    back = ImagejRoi.frombytes(made.tobytes())
    for field in ("stroke_color", "fill_color", "stroke_width", "float_stroke_width", "group", *rois.POSITION):
        assert getattr(back, field) == getattr(like, field)
    assert (back.name, back.props) == ("new", "")


@pytest.mark.parametrize(
    "roi",
    [
        _roi(ROI_TYPE.RECT, 2, 3, 6, 5),
        _roi(ROI_TYPE.RECT, -2, -3, 6, 5),
        _roi(ROI_TYPE.OVAL, 1, 1, 8, 6),
        _roi(ROI_TYPE.OVAL, 5, 5, 40, 30),
        _triangle([[0.3, 0.4], [8.7, 1.2], [3.1, 9.6]]),
        _triangle([[-20, -20], [60, -20], [60, 60]]),
        _roi(ROI_TYPE.RECT, 20, 20, 22, 22),
        _triangle([[1.1, 1.1], [1.3, 1.1], [1.2, 1.3]]),
    ],
)
def test_mask_is_what_rois_to_labels_paints(roi):
    labels, notes = rois.rois_to_labels([roi], (11, 12))
    instance, remarks = rois.roi_mask(roi, labels.shape)
    whole = np.zeros(labels.shape, bool)
    if instance is not None:
        whole[instance.box] = instance.mask
    np.testing.assert_array_equal(whole, labels > 0)
    assert [f"ROI 1: {remark}" for remark in remarks] == list(notes)
    assert (instance is None) == any("left out" in note for note in notes)


@pytest.mark.parametrize(("text", "score"), [("score: 0.25\n", 0.25), ("", np.nan), ("score: high\n", np.nan)])
def test_score_of_a_mask_is_the_property(text, score):
    instance, _ = rois.roi_mask(_roi(ROI_TYPE.RECT, 0, 0, 2, 2, props=text), (3, 3))
    np.testing.assert_equal(instance.score, score)


@pytest.mark.parametrize(
    ("name", "number"),
    [("nucleus_0012", 12), ("nucleus_123456", 123_456), ("nucleus_0000", 0), ("nucleus_", None), ("0012-0034", None),
     ("nucleus_0012-1", None), ("", None), ("Nucleus_0012", None), ("nucleus_-001", None)],
)  # fmt: skip
def test_roi_number(name, number):
    assert rois.roi_number(name) == number


@given(st.integers(0, 10**7))
def test_roi_number_is_the_inverse_of_roi_name(number):
    assert rois.roi_number(rois.roi_name(number)) == number


@settings(max_examples=300, deadline=None)
@given(values=st.dictionaries(WORDS.filter(lambda word: word and " ".join(word.split()) == word), WORDS, max_size=4))
def test_properties_come_back(values):
    text = rois.property_lines(values)
    assert all(letter == "\n" or ord(letter) < 127 for letter in text)
    expected = {key: " ".join(value.split()) for key, value in values.items()}
    assert rois.properties(ImagejRoi(props=text)) == {key: value for key, value in expected.items() if value}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("score: 0.50\nflag: true\n", {"score": "0.50", "flag": "true"}),  # text, not numbers
        ("a=1\r\nb 2\rc\t:\t3", {"a": "1", "b": "2", "c": "3"}),
        ("# note\n! note\n\n  a: b", {"a": "b"}),
        ("a: one \\\n   two\nb: c\\\\\nd: e", {"a": "one two", "b": "c\\", "d": "e"}),
        ("a: b\\", {"a": "b"}),
        ("my\\ key: x\\:\\=\\#\\!", {"my key": "x:=#!"}),
        ("a: \\u00b5m \\ud83d\\udd2c", {"a": "µm \U0001f52c"}),
        ("a: µm", {"a": "µm"}),  # as ImageJ writes it
        ("a: \\t\\n\\\\", {"a": "\t\n\\"}),
        ("a: folder\\cell", {"a": "folder\\cell"}),  # as ImageJ writes it
        ("alone", {"alone": ""}),
        ("", {}),
    ],
)
def test_properties_by_the_rules_of_java(text, expected):
    assert rois.properties(ImagejRoi(props=text)) == expected


@pytest.mark.parametrize("name", ["plain", "n\U0001f600x", "\U0001f600"])
def test_names_with_letters_of_two_units_keep_what_follows(name, tmp_path):
    roi = rois.mask_to_roi(1, 2, np.ones((3, 4), bool), name=name, values={"image": "a", "score": "0.5"})
    rois.write_rois(tmp_path / "r.zip", [roi])
    (back,) = rois.read_rois(tmp_path / "r.zip")
    assert back.name == name.replace("\U0001f600", "\ufffd")
    assert rois.properties(back) == {"image": "a", "score": "0.5"}
    assert roi.name == name
