"""Targets and losses are those that a running reference computes."""

import numpy as np
import pytest
from rule import make_weight, read_spec

from stormseg_ij.models.mask_rcnn import losses
from stormseg_ij.models.mask_rcnn.anchors import anchors_px, normalised
from stormseg_ij.models.mask_rcnn.config import Config
from stormseg_ij.models.mask_rcnn.targets import Truth, assign, boxes_of, describe, match_anchors

SHAPE = (256, 256)
NEAR_LOSS, NEAR_DELTAS = 2e-6, 2e-5


@pytest.fixture(scope="module")
def stored(reference):
    """The reference's losses by name."""
    return dict(zip(reference["loss_names"].tolist(), reference["loss_values"].tolist(), strict=True))


def test_the_boxes_of_the_labels_are_the_references(reference):
    ids, boxes = boxes_of(reference["gt_labels"])
    assert ids.tolist() == list(range(1, 13))
    np.testing.assert_array_equal(boxes, reference["gt_boxes"])


@pytest.mark.parametrize(("which", "counts"), [("", (12, 16228, 128)), ("_b", (20, 16297, 51))])
def test_the_anchors_targets_are_the_references(reference, which, counts):
    match, deltas = match_anchors(anchors_px(SHAPE, Config()), reference[f"gt_boxes{which}"])
    np.testing.assert_array_equal(match, reference[f"rpn_match_all{which}"])
    assert tuple(int((match == kind).sum()) for kind in (1, -1, 0)) == counts
    np.testing.assert_allclose(deltas, reference[f"rpn_target_deltas_all{which}"], rtol=0.0, atol=NEAR_DELTAS)


def test_the_proposals_targets_are_the_references(reference):
    import tensorflow as tf

    ids, boxes = boxes_of(reference["gt_labels"])
    truth = Truth(
        tf.constant(normalised(boxes, SHAPE)), tf.constant(ids), tf.constant(reference["gt_labels"].astype(np.int32))
    )
    rois = tf.constant(reference["target_rois"])
    best, objects = assign(rois, truth)
    positive = best.numpy() >= 0.5
    np.testing.assert_array_equal(positive.astype(np.int32), reference["target_class_ids"])
    assert positive.sum() == 48
    deltas, masks = describe(tf.boolean_mask(rois, positive), tf.boolean_mask(objects, positive), truth)
    np.testing.assert_allclose(deltas, reference["target_deltas"][positive], rtol=0.0, atol=NEAR_DELTAS)
    assert not reference["target_deltas"][~positive].any()
    assert set(np.unique(masks)) == {0.0, 1.0}
    differing = (masks.numpy() != reference["target_masks"][positive]).sum(axis=(1, 2))
    assert differing.max() <= 4


@pytest.mark.parametrize(
    ("name", "match", "wanted"),
    [
        ("", "loss_rpn_match", "loss_rpn_bbox"),
        ("_all", "rpn_match_all", "rpn_target_deltas_all"),
        ("_all_b", "rpn_match_all_b", "rpn_target_deltas_all_b"),
        (None, None, "loss_rpn_bbox"),
    ],
)
def test_the_anchors_losses_are_the_references(reference, stored, name, match, wanted):
    counted = np.zeros(16368, np.int8) if match is None else reference[match]
    of_class, of_box = (
        ("rpn_class_loss_no_anchor", "rpn_bbox_loss_no_positive")
        if name is None
        else (f"rpn_class_loss{name}", f"rpn_bbox_loss{name}")
    )
    told = losses.anchor_class_loss(counted[np.newaxis], reference["rpn_class_logits"][np.newaxis])
    assert float(told) == pytest.approx(stored[of_class], abs=NEAR_LOSS)
    told = losses.anchor_box_loss(counted[np.newaxis], reference[wanted][np.newaxis], reference["rpn_bbox"][np.newaxis])
    assert float(told) == pytest.approx(stored[of_box], abs=NEAR_LOSS)
    assert (float(told) == 0.0) == (name is None)


def test_the_heads_losses_are_the_references(reference, stored):
    classes, masks = reference["target_class_ids"], reference["target_masks"].astype(np.float32)
    logits, deltas = reference["loss_class_logits"], reference["loss_bbox"]
    drawn = reference["loss_masks"].astype(np.float32)
    nothing = np.zeros_like(classes)
    told = {
        "mrcnn_class_loss": losses.class_loss(classes, logits, np.ones(2, np.float32)),
        "mrcnn_class_loss_class1_inactive": losses.class_loss(classes, logits, np.array([1.0, 0.0], np.float32)),
        "mrcnn_bbox_loss": losses.box_loss(classes, reference["target_deltas"], deltas),
        "mrcnn_mask_loss": losses.mask_loss(classes, masks, drawn),
        "mrcnn_bbox_loss_no_positive": losses.box_loss(nothing, reference["target_deltas"], deltas),
        "mrcnn_mask_loss_no_positive": losses.mask_loss(nothing, masks, drawn),
    }
    assert {name for name in stored if name.startswith("mrcnn")} == set(told)
    for name, value in told.items():
        assert float(value) == pytest.approx(stored[name], abs=NEAR_LOSS), name


def test_the_decay_of_the_weights_is_the_references(stored):
    import tensorflow as tf

    spec, kept = read_spec(), []
    for entry in spec["weights"]:
        if entry["weight"].startswith("moving"):
            continue  # those are not trained
        value = make_weight(spec, entry["layer"], entry["weight"], entry["shape"])
        kept.append(_Named(tf.constant(value), f"{entry['layer']}/{entry['weight']}"))
    assert sum(one.path.endswith(("kernel", "bias")) for one in kept) == 148
    assert len(kept) > 148  # gamma and beta, which do not count
    assert float(losses.decay(kept, 1e-4)) == pytest.approx(stored["weight_decay_loss"], abs=NEAR_LOSS)


class _Named:
    """A weight with a Keras variable's path."""

    def __init__(self, value, path):
        self.value, self.path = value, path

    def __tf_tensor__(self, dtype=None, name=None):
        return self.value
