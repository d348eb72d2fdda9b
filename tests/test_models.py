"""Model folders: what is shipped, what loads, and how a bad one is told."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from stormseg_ij import models
from stormseg_ij.errors import ModelError, SettingsError
from stormseg_ij.metrics import score
from stormseg_ij.models.info import ModelInfo
from stormseg_ij.models.stardist import PAPER_NMS, PAPER_PROBABILITY, StarDist
from stormseg_ij.simulate import simulate

SHIPPED = models.WEIGHTS / "stardist-storm"


@pytest.fixture
def model_folder(tmp_path):
    folder = tmp_path / "copied model"
    shutil.copytree(SHIPPED, folder)
    return folder


def test_shipped_models_are_complete_and_small():
    assert "stardist-storm" in models.shipped()
    for name in models.shipped():
        folder = models.WEIGHTS / name
        assert {path.name for path in folder.iterdir()} >= {"config.json", "stormseg.json", "card.md"}
        assert "stormseg " in (folder / "card.md").read_text(encoding="utf-8")  # the command that made it
    assert sum(path.stat().st_size for path in models.WEIGHTS.rglob("*") if path.is_file()) < 60e6


def test_finding_a_model_loads_no_tensorflow():
    code = "import sys; from stormseg_ij import models; models.find('stardist-storm'); print('keras' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_loading_says_nothing():
    code = "from stormseg_ij import models; models.load('stardist-storm')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "")


def test_thresholds_are_the_models_own_else_the_papers(model_folder):
    (model_folder / "thresholds.json").write_text('{"prob": 0.61, "nms": 0.25}')
    model = models.load(str(model_folder))
    assert (model.probability, model.nms) == (0.61, 0.25)
    (model_folder / "thresholds.json").unlink()
    model = models.load(str(model_folder))
    assert (model.probability, model.nms) == (PAPER_PROBABILITY, PAPER_NMS) == (0.5, 0.3)


def test_a_folder_without_stormseg_json_gets_stardists_conventions(model_folder):
    (model_folder / "stormseg.json").unlink()
    info = models.load(str(model_folder)).info
    assert info == ModelInfo("stardist", None, 1.0, 99.8, 1.0, 0.0, refine=False)


def test_a_model_says_whether_its_outlines_are_refined(tmp_path):
    assert ModelInfo().refine is False
    ModelInfo(refine=True).write(tmp_path)
    assert ModelInfo.read(tmp_path).refine is True
    (tmp_path / "stormseg.json").write_text('{"kind": "stardist", "gamma": 0.5}')  # of a version before
    assert ModelInfo.read(tmp_path) == ModelInfo(gamma=0.5, refine=False)


def test_weights_last_serve_where_there_are_no_best(model_folder):
    best = models.load(str(model_folder)).sha256
    (model_folder / "weights_best.h5").rename(model_folder / "weights_last.h5")
    assert models.load(str(model_folder)).sha256 == best


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"{", "cannot load the model"),
        ("config.json", b'{"n_dim": 7}', "cannot load the model"),
        ("weights_best.h5", b"no HDF5", "cannot load the model"),
        ("thresholds.json", b'{"prob": "high"}', "thresholds.json is damaged"),
        ("thresholds.json", b'{"prob": 0.5}', "thresholds.json is damaged: no 'nms'"),
        ("thresholds.json", b'{"prob": 1.5, "nms": 0.3}', "thresholds.json has prob 1.5 and nms 0.3; both must be"),
        ("thresholds.json", b'{"prob": 0.5, "nms": -1}', "thresholds.json has prob 0.5 and nms -1; both must be"),
        ("thresholds.json", b'{"prob": NaN, "nms": 0.3}', "thresholds.json has prob nan"),
        ("stormseg.json", b'{"kind": "stardist", "typo": 1}', "stormseg.json is damaged"),
        ("stormseg.json", b'{"gamma": "x"}', "stormseg.json is damaged"),
        ("stormseg.json", b'{"gamma": 0}', "stormseg.json is damaged"),
        ("stormseg.json", b'{"refine": "yes"}', "stormseg.json is damaged"),
        ("stormseg.json", b'{"low_percentile": 99.9}', "stormseg.json is damaged"),
        ("stormseg.json", b'{"nucleus_diameter_px": NaN}', "stormseg.json is damaged"),
        ("stormseg.json", b"[1]", "stormseg.json is damaged"),
        ("stormseg.json", b'{"kind": "yolo"}', "of kind 'yolo'; this version knows stardist"),
    ],
)
def test_a_damaged_folder_is_one_line(model_folder, name, content, message):
    (model_folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        models.load(str(model_folder))
    assert "\n" not in str(caught.value)


def test_missing_models_are_one_line(tmp_path, model_folder):
    message = r"no model 'stardist-strom'; give a model folder or one of .*stardist-storm, or .*weights"
    with pytest.raises(ModelError, match=message):
        models.load("stardist-strom")
    with pytest.raises(ModelError, match=r"has no config\.json"):
        models.load(str(tmp_path))
    (model_folder / "weights_best.h5").unlink()
    with pytest.raises(ModelError, match=r"holds no weights"):
        models.load(str(model_folder))


def test_a_network_for_colour_is_refused(model_folder):
    config = json.loads((model_folder / "config.json").read_text())
    config.update(n_channel_in=3, axes="YXC")
    (model_folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"channels|cannot load"):
        models.load(str(model_folder))


def test_normalization_is_by_percentiles_of_the_whole_image():
    pixels = np.arange(1001, dtype=np.uint16).reshape(7, 143)
    out = ModelInfo(low_percentile=10.0, high_percentile=90.0).normalize(pixels)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.ravel()[[100, 500, 900, 1000]], [0.0, 0.5, 1.0, 1.125], atol=1e-6)
    rooted = ModelInfo(low_percentile=10.0, high_percentile=90.0, gamma=0.5).normalize(pixels)
    np.testing.assert_allclose(rooted.ravel()[[0, 100, 500]], [0.0, 0.0, 0.5**0.5], atol=1e-6)
    assert not ModelInfo().normalize(np.full((4, 4), 9, np.uint8)).any()


# ---- thresholds without another run of the network


@pytest.fixture(scope="module")
def model():
    return models.load("stardist-storm")


def by_the_package(model, pixels, probability, nms):
    """All in one, by the package itself: polygons and their probabilities."""
    found = model._network.predict_instances(pixels, prob_thresh=probability, nms_thresh=nms)[1]
    return found["coord"].reshape(-1, 2, model._network.config.n_rays), found["prob"]


def assert_the_package_agrees(model, pixels, pairs):
    seen = model.look(pixels, least_probability=0.05)
    numbers = []
    for probability, nms in pairs:
        polygons, scores = by_the_package(model, pixels, probability, nms)
        both = (
            seen.candidates(probability=probability, nms=nms),
            model.predict(pixels, probability=probability, nms=nms),
        )
        for found in both:
            np.testing.assert_array_equal(found.polygons, polygons)
            np.testing.assert_array_equal(found.scores, scores)
            assert (found.polygons.dtype, found.scores.dtype) == (np.float32, np.float32)
        numbers.append(len(scores))
    return numbers


def test_thresholds_after_the_network_give_what_the_package_gives_with_them(model):
    pixels = model.info.normalize(simulate(np.random.default_rng(7), kind="tissue", size=200, diameter=30).image)
    pairs = [(0.05, 0.0), (0.05, 0.9), (0.3, 0.3), (0.7, 0.3), (0.7, 0.0), (0.8, 0.5), (1.0, 0.5)]
    numbers = assert_the_package_agrees(model, pixels, pairs)
    assert numbers[1] > numbers[2] > numbers[3] > numbers[5] > numbers[6] == 0


def test_thresholds_after_the_network_settle_ties_alike(model):
    part = model.info.normalize(simulate(np.random.default_rng(7), kind="tissue", size=128, diameter=30).image)
    pixels = np.tile(part, (3, 3))
    probabilities = model.look(pixels, least_probability=0.05).probabilities
    assert len(np.unique(probabilities)) < len(probabilities)
    assert_the_package_agrees(model, pixels, [(0.05, 0.9), (0.3, 0.0), (0.5, 0.3)])


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (33, 64)])
def test_thresholds_after_the_network_where_there_is_nothing(model, shape):
    numbers = assert_the_package_agrees(model, np.zeros(shape, np.float32), [(0.05, 0.9), (0.5, 0.3)])
    assert numbers == [0, 0]


def test_a_network_of_several_classes_gives_its_polygons():
    from stardist.models import Config2D

    from stormseg_ij.models import stardist

    network = stardist._network(Config2D(n_rays=8, unet_n_depth=1, n_classes=2, train_tensorboard=False))
    several = StarDist("two", "", ModelInfo(), 0.5, 0.3, network)
    pixels = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    assert assert_the_package_agrees(several, pixels, [(0.05, 0.3)])[0] > 0


def test_a_probability_below_what_was_kept_is_refused(model):
    seen = model.look(np.zeros((32, 32), np.float32), least_probability=0.3)
    with pytest.raises(SettingsError, match=r"probability 0\.2 is below 0\.3, the least that was kept; give a higher"):
        seen.candidates(probability=0.2, nms=0.3)


def test_the_shipped_mask_r_cnn_finds_simulated_nuclei():
    model = models.load("mask-rcnn-storm")
    scene = simulate(np.random.default_rng(901), kind="cell", size=256, diameter=32.0)
    found = model.predict(model.info.normalize(scene.image), probability=model.probability, nms=model.nms)
    labels = np.zeros(scene.labels.shape, np.int32)
    for place in reversed(range(len(found))):
        if (one := found.draw(place, labels.shape, (1.0, 1.0))) is not None:
            labels[one.box][one.mask] = place + 1
    assert scene.labels.max() > 5
    assert score(labels, scene.labels, iou=0.5).f1 > 0.8
    assert sum(path.stat().st_size for path in (models.WEIGHTS / "mask-rcnn-storm").iterdir()) < 18e6
