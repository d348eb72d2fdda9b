"""Training data, checkpoints and resume, on a network that trains for seconds."""

import numpy as np
import pytest

from stormseg_ij import models
from stormseg_ij.errors import ImageError, ModelError
from stormseg_ij.image import write_labels, write_tiff
from stormseg_ij.models.info import ModelInfo
from stormseg_ij.settings import SimulateSettings, TrainSettings
from stormseg_ij.simulate import write_dataset
from stormseg_ij.train import Example, read_examples, sample_batch, train

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
    monkeypatch.setattr("stormseg_ij.train._SMALLEST_SCALE", 1.0)
    monkeypatch.setattr("stormseg_ij.train._LARGEST_SCALE", 1.0)
    monkeypatch.setattr("stormseg_ij.train._FOREGROUND_FRACTION", 0.0)
    labels = np.arange(1, 64 * 64 + 1, dtype=np.int32).reshape(64, 64)
    example = Example(labels.astype(np.float32), labels, 1.0, (0.0, 1.0), np.argwhere(labels))
    info = ModelInfo()
    images, cut = sample_batch(np.random.default_rng(0), [example], info, patch=32, number=24)
    patches = {plane.tobytes() for plane in cut}
    assert len(patches) > 10
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


def test_nothing_to_resume(data, tmp_path):
    with pytest.raises(ModelError, match=r"no checkpoint; leave out --resume"):
        next(train(data, tmp_path, TrainSettings(**TINY, resume=True)))


def test_bad_data_is_one_clear_line(data, tmp_path):
    with pytest.raises(ImageError, match=r"holds no images"):
        next(train(tmp_path, tmp_path / "m", TrainSettings(**TINY)))
    write_tiff(tmp_path / "images" / "a.tif", np.ones((64, 64), np.uint8))
    with pytest.raises(ImageError, match=r"a\.tif has no labels; put a label image named a"):
        next(train(tmp_path, tmp_path / "m", TrainSettings(**TINY)))
    write_labels(tmp_path / "labels" / "a.tif", np.ones((60, 64), np.int32))
    with pytest.raises(ImageError, match=r"\(60, 64\), its image \(64, 64\)"):
        next(train(tmp_path, tmp_path / "m", TrainSettings(**TINY)))
    write_labels(tmp_path / "labels" / "a.tif", np.ones((64, 64), np.int32))
    with pytest.raises(ImageError, match=r"needs at least 2"):
        next(train(tmp_path, tmp_path / "m", TrainSettings(**TINY)))
    with pytest.raises(ModelError, match=r"--patch 100 does not fit"):
        next(train(data, tmp_path / "m", TrainSettings(**{**TINY, "patch": 100})))
    assert not (tmp_path / "m").exists()
