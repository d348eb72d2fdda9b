"""Weights files: what Keras reads of them, what is loaded in part, and how a bad one is told."""

import os
import pickle
import shutil

import h5py
import numpy as np
import pytest

from stormseg_ij import cli, models
from stormseg_ij.errors import ModelError
from stormseg_ij.models.mask_rcnn import config
from stormseg_ij.models.mask_rcnn.network import Network
from stormseg_ij.models.mask_rcnn.predictor import MaskRCNN
from stormseg_ij.models.mask_rcnn.weights import config_of, load_weights, read_arrays, save_weights

BLOCKS = {"resnet26": (1, 1, 1, 1), "resnet50": (1, 2, 2, 1)}  # that networks are built in no time
LAYERS_OF_26, MORE_OF_50 = 61, 12  # that have weights


@pytest.fixture(scope="module", autouse=True)
def _few_blocks():
    with pytest.MonkeyPatch.context() as patch:
        for name, blocks in BLOCKS.items():
            patch.setitem(config.BLOCKS, name, blocks)
        yield


@pytest.fixture(scope="module")
def network(narrow):
    """A network with numbers of its own in every weight."""
    made, rng = Network.build(narrow()), np.random.default_rng(1)
    for layer in made.layers.values():
        layer.set_weights([rng.uniform(0.1, 1.0, weight.shape).astype(np.float32) for weight in layer.weights])
    return made


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "narrow.h5"
    save_weights(network, path)
    return path


@pytest.fixture(scope="module")
def other(narrow):
    """A network of the same layers with random weights."""
    return Network.build(narrow())


@pytest.fixture
def as_it_was(other):
    """The other network, which has its weights back in the end."""
    before = {name: layer.get_weights() for name, layer in other.layers.items()}
    yield other
    for name, layer in other.layers.items():
        layer.set_weights(before[name])


def assert_equal(one, other, *, names=None, limit=0.0):
    for name in names or one.layers:
        for a, b in zip(one.layers[name].get_weights(), other.layers[name].get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=0.0, atol=limit, err_msg=name)


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- what is written is what is read


def test_what_was_saved_is_loaded(network, file, as_it_was):
    report = load_weights(as_it_was, file)
    assert report.complete
    assert len(report.loaded) == len(network.layers) == LAYERS_OF_26
    assert_equal(network, as_it_was)


def test_keras_reads_the_file_by_name(network, file, as_it_was):
    for part in (as_it_was.trunk, as_it_was.class_head, as_it_was.mask_head):
        part.load_weights(str(file), by_name=True)
    nested = {"rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred"}  # a group of its own in Matterport's files
    assert_equal(network, as_it_was, names=[name for name in network.layers if name not in nested])


def test_the_file_has_matterports_groups(network, file):
    with h5py.File(file) as written:
        groups = [name.decode() for name in written.attrs["layer_names"]]
        assert len(groups) == LAYERS_OF_26 - 2
        assert set(written) == set(groups)
        names = [name.decode() for name in written["rpn_model"].attrs["weight_names"]]
        assert names == [
            f"{layer}/{weight}:0"
            for layer in ("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred")
            for weight in ("kernel", "bias")
        ]
        norms = [name.decode() for name in written["bn_conv1"].attrs["weight_names"]]
        assert norms == [f"bn_conv1/{weight}:0" for weight in ("gamma", "beta", "moving_mean", "moving_variance")]


def test_a_file_that_keras_wrote_is_loaded(network, tmp_path, as_it_was):
    from keras.src.legacy.saving import legacy_h5_format

    path = tmp_path / "by keras.h5"
    with h5py.File(path, "w") as written:
        legacy_h5_format.save_weights_to_hdf5_group(written, network.trunk)
    report = load_weights(as_it_was, path)
    assert set(report.loaded) == {layer.name for layer in network.trunk.layers if layer.weights}
    assert_equal(network, as_it_was, names=report.loaded)


def test_half_precision_takes_half_the_place(network, file, tmp_path, as_it_was):
    path = tmp_path / "half.h5"
    save_weights(network, path, dtype=np.float16)
    assert path.stat().st_size < 0.75 * file.stat().st_size
    assert load_weights(as_it_was, path).complete
    assert_equal(network, as_it_was, limit=5e-4)
    assert all(values.dtype == np.float16 for arrays in read_arrays(path).values() for values in arrays)


