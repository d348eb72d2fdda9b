"""The parity data with its network, and networks so narrow that a test takes seconds."""

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from rule import DATA, read_spec, write_weights

from stormseg_ij.models.info import ModelInfo
from stormseg_ij.models.keras_setup import load_tensorflow
from stormseg_ij.models.mask_rcnn.config import BLOCKS, Config
from stormseg_ij.models.mask_rcnn.network import Network
from stormseg_ij.models.mask_rcnn.predictor import MaskRCNN
from stormseg_ij.models.mask_rcnn.training import Trainer, make_batch

NARROW = {
    "backbone": "resnet26", "backbone_width": 8, "pyramid_width": 16, "rpn_width": 16, "head_width": 32,
    "mask_width": 16, "train_rois": 32,
}  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def _tensorflow():
    """TensorFlow without what it says while starting."""
    load_tensorflow()


@pytest.fixture(scope="session")
def reference():
    """What the reference computed, by name."""
    with np.load(DATA / "reference.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def parity_file(tmp_path_factory):
    """The weights that follow the rule (179 MB, removed in the end)."""
    path = tmp_path_factory.mktemp("parity") / "mask_rcnn_rule_0001.h5"
    assert write_weights(path) == read_spec()["sha256"]
    yield path
    path.unlink()


@pytest.fixture(scope="session")
def narrow():
    """Make the numbers of a network that is built in a second."""

    def make(**values):
        return Config(**{**NARROW, **values})

    return make


class Trained(NamedTuple):
    """A network that learned two images by heart: gray values from 0 to 255, labels, and losses step by step."""

    model: MaskRCNN
    gray: NDArray[np.float32]
    labels: NDArray[np.int32]
    losses: NDArray[np.float32]


def discs(rng, side=64, number=4):
    """Discs that do not touch, brighter than what is around them, with noise."""
    labels, (y, x) = np.zeros((side, side), np.int32), np.indices((side, side))
    while labels.max() < number:
        radius = rng.uniform(7.0, 11.0)
        cy, cx = rng.uniform(radius, side - radius, 2)
        away = np.hypot(y - cy, x - cx)
        if not labels[away < radius + 3.0].any():
            labels[away < radius] = labels.max() + 1
    gray = np.where(labels > 0, 180.0, 30.0) + rng.normal(0.0, 10.0, labels.shape)
    return np.clip(np.round(gray), 0.0, 255.0).astype(np.float32), labels


@pytest.fixture(scope="session")
def trained(narrow):
    """Train a network of one block per stage from random weights, 160 steps."""
    import keras

    rng = np.random.default_rng(0)
    gray, labels = (np.stack(part) for part in zip(*[discs(rng) for _ in range(2)], strict=True))
    config = narrow(mean_pixel=(float(gray.mean()),) * 3, training_proposals=100, proposals=100, nms=0.3)
    keras.utils.set_random_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BLOCKS, "resnet26", (1, 1, 1, 1))
        network = Network.build(config)
    for layer in network.layers.values():
        if hasattr(layer, "momentum"):
            layer.momentum = 0.9  # so few steps are too few for 0.99: its statistics would be those of the first ones
    trainer = Trainer(network, learning_rate=3e-3, train_bn=True, truth_proposals=True)
    losses = np.stack([trainer.step(make_batch(gray, labels, config, rng)) for _ in range(160)])
    model = MaskRCNN("by heart", "0" * 64, ModelInfo(kind="mask-rcnn", levels="type"), 0.5, 0.3, network)
    return Trained(model, gray, labels, losses)


@pytest.fixture(scope="module")
def eager():
    """Run step by step: a few steps take less time than compiling them."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def shallow():
    """One block per stage in resnet26: what is compiled takes half the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BLOCKS, "resnet26", (1, 1, 1, 1))
        yield
