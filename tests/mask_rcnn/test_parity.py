"""What the network says with weights that follow a rule is what a running reference says."""

import dataclasses
import json

import numpy as np
import pytest
from rule import DATA, read_spec

from stormseg_ij.models.mask_rcnn.anchors import anchors_px, normalised
from stormseg_ij.models.mask_rcnn.config import Config
from stormseg_ij.models.mask_rcnn.detection import choose, refine
from stormseg_ij.models.mask_rcnn.heads import cut_out
from stormseg_ij.models.mask_rcnn.predictor import MaskRCNN
from stormseg_ij.models.mask_rcnn.proposals import propose
from stormseg_ij.models.mask_rcnn.weights import config_of, load_weights

NEAR, NEAR_BOXES = 5e-5, 1e-5
IMAGES = ["", "padded_"]
SIDE = 256


@pytest.fixture(scope="module")
def model(parity_file):
    """The reference's network as the pipeline loads it, with the numbers that the reference ran with."""
    loaded = MaskRCNN.load_file(parity_file)
    config = dataclasses.replace(loaded.network.config, proposals=80, nms=0.3, probability=0.5, most_instances=50)
    network = dataclasses.replace(loaded.network, config=config)
    return dataclasses.replace(loaded, network=network)


def as_the_network_takes_it(reference, prefix):
    """The image with zeros around it; they are there before the mean is subtracted."""
    image, (top, left, bottom, right) = reference[f"{prefix}image"], reference[f"{prefix}window"]
    whole = np.zeros((SIDE, SIDE, 3), np.float32)
    whole[top:bottom, left:right] = image
    return whole


@pytest.fixture(scope="module")
def found(model, reference):
    """All that the network says of both images, part by part."""
    import keras
    import tensorflow as tf

    config, trunk = model.network.config, model.network.trunk
    shape = tf.constant([SIDE, SIDE])
    beside = [trunk.get_layer(name).output for name in ("res2c_out", "res3d_out", "res4f_out", "res5c_out")]
    with_maps = keras.Model(trunk.input, [*beside, *trunk.outputs])
    anchors = tf.constant(normalised(anchors_px((SIDE, SIDE), config), (SIDE, SIDE)))
    both = {}
    for prefix in IMAGES:
        molded = as_the_network_takes_it(reference, prefix) - np.array(config.mean_pixel, np.float32)
        *maps, logits, deltas = with_maps(molded[np.newaxis], training=False)
        scores = tf.nn.softmax(logits[0])
        rois = propose(scores[:, 1], deltas[0], anchors, config=config, number=config.proposals, nms=config.rpn_nms)
        seen = cut_out(maps[4:], rois, tf.zeros(len(rois), tf.int32), shape=shape, side=7)
        class_logits, corrections = model.network.class_head(seen, training=False)
        classes = tf.nn.softmax(class_logits)
        window = normalised(reference[f"{prefix}window"][np.newaxis], (SIDE, SIDE))[0]
        refined = [part.numpy() for part in refine(rois, classes, corrections, tf.constant(window))]
        chosen = choose(*refined, probability=config.probability, nms=config.nms, most=config.most_instances)
        boxes, ids, sure = (part[chosen] for part in refined)
        drawn = cut_out(maps[4:], tf.constant(boxes), tf.zeros(len(boxes), tf.int32), shape=shape, side=14)
        named = {f"C{level}": maps[level - 2] for level in (2, 3, 4, 5)}
        named |= {f"P{level}": maps[level + 2] for level in (2, 3, 4, 5)} | {"P6": maps[7][:, ::2, ::2]}
        both[prefix] = {
            "molded": molded,
            "maps": {name: np.asarray(part)[0] for name, part in named.items()},
            "rpn_class_logits": logits[0],
            "rpn_class": scores,
            "rpn_bbox": deltas[0],
            "rpn_rois": rois,
            "mrcnn_class_logits": class_logits,
            "mrcnn_class": classes,
            "mrcnn_bbox": corrections,
            "detections": np.column_stack([boxes, ids, sure]),
            "mrcnn_mask": model.network.mask_head(drawn, training=False),
        }
    return both


def near(values, expected, limit=NEAR):
    values = np.asarray(values)
    assert values.shape == expected.shape
    np.testing.assert_allclose(values, expected, rtol=0.0, atol=limit)


def test_what_is_read_off_the_file_is_what_the_reference_ran_with(parity_file):
    stated = json.loads((DATA / "config.json").read_text())
    config = config_of(parity_file)
    assert (config.backbone, config.classes) == (stated["backbone"], stated["num_classes"])
    assert config.mean_pixel == tuple(stated["mean_pixel_rgb"])
    assert config.anchor_scales_px == tuple(stated["anchor_scales_px"])
    assert config.anchor_ratios == tuple(stated["anchor_ratios"])
    assert (config.rpn_nms, config.most_anchors) == (stated["rpn_nms_iou"], stated["pre_nms_limit"])
    assert (config.nms, config.probability) == (stated["detection_nms_iou"], stated["detection_min_confidence"])
    assert (config.backbone_width, config.pyramid_width, config.rpn_width) == (64, 256, 512)
    assert (config.head_width, config.mask_width) == (1024, 256)


