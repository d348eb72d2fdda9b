"""Training of a tiny network: checkpoints, starts, layers that stay, and what is written."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from stormseg_ij import cli, models
from stormseg_ij.errors import ModelError, SettingsError
from stormseg_ij.examples import mean_gray, read_examples
from stormseg_ij.mask_settings import MaskTrainSettings
from stormseg_ij.models.mask_rcnn import learning
from stormseg_ij.models.mask_rcnn.config import Config
from stormseg_ij.models.mask_rcnn.network import Network
from stormseg_ij.models.mask_rcnn.training import Trainer, make_batch
from stormseg_ij.models.mask_rcnn.weights import load_weights, read_arrays, save_weights
from stormseg_ij.settings import SimulateSettings, TrainSettings
from stormseg_ij.simulate import write_dataset
from stormseg_ij.train import resumed, train

WIDTHS = {
    "backbone": "resnet26", "backbone_width": 8, "pyramid_width": 16, "rpn_width": 16, "head_width": 16,
    "mask_width": 16,
}  # fmt: skip
TINY = {
    **WIDTHS, "epochs": 2, "steps": 2, "patch": 64, "diameter": 24.0, "seed": 3, "validation": 0.3, "train_rois": 12,
    "learning_rate": 1e-3,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("eager", "shallow")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, SimulateSettings(count=3, size=160, seed=1, localizations=False))
    return folder


@pytest.fixture(scope="module", autouse=True)
def _few_patches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stormseg_ij.train._VALIDATION_PATCHES", 1)
        yield


@pytest.fixture(scope="module")
def whole_run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "model"
    return folder, list(train(data, folder, MaskTrainSettings(**TINY)))


def trained(data, folder, **values):
    """One step."""
    reports = list(train(data, folder, MaskTrainSettings(**{**TINY, "epochs": 1, "steps": 1, **values})))
    assert np.isfinite([(report.loss, report.validation_loss) for report in reports]).all()
    return folder, read_arrays(folder / "weights_last.h5")


def differing(one, other, limit=0.0):
    """Names of the layers whose weights are not the same."""
    assert one.keys() == other.keys()
    return {
        name for name in one if any(np.abs(a - b).max() > limit for a, b in zip(one[name], other[name], strict=True))
    }


def at_the_beginning(settings, tmp_path):
    """The weights that a training with these settings begins with."""
    trainer = learning._trainer(learning._config(settings, 0.5, None), settings)
    save_weights(trainer.network, tmp_path / "beginning.h5")
    return read_arrays(tmp_path / "beginning.h5")


# ---- what is written


def test_a_training_writes_a_model_that_is_loaded_and_predicts(whole_run):
    folder, reports = whole_run
    assert [(report.epoch, report.epochs) for report in reports] == [(1, 2), (2, 2)]
    assert np.isfinite([(report.loss, report.validation_loss) for report in reports]).all()
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "stormseg.json", "thresholds.json", "weights_best.h5", "weights_last.h5", "checkpoint"
    }  # fmt: skip
    model = models.load(str(folder))
    assert (model.name, model.probability, model.nms) == ("model", 0.5, 0.7)
    assert (model.info.kind, model.info.levels, model.info.refine) == ("mask-rcnn", "percentiles", True)
    assert model.info.nucleus_diameter_px == 24.0
    found = model.predict(np.random.default_rng(0).random((70, 90), np.float32), probability=0.05, nms=0.5)
    assert len(found.masks) == len(found.scores) == len(found.corners)


def test_the_config_holds_the_settings_and_the_images_mean(data, whole_run):
    config, model = Config.read(whole_run[0]), models.load(str(whole_run[0]))
    assert {name: getattr(config, name) for name in WIDTHS} == WIDTHS
    assert (config.train_anchors, config.train_rois, config.optimizer, config.most_instances) == (64, 12, "adam", 400)
    examples = read_examples(data, model.info)
    normalised = [np.clip(model.info.normalize(one.pixels, one.limits), 0.0, 1.0) for one in examples]
    assert mean_gray(examples, model.info) == pytest.approx(np.mean([image.mean() for image in normalised]), rel=1e-5)
    lowest, highest = (255.0 * edge([image.mean() for image in normalised]) for edge in (min, max))
    assert len(set(config.mean_pixel)) == 1
    assert lowest - 0.01 <= config.mean_pixel[0] <= highest + 0.01  # those that are not kept for validation


# ---- going on


def test_a_resumed_training_equals_one_run(data, whole_run, tmp_path):
    whole, reports = whole_run
    parts = tmp_path / "model"
    (first,) = train(data, parts, MaskTrainSettings(**{**TINY, "epochs": 1}))
    (second,) = train(data, parts, MaskTrainSettings(resume=True, epochs=2, most_instances=300))
    assert [first.epoch, second.epoch] == [1, 2]
    for one, other in zip(reports, (first, second), strict=True):
        assert other.validation_loss == pytest.approx(one.validation_loss, rel=1e-5)
    weights = [read_arrays(folder / "weights_last.h5") for folder in (whole, parts)]
    assert not differing(*weights, limit=1e-6)
    assert {path.name for path in (parts / "checkpoint").iterdir()} == {"state.json", "epoch_2.weights.h5"}
    configs = [Config.read(folder) for folder in (whole, parts)]
    assert configs[1] == dataclasses.replace(configs[0], most_instances=300)  # what may change does


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (MaskTrainSettings(mask_width=8, resume=True), r"--mask-width 8: this model was begun with 16; leave it out"),
        (MaskTrainSettings(layers="heads", resume=True), r"--layers heads: this model was begun with all"),
        (MaskTrainSettings(resume=True), r"has finished its 2 epochs; give a larger --epochs to go on"),
        (TrainSettings(resume=True), r"has finished its 2 epochs"),
        (TrainSettings(rays=16, resume=True), r"--rays 16: "),
        (MaskTrainSettings(**TINY), r"holds a model already; give --resume to go on"),
    ],
)
def test_what_cannot_go_on_is_one_line(data, whole_run, given, message):
    before = (whole_run[0] / "weights_best.h5").read_bytes()
    with pytest.raises((ModelError, SettingsError), match=message) as caught:
        next(train(data, whole_run[0], given))
    assert "\n" not in str(caught.value)
    assert (whole_run[0] / "weights_best.h5").read_bytes() == before


def test_a_training_of_another_network_does_not_go_on_as_this_one():
    with pytest.raises(SettingsError, match=r"--model mask-rcnn: this model was begun with stardist") as caught:
        resumed(MaskTrainSettings(resume=True), TrainSettings())
    assert "\n" not in str(caught.value)


def test_a_damaged_checkpoint_is_one_line(data, whole_run, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(whole_run[0], folder)
    (folder / "checkpoint" / "epoch_2.weights.h5").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"epoch_2\.weights\.h5 is missing, damaged or of another") as caught:
        next(train(data, folder, MaskTrainSettings(resume=True, epochs=3)))
    assert "\n" not in str(caught.value)


# ---- beginning with what is there


def test_a_training_begins_with_its_starts_weights_and_settings(data, whole_run, tmp_path):
    start, _ = whole_run
    own = {"epochs": 1, "steps": 1, "patch": 64, "seed": 3, "validation": 0.3, "learning_rate": 1e-9, "train_rois": 12}
    settings = MaskTrainSettings(**own, start_from=str(start))
    assert not settings.trains_batch_norm
    list(train(data, tmp_path / "model", settings))
    assert not differing(
        read_arrays(start / "weights_best.h5"), read_arrays(tmp_path / "model" / "weights_last.h5"), 1e-5
    )
    config = Config.read(tmp_path / "model")
    assert {name: getattr(config, name) for name in WIDTHS} == WIDTHS
    assert config.mean_pixel == Config.read(start).mean_pixel
    assert models.load(str(tmp_path / "model")).info.nucleus_diameter_px == 24.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (MaskTrainSettings(backbone_width=16, patch=64), r"--backbone-width 16: .* has 8; leave it out, or start from"),
        (TrainSettings(patch=64), r"cannot start from .*: it is a mask-rcnn; give --model mask-rcnn, or another start"),
    ],
)
def test_a_start_of_another_network_is_one_line(data, whole_run, tmp_path, given, message):
    settings = type(given)(**{**given.as_dict(), "start_from": str(whole_run[0])})
    with pytest.raises((ModelError, SettingsError), match=message) as caught:
        next(train(data, tmp_path / "model", settings))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_a_mask_rcnn_does_not_start_from_stardist(data, tmp_path):
    with pytest.raises(ModelError, match=r"it is a stardist; give --model stardist, or another start"):
        next(train(data, tmp_path / "model", MaskTrainSettings(**TINY, start_from="stardist-storm")))


def test_what_fits_of_a_weights_file_is_loaded_and_told(data, tmp_path, narrow):
    config = narrow(**WIDTHS, classes=81)
    other = Network.build(config)
    save_weights(other, tmp_path / "coco.h5")
    told = []
    settings = MaskTrainSettings(
        **{**TINY, "epochs": 1, "steps": 1, "learning_rate": 1e-9}, weights=str(tmp_path / "coco.h5")
    )
    list(train(data, tmp_path / "model", settings, told=told.append))
    (line,) = told
    assert line.startswith(f"{tmp_path / 'coco.h5'}: {len(other.layers) - 3} layers loaded; 3 of another shape (")
    assert "\n" not in line
    before, after = read_arrays(tmp_path / "coco.h5"), read_arrays(tmp_path / "model" / "weights_last.h5")
    heads = {"mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask"}
    rest = [{name: values for name, values in arrays.items() if name not in heads} for arrays in (before, after)]
    assert not differing(*rest, limit=1e-5)


def test_a_bad_weights_file_is_one_line_and_leaves_no_model(data, tmp_path):
    (tmp_path / "bad.h5").write_text("x")
    with pytest.raises(ModelError, match=r"bad\.h5 is damaged or no weights file"):
        next(train(data, tmp_path / "model", MaskTrainSettings(**TINY, weights=str(tmp_path / "bad.h5"))))
    assert not list((tmp_path / "model").glob("*"))


# ---- what is trained


@pytest.mark.parametrize(
    ("layers", "stays"),
    [
        ("heads", ("conv1", "bn_conv1", "res", "bn2", "bn3", "bn4", "bn5")),
        ("4+", ("conv1", "bn_conv1", "res2", "res3", "bn2", "bn3")),
    ],
)
def test_layers_that_are_not_trained_stay_as_they_are(data, tmp_path, layers, stays):
    settings = MaskTrainSettings(**{**TINY, "layers": layers})
    before = at_the_beginning(settings, tmp_path)
    _, after = trained(data, tmp_path / "model", layers=layers, truth_proposals=True)
    changed = differing(before, after)
    assert changed == {name for name in before if not name.startswith(stays)}


def statistics(arrays):
    return {name: values[2:] for name, values in arrays.items() if len(values) == 4}


def test_frozen_normalisations_keep_their_statistics_and_learn_the_rest(data, tmp_path):
    values = {"batch_norm": "frozen", "truth_proposals": True}
    before = at_the_beginning(MaskTrainSettings(**{**TINY, **values}), tmp_path)
    _, after = trained(data, tmp_path / "model", **values)
    assert not differing(statistics(before), statistics(after))
    norms = [{name: one[name][:1] for name in statistics(one)} for one in (before, after)]
    assert differing(*norms) == set(norms[0])  # gamma


def test_random_weights_need_normalisations_that_count_the_batch(data, whole_run, tmp_path):
    assert MaskTrainSettings(**TINY).trains_batch_norm
    before = at_the_beginning(MaskTrainSettings(**TINY), tmp_path)
    after = read_arrays(whole_run[0] / "weights_last.h5")
    moved = differing(statistics(before), statistics(after))
    assert {name for name in statistics(before) if not name.startswith("mrcnn")} <= moved


@pytest.mark.parametrize(("half", "dtype"), [(False, np.float32), (True, np.float16)])
def test_mixed_precision_ends_in_a_model_of_as_many_bits_as_asked_for(data, tmp_path, half, dtype):
    import keras

    settings = {"mixed_precision": True, "half_precision": half, "truth_proposals": True}
    folder, arrays = trained(data, tmp_path / "model", **settings)
    assert all(np.isfinite(value).all() and value.dtype == dtype for one in arrays.values() for value in one)
    assert keras.mixed_precision.dtype_policy().name == "float32"
    assert len(models.load(str(folder)).sha256) == 64


def test_sgd_batches_and_thresholds_of_the_settings(data, tmp_path):
    folder, _ = trained(data, tmp_path / "model", optimizer="sgd", batch=2, min_probability=0.6, final_nms=0.25)
    assert json.loads((folder / "thresholds.json").read_text()) == {"prob": 0.6, "nms": 0.25}
    config = Config.read(folder)
    assert (config.probability, config.nms, config.optimizer) == (0.6, 0.25, "sgd")


def test_losses_are_told_without_a_change(narrow):
    labels = np.zeros((1, 64, 64), np.int32)
    labels[0, 10:30, 10:30], labels[0, 35:60, 30:50] = 1, 2
    config = narrow()
    batch = make_batch((labels > 0) * np.float32(200.0), labels, config, np.random.default_rng(0))
    trainer = Trainer(Network.build(config), learning_rate=1e-2, train_bn=True, truth_proposals=True)
    layers = trainer.network.layers.values()
    before = [weight for layer in layers for weight in layer.get_weights()]
    one, other = trainer.losses(batch), trainer.losses(batch)
    np.testing.assert_allclose(one, other, rtol=1e-6)
    assert one.shape == (6,)
    assert one[0] == pytest.approx(one[1:].sum(), rel=1e-5)
    assert (one > 0.0).all()
    after = [weight for layer in layers for weight in layer.get_weights()]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_a_training_from_the_command_line_tells_its_epochs(data, tmp_path, capsys):
    network = Network.build(Config(**WIDTHS))
    save_weights(network, tmp_path / "start.h5")
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    argv = [
        "train",
        str(data),
        "-o",
        str(tmp_path / "model"),
        "--model",
        "mask-rcnn",
        *flags,
        "--epochs=1",
        "--steps=1",
    ]
    assert cli.main([*argv, "--weights", str(tmp_path / "start.h5"), "--truth-proposals"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("epoch 1/1: loss ") for line in lines)
    assert f"{tmp_path / 'start.h5'}: {len(network.layers)} layers loaded" in lines
    assert load_weights(network, tmp_path / "model" / "weights_best.h5").complete
