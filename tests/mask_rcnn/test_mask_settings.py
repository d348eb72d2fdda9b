"""Options of a Mask R-CNN's training: the paper's defaults, named sets of values, and what does not go together."""

import dataclasses

import pytest

from stormseg_ij import cli
from stormseg_ij.errors import SettingsError
from stormseg_ij.mask_settings import PRESETS, MaskTrainSettings, train_settings
from stormseg_ij.models.mask_rcnn import config, learning
from stormseg_ij.models.mask_rcnn.training import LAYERS
from stormseg_ij.models.training import learning_rate
from stormseg_ij.settings import TrainSettings


def made(**values):
    return train_settings({"model": "mask-rcnn", **values})


def test_defaults_are_the_papers():
    settings = made()
    assert settings == MaskTrainSettings()
    assert (settings.optimizer, settings.learning_rate, settings.batch, settings.cosine) == ("adam", 1e-4, 1, False)
    assert (settings.train_anchors, settings.most_instances) == (64, 400)
    assert (settings.training_nms, settings.final_nms, settings.min_probability) == (0.7, 0.7, 0.5)
    assert (settings.backbone, settings.layers, settings.truth_proposals) == ("resnet50", "all", False)
    assert (settings.steps, settings.patch) == (500, 256)
    network = learning._config(settings, 0.25, None)
    assert network == config.Config(aligned=True, mean_pixel=(63.75,) * 3)  # whose defaults are the paper's too
    assert network.anchor_scales_px == (8, 16, 32, 64, 128)


def test_matterports_numbers():
    settings = made(preset="matterport")
    assert (settings.optimizer, settings.learning_rate, settings.batch, settings.patch) == ("sgd", 1e-3, 6, 512)
    assert (settings.train_rois, settings.training_nms, settings.final_nms) == (128, 0.9, 0.3)
    assert learning._config(settings, 0.0, None).train_rois == 128


def test_the_notebooks_numbers():
    settings = made(preset="notebook")
    assert (settings.epochs, settings.steps, settings.optimizer, settings.learning_rate) == (20, 200, "sgd", 1e-3)
    assert (settings.batch, settings.patch) == (1, 256)
    assert (settings.min_probability, settings.final_nms, settings.most_instances) == (0.7, 0.3, 256)


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_given_counts_more_than_a_preset(preset):
    settings = made(preset=preset, batch="3", learning_rate=0.5)
    assert (settings.preset, settings.batch, settings.learning_rate) == (preset, 3, 0.5)
    for name, value in PRESETS[preset].items():
        assert name in ("batch", "learning_rate") or getattr(settings, name) == value


def test_settings_survive_a_checkpoint():
    settings = made(preset="notebook", patch=128, layers="4+", mixed_precision=True)
    assert train_settings(settings.as_dict()) == settings
    stardist = TrainSettings(rays=16)
    assert train_settings(stardist.as_dict()) == stardist
    assert type(train_settings({})) is TrainSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rays": 16}, r"^--rays goes with --model stardist only; leave it out$"),
        ({"grid": "4"}, r"^--grid goes with --model stardist only; leave it out$"),
        ({"patch": 96}, r"^--patch 96 does not fit mask-rcnn; give a multiple of 64$"),
        ({"patch": 32}, r"--patch 32"),
        ({"preset": "mattreport"}, r"--preset 'mattreport': .*matterport"),
        ({"backbone": "resnet34"}, r"--backbone 'resnet34'"),
        ({"layers": "5+"}, r"--layers '5\+'"),
        ({"optimizer": "adagrad"}, r"--optimizer 'adagrad'"),
        ({"batch_norm": "yes"}, r"--batch-norm 'yes'"),
        ({"weights": "a.h5", "start_from": "b"}, r"^give either --weights or --start-from, not both$"),
        ({"min_probability": 0.01}, r"--min-probability 0\.01"),
        ({"training_nms": 0.0}, r"--training-nms 0"),
        ({"train_rois": 2}, r"--train-rois 2"),
        ({"typo": 1}, r"typo"),
    ],
)
def test_what_does_not_fit_is_one_line(values, message):
    with pytest.raises(SettingsError, match=message) as caught:
        made(**values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["backbone", "preset", "layers", "weights", "mask_width", "mixed_precision"])
@pytest.mark.parametrize("model", [{}, {"model": "stardist"}])
def test_what_only_a_mask_rcnn_has_is_told_for_stardist(name, model):
    with pytest.raises(
        SettingsError, match=rf"^--{name.replace('_', '-')} goes with --model mask-rcnn only; give that"
    ):
        train_settings({**model, name: "heads"})


@pytest.mark.parametrize("model", ["yolo", ""])
def test_an_unknown_network_is_one_line(model):
    with pytest.raises(SettingsError, match=r"--model"):
        train_settings({"model": model})


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model", "mask-rcnn", "--rays", "16"], "--rays goes with --model stardist only"),
        (["--backbone", "resnet50"], "--backbone goes with --model mask-rcnn only"),
        (["--model", "mask-rcnn", "--patch", "100"], "--patch 100 does not fit mask-rcnn"),
        (["--model", "mask-rcnn", "--preset", "papers"], "--preset"),
    ],
)
def test_the_command_line_tells_it_in_a_line_and_leaves_with_2(tmp_path, capsys, argv, message):
    try:
        code = cli.main(["train", str(tmp_path), "-o", str(tmp_path / "model"), *argv])
    except SystemExit as left:
        code = left.code
    told = capsys.readouterr().err
    assert code == 2
    assert told.count("\n") == 1
    assert message in told
    assert not (tmp_path / "model").exists()


def test_normalisations_are_trained_where_weights_are_random():
    assert made().trains_batch_norm
    assert not made(weights="coco.h5").trains_batch_norm
    assert not made(start_from="model").trains_batch_norm
    assert not made(batch_norm="frozen").trains_batch_norm
    assert made(weights="coco.h5", batch_norm="trained").trains_batch_norm


def test_choices_are_those_that_the_network_knows():
    choices = {one.name: one.metadata["choices"] for one in dataclasses.fields(MaskTrainSettings) if one.metadata}
    assert set(choices["backbone"]) == set(config.BLOCKS)
    assert set(choices["layers"]) == set(LAYERS)
    assert set(choices["preset"]) == set(PRESETS)


def test_the_learning_rate_is_constant_or_falls_to_a_hundredth():
    constant, falling = made(epochs=5), made(epochs=5, cosine=True)
    assert [learning_rate(constant, epoch) for epoch in range(5)] == [1e-4] * 5
    rates = [learning_rate(falling, epoch) for epoch in range(5)]
    assert rates == pytest.approx([1e-4, 8.55e-5, 5.05e-5, 1.55e-5, 1e-6], rel=1e-3)
