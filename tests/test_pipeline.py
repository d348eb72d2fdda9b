"""The main job on a shipped image, with the real ImageJ and the shipped model."""

import dataclasses
import json

import numpy as np
import pytest

from stormseg_ij import estimate, metrics, models, pipeline, rois, scale_search
from stormseg_ij.errors import ImageError
from stormseg_ij.image import Calibration, Image, read_image, read_labels
from stormseg_ij.preprocess import preprocess
from stormseg_ij.settings import PreprocessSettings, SegmentSettings
from stormseg_ij.simulate import simulate


@pytest.fixture(scope="module")
def model():
    return models.load("stardist-storm")


@pytest.fixture(scope="module")
def scene():
    result = simulate(np.random.default_rng([10, 1, sum(b"tissue")]), kind="tissue", size=512)
    return Image(result.image, "scene", Calibration(0.16, 0.16, "micron")), result.labels


@pytest.fixture(scope="module")
def found(ij, model, scene):
    return pipeline.segment(scene[0], SegmentSettings(), ij=ij, model=model)


def test_the_shipped_sample_is_the_simulated_scene(scene, repository):
    sample = read_image(repository / "stormseg_ij" / "samples" / "tissue.tif")
    np.testing.assert_array_equal(sample.pixels, scene[0].pixels)


def test_the_shipped_model_finds_simulated_nuclei(found, scene):
    score = metrics.score(found.labels, scene[1], iou=0.5)
    assert score.f1 > 0.8
    assert found.count == len(found.scores) == len(np.unique(found.labels)) - 1
    assert all(0.5 <= value <= 1.0 for value in found.scores.values())


def test_small_nuclei_are_removed_by_the_mean_area_of_the_image(ij, model, scene):
    most, all_of_them = (
        pipeline.segment(
            scene[0],
            SegmentSettings(min_area_fraction=fraction, refine=False, overlap_rules="score"),
            ij=ij,
            model=model,
        )
        for fraction in (0.9, 0.0)
    )
    area, whole = np.bincount(most.labels.ravel())[1:], np.bincount(all_of_them.labels.ravel())[1:]
    assert area.min() >= 0.9 * whole.mean()
    assert 0 < most.count <= (whole >= 0.9 * whole.mean()).sum() < all_of_them.count


@pytest.mark.parametrize(("side", "diameter"), [(600, 30.0), (600, 120.0)])
def test_the_scale_is_found_for_small_and_large_nuclei(ij, model, side, diameter):
    scene = simulate(np.random.default_rng(3), kind="cell", size=side, diameter=diameter)
    result = pipeline.segment(Image(scene.image, "x"), SegmentSettings(), ij=ij, model=model)
    size = result.run["settings"]["used"]["size"]
    assert size / side * diameter == pytest.approx(model.info.nucleus_diameter_px, rel=0.3)
    assert metrics.score(result.labels, scene.labels, iou=0.5).f1 > 0.8


def test_the_scale_is_found_for_nuclei_of_20_to_300_pixels(ij, model):
    near, tried = [], set()
    for kind, diameter, side in (("tissue", 20, 320), ("tissue", 60, 480), ("cell", 150, 750), ("cell", 300, 1200)):
        scene = simulate(np.random.default_rng([4, diameter]), kind=kind, size=side, diameter=diameter)
        result = pipeline.segment(Image(scene.image, "x"), SegmentSettings(), ij=ij, model=model)
        scale = json.loads(json.dumps(result.run["scale"]))
        assert scale["size"] == result.run["settings"]["used"]["size"]
        assert scale["found_by"] == "coarse passes"
        tried |= {entry["size"] for entry in scale["tried"]}
        true = np.sqrt(4.0 * np.median(np.bincount(scene.labels.ravel())[1:]) / np.pi)
        best = side * model.info.nucleus_diameter_px / true
        near.append(scale["size"] / best)
    assert {128, 256, 320} <= tried
    assert all(0.75 < ratio < 1.33 for ratio in near), near


