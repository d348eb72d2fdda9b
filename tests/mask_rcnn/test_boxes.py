"""Anchors and the arithmetic of boxes."""

import numpy as np
import pytest
import slow
from hypothesis import given
from hypothesis import strategies as st

from stormseg_ij.models.mask_rcnn.anchors import (
    anchors_px,
    clipped,
    corrected,
    corrections,
    in_pixels,
    normalised,
    overlaps,
)
from stormseg_ij.models.mask_rcnn.config import Config

RNG = np.random.default_rng(20)


def some_boxes(number, scale=1.0):
    first = RNG.random((number, 2)) * 0.8
    return np.concatenate([first, first + 0.02 + RNG.random((number, 2)) * 0.5], axis=1) * scale


def test_anchors_are_by_level_row_column_and_ratio():
    config = Config(anchor_scales_px=(8, 20, 32, 64, 100), anchor_ratios=(0.5, 1.0, 3.0))
    expected = [
        [y - h / 2, x - w / 2, y + h / 2, x + w / 2]
        for stride, scale in zip((4, 8, 16, 32, 64), config.anchor_scales_px, strict=True)
        for y in range(0, 64, stride)
        for x in range(0, 192, stride)
        for h, w in [(scale / r**0.5, scale * r**0.5) for r in config.anchor_ratios]
    ]
    anchors = anchors_px((64, 192), config)
    np.testing.assert_allclose(anchors, expected, rtol=0, atol=1e-9)
    assert len(anchors) == 3 * (16 * 48 + 8 * 24 + 4 * 12 + 2 * 6 + 3)
    with pytest.raises(ValueError, match="read-only"):
        anchors[0] = 0.0


def test_a_512_image_has_the_papers_number_of_anchors():
    assert len(anchors_px((512, 512), Config())) == 65_472


def test_overlaps_are_those_of_single_boxes():
    one, other = some_boxes(12), some_boxes(9)
    table = overlaps(one, other)
    assert table.shape == (12, 9)
    np.testing.assert_allclose(table, [[slow.iou(a, b) for b in other] for a in one], atol=1e-12)
    np.testing.assert_allclose(np.diag(overlaps(one, one)), 1.0)
    assert overlaps(one, np.zeros((0, 4))).shape == (12, 0)


def test_boxes_that_only_touch_do_not_overlap():
    assert overlaps(np.array([[0, 0, 2, 2]]), np.array([[2, 0, 4, 2], [0, 2, 2, 4], [2, 2, 4, 4]])).max() == 0.0


def test_corrections_are_those_of_single_boxes_and_correct():
    boxes, truth = some_boxes(30), some_boxes(30)
    deltas = corrections(boxes, truth)
    np.testing.assert_allclose(deltas, [slow.correction(a, b) for a, b in zip(boxes, truth, strict=True)], atol=1e-9)
    back = corrected(boxes.astype(np.float32), deltas.astype(np.float32))
    np.testing.assert_allclose(back, truth, atol=2e-6)
    expected = [slow.corrected(a, d) for a, d in zip(boxes, deltas, strict=True)]
    np.testing.assert_allclose(back, expected, atol=2e-6)


def test_no_correction_leaves_boxes_as_they_are():
    boxes = some_boxes(5).astype(np.float32)
    np.testing.assert_allclose(corrected(boxes, np.zeros((5, 4), np.float32)), boxes, atol=1e-7)
    assert not corrections(boxes, boxes).any()


def test_boxes_are_cut_to_a_window():
    boxes = np.concatenate([some_boxes(30) * 1.6 - 0.3, [[-1, -1, -0.5, 2], [2, 0, 3, 0.5]]]).astype(np.float32)
    window = np.array([0.1, 0.2, 0.8, 0.7], np.float32)
    cut = clipped(boxes, window).numpy()
    np.testing.assert_array_equal(cut, np.array([slow.clipped(box, window) for box in boxes], np.float32))
    assert (cut[:, 2:] >= cut[:, :2]).all()


@given(
    st.tuples(st.integers(2, 2000), st.integers(2, 2000)),
    st.lists(st.tuples(*[st.integers(0, 2000)] * 4), min_size=1, max_size=5),
)
def test_boxes_in_pixels_and_normalised_are_each_others_inverse(shape, corners):
    boxes = np.array(corners)
    assert normalised(boxes, shape).dtype == np.float32
    np.testing.assert_array_equal(in_pixels(normalised(boxes, shape), shape), boxes)


def test_a_whole_image_is_the_unit_square():
    assert normalised(np.array([[0, 0, 64, 128]]), (64, 128)).tolist() == [[0.0, 0.0, 1.0, 1.0]]
    assert normalised(np.array([[0, 0, 1, 1]]), (65, 129)).tolist() == [[0.0, 0.0, 0.0, 0.0]]  # the first pixel
    assert in_pixels(np.array([[0.0, 0.0, 1.0, 1.0]]), (64, 128)).tolist() == [[0, 0, 64, 128]]
