"""Previews: what they show is what a segmentation gives, and the network runs once."""

import dataclasses
import time

import numpy as np
import pytest

from stormseg_ij import metrics, models, pipeline, scale
from stormseg_ij.errors import ImageError, SettingsError
from stormseg_ij.image import Image, read_image
from stormseg_ij.preview import Preview
from stormseg_ij.settings import SegmentSettings
from stormseg_ij.simulate import simulate

PART = np.s_[60:310, 140:460]  # of the sample


@pytest.fixture(scope="module")
def model():
    return models.load("stardist-storm")


@pytest.fixture(scope="module")
def tissue(repository):
    return read_image(repository / "stormseg_ij" / "samples" / "tissue.tif")


@pytest.fixture(scope="module")
def preview(ij, model, tissue):
    return Preview(tissue, SegmentSettings(), ij=ij, model=model)


def same(result, shown):
    """Compare a segmentation with what a preview shows."""
    labels, scores = shown
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, result.labels)
    assert scores == result.scores
    return len(scores) > 10


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"probability": 0.3},
        {"nms": 0.8, "probability": 0.4},
        {"overlap_rules": "score", "nms": 0.6},
        {"overlap_rules": "notebook", "min_area_fraction": 0.7},
        {"min_area_fraction": 0.0},
    ],
)
def test_a_preview_shows_what_a_segmentation_without_refinement_gives(ij, model, tissue, preview, choices):
    settings = SegmentSettings(refine=False, size=preview.size, **choices)
    assert same(pipeline.segment(tissue, settings, ij=ij, model=model), preview.nuclei(**choices))


def test_choices_are_those_of_the_settings_where_they_are_left_out(ij, model, tissue, preview):
    settings = SegmentSettings(size=preview.size, probability=0.4, nms=0.6, overlap_rules="score")
    labels, scores = Preview(tissue, settings, ij=ij, model=model).nuclei(min_area_fraction=0.1)
    other, other_scores = preview.nuclei(probability=0.4, nms=0.6, overlap_rules="score", min_area_fraction=0.1)
    np.testing.assert_array_equal(labels, other)
    assert scores == other_scores
    assert len(scores) != len(preview.nuclei()[1])
    assert (preview.settings.probability, preview.settings.nms) == (model.probability, model.nms)


def test_the_network_and_imagej_run_once(ij, model, tissue, monkeypatch):
    seen = []
    look = type(model).look

    def counted(self, pixels, **limits):
        seen.append(pixels.shape)
        return look(self, pixels, **limits)

    monkeypatch.setattr(type(model), "look", counted)
    preview = Preview(tissue, SegmentSettings(size=256), ij=ij, model=model)
    monkeypatch.setattr(model._network, "predict_sparse", None)
    counts = [len(preview.nuclei(probability=probability)[1]) for probability in (0.1, 0.5, 0.8, 1.0)]
    assert seen == [(256, 256)]
    assert counts[0] >= counts[1] > counts[2] > counts[3] == 0


def test_another_preview_comes_at_once(preview):
    seconds = []
    for probability in (0.2, 0.4, 0.6, 0.8):
        start = time.perf_counter()
        preview.nuclei(probability=probability)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5  # usually 0.03 to 0.15


def test_the_size_of_a_part_is_that_of_the_whole(ij, model, tissue):
    settings = SegmentSettings(size=400, refine=False)
    part = tissue.with_pixels(tissue.pixels[PART])
    preview = Preview(part, settings, ij=ij, model=model, whole_shape=tissue.shape)
    assert (preview.size, preview.settings.size) == (400, 250)  # 320 of 512 columns
    shown = preview.nuclei()
    result = pipeline.segment(part, settings, ij=ij, model=model, whole_shape=tissue.shape)
    assert same(result, shown)
    assert same(pipeline.segment(part, dataclasses.replace(settings, size=250), ij=ij, model=model), shown)
    assert result.run["scale"]["found_by"] == "the user: 400 for the whole 512 x 512 pixels"
    assert (result.run["settings"]["asked"]["size"], result.run["settings"]["used"]["size"]) == (400, 250)
    whole = pipeline.segment(tissue, settings, ij=ij, model=model)
    assert metrics.score(shown[0], whole.labels[PART].copy(), iou=0.5).f1 > 0.85