def test_the_pixel_size_saves_tries_and_a_given_size_all(ij, model):
    scene = simulate(np.random.default_rng(4), kind="cell", size=400, diameter=25)
    um = scene.pixel_size_nm / 1000.0
    runs = [
        pipeline.segment(Image(scene.image, "x", calibration), settings, ij=ij, model=model).run["scale"]
        for calibration, settings in (
            (Calibration(um, um, "micron"), SegmentSettings()),
            (None, SegmentSettings()),
            (None, SegmentSettings(size=200)),
        )
    ]
    assert runs[0]["found_by"] == "pixel size and coarse passes"
    assert 0 < len(runs[0]["tried"]) < len(runs[1]["tried"])
    assert runs[0]["size"] == runs[1]["size"]
    assert runs[2] == {"size": 200, "found_by": "the user", "tried": []}


def test_a_model_with_very_low_thresholds_finds_a_scale(ij, model):
    low = dataclasses.replace(model, probability=0.01)
    scene = simulate(np.random.default_rng(4), kind="cell", size=200, diameter=25)
    result = pipeline.segment(Image(scene.image, "x"), SegmentSettings(), ij=ij, model=low)
    assert result.run["settings"]["used"]["probability"] == 0.05
    assert result.run["scale"]["tried"]


def test_tiles_and_one_go_give_the_same_nuclei(ij, model, scene):
    kept = {"size": 500, "refine": False}
    one = pipeline.segment(scene[0], SegmentSettings(route="resize", **kept), ij=ij, model=model)
    tiled = pipeline.segment(scene[0], SegmentSettings(route="tile", tile=256, overlap=64, **kept), ij=ij, model=model)
    assert one.run["tiles"] == {"count": 1}
    assert tiled.run["tiles"] == {"count": 9, "tile": 256, "overlap": 128}
    assert tiled.notes[0].startswith("the overlap of tiles grew from 64 to 128 pixels (tiles of 256): some nuclei are ")
    assert abs(one.count - tiled.count) <= 1
    assert metrics.score(tiled.labels, one.labels, iou=0.9).f1 > 0.97


def test_the_route_is_chosen_by_the_size_of_the_networks_input(ij, model, scene, monkeypatch):
    auto = SegmentSettings(size=300, refine=False)
    assert pipeline.segment(scene[0], auto, ij=ij, model=model).run["tiles"] == {"count": 1}
    monkeypatch.setattr(estimate, "ONE_GO_PX", 300 * 300 - 1)
    assert pipeline.segment(scene[0], auto, ij=ij, model=model).run["tiles"]["tile"] == 512


def test_an_image_whose_labels_imagej_could_not_open_is_refused_before_the_work():
    pixels = np.broadcast_to(np.uint8(0), (40_000, 40_000))
    with pytest.raises(ImageError, match=r"big has 40000 x 40000 pixels; ImageJ opens labels of \d+ pixels; cut it up"):
        pipeline.segment(Image(pixels, "big"), SegmentSettings(), ij=None)


def test_values_that_cannot_be_averaged_are_refused():
    pixels = np.ones((50, 60), np.float32)
    pixels[7, 7] = -3e38
    with pytest.raises(ImageError, match=r"hot has values up to 3e\+38, too large to be averaged; divide it first"):
        pipeline.segment(Image(pixels, "hot"), SegmentSettings(), ij=None)


def test_the_same_seed_gives_the_same_nuclei(ij, model, scene):
    one, two = (
        pipeline.segment(scene[0], SegmentSettings(size=400, nms=0.8, seed=5), ij=ij, model=model) for _ in range(2)
    )
    np.testing.assert_array_equal(one.labels, two.labels)
    assert one.scores == two.scores


