"""Images simulated while a network trains: the same for a seed, always new ones, and no process is left behind."""

import multiprocessing
import subprocess
import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import psutil
import pytest

from stormseg_ij import stream
from stormseg_ij.errors import ImageError, StormsegError
from stormseg_ij.image import write_labels
from stormseg_ij.models.info import ModelInfo
from stormseg_ij.settings import TrainSettings
from stormseg_ij.shapes import read_templates
from stormseg_ij.simulate import TRAINING_TEXTURES, VALIDATION_TEXTURES
from stormseg_ij.stream import Stream

INFO = ModelInfo(nucleus_diameter_px=24.0)
SETTINGS = TrainSettings(simulate=2, seed=5)


@pytest.fixture
def ordered(monkeypatch):
    """Orders in place of images: what a stream has ordered so far, nothing being made."""
    orders = []

    def submit(_, make, order):
        orders.append(order)
        future = Future()
        future.set_result(order)
        return future

    monkeypatch.setattr(stream.ProcessPoolExecutor, "submit", submit)
    return orders


def numbers(examples):
    return [order.seed[-1] for order in examples]


def test_the_window_moves_by_the_new_images_of_each_epoch(ordered, monkeypatch):
    monkeypatch.setattr(stream, "_KEPT_EPOCHS", 3)
    with Stream(INFO, SETTINGS) as images:
        windows = [numbers(images.examples(epoch)) for epoch in range(5)]
        assert windows == [[0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [2, 3, 4, 5, 6, 7], [4, 5, 6, 7, 8, 9]]
        made = [order.seed for order in ordered]
        assert len(set(made)) == len(made)  # no image twice
        assert images.examples(4) is images.examples(4)


def test_a_worker_that_was_ended_is_one_line(monkeypatch):
    def submit(*_):
        raise BrokenProcessPool

    monkeypatch.setattr(stream.ProcessPoolExecutor, "submit", submit)
    with pytest.raises(StormsegError, match=r"ended from outside, .*; go on with --resume --workers 1$"):
        Stream(INFO, SETTINGS)
    broken = Future()
    broken.set_exception(BrokenProcessPool())
    with pytest.raises(StormsegError, match=r"ended from outside"):
        stream._result(broken)


def test_images_of_the_next_epoch_are_begun_and_no_more(ordered):
    with Stream(INFO, SETTINGS) as images:
        kept = len(ordered)
        images.examples(0)
        assert numbers(ordered[kept:]) == [0, 1, 2, 3]


def test_a_resumed_stream_orders_what_the_first_one_had(ordered):
    with Stream(INFO, SETTINGS) as one, Stream(INFO, SETTINGS) as other:
        for epoch in range(21):
            expected = one.examples(epoch)
        assert other.examples(20) == expected
        assert len(expected) == 32  # of the last 16 epochs


def test_other_seeds_give_other_images_and_workers_do_not(ordered):
    examples = []
    for settings in ({"seed": 5}, {"seed": 5, "workers": 3}, {"seed": 6}):
        with Stream(INFO, TrainSettings(simulate=2, **settings)) as images:
            examples.append([*images.examples(0), *images.kept])
    assert examples[0] == examples[1]
    assert not set(examples[0]) & set(examples[2])


def test_validation_images_have_textures_that_no_training_image_has(ordered):
    with Stream(INFO, SETTINGS) as images:
        images.examples(3)
        kept = list(images.kept)
    assert {order.textures for order in kept} == {VALIDATION_TEXTURES}
    assert {order.textures for order in ordered if order not in kept} == {TRAINING_TEXTURES}
    assert not {order.seed for order in kept} & {order.seed for order in ordered if order not in kept}


def test_an_order_is_an_image_that_depends_on_its_seed_only():
    orders = [stream._Order((5, 5, i), TRAINING_TEXTURES, INFO) for i in (0, 1, 0)]
    first, other, again = (stream._make(order) for order in orders)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.pixels.shape != other.pixels.shape or (first.pixels != other.pixels).any()
    textured = stream._make(stream._Order((5, 5, 0), VALIDATION_TEXTURES, INFO))
    assert (textured.pixels != first.pixels).any()


def test_images_are_of_many_sizes_and_scales():
    made = [stream._make(stream._Order((0, 5, i), TRAINING_TEXTURES, INFO)) for i in range(6)]
    assert all(192 <= side <= 640 for example in made for side in example.labels.shape)
    scales = [example.scale for example in made]
    assert max(scales) > 2.0 * min(scales)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(stream, "_VALIDATION_IMAGES", 1)
    monkeypatch.setattr(stream, "_KEPT_EPOCHS", 2)


def test_processes_make_the_images_and_end_with_the_stream(small, tmp_path, monkeypatch):
    labels = np.zeros((40, 40), np.int32)
    labels[10:30, 5:35] = 1
    write_labels(tmp_path / "labels" / "a.tif", labels)
    settings = TrainSettings(simulate=1, seed=5, shapes=str(tmp_path))
    before = set(multiprocessing.active_children())
    with Stream(INFO, settings) as images:
        made = [*images.kept, *images.examples(2)]
        workers = set(multiprocessing.active_children()) - before
        assert len(workers) == 1
    for worker in workers:
        worker.join(timeout=20.0)
        assert not worker.is_alive()
    monkeypatch.setattr(stream, "_templates", read_templates(tmp_path))  # as a worker has them
    textures = (VALIDATION_TEXTURES, TRAINING_TEXTURES, TRAINING_TEXTURES)
    for example, purpose, i, texture in zip(made, (4, 5, 5), (0, 1, 2), textures, strict=True):
        again = stream._make(stream._Order((5, purpose, i), texture, INFO))
        np.testing.assert_array_equal(example.pixels, again.pixels)
        np.testing.assert_array_equal(example.labels, again.labels)


def test_shapes_that_are_not_there_start_no_process(tmp_path):
    before = set(multiprocessing.active_children())
    with pytest.raises(ImageError, match="holds no label images"):
        Stream(INFO, TrainSettings(simulate=1, shapes=str(tmp_path)))
    assert set(multiprocessing.active_children()) == before


def test_the_processes_of_a_killed_training_end_too():
    code = """
import time
from stormseg_ij import stream
from stormseg_ij.models.info import ModelInfo
from stormseg_ij.settings import TrainSettings
stream._VALIDATION_IMAGES = 1
images = stream.Stream(ModelInfo(), TrainSettings(simulate=1, workers=2))
images.examples(0)
print("ready", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as trainer:
        try:
            assert trainer.stdout.readline() == "ready\n"
            children = psutil.Process(trainer.pid).children(recursive=True)
        finally:
            trainer.kill()
    assert len(children) >= 1
    _, alive = psutil.wait_procs(children, timeout=20.0)
    assert alive == []
