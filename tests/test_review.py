"""Which nucleus comes first, and why; numbers against slow references."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from roifile import ROI_TYPE, ImagejRoi
from scipy.spatial import ConvexHull

from stormseg_ij.candidates import Instance
from stormseg_ij.pairs import boxes, shared_px
from stormseg_ij.review import doubts
from stormseg_ij.rois import labels_to_rois, mask_to_roi

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))
PLACES = st.tuples(st.integers(0, 9), st.integers(0, 9))


def _oval(left, top, size=20, **attributes):
    return ImagejRoi(roitype=ROI_TYPE.OVAL, left=left, top=top, right=left + size, bottom=top + size, **attributes)


def _scored(left, score, **attributes):
    return _oval(left, 10, props=f"score: {score}\n", name=f"nucleus_{left:04d}", **attributes)


def _row(*scores):
    return [_scored(10 + 30 * i, score) for i, score in enumerate(scores)]


def _by_index(rois, shape=(100, 400)):
    return {doubt.index: doubt for doubt in doubts(rois, shape)}


def test_low_scores_come_first():
    ranked = doubts(_row(0.9, 0.52, 0.75, 0.97), (60, 200))
    assert [doubt.index for doubt in ranked] == [1, 2, 0, 3]
    assert [doubt.reasons for doubt in ranked] == [("score 0.52",), ("score 0.75",), (), ()]
    assert [doubt.doubt for doubt in ranked] == sorted((doubt.doubt for doubt in ranked), reverse=True)
    assert all(0.0 < doubt.doubt < 1.0 for doubt in ranked)


def test_equal_doubts_stay_in_the_order_of_the_list():
    assert [doubt.index for doubt in doubts(_row(0.8, 0.8, 0.8), (60, 200))] == [0, 1, 2]


def test_what_was_drawn_by_hand_is_sure():
    ranked = doubts([_oval(10, 10), *_row(1.0, 0.99)[1:]], (60, 200))
    assert [doubt.index for doubt in ranked] == [1, 0]
    assert ranked[-1].doubt < 0.01


@pytest.mark.parametrize("score", ["nan", "high", "inf", ""])
def test_a_score_that_is_none_counts_as_drawn_by_hand(score):
    [odd] = doubts([_oval(10, 10, props=f"score: {score}\n")], (60, 200))
    [plain] = doubts([_oval(10, 10)], (60, 200))
    assert odd == plain


def test_scores_out_of_range_are_as_the_nearest_one_in_it():
    below, none, one, above = _by_index(_row(-3.0, 0.0, 1.0, 7.0)).values()
    assert below.doubt == none.doubt
    assert one.doubt == above.doubt


def test_what_a_person_corrected_is_less_doubtful():
    rois = _row(0.7, 0.7)
    rois[0].props += "corrected: merged\n"
    found = _by_index(rois)
    assert found[0].doubt < found[1].doubt / 5.0


def test_a_corrected_image_name_is_no_correction():
    rois = _row(0.7, 0.7)
    rois[0].props += "image: corrected\n"
    found = _by_index(rois)
    assert found[0].doubt == found[1].doubt


def test_overlaps_name_the_other_nucleus_and_the_part():
    rois = [
        ImagejRoi(roitype=ROI_TYPE.RECT, left=10, top=10, right=30, bottom=30, name="nucleus_0001"),
        ImagejRoi(roitype=ROI_TYPE.RECT, left=24, top=10, right=64, bottom=30, name="nucleus_0002"),
        ImagejRoi(roitype=ROI_TYPE.RECT, left=80, top=10, right=100, bottom=30, name="nucleus_0003"),
        ImagejRoi(roitype=ROI_TYPE.RECT, left=70, top=29, right=99, bottom=50),
    ]
    found = _by_index(rois)
    assert found[0].reasons == ("overlaps nucleus_0002 by 30 %",)
    assert found[1].reasons == ("overlaps nucleus_0001 by 15 %",)
    assert found[2].reasons == ("overlaps ROI 4 by 5 %",)
    assert found[0].doubt > found[1].doubt > found[2].doubt


def test_nuclei_on_other_planes_do_not_overlap():
    first, second = _scored(10, 0.9, position=1), _scored(12, 0.9, position=2)
    assert [doubt.reasons for doubt in doubts([first, second], (60, 60))] == [(), ()]
    second.position = 0  # on all planes
    assert all(doubt.reasons[0].startswith("overlaps") for doubt in doubts([first, second], (60, 60)))


def test_odd_shapes_and_pieces():
    hook = np.zeros((40, 40), bool)
    hook[:, :10] = hook[30:] = True
    parts = np.zeros((10, 24), bool)
    parts[:, :10] = parts[:, 14:] = True
    rois = [mask_to_roi(5, 5, hook, name="hook"), mask_to_roi(60, 60, parts, name="parts"), _oval(100, 10)]
    found = _by_index(rois)
    corners = np.array([[0, 0], [10, 0], [40, 30], [40, 40], [0, 40]])
    assert found[0].reasons == (f"odd shape: solidity {hook.sum() / ConvexHull(corners).volume:.2f}",)
    assert found[1].reasons == ("several pieces", "odd shape: solidity 0.83")
    assert found[1].doubt > found[2].doubt < found[0].doubt


def test_a_traced_nucleus_that_the_border_cuts_into_pieces():
    arch = np.ones((30, 30), bool)
    arch[10:, 10:20] = False
    whole = mask_to_roi(5, 5, arch, name="arch")
    assert whole.roitype == ROI_TYPE.TRACED
    assert "several pieces" not in doubts([whole], (60, 60))[0].reasons
    over_the_edge = mask_to_roi(0, 5, arch, name="arch")
    over_the_edge.top -= 10
    over_the_edge.bottom -= 10
    [doubt] = doubts([over_the_edge], (60, 60))
    assert {"several pieces", "touches the border"} <= set(doubt.reasons)


@pytest.mark.parametrize(("left", "top"), [(0, 10), (10, 0), (180, 10), (10, 80), (190, 90), (-5, 10)])
def test_nuclei_at_the_border(left, top):
    [doubt] = doubts([_oval(left, top)], (100, 200))
    assert "touches the border" in doubt.reasons
    [inside] = doubts([_oval(1, 1)], (100, 200))
    assert inside.reasons == ()


def test_sizes_count_where_there_are_enough_nuclei():
    rois = [*_row(0.9, 0.9, 0.9, 0.9), _oval(200, 10, 8, props="score: 0.9")]
    small = doubts(rois, (60, 400))[0]
    assert (small.index, small.reasons) == (4, ("much smaller than the others",))
    assert all(doubt.reasons == () for doubt in doubts(rois[1:], (60, 400)))


def test_what_has_no_area_is_left_out_unless_it_should_be_a_nucleus():
    line = ImagejRoi(roitype=ROI_TYPE.LINE, x1=1, y1=1, x2=9, y2=9, name="scale bar")
    outside = _oval(500, 500, name="nucleus_0007")
    assert [(doubt.index, doubt.reasons, doubt.doubt) for doubt in doubts([line, outside], (60, 60))] == [
        (1, ("no area: it lies outside the image",), 1.0)
    ]
    line.name = "nucleus_0008"
    ranked = doubts([_row(0.1)[0], outside, line], (60, 60))
    assert [doubt.index for doubt in ranked] == [1, 2, 0]
    assert ranked[1].reasons == ("no area: a line selection has no area",)
    assert doubts([], (60, 60)) == []


@given(mask=MASKS.filter(np.any))
def test_solidity_against_a_slow_reference(mask):
    roi = mask_to_roi(3, 4, mask, name="any")
    [doubt] = doubts([roi], (40, 40))
    y, x = np.nonzero(mask)
    corners = np.concatenate([np.stack([x + i, y + j], axis=1) for i in (0, 1) for j in (0, 1)])
    solidity = len(x) / ConvexHull(corners).volume
    told = [reason for reason in doubt.reasons if reason.startswith("odd")]
    assert len(told) == (solidity < 0.9 - 1e-9)
    assert all(abs(float(reason.split()[-1]) - solidity) < 0.005 + 1e-9 for reason in told)  # it is rounded


@given(masks=st.tuples(MASKS, MASKS), places=st.tuples(PLACES, PLACES))
def test_shared_pixels_against_a_slow_reference(masks, places):
    canvas = np.zeros((2, 24, 24), bool)
    instances = []
    for layer, mask, (top, left) in zip(canvas, masks, places, strict=True):
        layer[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
        instances.append(Instance(top, left, mask, 1.0))
    assert shared_px(*instances) == shared_px(*instances[::-1]) == np.count_nonzero(canvas[0] & canvas[1])
    assert boxes(instances)[0].tolist() == [
        places[0][0], places[0][1], places[0][0] + masks[0].shape[0] - 1, places[0][1] + masks[0].shape[1] - 1
    ]  # fmt: skip


def test_thousands_of_nuclei_are_ranked_quickly():
    labels = np.zeros((4200, 4200), np.int32)
    y, x = np.mgrid[:60, :60]
    disc = (y - 29.5) ** 2 + (x - 29.5) ** 2 < 27.0**2
    for number in range(1, 4901):
        row, column = divmod(number - 1, 70)
        labels[60 * row : 60 * row + 60, 60 * column : 60 * column + 60][disc] = number
    scores = {number: 0.5 + number % 400 / 800.0 for number in range(1, 4901)}
    rois = labels_to_rois(labels, scores=scores)
    start = time.process_time()
    ranked = doubts(rois, labels.shape)
    assert time.process_time() - start < 10.0  # 1.2 s on an idle computer
    assert len(ranked) == 4900
    assert ranked[0].index == 399  # number 400 has the lowest score
