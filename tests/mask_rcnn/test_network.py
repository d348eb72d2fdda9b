"""Shapes of the network's parts, its layers' names, and the numbers that decide them."""

import dataclasses
import json

import numpy as np
import pytest

from stormseg_ij.errors import ModelError
from stormseg_ij.models.mask_rcnn.anchors import anchors_px
from stormseg_ij.models.mask_rcnn.config import BLOCKS, MATTERPORT, Config
from stormseg_ij.models.mask_rcnn.network import Network
from stormseg_ij.models.mask_rcnn.weights import _NESTED, _OF_NESTED

KINDS = [
    {"backbone": "resnet26"},
    {"backbone": "resnet50", "backbone_width": 4, "pyramid_width": 8, "classes": 4},
    {"backbone": "resnet101", "backbone_width": 2, "pyramid_width": 4, "anchor_ratios": (0.5, 1.0)},
]


@pytest.fixture(scope="module", params=range(len(KINDS)), ids=[kind["backbone"] for kind in KINDS])
def network(request, narrow):
    return Network.build(narrow(**KINDS[request.param]))


@pytest.mark.parametrize("shape", [(64, 64), (128, 192)])
def test_maps_and_anchors_have_the_shapes_of_their_strides(network, shape):
    config = network.config
    *maps, logits, deltas = network.trunk(np.zeros((2, *shape, 3), np.float32), training=False)
    sides = [(shape[0] // stride, shape[1] // stride) for stride in (4, 8, 16, 32)]
    assert [seen.shape for seen in maps] == [(2, *side, config.pyramid_width) for side in sides]
    number = len(anchors_px(shape, config))
    assert (logits.shape, deltas.shape) == ((2, number, 2), (2, number, 4))


@pytest.mark.parametrize("number", [0, 3])
def test_heads_say_a_class_a_box_and_a_mask_of_each_region(network, number):
    config = network.config
    logits, deltas = network.class_head(np.zeros((number, 7, 7, config.pyramid_width), np.float32), training=False)
    assert (logits.shape, deltas.shape) == ((number, config.classes), (number, config.classes, 4))
    masks = network.mask_head(np.zeros((number, 14, 14, config.pyramid_width), np.float32), training=False)
    assert masks.shape == (number, 28, 28, config.classes)
    assert ((masks.numpy() >= 0.0) & (masks.numpy() <= 1.0)).all()


def expected_layers(blocks, classes=2, *, width=64, pyramid=256, rpn=512, head=1024, mask=256, ratios=3):
    """Layers of Matterport's network and how many numbers each holds, counted by hand."""
    layers = {}

    def convolution(name, side, before, after):
        layers[name] = side * side * before * after + after

    def normalisation(name, channels):
        layers[name] = 4 * channels

    convolution("conv1", 7, 3, width)
    normalisation("bn_conv1", width)
    before = width
    for stage, number in enumerate(blocks, start=2):
        inner = width * 2 ** (stage - 2)
        for block in "abcdefghijklmnopqrstuvwxyz"[:number]:
            parts = [("2a", 1, before, inner), ("2b", 3, inner, inner), ("2c", 1, inner, 4 * inner)]
            parts += [("1", 1, before, 4 * inner)] if block == "a" else []
            for branch, side, a, b in parts:
                convolution(f"res{stage}{block}_branch{branch}", side, a, b)
                normalisation(f"bn{stage}{block}_branch{branch}", b)
            before = 4 * inner
        convolution(f"fpn_c{stage}p{stage}", 1, before, pyramid)
        convolution(f"fpn_p{stage}", 3, pyramid, pyramid)
    convolution("rpn_conv_shared", 3, pyramid, rpn)
    convolution("rpn_class_raw", 1, rpn, 2 * ratios)
    convolution("rpn_bbox_pred", 1, rpn, 4 * ratios)
    convolution("mrcnn_class_conv1", 7, pyramid, head)
    normalisation("mrcnn_class_bn1", head)
    convolution("mrcnn_class_conv2", 1, head, head)
    normalisation("mrcnn_class_bn2", head)
    convolution("mrcnn_class_logits", 1, head, classes)
    convolution("mrcnn_bbox_fc", 1, head, 4 * classes)
    for number in (1, 2, 3, 4):
        convolution(f"mrcnn_mask_conv{number}", 3, pyramid if number == 1 else mask, mask)
        normalisation(f"mrcnn_mask_bn{number}", mask)
    convolution("mrcnn_mask_deconv", 2, mask, mask)
    convolution("mrcnn_mask", 1, mask, classes)
    return layers


def test_layers_have_matterports_names_and_numbers(network):
    config = network.config
    expected = expected_layers(
        BLOCKS[config.backbone], config.classes, width=config.backbone_width, pyramid=config.pyramid_width,
        rpn=config.rpn_width, head=config.head_width, mask=config.mask_width, ratios=len(config.anchor_ratios),
    )  # fmt: skip
    held = {name: sum(int(np.prod(w.shape)) for w in layer.weights) for name, layer in network.layers.items()}
    assert held == expected


def test_the_papers_network_is_as_large_as_matterports():
    expected = expected_layers(BLOCKS["resnet50"])
    assert sum(expected.values()) == 44_662_942
    assert len({_NESTED if name in _OF_NESTED else name for name in expected}) == 131
    assert sum(expected_layers(BLOCKS["resnet101"], 81).values()) == 64_158_584  # Matterport's COCO model


def test_the_stride_is_on_a_stages_first_convolution(network):
    strides = {name: layer.strides for name, layer in network.layers.items() if hasattr(layer, "strides")}
    twice = {name for name, stride in strides.items() if tuple(stride) == (2, 2)}
    first = {f"res{stage}a_branch{branch}" for stage in (3, 4, 5) for branch in ("2a", "1")}
    assert twice == {"conv1", "mrcnn_mask_deconv", *first}


def test_what_is_trained_is_all_but_the_running_statistics(network):
    held = [weight for layer in network.layers.values() for weight in layer.weights]
    moving = [weight for weight in held if weight.name.startswith("moving")]
    assert len(network.trainable) == len(held) - len(moving)


# ---- the numbers


def test_defaults_are_the_papers():
    config = Config()
    assert config.anchor_scales_px == (8, 16, 32, 64, 128)
    assert config.anchor_ratios == (0.5, 1.0, 2.0)
    assert (config.backbone, config.classes, config.optimizer) == ("resnet50", 2, "adam")
    assert (config.train_anchors, config.probability, config.rpn_nms, config.nms) == (64, 0.5, 0.7, 0.7)
    assert (config.most_instances, config.most_anchors, config.weight_decay) == (400, 6000, 1e-4)
    assert config.positives == 84  # a third of 256, cut off


def test_matterports_numbers():
    matterport = Config(**MATTERPORT)
    assert (matterport.nms, matterport.probability, matterport.train_rois) == (0.3, 0.5, 128)
    assert matterport.mean_pixel == (43.53, 39.56, 48.22)


def test_a_config_is_read_as_it_was_written(tmp_path, narrow):
    config = narrow(mean_pixel=(1.5, 2.0, 3.0), anchor_ratios=[1, 2.0], optimizer="sgd", nms=0.3)
    config.write(tmp_path)
    assert Config.read(tmp_path) == config
    assert hash(config) == hash(Config.read(tmp_path))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backbone": "resnet34"}, "backbone 'resnet34'"),
        ({"optimizer": "adagrad"}, "optimizer 'adagrad'"),
        ({"backbone": 50}, "backbone 50"),
        ({"typo": 1}, "typo"),
        ({"classes": 1}, "out of range"),
        ({"classes": 2.5}, "classes 2.5"),
        ({"classes": "2"}, "classes '2'"),
        ({"rpn_width": 0}, "out of range"),
        ({"head_width": 100_000}, "out of range"),
        ({"head_width": -1}, "head_width -1"),
        ({"proposals": 0}, "out of range"),
        ({"nms": float("nan")}, "nms nan"),
        ({"nms": "high"}, "nms 'high'"),
        ({"nms": 1.5}, "parts of 1"),
        ({"probability": 50}, "parts of 1"),
        ({"positive_fraction": 0.0}, "parts of 1"),
        ({"weight_decay": -1e-4}, "weight_decay"),
        ({"mean_pixel": [1.0, 2.0]}, "three numbers"),
        ({"mean_pixel": 3}, "not iterable"),
        ({"mean_pixel": [1, 2, None]}, "mean_pixel None"),
        ({"anchor_scales_px": [8, 16, 32, 64]}, "five anchor_scales_px"),
        ({"anchor_scales_px": [8, 16, 32, 64, 0]}, "without size"),
        ({"anchor_ratios": []}, "some anchor_ratios"),
        ({"anchor_ratios": [True]}, "anchor_ratios True"),
    ],
)
def test_numbers_of_which_no_network_can_be_built_are_one_line(tmp_path, values, message):
    (tmp_path / "config.json").write_text(json.dumps({**dataclasses.asdict(Config()), **values}))
    with pytest.raises(ModelError, match=r"config\.json is damaged: .*; copy or train the model again$") as caught:
        Config.read(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "", "[1]", "7", "\x00"])
def test_a_damaged_config_is_one_line(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"config\.json is damaged: ") as caught:
        Config.read(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ModelError, match=r"config\.json is damaged: "):
        Config.read(tmp_path)


def test_a_missing_config_is_one_line(tmp_path):
    with pytest.raises(ModelError, match=r"config\.json is damaged: .*No such file"):
        Config.read(tmp_path)
