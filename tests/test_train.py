"""Training data, checkpoints and resume, on a network that trains for seconds."""

import json
import shutil

import numpy as np
import pytest

from stormseg_ij import models
from stormseg_ij.errors import ImageError, ModelError, SettingsError
from stormseg_ij.examples import Example, read_examples, sample_batch
from stormseg_ij.image import write_labels, write_tiff
from stormseg_ij.models import stardist, training
from stormseg_ij.models.info import ModelInfo
from stormseg_ij.settings import SimulateSettings, TrainSettings
from stormseg_ij.simulate import write_dataset
from stormseg_ij.train import _begin, resumed, train

TINY = {"epochs": 2, "steps": 2, "batch": 1, "patch": 64, "rays": 16, "diameter": 24.0, "seed": 3, "validation": 0.3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, SimulateSettings(count=3, size=160, seed=1, localizations=False))
    return folder


def reference_patch(labels: np.ndarray) -> set[bytes]:
    """All that flips and rotations by 0, 90 and 270 degrees make of a patch."""
    turned = [np.rot90(labels, turns) for turns in (0, 1, 3)]
    flips = [(), (0,), (1,), (0, 1)]
    return {np.ascontiguousarray(np.flip(plane, flip)).tobytes() for plane in turned for flip in flips}


def test_patches_are_flipped_and_turned_copies_of_the_image(monkeypatch):
    monkeypatch.setattr("stormseg_ij.examples._SMALLEST_SCALE", 1.0)
    monkeypatch.setattr("stormseg_ij.examples._FOREGROUND_FRACTION", 0.0)
    labels = np.arange(1, 64 * 64 + 1, dtype=np.int32).reshape(64, 64)
    example = Example(labels.astype(np.float32), labels, 1.0, (0.0, 1.0), np.argwhere(labels))
    info = ModelInfo()
    images, cut = sample_batch(np.random.default_rng(0), [example], info, patch=32, number=24, largest_scale=1.0)
    patches = {plane.tobytes() for plane in cut}
    assert len(patches) > 10
    whole = 0
    for image, plane in zip(images, cut, strict=True):
        inside = plane > 0
        gain = image[inside] / plane[inside]
        assert np.ptp(gain) < 1e-3  # the image and its labels were cut and turned alike
        top, left = divmod(int(plane[inside].min()) - 1, 64)
        rows, columns = np.unravel_index(plane[inside] - 1, (64, 64))
        window = np.zeros((32, 32), np.int32)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        if (height, width) == (32, 32):
            window[:] = labels[top : top + 32, left : left + 32]
            assert plane.tobytes() in reference_patch(window)
            whole += 1
    assert whole >= 3  # patches that lie within the image


def test_scaling_stays_within_half_and_one_and_a_half():
    labels = np.zeros((300, 300), np.int32)
    labels[140:160, 140:160] = 1  # 20 px: area 400
    example = Example(labels.astype(np.float32), labels, 1.0, (0.0, 1.0), np.argwhere(labels))
    _, cut = sample_batch(np.random.default_rng(1), [example], ModelInfo(), patch=96, number=200)
    rows = [np.ptp(np.nonzero(plane)[0]) + 1 for plane in cut if (plane > 0).sum() > 0 and not _touches_border(plane)]
    assert len(rows) > 100
    assert 9 <= min(rows) <= 12
    assert 28 <= max(rows) <= 31


def _touches_border(plane: np.ndarray) -> bool:
    return bool(plane[0].any() or plane[-1].any() or plane[:, 0].any() or plane[:, -1].any())


def test_images_are_brought_to_the_models_scale(tmp_path):
    labels = np.zeros((200, 200), np.int32)
    y, x = np.indices(labels.shape)
    labels[np.hypot(y - 100, x - 100) < 40] = 1
    labels[:4, :4] = 2
    labels[190:, 190:] = 3
    write_tiff(tmp_path / "images" / "a.tif", (labels > 0).astype(np.uint8))
    write_labels(tmp_path / "labels" / "a.tif", labels)
    write_tiff(tmp_path / "images" / "b.tif", np.zeros((50, 50), np.uint8))
    write_labels(tmp_path / "labels" / "b.tif", np.zeros((50, 50), np.int32))
    (example,) = read_examples(tmp_path, ModelInfo(nucleus_diameter_px=22.6))  # b has no nucleus
    assert example.scale == pytest.approx(22.6 / np.sqrt(400 / np.pi), rel=1e-3)  # the median area is 100