def test_what_to_expect_is_told_before_the_work_and_how_far_it_is(ij, model, scene):
    class Told(pipeline.Progress):
        def __init__(self):
            self.lines = []

        def expect(self, expected):
            self.lines.append(("expected", expected.tiles))

        def stage(self, name, fraction):
            self.lines.append((name, fraction))

    told = Told()
    result = pipeline.segment(
        scene[0], SegmentSettings(size=500, route="tile", tile=256), ij=ij, model=model, progress=told
    )
    names = list(dict.fromkeys(name for name, _ in told.lines))
    expected = ["load model", "find scale", "expected", "preprocess", "network", "postprocess", "refine", "number"]
    assert names == expected
    assert set(result.run["seconds"]) == set(expected) - {"expected"}
    assert ("expected", result.run["tiles"]["count"]) in told.lines
    fractions = [fraction for name, fraction in told.lines if name == "network"]
    assert len(fractions) == result.run["tiles"]["count"] + 2
    assert fractions == sorted(fractions)


def test_a_large_image_is_searched_for_the_scale_in_parts(ij, model, monkeypatch):
    scene = simulate(np.random.default_rng(6), kind="tissue", size=700, diameter=24)
    image = Image(scene.image, "x")
    used = SegmentSettings(blur=model.info.blur_px, probability=model.probability, nms=model.nms)
    whole, _ = scale_search.search_scale(image, used, model, ij)
    monkeypatch.setattr(scale_search, "_WHOLE_PX", 300)
    monkeypatch.setattr(scale_search, "_PART_PX", 200)
    monkeypatch.setattr(scale_search, "LARGE_PIXELS", 1000)
    monkeypatch.setattr(scale_search, "_REDUCED_PX", 400)
    seen = []
    predict = type(model).predict
    monkeypatch.setattr(
        type(model),
        "predict",
        lambda self, pixels, **limits: seen.append(pixels.shape) or predict(self, pixels, **limits),
    )
    parts, speed = scale_search.search_scale(image, used, model, ij)
    assert parts.size == pytest.approx(whole.size, rel=0.1)
    assert max(max(shape) for shape in seen) <= 300
    assert speed is not None
    assert speed > 0.0


def test_a_given_size_and_thresholds_are_used(ij, model, scene):
    settings = SegmentSettings(size=200, blur=0.5, probability=0.6, nms=0.2)
    used = pipeline.segment(scene[0], settings, ij=ij, model=model).run["settings"]["used"]
    assert (used["size"], used["blur"], used["probability"], used["nms"]) == (200, 0.5, 0.6, 0.2)


def test_pixels_reach_the_network_in_their_own_type(ij, model, scene, monkeypatch):
    seen = []
    normalize = type(model.info).normalize
    monkeypatch.setattr(
        type(model.info),
        "normalize",
        lambda self, pixels, *at: seen.append(pixels.dtype) or normalize(self, pixels, *at),
    )
    for dtype in (np.uint8, np.uint16, np.float32):
        pipeline.segment(
            scene[0].with_pixels(scene[0].pixels.astype(dtype)), SegmentSettings(size=128), ij=ij, model=model
        )
    assert seen == [np.uint8, np.uint16, np.float32]


def test_8_and_16_bit_of_the_same_image_give_the_same_nuclei(ij, model, scene, found):
    bright = scene[0].with_pixels(scene[0].pixels.astype(np.uint16) * 257)
    other = pipeline.segment(bright, SegmentSettings(), ij=ij, model=model)
    assert metrics.score(other.labels, found.labels, iou=0.8).f1 > 0.9


@pytest.mark.parametrize("level", [0, 7])
def test_an_image_without_contrast_gives_no_nuclei_and_says_so(ij, model, level, tmp_path):
    flat = Image(np.full((100, 120), level, np.uint8), "flat")
    result = pipeline.segment(flat, SegmentSettings(), ij=ij, model=model)
    assert result.count == 0
    assert f"every pixel of the image is {level}" in result.notes[-1]
    paths = result.save(tmp_path)
    assert rois.read_rois(paths["rois"]) == []
    assert paths["measurements"].read_text().count("\n") == 1