def test_every_layer_of_the_file_is_loaded(parity_file, model):
    spec = read_spec()
    layers = {entry["layer"] for entry in spec["weights"]}
    assert set(model.network.layers) == layers
    shapes = [tuple(entry["shape"]) for entry in spec["weights"]]
    assert sum(int(np.prod(shape)) for shape in shapes) == 44_662_942
    assert len({entry["group"] for entry in spec["weights"]}) == 131
    report = load_weights(model.network, parity_file)
    assert report.complete
    assert set(report.loaded) == layers
    assert str(report) == f"{len(layers)} layers loaded"
    held = [tuple(weight.shape) for layer in model.network.layers.values() for weight in layer.weights]
    assert sorted(held) == sorted(shapes)


def test_the_anchors_are_the_references(reference):
    near(normalised(anchors_px((SIDE, SIDE), Config()), (SIDE, SIDE)), reference["anchors"], 1e-7)


@pytest.mark.parametrize("prefix", IMAGES)
def test_the_networks_input_is_the_references(found, reference, prefix):
    values = found[prefix]["molded"].reshape(-1, 3).astype(np.float64)
    stats = np.concatenate([values.mean(axis=0), values.std(axis=0), values.min(axis=0), values.max(axis=0)])
    near(stats, reference[f"{prefix}molded_stats"], 2e-5)


@pytest.mark.parametrize("name", ["C2", "C3", "C4", "C5", "P2", "P3", "P4", "P5", "P6"])
def test_the_maps_are_the_references(found, reference, name):
    seen = found[""]["maps"][name]
    step = len(seen) // 4
    near([seen.mean(dtype=np.float64), seen.std(dtype=np.float64), seen.min(), seen.max()], reference[f"{name}_stats"])
    near(seen[:4, :4, :4], reference[f"{name}_corner"])
    near(seen[::step, ::step, :16], reference[f"{name}_grid"])


def test_the_anchors_scores_and_corrections_are_the_references(found, reference):
    for name in ("rpn_class_logits", "rpn_class", "rpn_bbox"):
        near(found[""][name], reference[name])
    index, both = reference["padded_sample_index"], found["padded_"]
    for name in ("rpn_class", "rpn_bbox"):
        near(np.asarray(both[name])[index], reference[f"padded_{name}"])
    sums = [
        np.asarray(both["rpn_class"], np.float64)[:, 1].sum(),
        *np.asarray(both["rpn_bbox"], np.float64).sum(axis=0),
    ]
    near(sums, reference["padded_rpn_sums"], 5e-3)  # of 16,368 numbers each


@pytest.mark.parametrize("prefix", IMAGES)
def test_the_proposals_and_what_is_seen_in_them_are_the_references(found, reference, prefix):
    near(found[prefix]["rpn_rois"], reference[f"{prefix}rpn_rois"], NEAR_BOXES)
    for name in ("mrcnn_class_logits", "mrcnn_class", "mrcnn_bbox"):
        near(found[prefix][name], reference[f"{prefix}{name}"])


@pytest.mark.parametrize(("prefix", "number"), [("", 13), ("padded_", 17)])
def test_the_detections_and_their_masks_are_the_references(found, reference, prefix, number):
    stored = reference[f"{prefix}detections"]
    assert (stored[number:] == 0.0).all()
    near(found[prefix]["detections"], stored[:number])
    near(found[prefix]["mrcnn_mask"], reference[f"{prefix}mrcnn_mask"])


@pytest.mark.parametrize("prefix", IMAGES)
def test_what_the_pipeline_is_handed_is_the_references(model, reference, prefix):
    window = tuple(int(value) for value in reference[f"{prefix}window"])
    seen = model.look_at(as_the_network_takes_it(reference, prefix), window, least_probability=0.3)
    chosen = choose(seen.boxes, seen.classes, seen.scores, probability=0.5, nms=0.3, most=50)
    np.testing.assert_array_equal(seen.classes[chosen], reference[f"{prefix}final_class_ids"])
    boxes, masks = reference[f"{prefix}final_boxes"], full_size(reference, prefix)
    found = seen.candidates(probability=0.5, nms=0.3)
    near(found.scores, reference[f"{prefix}final_scores"])
    np.testing.assert_array_equal(found.corners, boxes[:, :2])
    np.testing.assert_array_equal(seen.in_plane(chosen), boxes)
    assert len(found.masks) == len(masks)
    for mask, (y1, x1, y2, x2), expected, area in zip(
        found.masks, boxes, masks, reference[f"{prefix}final_mask_areas"], strict=True
    ):
        own = np.zeros(expected.shape, bool)
        own[y1:y2, x1:x2] = mask >= 0.5
        assert expected.sum() == area
        assert (own == expected).all() or abs(int(own.sum()) - area) <= 0.01 * area
        assert (own != expected).sum() <= 0.01 * area


def full_size(reference, prefix):
    """The reference's masks in the image as it was given."""
    packed = reference[f"{prefix}final_masks_packed"]
    height, width = reference[f"{prefix}image"].shape[:2]
    return np.unpackbits(packed, axis=1)[:, : height * width].reshape(len(packed), height, width).astype(bool)
