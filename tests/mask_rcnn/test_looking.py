"""Proposals, what is cut out of the pyramid, and detections, beside loops over single boxes and points."""

import numpy as np
import pytest
import slow
from hypothesis import given, settings
from hypothesis import strategies as st

from stormseg_ij.models.mask_rcnn.anchors import normalised
from stormseg_ij.models.mask_rcnn.config import Config
from stormseg_ij.models.mask_rcnn.detection import choose, refine
from stormseg_ij.models.mask_rcnn.heads import cut_out
from stormseg_ij.models.mask_rcnn.proposals import propose

seeds = st.integers(0, 2**32 - 1)


def some_boxes(rng, number, least=0.02, most=0.4):
    first = rng.random((number, 2)) * 0.8
    return np.concatenate([first, first + rng.uniform(least, most, (number, 2))], axis=1).astype(np.float32)


# ---- proposals


def proposed(scores, deltas, anchors, *, best=6000, number=50, nms=0.7):
    config = Config(most_anchors=best)
    found = propose(*(np.asarray(part, np.float32) for part in (scores, deltas, anchors)),
                    config=config, number=number, nms=nms)  # fmt: skip
    return found.numpy()


@settings(max_examples=15)
@given(seeds, st.sampled_from([0.0, 0.3, 0.7, 1.0]), st.sampled_from([(6000, 50), (60, 50), (60, 7), (1, 1)]))
def test_proposals_are_the_best_anchors_without_those_that_overlap_a_better_one(seed, nms, numbers):
    rng = np.random.default_rng(seed)
    best, number = numbers
    anchors = some_boxes(rng, 80) - np.float32(0.1)
    scores = rng.permutation(80).astype(np.float32) / 80
    deltas = rng.normal(0.0, 1.0, (80, 4)).astype(np.float32)
    expected = slow.proposals(scores.tolist(), deltas.tolist(), anchors.tolist(), best=best, most=number, threshold=nms)
    found = proposed(scores, deltas, anchors, best=best, number=number, nms=nms)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_of_two_equal_anchors_the_first_is_proposed():
    anchors = [[0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.9, 0.9], [0.1, 0.1, 0.3, 0.31]]
    found = proposed([0.5, 0.5, 0.5], np.zeros((3, 4)), anchors)
    np.testing.assert_allclose(found, anchors[:2], atol=1e-6)


def test_proposals_lie_in_the_image():
    found = proposed([0.9, 0.8], [[0, 0, 9, 9], [60, 0, 0, 0]], [[0.4, 0.4, 0.6, 0.6]] * 2, nms=0.99)
    np.testing.assert_allclose(found, [[0, 0, 1, 1], [1, 0.4, 1, 0.6]], atol=1e-6)


def test_no_gradient_goes_through_proposals():
    import tensorflow as tf

    deltas = tf.Variable(tf.zeros((2, 4)))
    with tf.GradientTape() as tape:
        boxes = propose(
            tf.constant([0.9, 0.8]), deltas, tf.constant([[0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.9, 0.9]]),
            config=Config(), number=5, nms=0.7,
        )  # fmt: skip
        total = tf.reduce_sum(boxes)
    assert tape.gradient(total, deltas) is None


# ---- cut out of the pyramid