def test_the_scale_found_in_a_part_serves_the_whole(ij, model, tissue):
    part = tissue.with_pixels(tissue.pixels[PART])
    preview = Preview(part, SegmentSettings(), ij=ij, model=model, whole_shape=tissue.shape)
    assert preview.size == round(preview.settings.size * 512 / 320)
    stated = SegmentSettings(size=preview.size, refine=False)
    assert same(pipeline.segment(part, stated, ij=ij, model=model, whole_shape=tissue.shape), preview.nuclei())


@pytest.mark.parametrize(("size", "part", "expected"), [(512, (512, 512), 512), (256, (9, 5), 8), (8, (100, 1), 8)])
def test_sizes_of_parts_stay_in_the_range_of_sizes(size, part, expected):
    assert scale.part_size(size, part, (512, 512)) == expected


def test_a_part_larger_than_its_whole_is_refused(tissue, model):
    message = r"a part of 512 x 512 pixels is larger than its whole of 600 x 500; give the shape of the whole image"
    for make in (Preview, pipeline.segment):
        with pytest.raises(ImageError, match=message):
            make(tissue, SegmentSettings(size=256), ij=None, model=model, whole_shape=(500, 600))


def test_what_is_too_large_is_refused_before_the_work(model):
    large = Image(np.zeros((1500, 3000), np.uint8), "large")
    with pytest.raises(
        ImageError, match=r"large makes 2000 x 1000 pixels for the network, a preview shows up to 1048576; zoom in"
    ):
        Preview(large, SegmentSettings(size=2000), ij=None, model=model)
    hot = Image(np.full((9, 9), 1e38, np.float32), "hot")
    with pytest.raises(ImageError, match="hot has values up to 1e"):
        Preview(hot, SegmentSettings(), ij=None, model=model)


def test_thresholds_out_of_range_are_refused(preview):
    with pytest.raises(SettingsError, match=r"--probability 0\.01: give a number from 0\.05 to 1"):
        preview.nuclei(probability=0.01)
    with pytest.raises(SettingsError, match=r"--overlap-rules 'none': choose from paper, notebook, score"):
        preview.nuclei(overlap_rules="none")


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (64, 80)])
def test_images_with_nothing_in_them_show_nothing(ij, model, shape):
    labels, scores = Preview(Image(np.full(shape, 7, np.uint8), "flat"), SegmentSettings(), ij=ij, model=model).nuclei()
    assert labels.shape == shape
    assert not labels.any()
    assert scores == {}


def test_notes_tell_what_was_changed(ij, model, tissue):
    real = tissue.with_pixels(tissue.pixels.astype(np.float32))
    settings = SegmentSettings(size=128, equalize=True)
    assert Preview(real, settings, ij=ij, model=model).notes == (
        "32-bit image converted to 16-bit over its full range, to equalize it",
    )
    assert Preview(tissue, settings, ij=ij, model=model).notes == ()


def test_work_is_told_and_can_be_ended(ij, model, tissue):
    class Told(pipeline.Progress):
        def __init__(self, last):
            self.names, self.last = [], last

        def stage(self, name, fraction):
            if name == self.last:
                raise KeyboardInterrupt
            self.names.append((name, fraction))

    told = Told(None)
    Preview(tissue, SegmentSettings(size=128), ij=ij, model=model, progress=told)
    assert list(dict.fromkeys(name for name, _ in told.names)) == ["find scale", "preprocess", "network"]
    assert told.names[-1] == ("network", 1.0)
    told = Told("network")
    with pytest.raises(KeyboardInterrupt):
        Preview(tissue, SegmentSettings(size=128), ij=ij, model=model, progress=told)
    assert told.names[-1] == ("preprocess", 1.0)


def test_a_large_original_is_drawn_at_its_own_size(ij, model):
    scene = simulate(np.random.default_rng(8), kind="cell", size=1500, diameter=150)
    preview = Preview(Image(scene.image, "cells"), SegmentSettings(size=300), ij=ij, model=model)
    labels, scores = preview.nuclei()
    assert labels.shape == (1500, 1500)
    assert len(scores) > 3
    assert metrics.score(labels, scene.labels, iou=0.5).f1 > 0.8