def test_a_whole_model_in_one_file_gives_its_weights(network, file, tmp_path, as_it_was):
    path = tmp_path / "whole.h5"
    with h5py.File(file) as source, h5py.File(path, "w") as target:
        inside = target.create_group("model_weights")
        for name in source:
            source.copy(name, inside)
        inside.attrs["layer_names"] = source.attrs["layer_names"]
        target.attrs["model_config"] = b"{}"
        target.create_group("optimizer_weights")
    assert load_weights(as_it_was, path).complete
    assert_equal(network, as_it_was)


def test_layers_without_weights_do_not_count(file, tmp_path, network, as_it_was):
    path = tmp_path / "with more.h5"
    shutil.copy(file, path)
    with h5py.File(path, "a") as written:
        written.attrs["layer_names"] = np.array([*written.attrs["layer_names"], b"input_image"])
        written.create_group("input_image").attrs["weight_names"] = np.zeros(0)  # as Keras writes them
    assert load_weights(as_it_was, path).complete
    assert_equal(network, as_it_was)


def test_what_network_a_file_is_of_is_read_off_it(file, narrow):
    found, made = config_of(file), narrow()
    for name in ("backbone", "backbone_width", "pyramid_width", "rpn_width", "head_width", "mask_width", "classes"):
        assert getattr(found, name) == getattr(made, name)
    assert (found.probability, found.nms, found.mean_pixel) == (0.5, 0.3, (43.53, 39.56, 48.22))


def test_a_file_alone_is_a_model(file):
    model = models.load(str(file))
    assert isinstance(model, MaskRCNN)
    assert (model.name, model.probability, model.nms) == ("narrow.h5", 0.5, 0.3)
    assert (model.info.kind, model.info.levels, model.info.nucleus_diameter_px) == ("mask-rcnn", "type", None)
    assert len(model.sha256) == 64


# ---- in part


def of_another_backbone(narrow, path, **values):
    save_weights(Network.build(narrow(**values)), path)
    return path


def test_a_deeper_backbone_is_loaded_in_part_and_told(narrow, tmp_path, as_it_was):
    path = of_another_backbone(narrow, tmp_path / "deep.h5", backbone="resnet50")
    report = load_weights(as_it_was, path)
    assert len(report.loaded) == LAYERS_OF_26
    assert (report.unfit, report.missing) == ((), ())
    assert len(report.skipped) == MORE_OF_50  # two blocks, with three convolutions and normalisations each
    assert {name[3:5] for name in report.skipped if name.startswith("res")} == {"3b", "4b"}
    assert not report.complete
    told = str(report)
    assert told.startswith("61 layers loaded; 12 only in the file (res3b_branch2a, bn3b_branch2a, ")
    assert told.endswith(", ...)")
    assert all(name in told for name in report.skipped[:4])
    assert "\n" not in told


def test_a_shallower_one_leaves_the_other_blocks_as_they_are(narrow, file, network):
    deep = Network.build(narrow(backbone="resnet50"))
    before = deep.layers["res4b_branch2a"].get_weights()
    report = load_weights(deep, file)
    assert len(report.loaded) == LAYERS_OF_26
    assert len(report.missing) == len(deep.layers) - LAYERS_OF_26
    assert "12 missing in the file (res3b_branch2a, bn3b_branch2a, " in str(report)
    for one, kept in zip(deep.layers["res4b_branch2a"].get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, kept)
    assert_equal(network, deep, names=report.loaded)


def test_another_number_of_classes_leaves_the_last_layers_as_they_are(narrow, tmp_path, as_it_was):
    path = of_another_backbone(narrow, tmp_path / "coco.h5", classes=81)
    report = load_weights(as_it_was, path)
    assert set(report.unfit) == {"mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask"}
    assert len(report.loaded) == LAYERS_OF_26 - 3
    assert f"3 of another shape ({', '.join(report.unfit)})" in str(report)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backbone": "resnet50"}, "12 only in the file"),
        ({"classes": 3}, "3 of another shape"),
        ({"mask_width": 24}, "of another shape"),
    ],
)
def test_a_model_folder_with_weights_of_another_network_is_refused(narrow, tmp_path, values, message):
    narrow().write(tmp_path)
    (tmp_path / "stormseg.json").write_text('{"kind": "mask-rcnn"}')
    of_another_backbone(narrow, tmp_path / "weights_best.h5", **values)
    with pytest.raises(ModelError, match=r"weights_best\.h5 is not of this network: ") as caught:
        models.load(str(tmp_path))
    assert message in one_line(caught)


# ---- bad files