def pyramid(rng, shape, images=1, channels=3):
    return [
        rng.normal(size=(images, shape[0] // s, shape[1] // s, channels)).astype(np.float32) for s in (4, 8, 16, 32)
    ]


def cut(maps, boxes, images, shape, side):
    import tensorflow as tf

    seen = cut_out(
        maps, tf.constant(boxes, tf.float32), tf.constant(images, tf.int32), shape=tf.constant(shape), side=side
    )
    return seen.numpy()


@pytest.mark.parametrize(("shape", "side"), [((256, 256), 7), ((128, 320), 14), ((512, 192), 3)])
def test_boxes_are_sampled_on_the_level_of_their_size(shape, side):
    rng = np.random.default_rng(side)
    maps = pyramid(rng, shape, images=2)
    boxes = np.concatenate([some_boxes(rng, 12, 0.02, 0.1), some_boxes(rng, 12, 0.1, 0.9), [[0, 0, 1, 1]]])
    boxes = np.clip(boxes, 0.0, 0.9999).astype(np.float32)  # on the last point itself, rounding tells in from out
    images = rng.integers(0, 2, len(boxes))
    found = cut(maps, boxes, images, shape, side)
    levels = [slow.level_of(box.tolist(), shape) for box in boxes]
    assert len(set(levels)) > 1
    for place, (box, level) in enumerate(zip(boxes.tolist(), levels, strict=True)):
        expected = slow.sampled(maps[level - 2][images[place]], box, side)
        np.testing.assert_allclose(found[place], expected, atol=1e-3, err_msg=f"{box} on P{level}")


@pytest.mark.parametrize(
    ("pixels", "level"), [(8, 2), (70, 2), (88, 3), (150, 3), (170, 4), (224, 4), (300, 4), (330, 5), (1000, 5)]
)
def test_a_box_of_224_pixels_is_looked_at_on_p4(pixels, level):
    shape = (1024, 1024)
    maps = [np.full((1, 1024 // s, 1024 // s, 1), number, np.float32) for number, s in enumerate((4, 8, 16, 32), 2)]
    part = pixels / 1024
    found = cut(maps, [[0.0, 0.0, part, part]], [0], shape, 2)
    assert np.unique(found).tolist() == [level]
    assert slow.level_of([0.0, 0.0, part, part], shape) == level


def test_boxes_without_size_are_finite_and_keep_their_place():
    rng = np.random.default_rng(2)
    maps = pyramid(rng, (128, 128))
    boxes = np.array([[0, 0, 0, 0], [0.1, 0.1, 0.9, 0.9], [0.5, 0.2, 0.5, 0.8], [0.3, 0.3, 0.4, 0.4]], np.float32)
    found = cut(maps, boxes, [0, 0, 0, 0], (128, 128), 7)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0], np.broadcast_to(maps[0][0, 0, 0], (7, 7, 3)), atol=1e-6)
    for place in (1, 3):
        alone = cut(maps, boxes[place : place + 1], [0], (128, 128), 7)
        np.testing.assert_array_equal(found[place], alone[0])


def test_no_box_gives_nothing():
    assert cut(pyramid(np.random.default_rng(0), (64, 64)), np.zeros((0, 4)), [], (64, 64), 7).shape == (0, 7, 7, 3)


def test_gradients_go_to_the_maps_and_not_to_the_boxes():
    import tensorflow as tf

    maps = [tf.Variable(part) for part in pyramid(np.random.default_rng(1), (128, 128))]
    boxes = tf.Variable([[0.1, 0.1, 0.3, 0.3]])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(cut_out(maps, boxes, tf.zeros(1, tf.int32), shape=tf.constant([128, 128]), side=7))
    to_map, to_boxes = tape.gradient(total, [maps[0], boxes])
    assert to_boxes is None
    assert float(tf.reduce_sum(to_map)) == pytest.approx(7 * 7 * 3, rel=1e-4)


# ---- detections


def test_each_proposal_gets_its_most_probable_class_and_that_classes_box():
    rng = np.random.default_rng(11)
    boxes, probabilities = some_boxes(rng, 30), rng.dirichlet([1.0, 1.0, 1.0], 30).astype(np.float32)
    deltas = rng.normal(0.0, 1.0, (30, 3, 4)).astype(np.float32)
    window = np.array([0.1, 0.0, 0.7, 0.9], np.float32)
    refined, classes, scores = (part.numpy() for part in refine(boxes, probabilities, deltas, window))
    assert classes.tolist() == probabilities.argmax(axis=1).tolist()
    assert len(set(classes.tolist())) == 3
    np.testing.assert_array_equal(scores, probabilities.max(axis=1))
    for place, number in enumerate(classes):
        delta = (deltas[place, number] * [0.1, 0.1, 0.2, 0.2]).tolist()
        expected = slow.clipped(slow.corrected(boxes[place].tolist(), delta), window.tolist())
        np.testing.assert_allclose(refined[place], expected, atol=1e-5)


@settings(max_examples=25)
@given(seeds, st.sampled_from([0.0, 0.3, 0.7]), st.sampled_from([0.0, 0.5, 0.9]), st.sampled_from([3, 100]))
def test_detections_are_chosen_class_by_class(seed, nms, probability, most):
    rng = np.random.default_rng(seed)
    boxes, classes = some_boxes(rng, 40), rng.integers(0, 4, 40).astype(np.int32)
    scores = (rng.permutation(40) / 40).astype(np.float32)
    found = choose(boxes, classes, scores, probability=probability, nms=nms, most=most)
    expected = slow.chosen(boxes, classes, scores, probability=np.float32(probability), nms=nms, most=most)
    assert found.tolist() == expected
    assert found.dtype == np.int64


def test_boxes_of_two_classes_do_not_suppress_each_other():
    boxes = np.array([[0, 0, 1, 1]] * 3, np.float32)
    found = choose(boxes, np.array([1, 2, 1]), np.array([0.8, 0.9, 0.7], np.float32), probability=0.5, nms=0.3, most=9)
    assert found.tolist() == [1, 0]


def test_background_and_what_is_less_probable_is_no_detection():
    boxes = np.eye(4, dtype=np.float32)
    scores = np.array([0.99, 0.5, 0.499, 0.7], np.float32)
    found = choose(boxes, np.array([0, 1, 1, 2]), scores, probability=0.5, nms=0.3, most=9)
    assert found.tolist() == [3, 1]  # exactly 0.5 counts
    assert choose(boxes[:0], np.zeros(0, np.int32), scores[:0], probability=0.5, nms=0.3, most=9).tolist() == []


def test_equal_scores_keep_their_order():
    boxes = np.array([[0.2 * i, 0, 0.2 * i + 0.1, 0.1] for i in range(5)], np.float32)
    found = choose(boxes, np.ones(5, np.int32), np.full(5, 0.6, np.float32), probability=0.5, nms=0.3, most=3)
    assert found.tolist() == [0, 1, 2]


def test_aligned_boxes_see_the_same_wherever_they_lie():
    """A box over the same pixels, seen in an image and in a part of it that begins at a multiple of 64."""
    rng = np.random.default_rng(5)
    maps = [rng.random((1, 256 // stride, 256 // stride, 3)).astype(np.float32) for stride in (4, 8, 16, 32)]
    parts = [one[:, 128 // stride :, 64 // stride :] for one, stride in zip(maps, (4, 8, 16, 32), strict=True)]
    box = np.array([[150, 90, 181, 130], [180, 150, 200, 240]])

    def seen(of, corner, shape, *, aligned):
        boxes = normalised(box - np.array([*corner, *corner]), shape)
        images = np.zeros(2, np.int32)
        return cut_out(of, boxes, images, shape=np.array(shape, np.int32), side=7, aligned=aligned).numpy()

    whole = seen(maps, (0, 0), (256, 256), aligned=True)
    np.testing.assert_allclose(seen(parts, (128, 64), (128, 192), aligned=True), whole, atol=1e-4)
    slid = seen(parts, (128, 64), (128, 192), aligned=False) - seen(maps, (0, 0), (256, 256), aligned=False)
    assert np.abs(slid).max() > 0.05