@pytest.fixture(scope="module")
def whole_run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "model"
    reports = list(train(data, folder, TrainSettings(**TINY)))
    return folder, reports


def test_a_resumed_training_equals_one_run(data, whole_run, tmp_path):
    whole, reports = whole_run
    parts = tmp_path / "model"
    first = list(train(data, parts, TrainSettings(**{**TINY, "epochs": 1})))
    second = list(train(data, parts, TrainSettings(**TINY, resume=True)))
    assert [report.epoch for report in first + second] == [1, 2]
    for one, other in zip(reports, first + second, strict=True):
        assert one.validation_loss == pytest.approx(other.validation_loss, rel=1e-5)
    pixels = np.random.default_rng(0).random((64, 64), np.float32)
    found = [models.load(str(folder)).predict(pixels, probability=0.05, nms=0.5) for folder in (whole, parts)]
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=1e-5)


def test_a_training_killed_between_weights_and_state_goes_on_without_flags(data, whole_run, tmp_path, monkeypatch):
    whole, reports = whole_run
    folder = tmp_path / "model"
    write_json, written = training.write_json, []

    def killed_in_the_second_epoch(path, values):
        written.append(path.name)
        if written.count("state.json") == 2:
            raise KeyboardInterrupt
        write_json(path, values)

    monkeypatch.setattr(training, "write_json", killed_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        list(train(data, folder, TrainSettings(**TINY)))
    monkeypatch.undo()
    assert len(list((folder / "checkpoint").glob("*.weights.h5"))) == 2
    (report,) = train(data, folder, TrainSettings(resume=True))
    assert (report.epoch, report.epochs) == (2, 2)
    assert report.validation_loss == pytest.approx(reports[1].validation_loss, rel=1e-5)
    assert contents(folder).keys() == contents(whole).keys()
    assert {path.name for path in (folder / "checkpoint").iterdir()} == {"state.json", "epoch_2.weights.h5"}


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_training_stopped_in_the_first_epoch_leaves_the_folder_free(data, tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    folder = tmp_path / "model"
    settings = TrainSettings(**{**TINY, "epochs": 1})
    monkeypatch.setattr(stardist, "learning_rate", stopped)
    with pytest.raises(KeyboardInterrupt):
        next(train(data, folder, settings))
    monkeypatch.undo()
    assert contents(folder) == {}
    assert len(list(train(data, folder, settings))) == 1


def test_resumed_settings_are_the_stored_ones_where_none_are_given():
    stored = TrainSettings(**TINY)
    assert resumed(TrainSettings(resume=True), stored) == stored
    assert resumed(TrainSettings(**TINY, resume=True), stored) == stored


def test_what_leaves_it_the_same_training_may_change():
    changes = {"epochs": 9, "steps": 7, "learning_rate": 0.5, "cosine": True, "workers": 3}
    assert resumed(TrainSettings(**changes), TrainSettings(**TINY)) == TrainSettings(**{**TINY, **changes})


@pytest.mark.parametrize(
    ("key", "value"),
    [("batch", 4), ("patch", 96), ("rays", 64), ("grid", "1"), ("diameter", 40.0), ("blur", 1.0), ("gamma", 0.5),
     ("validation", 0.5), ("seed", 4), ("simulate", 5), ("shapes", "x"), ("start_from", "x")],
)  # fmt: skip
def test_other_settings_may_not_change(key, value):
    stored = TrainSettings(**TINY)
    begun = "none" if getattr(stored, key) == "" else getattr(stored, key)
    with pytest.raises(
        SettingsError, match=rf"--{key.replace('_', '-')} {value}: this model was begun with {begun}; leave"
    ):
        resumed(TrainSettings(**{key: value}), stored)


def without_settings(folder):
    path = folder / "checkpoint" / "state.json"
    values = json.loads(path.read_text())
    del values["settings"]
    path.write_text(json.dumps(values))


def of_another_network(folder):
    path = folder / "checkpoint" / "state.json"
    path.write_text(path.read_text().replace('"rays": 16', '"rays": 8'))


@pytest.mark.parametrize(
    ("damage", "given", "message"),
    [
        (lambda folder: None, {"rays": 64}, r"--rays 64: this model was begun with 16"),
        (lambda folder: None, {}, r"has finished its 2 epochs; give a larger --epochs"),
        (without_settings, {}, r"state\.json is damaged or of an older version \(no 'settings'\); train into another"),
        (lambda folder: (folder / "checkpoint" / "state.json").write_text("{"), {}, r"state\.json is damaged"),
        (lambda folder: (folder / "checkpoint" / "state.json").write_text("[1]"), {}, r"state\.json is damaged"),
        (
            lambda folder: (folder / "checkpoint" / "epoch_2.weights.h5").unlink(),
            {},
            r"epoch_2\.weights\.h5 is missing",
        ),
        (lambda folder: (folder / "checkpoint" / "epoch_2.weights.h5").write_bytes(b"x"), {}, r"missing, damaged"),
        (of_another_network, {}, r"of another network; train into another folder"),
    ],
)
def test_a_failed_resume_is_one_line_and_leaves_the_model_as_it_was(
    data, whole_run, tmp_path, capfd, damage, given, message
):
    folder = tmp_path / "model"
    shutil.copytree(whole_run[0], folder)
    damage(folder)
    before = contents(folder)
    capfd.readouterr()
    with pytest.raises((ModelError, SettingsError), match=message) as caught:
        next(train(data, folder, TrainSettings(**given, resume=True)))
    assert "\n" not in str(caught.value)
    assert tuple(capfd.readouterr()) == ("", "")
    assert contents(folder) == before


def test_a_patch_within_one_nucleus_gives_no_warning():
    batch = np.zeros((1, 64, 64), np.float32), np.ones((1, 64, 64), np.int32)
    _, (probability, _) = stardist._targets(batch, TrainSettings(grid="4"))
    assert probability.shape == (1, 16, 16, 1)
    assert probability.max() == pytest.approx(1.0)


def test_a_written_folder_is_one_that_stardist_loads(whole_run):
    from stardist.models import StarDist2D

    folder, _ = whole_run
    theirs = StarDist2D(None, name=folder.name, basedir=str(folder.parent))
    pixels = np.random.default_rng(0).random((96, 80), np.float32)
    ours = models.load(str(folder))
    found = ours.predict(pixels, probability=0.05, nms=0.4)
    _, expected = theirs.predict_instances(pixels, prob_thresh=0.05, nms_thresh=0.4, predict_kwargs={"verbose": 0})
    np.testing.assert_allclose(found.polygons, expected["coord"], atol=1e-4)
    np.testing.assert_allclose(found.scores, expected["prob"], atol=1e-6)
    assert ours.info.nucleus_diameter_px == 24.0
    assert len(ours.sha256) == 64


def test_an_existing_model_is_not_overwritten(data, whole_run):
    folder, _ = whole_run
    before = (folder / "weights_best.h5").read_bytes()
    with pytest.raises(ModelError, match=r"holds a model already; give --resume"):
        next(train(data, folder, TrainSettings(**TINY)))
    assert (folder / "weights_best.h5").read_bytes() == before


def test_a_model_without_a_checkpoint_is_not_overwritten(data, whole_run, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(whole_run[0], folder, ignore=shutil.ignore_patterns("checkpoint"))
    for resume in (False, True):
        with pytest.raises(ModelError, match=r"holds a model without a checkpoint; choose another folder"):
            next(train(data, folder, TrainSettings(**TINY, resume=resume)))


def test_a_folder_that_cannot_be_made_is_one_line(data, tmp_path):
    (tmp_path / "file").write_text("text")
    for resume in (False, True):
        with pytest.raises(ModelError, match=r"file is a file; give a folder for the model"):
            next(train(data, tmp_path / "file", TrainSettings(**TINY, resume=resume)))
    with pytest.raises(ModelError, match=r"cannot write the model .*inside: .*; choose a folder that you may write to"):
        next(train(data, tmp_path / "file" / "inside", TrainSettings(**TINY)))


def test_nothing_to_resume(data, tmp_path):
    with pytest.raises(ModelError, match=r"no checkpoint; leave out --resume"):
        next(train(data, tmp_path, TrainSettings(**TINY, resume=True)))


def test_a_training_on_simulated_images_goes_on_without_data(tmp_path, monkeypatch):
    monkeypatch.setattr("stormseg_ij.stream._VALIDATION_IMAGES", 1)
    monkeypatch.setattr("stormseg_ij.train._VALIDATION_PATCHES", 2)
    folder = tmp_path / "model"
    settings = TrainSettings(epochs=1, steps=1, batch=1, patch=64, rays=8, simulate=2)
    (first,) = train(None, folder, settings)
    (second,) = train(None, folder, TrainSettings(epochs=2, resume=True))
    assert [(report.epoch, report.epochs) for report in (first, second)] == [(1, 1), (2, 2)]
    assert np.isfinite([first.loss, first.validation_loss, second.loss, second.validation_loss]).all()
    assert models.load(str(folder)).info.nucleus_diameter_px == 32.0
    with pytest.raises(SettingsError, match=r"--simulate 3: this model was begun with 2; leave it out"):
        next(train(None, folder, TrainSettings(simulate=3, resume=True)))
    with pytest.raises(SettingsError, match=r"this model was begun without a folder; leave it out"):
        next(train(tmp_path, folder, TrainSettings(resume=True)))


def test_a_training_begins_with_the_weights_and_settings_of_its_start(data, whole_run, tmp_path):
    start, reports = whole_run
    folder = tmp_path / "model"
    own = {"epochs": 1, "steps": 1, "batch": 1, "patch": 64, "seed": 3, "validation": 0.3, "learning_rate": 1e-12}
    (report,) = train(data, folder, TrainSettings(**own, start_from=str(start)))
    assert report.validation_loss == pytest.approx(min(report.validation_loss for report in reports), rel=1e-3)
    state = json.loads((folder / "checkpoint" / "state.json").read_text())
    assert (state["settings"]["rays"], state["settings"]["diameter"]) == (16, 24.0)
    pixels = np.random.default_rng(0).random((64, 64), np.float32)
    found = [models.load(str(path)).predict(pixels, probability=0.05, nms=0.5) for path in (start, folder)]
    assert found[0].scores.size > 0
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=1e-5)


@pytest.fixture
def described(tmp_path):
    """A model folder as far as it is read before TensorFlow starts."""
    folder = tmp_path / "start"
    ModelInfo(nucleus_diameter_px=40.0, gamma=0.5, blur_px=1.5).write(folder)
    (folder / "config.json").write_text(json.dumps({"n_rays": 64, "grid": [4, 4]}))
    return folder


def test_scale_blur_gamma_rays_and_grid_are_taken_over_where_none_are_given(described, tmp_path):
    taken = _begin(tmp_path / "model", TrainSettings(start_from=str(described))).settings
    assert (taken.rays, taken.grid) == (64, "4")
    assert (taken.diameter, taken.blur, taken.gamma) == (40.0, 1.5, 0.5)
    given = TrainSettings(start_from=str(described), rays=64, diameter=50.0, blur=0.5, gamma=0.7, steps=7)
    settings = _begin(tmp_path / "model", given).settings
    assert (settings.diameter, settings.blur, settings.gamma, settings.steps) == (50.0, 0.5, 0.7, 7)


@pytest.mark.parametrize(("key", "value", "has"), [("rays", 16, "64"), ("grid", "1", "4")])
def test_another_network_than_that_of_the_start_is_one_line(described, tmp_path, key, value, has):
    with pytest.raises(SettingsError, match=rf"^--{key} {value}: .*start has {has}; leave it out, or start") as caught:
        next(train(None, tmp_path / "model", TrainSettings(simulate=1, start_from=str(described), **{key: value})))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"is no model folder: it has no config\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json is damaged"),
        (lambda folder: (folder / "config.json").write_text("{}"), r"config\.json is damaged: no 'n_rays'"),
        (lambda folder: None, r"holds no weights \(\*\.h5\)"),
        (lambda folder: (folder / "weights_best.h5").write_bytes(b"x"), r"cannot start from .*start: "),
    ],
)
def test_a_start_that_cannot_be_loaded_is_one_line_and_writes_no_model(data, described, tmp_path, damage, message):
    damage(described)
    settings = TrainSettings(batch=1, patch=64, epochs=1, steps=1, start_from=str(described))
    with pytest.raises(ModelError, match=message) as caught:
        next(train(data, tmp_path / "model", settings))
    assert "\n" not in str(caught.value)
    assert contents(tmp_path / "model") == {}


