"""What the network should say: anchors and regions beside loops over single boxes."""

import numpy as np
import pytest
import slow
from hypothesis import given, settings
from hypothesis import strategies as st

from stormseg_ij.models.mask_rcnn.anchors import anchors_px, normalised
from stormseg_ij.models.mask_rcnn.config import Config
from stormseg_ij.models.mask_rcnn.targets import (
    Truth,
    assign,
    boxes_of,
    describe,
    match_anchors,
    some_anchors,
    some_regions,
    without_slivers,
)
from stormseg_ij.models.mask_rcnn.training import make_batch

seeds = st.integers(0, 2**32 - 1)
SHAPE = (96, 64)


def some_labels(rng, number=5, shape=SHAPE):
    """Ellipses that may hide each other."""
    labels = np.zeros(shape, np.int32)
    y, x = np.indices(shape)
    for one in range(1, number + 1):
        cy, cx, ry, rx = rng.uniform([0, 0, 4, 4], [shape[0], shape[1], 14, 14])
        labels[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1.0] = 3 * one
    return labels


def truth_of(labels):
    import tensorflow as tf

    ids, boxes = boxes_of(labels)
    return Truth(tf.constant(normalised(boxes, labels.shape)), tf.constant(ids), tf.constant(labels))


# ---- labels


@given(seeds)
@settings(max_examples=20)
def test_boxes_are_the_first_and_last_rows_and_columns(seed):
    labels = some_labels(np.random.default_rng(seed))
    ids, boxes = boxes_of(labels)
    assert ids.tolist() == sorted(set(labels.ravel().tolist()) - {0})
    assert (ids.dtype, boxes.dtype) == (np.int32, np.int32)
    for one, box in zip(ids, boxes, strict=True):
        y, x = np.nonzero(labels == one)
        assert box.tolist() == [y.min(), x.min(), y.max() + 1, x.max() + 1]


def test_an_image_without_objects_has_no_boxes():
    ids, boxes = boxes_of(np.zeros((4, 5), np.int32))
    assert (ids.shape, boxes.shape) == ((0,), (0, 4))


def test_slivers_go_and_nothing_else():
    labels = np.zeros((8, 8), np.int32)
    labels[0, 1:6] = 4  # one row
    labels[2:7, 7] = 5  # one column
    labels[3:5, 1:3] = 9
    labels[6, 5] = 2  # one pixel
    expected = np.where(labels == 9, 9, 0)
    np.testing.assert_array_equal(without_slivers(labels), expected)
    assert not without_slivers(np.zeros((3, 3), np.int32)).any()


# ---- anchors


@given(seeds)
@settings(max_examples=8)
def test_anchors_match_as_single_boxes_do(seed):
    rng = np.random.default_rng(seed)
    anchors = anchors_px((64, 64), Config())[rng.choice(1023, 200, replace=False)]
    first = rng.integers(0, 40, (4, 2))
    boxes = np.concatenate([first, first + rng.integers(2, 40, (4, 2))], axis=1)
    match, deltas = match_anchors(anchors, boxes)
    expected, wanted = slow.matched(anchors.tolist(), boxes.tolist())
    assert match.tolist() == expected
    np.testing.assert_allclose(deltas, wanted, atol=1e-5)


def test_every_anchor_that_is_the_best_one_of_an_object_is_positive_also_in_ties():
    anchors = np.array([[0, 0, 10, 10], [0, 10, 10, 20], [40, 40, 50, 50], [20, 20, 30, 30]], float)
    boxes = np.array([[0, 5, 10, 15], [43, 43, 47, 47]])  # between two anchors; far smaller than its anchor
    match, deltas = match_anchors(anchors, boxes)
    assert match.tolist() == [1, 1, 1, -1]
    np.testing.assert_allclose(deltas[:2, 1], [5.0, -5.0])  # half a box to the right and left, by 0.1


def test_between_object_and_background_anchors_do_not_count():
    anchors = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 2], [0, 0, 10, 7.0]])
    match, deltas = match_anchors(anchors, np.array([[0, 0, 10, 10]]))  # IoU 1, 0.5, 0.2, 0.7
    assert match.tolist() == [1, 0, -1, 1]
    np.testing.assert_allclose(deltas[0], 0.0)