def test_very_small_and_odd_images_work(ij, model):
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (3, 50), (17, 9)):
        result = pipeline.segment(
            Image(rng.integers(0, 255, shape, np.uint8), "odd"), SegmentSettings(), ij=ij, model=model
        )
        assert result.labels.shape == shape


def test_save_writes_what_belongs_together(found, scene, tmp_path):
    paths = found.save(tmp_path / "out put")
    assert {path.name for path in (tmp_path / "out put").iterdir()} == {
        "scene_labels.tif", "scene_rois.zip", "scene_measurements.csv", "scene_overlay.png", "scene_run.json",
    }  # fmt: skip
    labels, notes = read_labels(paths["labels"])
    np.testing.assert_array_equal(labels, found.labels)
    assert notes == ()
    entries = rois.read_rois(paths["rois"])
    assert len(entries) == found.count
    back, problems = rois.rois_to_labels(entries, labels.shape)
    np.testing.assert_array_equal(back, labels)
    assert problems == ()
    assert len(paths["measurements"].read_text().splitlines()) == found.count + 1
    run = json.loads(paths["run"].read_text())
    assert run["nuclei"] == found.count
    assert run["model"]["sha256"] == models.load("stardist-storm").sha256
    assert run["settings"]["asked"] == json.loads(json.dumps(SegmentSettings().as_dict()))
    assert {"tensorflow", "stardist", "imagej", "stormseg_ij"} <= set(run["versions"])
    assert set(run["seconds"]) >= {"preprocess", "network", "postprocess"}
    overlay = read_image(paths["overlay"])
    assert min(overlay.shape) >= 1024


def test_existing_results_are_kept_unless_overwrite(found, tmp_path):
    (tmp_path / "scene_rois.zip").write_text("mine")
    with pytest.raises(ImageError, match=r"scene_rois\.zip exists; give --overwrite"):
        found.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["scene_rois.zip"]
    assert (tmp_path / "scene_rois.zip").read_text() == "mine"
    found.save(tmp_path, overwrite=True)
    assert len(rois.read_rois(tmp_path / "scene_rois.zip")) == found.count


def test_a_failed_write_leaves_no_file_and_keeps_what_was_there(found, tmp_path, monkeypatch):
    def broken(path, pixels):
        raise OSError(28, "No space left on device")

    before = {path.name: path.read_bytes() for path in found.save(tmp_path / "old").values()}
    monkeypatch.setattr("stormseg_ij.results.write_png", broken)  # the fourth of five files
    for folder in ("old", "new"):
        with pytest.raises(ImageError, match="No space left on device"):
            found.save(tmp_path / folder, overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()} == before
    assert not (tmp_path / "new").exists()


def test_overlay_outlines_are_where_labels_are():
    labels = np.zeros((50, 60), np.int32)
    labels[10:20, 30:40] = 1
    rgb = pipeline.overlay(np.zeros((50, 60), np.uint8), labels)
    coloured = np.ptp(rgb, axis=2) > 0
    factor = rgb.shape[0] // 50
    rows, columns = np.nonzero(coloured)
    assert (rows.min() // factor, rows.max() // factor) == (10, 19)
    assert (columns.min() // factor, columns.max() // factor) == (30, 39)


def test_the_network_sees_what_imagej_made(ij, model, scene):
    small = preprocess(scene[0], PreprocessSettings(size=256, blur=1.0), ij)
    pixels = model.info.normalize(small.pixels)
    candidates = model.predict(pixels, probability=0.5, nms=0.3)
    direct = pipeline.segment(scene[0], SegmentSettings(size=256, blur=1.0), ij=ij, model=model)
    assert 0 < direct.count <= len(candidates.scores)
    assert set(np.round(list(direct.scores.values()), 5)) <= set(np.round(candidates.scores.astype(float), 5))
    assert dataclasses.asdict(small)["scale"] == (0.5, 0.5)
