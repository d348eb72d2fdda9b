"""Each loss beside loops over single numbers."""

import math

import numpy as np
import pytest
import slow
from hypothesis import given, settings
from hypothesis import strategies as st

from stormseg_ij.models.mask_rcnn import losses

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=25)
@given(seeds)
def test_anchors_losses(seed):
    rng = np.random.default_rng(seed)
    match = rng.integers(-1, 2, (3, 20)).astype(np.int8)
    logits = rng.normal(0.0, 4.0, (3, 20, 2)).astype(np.float32)
    deltas = rng.normal(0.0, 1.5, (3, 20, 4)).astype(np.float32)
    wanted = np.zeros((3, 20, 4), np.float32)
    of_class, of_box = [], []
    for i in range(3):
        positives = 0
        for k in range(20):
            if match[i, k]:
                of_class.append(slow.cross_entropy(logits[i, k].tolist(), int(match[i, k] == 1)))
            if match[i, k] == 1:
                wanted[i, positives] = rng.normal(0.0, 1.5, 4)
                of_box += [slow.smooth_distance(a, b) for a, b in zip(wanted[i, positives], deltas[i, k], strict=True)]
                positives += 1
    assert float(losses.anchor_class_loss(match, logits)) == pytest.approx(slow.mean(of_class), rel=1e-5, abs=1e-6)
    assert float(losses.anchor_box_loss(match, wanted, deltas)) == pytest.approx(slow.mean(of_box), rel=1e-5, abs=1e-6)


@settings(max_examples=25)
@given(seeds)
def test_regions_losses(seed):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, 12).astype(np.int32)
    logits = rng.normal(0.0, 3.0, (12, 3)).astype(np.float32)
    active = rng.integers(0, 2, 3).astype(np.float32)
    wanted = rng.normal(0.0, 1.5, (12, 4)).astype(np.float32)
    deltas = rng.normal(0.0, 1.5, (12, 3, 4)).astype(np.float32)
    counted = [k for k in range(12) if active[logits[k].argmax()]]
    of_class = [slow.cross_entropy(logits[k].tolist(), classes[k]) for k in counted]
    of_box = [
        slow.smooth_distance(a, b)
        for k in range(12)
        if classes[k]
        for a, b in zip(wanted[k], deltas[k, classes[k]], strict=True)
    ]
    assert float(losses.class_loss(classes, logits, active)) == pytest.approx(slow.mean(of_class), rel=1e-5, abs=1e-6)
    assert float(losses.box_loss(classes, wanted, deltas)) == pytest.approx(slow.mean(of_box), rel=1e-5, abs=1e-6)


@settings(max_examples=10)
@given(seeds)
def test_masks_loss(seed):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, 6).astype(np.int32)
    wanted = rng.integers(0, 2, (6, 5, 5)).astype(np.float32)
    masks = rng.uniform(0.001, 0.999, (6, 5, 5, 3)).astype(np.float32)
    told = [
        -math.log(masks[k, i, j, classes[k]] if wanted[k, i, j] else 1.0 - masks[k, i, j, classes[k]])
        for k in range(6)
        if classes[k]
        for i in range(5)
        for j in range(5)
    ]
    assert float(losses.mask_loss(classes, wanted, masks)) == pytest.approx(slow.mean(told), rel=1e-4, abs=1e-6)


def test_masks_that_are_quite_sure_and_wrong_cost_much_but_not_all():
    masks = np.array([0.0, 1.0], np.float32).reshape(1, 1, 2, 1).repeat(2, axis=-1)
    right, one = masks[..., 0], np.ones(1, np.int32)
    assert float(losses.mask_loss(one, 1.0 - right, masks)) == pytest.approx(-math.log(1e-7), rel=0.02)
    assert float(losses.mask_loss(one, right, masks)) < 1e-6


def test_without_anything_to_count_losses_are_zero():
    none, nothing = np.zeros((1, 7), np.int8), np.zeros(0, np.int32)
    one = np.ones(2, np.float32)
    told = [
        losses.anchor_class_loss(none, np.ones((1, 7, 2), np.float32)),
        losses.anchor_box_loss(none - 1, np.zeros((1, 4, 4), np.float32), np.ones((1, 7, 4), np.float32)),
        losses.class_loss(nothing, np.zeros((0, 2), np.float32), one),
        losses.class_loss(np.ones(3, np.int32), np.ones((3, 2), np.float32), 0.0 * one),
        losses.box_loss(nothing, np.zeros((0, 4), np.float32), np.zeros((0, 2, 4), np.float32)),
        losses.box_loss(np.zeros(3, np.int32), np.ones((3, 4), np.float32), np.zeros((3, 2, 4), np.float32)),
        losses.mask_loss(nothing, np.zeros((0, 28, 28), np.float32), np.zeros((0, 28, 28, 2), np.float32)),
        losses.decay([], 0.1),
    ]
    assert [float(value) for value in told] == [0.0] * len(told)


def test_no_gradient_of_nothing_is_not_a_number():
    import tensorflow as tf

    masks, deltas = tf.Variable(tf.zeros((0, 28, 28, 2))), tf.Variable(tf.zeros((2, 2, 4)))
    logits = tf.Variable(tf.zeros((1, 3, 2)))
    with tf.GradientTape() as tape:
        total = losses.mask_loss(tf.zeros(0, tf.int32), tf.zeros((0, 28, 28)), masks)
        total += losses.box_loss(tf.zeros(2, tf.int32), tf.zeros((2, 4)), deltas)
        total += losses.anchor_class_loss(tf.zeros((1, 3), tf.int8), logits)
    gradients = tape.gradient(total, [masks, deltas, logits], unconnected_gradients="zero")
    assert all(np.isfinite(np.asarray(tf.convert_to_tensor(one))).all() for one in gradients)


def test_weights_decay_by_their_mean_square_and_normalisations_do_not(narrow):
    from stormseg_ij.models.mask_rcnn.network import Network

    network = Network.build(narrow())
    expected = 0.0
    for layer in network.layers.values():
        for weight in layer.trainable_weights:
            if weight.name in ("kernel", "bias"):
                expected += float(np.mean(np.asarray(weight, np.float64) ** 2))
    assert expected > 0.0
    assert float(losses.decay(network.trainable, 0.01)) == pytest.approx(0.01 * expected, rel=1e-5)
    assert sum(weight.name in ("gamma", "beta") for weight in network.trainable) > 20