def test_a_positive_anchor_wants_the_box_that_it_overlaps_most():
    anchors = np.array([[0, 0, 10, 10], [80, 80, 90, 90]], float)
    boxes = np.array([[0, 0, 10, 10], [8, 8, 30, 30]])  # the second has no better anchor than the first one's
    match, deltas = match_anchors(anchors, boxes)
    assert match.tolist() == [1, -1]
    np.testing.assert_allclose(deltas, np.zeros((1, 4)), atol=1e-7)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 5), st.integers(2, 24), seeds)
def test_so_many_anchors_count_at_most_half_of_them_objects(positives, negatives, neutral, number, seed):
    rng = np.random.default_rng(seed)
    match = rng.permutation(np.array([1] * positives + [-1] * negatives + [0] * neutral, np.int8))
    deltas = np.arange(1, 4 * positives + 1, dtype=np.float32).reshape(-1, 4)
    before = match.copy()
    some, filled = some_anchors(match, deltas, number, np.random.default_rng(seed))
    kept = min(positives, number // 2)
    assert (some == 1).sum() == kept
    assert (some == -1).sum() == min(negatives, number - kept)
    assert ((some == before) | (some == 0)).all()
    np.testing.assert_array_equal(match, before)  # what was given stays
    assert filled.shape == (number, 4)
    np.testing.assert_array_equal(filled[:kept], deltas[some[before == 1] == 1])
    assert not filled[kept:].any()


def test_the_same_generator_chooses_the_same_anchors():
    match = np.array([1, -1] * 50, np.int8)
    deltas = np.ones((50, 4), np.float32)
    one, other, third = (some_anchors(match, deltas, 20, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, other)
    assert (one != third).any()


# ---- regions


def test_proposals_are_assigned_to_the_object_that_they_overlap_most():
    rng = np.random.default_rng(4)
    truth = truth_of(some_labels(rng))
    first = rng.random((40, 2)) * 0.8
    proposals = np.concatenate([first, first + 0.05 + 0.3 * rng.random((40, 2))], axis=1).astype(np.float32)
    best, objects = (part.numpy() for part in assign(proposals, truth))
    table = np.array([[slow.iou(a, b) for b in truth.boxes.numpy().tolist()] for a in proposals.tolist()])
    np.testing.assert_allclose(best, table.max(axis=1), atol=1e-5)
    overlapping = table.max(axis=1) > 0.0
    np.testing.assert_array_equal(objects[overlapping], table.argmax(axis=1)[overlapping])
    assert overlapping.sum() > 10


def test_masks_and_corrections_of_positives_are_those_of_single_ones():
    import tensorflow as tf

    rng = np.random.default_rng(6)
    labels = some_labels(rng)
    truth = truth_of(labels)
    boxes, ids = truth.boxes.numpy(), truth.ids.numpy()
    objects = rng.integers(0, len(ids), 6).astype(np.int32)
    proposals = boxes[objects] + rng.uniform(-0.02, 0.02, (6, 4)).astype(np.float32)
    deltas, masks = (part.numpy() for part in describe(tf.constant(proposals), tf.constant(objects), truth))
    for place, number in enumerate(objects):
        wanted = np.array(slow.correction(proposals[place].tolist(), boxes[number].tolist())) / [0.1, 0.1, 0.2, 0.2]
        np.testing.assert_allclose(deltas[place], wanted, atol=1e-4)
        cut = slow.sampled((labels == ids[number])[..., np.newaxis].astype(float), proposals[place], 28)[..., 0]
        doubtful = np.abs(cut - 0.5) < 1e-4
        np.testing.assert_array_equal(masks[place][~doubtful], np.round(cut)[~doubtful])
        assert doubtful.mean() < 0.05


def around(box, number, rng, spread):
    return (box + rng.uniform(-spread, spread, (number, 4))).astype(np.float32)


@pytest.fixture(scope="module")
def crowd():
    """An object, 30 proposals of it, 80 elsewhere, and 5 without size."""
    labels = np.zeros((64, 64), np.int32)
    labels[10:40, 20:50] = 7
    truth, rng = truth_of(labels), np.random.default_rng(8)
    (box,) = truth.boxes.numpy()
    near, far = around(box, 30, rng, 0.02), around(np.array([0.7, 0.0, 0.9, 0.2]), 80, rng, 0.02)
    return truth, np.concatenate([far, near, np.tile(near[:1, [0, 1, 0, 3]], (5, 1))])


def regions(truth, proposals, *, rois=32, seed=(1, 2)):
    import tensorflow as tf

    return some_regions(tf.constant(proposals), truth, tf.constant(seed, tf.int32), Config(train_rois=rois))


@pytest.mark.parametrize(
    ("near", "rois", "positives", "negatives"), [(30, 32, 10, 20), (4, 32, 4, 8), (1, 32, 1, 2), (0, 32, 0, 0)]
)
def test_a_third_of_the_regions_are_objects_and_two_negatives_go_with_each(crowd, near, rois, positives, negatives):
    truth, proposals = crowd
    found = regions(truth, np.concatenate([proposals[:80], proposals[80 : 80 + near], proposals[110:]]), rois=rois)
    assert found.classes.numpy().tolist() == [1] * positives + [0] * negatives
    assert found.boxes.shape == found.deltas.shape == (positives + negatives, 4)
    assert found.masks.shape == (positives, 28, 28)
    assert not found.deltas.numpy()[positives:].any()
    given = {box.tobytes() for box in proposals}
    boxes = found.boxes.numpy()
    assert {box.tobytes() for box in boxes} <= given
    assert len({box.tobytes() for box in boxes}) == len(boxes)  # none twice
    overlap = [slow.iou(box.tolist(), truth.boxes.numpy()[0].tolist()) for box in boxes]
    assert all(value >= 0.5 for value in overlap[:positives])
    assert all(value < 0.5 for value in overlap[positives:])


def test_too_few_negatives_are_all_taken(crowd):
    truth, proposals = crowd
    found = regions(truth, proposals[77:110])
    assert found.classes.numpy().tolist() == [1] * 10 + [0] * 3


def test_without_any_proposal_there_are_no_regions(crowd):
    truth, _ = crowd
    found = regions(truth, np.zeros((0, 4), np.float32))
    assert [len(part) for part in found] == [0, 0, 0, 0]


def test_the_seed_decides_which_regions(crowd):
    one, other, third = (regions(*crowd, seed=seed).boxes.numpy() for seed in [(5, 6), (5, 6), (6, 6)])
    np.testing.assert_array_equal(one, other)
    assert {box.tobytes() for box in one} != {box.tobytes() for box in third}


# ---- batches


def test_a_batch_holds_what_its_images_want():
    rng = np.random.default_rng(3)
    labels = np.stack([some_labels(rng, 5, (64, 64)), some_labels(rng, 2, (64, 64))])
    gray = rng.uniform(0.0, 255.0, labels.shape).astype(np.float32)
    config = Config(train_anchors=16, mean_pixel=(10.0, 20.0, 30.0))
    batch = make_batch(gray, labels, config, np.random.default_rng(5))
    np.testing.assert_allclose(batch.images, np.stack([gray - 10, gray - 20, gray - 30], axis=-1), atol=1e-4)
    assert batch.match.shape == (2, 1023)
    assert batch.deltas.shape == (2, 16, 4)
    assert batch.images.dtype == batch.deltas.dtype == batch.boxes.dtype == np.float32
    assert batch.seed.shape == (2,)
    for i in range(2):
        ids, boxes = boxes_of(labels[i])
        np.testing.assert_array_equal(batch.ids[i][: len(ids)], ids)
        assert not batch.ids[i][len(ids) :].any()
        assert not batch.boxes[i][len(ids) :].any()
        np.testing.assert_allclose(batch.boxes[i][: len(ids)], normalised(boxes, (64, 64)))
        assert (batch.match[i] != 0).sum() == 16
        assert (batch.match[i] == 1).sum() <= 8
        match, _ = match_anchors(anchors_px((64, 64), config), boxes)
        assert (match[batch.match[i] == 1] == 1).all()
    again = make_batch(gray, labels, config, np.random.default_rng(5))
    assert all((one == other).all() for one, other in zip(batch, again, strict=True))
