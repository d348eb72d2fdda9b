"""The parity data with its network, and networks so narrow that a test takes seconds."""

import numpy as np
import pytest
from rule import DATA, read_spec, write_weights

from stormseg_ij.models.keras_setup import load_tensorflow
from stormseg_ij.models.mask_rcnn.config import BLOCKS, Config

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