def test_weights_of_another_network_than_the_starts_config_says_are_one_line(data, whole_run, tmp_path):
    start = tmp_path / "start"
    shutil.copytree(whole_run[0], start)
    config = start / "config.json"
    config.write_text(config.read_text().replace('"n_rays": 16', '"n_rays": 8'))
    with pytest.raises(ModelError, match=r"cannot start from .*; give a model with the same --rays and --grid"):
        next(train(data, tmp_path / "model", TrainSettings(batch=1, patch=64, start_from=str(start))))


@pytest.mark.parametrize(("folder", "simulate"), [(None, 0), ("data", 2)])
def test_either_a_folder_or_simulated_images(tmp_path, folder, simulate):
    with pytest.raises(SettingsError, match=r"^give either a folder of images or --simulate N$"):
        next(train(folder and tmp_path / folder, tmp_path / "m", TrainSettings(simulate=simulate)))
    assert not (tmp_path / "m").exists()


def test_bad_data_is_one_clear_line(tmp_path):
    with pytest.raises(ImageError, match=r"holds no images"):
        next(train(tmp_path, tmp_path / "m", TrainSettings(**TINY)))
    write_tiff(tmp_path / "images" / "a.tif", np.ones((64, 64), np.uint8))
    with pytest.raises(ImageError, match=r"a\.tif has no labels; put a label image named a"):
        next(train(tmp_path, tmp_path / "m", TrainSettings(**TINY)))
    write_labels(tmp_path / "labels" / "a.tif", np.ones((60, 64), np.int32))
    with pytest.raises(ImageError, match=r"\(60, 64\), its image \(64, 64\)"):
        next(train(tmp_path, tmp_path / "m", TrainSettings(**TINY)))
    write_labels(tmp_path / "labels" / "a.tif", np.ones((64, 64), np.int32))
    with pytest.raises(ImageError, match=r"has 1 image, 1 of them with nuclei; training needs at least 2"):
        next(train(tmp_path, tmp_path / "m", TrainSettings(**TINY)))
    write_tiff(tmp_path / "images" / "b.tif", np.ones((64, 64), np.uint8))
    write_labels(tmp_path / "labels" / "b.tif", np.zeros((64, 64), np.int32))
    with pytest.raises(ImageError, match=r"has 2 images, 1 of them with nuclei; training needs at least 2"):
        next(train(tmp_path, tmp_path / "m", TrainSettings(**TINY)))
    with pytest.raises(ImageError, match=r"no folder .*missing; give the folder above images/ and labels/"):
        next(train(tmp_path / "missing", tmp_path / "m", TrainSettings(**TINY)))
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(("patch", "grid", "step"), [(100, "2", 16), (104, "2", 16), (36, "1", 8), (48, "4", 32)])
def test_a_patch_that_does_not_fit_the_network_is_refused(patch, grid, step):
    with pytest.raises(SettingsError, match=rf"--patch {patch} does not fit --grid {grid}; give a multiple of {step}"):
        TrainSettings(patch=patch, grid=grid)