class Trap:
    """What a pickle would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def truncated(part):
    return lambda whole, tmp_path: whole[: int(part * len(whole))]


BAD = {
    "empty": lambda whole, tmp_path: b"",
    "text": lambda whole, tmp_path: b"no weights\nat all\n",
    "pickle": lambda whole, tmp_path: pickle.dumps(Trap(tmp_path / "run")),
    "zip": lambda whole, tmp_path: b"PK\x03\x04" + bytes(200),
    "truncated to half": truncated(0.5),
    "truncated to nine tenths": truncated(0.9),
    "truncated by a byte": lambda whole, tmp_path: whole[:-1],
    "truncated to its head": truncated(0.001),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_one_line_and_runs_nothing(file, other, tmp_path, kind):
    path = tmp_path / "bad.h5"
    path.write_bytes(BAD[kind](file.read_bytes(), tmp_path))
    for read in (read_arrays, config_of, MaskRCNN.load_file, lambda path: load_weights(other, path)):
        with pytest.raises(
            ModelError, match=r"bad\.h5 is damaged or no weights file .*copy it again, or give"
        ) as caught:
            read(path)
        one_line(caught)
    assert not (tmp_path / "run").exists()


def without_names(written):
    del written.attrs["layer_names"]


def without_weight_names(written):
    del written["conv1"].attrs["weight_names"]


def without_array(written):
    del written["conv1/conv1/kernel:0"]


def names_as_numbers(written):
    written.attrs["layer_names"] = 5


def words(written):
    del written["conv1/conv1/bias:0"]
    written["conv1/conv1/bias:0"] = [b"eight"] * 8


def group_in_place_of_array(written):
    del written["conv1/conv1/bias:0"]
    written.create_group("conv1/conv1/bias:0/inner")


@pytest.mark.parametrize(
    "damage",
    [without_names, without_weight_names, without_array, names_as_numbers, words, group_in_place_of_array],
)
def test_a_file_that_is_not_laid_out_as_keras_2_did_is_one_line(file, other, tmp_path, damage):
    path = tmp_path / "bad.h5"
    shutil.copy(file, path)
    with h5py.File(path, "a") as written:
        damage(written)
    with pytest.raises(ModelError, match=r"bad\.h5") as caught:
        load_weights(other, path)
    one_line(caught)


def test_a_file_without_layers_is_one_line(tmp_path, other):
    path = tmp_path / "none.h5"
    with h5py.File(path, "w") as written:
        written.attrs["layer_names"] = np.zeros(0, "S1")
    for read in (config_of, lambda path: load_weights(other, path)):
        with pytest.raises(ModelError, match=r"none\.h5 holds no weights; give another file"):
            read(path)


def test_weights_of_stardist_are_no_mask_rcnn(other):
    path = models.WEIGHTS / "stardist-storm" / "weights_best.h5"
    before = [layer.get_weights() for layer in other.layers.values()]
    with pytest.raises(ModelError, match=r"fits no layer of this network \(0 layers loaded; 61 missing") as caught:
        load_weights(other, path)
    one_line(caught)
    with pytest.raises(ModelError, match=r"is not of a Mask R-CNN with one of the backbones resnet26, ") as caught:
        models.load(str(path))
    one_line(caught)
    after = [layer.get_weights() for layer in other.layers.values()]
    assert all((a == b).all() for one, two in zip(before, after, strict=True) for a, b in zip(one, two, strict=True))


def test_a_missing_file_is_one_line(tmp_path, other):
    path = tmp_path / "missing.h5"
    for read in (config_of, lambda path: load_weights(other, path)):
        with pytest.raises(ModelError, match=r"^no file .*missing\.h5; give a weights file \(\.h5\)$"):
            read(path)
    with pytest.raises(ModelError, match=r"no model '.*missing\.h5'; give a model folder or .*weights \(\.h5\)$"):
        models.load(str(path))
    with pytest.raises(ModelError, match=r"no file "):
        load_weights(other, tmp_path)  # a folder


def test_segment_tells_a_bad_file_in_a_line_and_leaves_with_1(tmp_path, file, repository, capsys):
    path = tmp_path / "bad.h5"
    path.write_bytes(file.read_bytes()[:-1000])
    image = repository / "stormseg_ij" / "samples" / "tissue.tif"
    code = cli.main(["segment", str(image), "-o", str(tmp_path / "out"), "--model", str(path)])
    output = capsys.readouterr()
    assert code == 1
    assert output.err.count("\n") == 1
    assert output.err.startswith("stormseg")
    assert f"{path} is damaged or no weights file" in output.err
    assert "Traceback" not in output.out + output.err
