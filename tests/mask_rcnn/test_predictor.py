"""A Mask R-CNN as the pipeline sees it: thresholds afterwards, masks in their boxes, images learned by heart, tiles."""

import dataclasses
import math

import numpy as np
import pytest

from stormseg_ij import metrics, pipeline
from stormseg_ij.errors import SettingsError
from stormseg_ij.image import Calibration, Image
from stormseg_ij.models.mask_rcnn.anchors import normalised
from stormseg_ij.models.mask_rcnn.network import Network
from stormseg_ij.models.mask_rcnn.predictor import LEAST_PROBABILITY, BoxPrediction, gray, padded
from stormseg_ij.settings import SegmentSettings


@pytest.fixture(scope="module")
def model(trained):
    return trained.model


@pytest.fixture(scope="module")
def plane(trained):
    """An image of 100 x 150 pixels with nuclei at its sides."""
    return np.ascontiguousarray(np.tile(trained.gray[0], (2, 3))[20:120, 10:160]) / np.float32(255.0)


def assert_same(one, other):
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(one.corners, other.corners)
    assert len(one.masks) == len(other.masks)
    for a, b in zip(one.masks, other.masks, strict=True):
        np.testing.assert_allclose(a, b, rtol=0.0, atol=1e-5)


def test_thresholds_after_the_network_give_what_it_gives_with_them(model, plane):
    seen = model.look(plane, least_probability=0.05)
    numbers = []
    for probability, nms in [(0.05, 0.3), (0.9, 0.3), (0.5, 0.7), (0.05, 0.0), (0.5, 0.3), (1.0, 0.3)]:
        found = seen.candidates(probability=probability, nms=nms)
        assert_same(found, model.predict(plane, probability=probability, nms=nms))
        assert (found.scores >= probability).all()
        assert (np.diff(found.scores) <= 0.0).all()
        numbers.append(len(found))
    assert numbers[0] >= numbers[4] >= numbers[1]
    assert numbers[2] >= numbers[4] > 4


def test_masks_lie_in_the_plane(model, plane):
    found = model.predict(plane, probability=0.05, nms=0.7)
    assert len(found) > 4
    assert (found.polygons.size, found.scores.dtype) == (0, np.float32)
    for mask, corner in zip(found.masks, found.corners, strict=True):
        assert (corner >= 0).all()
        assert (corner + mask.shape <= plane.shape).all()
        assert mask.dtype == np.float32
        assert min(mask.shape) > 0
        assert 0.0 <= mask.min() <= mask.max() <= 1.0


def test_a_probability_below_what_was_kept_is_refused(model, plane):
    seen = model.look(plane, least_probability=0.3)
    with pytest.raises(SettingsError, match=r"probability 0\.2 is below 0\.3, the least that was kept; give a higher"):
        seen.candidates(probability=0.2, nms=0.3)
    assert model.look(plane, least_probability=0.0).least_probability == LEAST_PROBABILITY
    assert SegmentSettings(probability=LEAST_PROBABILITY).probability == LEAST_PROBABILITY  # any that can be given


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (65, 64)])
def test_where_there_is_nothing_nothing_is_found(model, shape):
    found = model.look(np.zeros(shape, np.float32), least_probability=0.5).candidates(probability=0.9, nms=0.3)
    assert (len(found), found.masks) == (0, ())


def test_planes_become_gray_values_and_multiples_of_64():
    values = gray(np.array([[-0.5, 0.0, 0.5, 1.0, 1.7]], np.float32))
    np.testing.assert_allclose(values, [[0.0, 0.0, 127.5, 255.0, 255.0]])
    for shape, sides in [((1, 1), (64, 64)), ((64, 128), (64, 128)), ((65, 127), (128, 128))]:
        image, window = padded(np.ones(shape, np.float32))
        assert image.shape == sides
        assert window == (0, 0, *shape)
        assert image[: shape[0], : shape[1]].all()
        assert image.sum() == shape[0] * shape[1]


# ---- two images learned by heart


def drawn(found, shape):
    """Labels of candidates, the more probable above."""
    labels = np.zeros(shape, np.int32)
    for place in reversed(range(len(found))):
        instance = found.draw(place, shape, (1.0, 1.0))
        if instance is not None:
            labels[instance.box][instance.mask] = place + 1
    return labels


def test_two_images_learned_by_heart_are_found_again(trained):
    for image, labels in zip(trained.gray, trained.labels, strict=True):
        found = trained.model.predict(image / np.float32(255.0), probability=0.5, nms=0.3)
        score = metrics.score(drawn(found, labels.shape), labels, iou=0.7)
        assert score.f1 > 0.95, score


def test_every_loss_falls(trained):
    first, last = trained.losses[:10].mean(axis=0), trained.losses[-10:].mean(axis=0)
    assert trained.losses.shape == (160, 6)
    assert (last < 0.5 * first).all(), (first, last)
    assert last[0] < 0.1 * first[0]


def test_the_total_is_the_sum_of_the_five(trained):
    np.testing.assert_allclose(trained.losses[:, 0], trained.losses[:, 1:].sum(axis=1), rtol=1e-5)


# ---- boxes that are given


SHAPE, WINDOW = (128, 192), (16, 8, 96, 160)


@dataclasses.dataclass
class Flat:
    """A mask head whose masks say which class they are of; counts what it draws."""

    drawn: int = 0

    def __call__(self, seen, *, training):
        import tensorflow as tf

        assert training is False
        self.drawn += len(seen)
        return tf.tile(tf.constant([[[[0.0, 0.6, 0.8]]]]), [len(seen), 28, 28, 1])


def prediction(narrow, boxes, *, classes=None, scores=None, head=None, **config):
    """Boxes in pixels of an input of 128 x 192 pixels, in which a plane of 80 x 152 lies."""
    network = Network(narrow(**config), None, None, head or Flat())
    maps = [np.zeros((1, SHAPE[0] // s, SHAPE[1] // s, 16), np.float32) for s in (4, 8, 16, 32)]
    number = len(boxes)
    scores = np.linspace(0.9, 0.5, number) if scores is None else scores
    classes = [1] * number if classes is None else classes
    return BoxPrediction(
        network, maps, SHAPE, WINDOW, normalised(np.array(boxes), SHAPE),
        np.array(classes, np.int32), np.array(scores, np.float32), 0.3,
    )  # fmt: skip


def test_boxes_are_cut_to_the_plane_and_those_without_a_pixel_go(narrow):
    boxes = [(20, 10, 30, 40), (0, 0, 26, 18), (90, 150, 128, 192), (0, 0, 16, 50), (100, 20, 120, 40)]
    found = prediction(narrow, boxes).candidates(probability=0.3, nms=0.5)
    assert found.corners.tolist() == [[4, 2], [0, 0], [74, 142]]
    assert [mask.shape for mask in found.masks] == [(10, 30), (10, 10), (6, 10)]
    np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.7], atol=1e-6)


def test_a_mask_is_that_of_its_class(narrow):
    boxes = [(20, 10, 60, 50), (20, 100, 60, 140)]
    found = prediction(narrow, boxes, classes=[2, 1]).candidates(probability=0.3, nms=0.5)
    assert [round(float(mask[20, 20]), 3) for mask in found.masks] == [0.8, 0.6]


def test_the_best_ones_are_kept_where_there_are_too_many(narrow):
    boxes = [(20 + 10 * i, 10, 28 + 10 * i, 50) for i in range(6)]
    scores = [0.5, 0.9, 0.4, 0.8, 0.7, 0.6]
    seen = prediction(narrow, boxes, scores=scores, most_instances=3)
    found = seen.candidates(probability=0.3, nms=0.5)
    np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.7], atol=1e-6)
    assert found.corners[:, 0].tolist() == [14, 34, 44]


def test_a_mask_is_drawn_once_whatever_the_thresholds(narrow):
    head = Flat()
    seen = prediction(narrow, [(20 + 10 * i, 10, 28 + 10 * i, 50) for i in range(6)], head=head)
    for probability in (0.8, 0.6, 0.3, 0.7):
        seen.candidates(probability=probability, nms=0.5)
    assert head.drawn == 6


def resized(mask, height, width):
    """Bilinear at the centres of pixels; around the mask there is nothing."""
    side = len(mask)
    surrounded = np.pad(mask, 1)
    out = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            y, x = (i + 0.5) * side / height - 0.5, (j + 0.5) * side / width - 0.5
            top, left = math.floor(y), math.floor(x)
            for a, part_y in ((top, top + 1 - y), (top + 1, y - top)):
                for b, part_x in ((left, left + 1 - x), (left + 1, x - left)):
                    out[i, j] += part_y * part_x * surrounded[a + 1, b + 1]
    return out


@pytest.mark.parametrize("size", [(40, 50), (10, 60), (28, 28), (7, 9), (1, 3)])
def test_masks_are_stretched_to_their_boxes(narrow, size):
    import tensorflow as tf

    small = np.random.default_rng(3).random((28, 28)).astype(np.float32)

    def head(seen, *, training):
        return tf.constant(np.stack([small] * 2, axis=-1)[np.newaxis])

    height, width = size
    seen = prediction(narrow, [(20, 30, 20 + height, 30 + width)], head=head)
    (mask,) = seen.candidates(probability=0.3, nms=0.5).masks
    np.testing.assert_allclose(mask, resized(small, height, width), atol=1e-5)


def test_400_nuclei_of_a_large_image_take_little_memory(narrow):
    network = Network(narrow(), None, None, Flat())
    first = np.stack(np.meshgrid(np.arange(20) * 45, np.arange(20) * 45, indexing="ij"), axis=-1).reshape(-1, 2)
    boxes = normalised(np.concatenate([first, first + 150], axis=1), (1024, 1024))
    maps = [np.zeros((1, 1024 // s, 1024 // s, 16), np.float32) for s in (4, 8, 16, 32)]
    seen = BoxPrediction(
        network, maps, (1024, 1024), (0, 0, 1024, 1024), boxes, np.ones(400, np.int32),
        np.linspace(0.9, 0.5, 400).astype(np.float32), 0.05,
    )  # fmt: skip
    found = seen.candidates(probability=0.5, nms=0.7)
    assert len(found) == 400
    assert sum(mask.nbytes for mask in found.masks) < 40e6
    assert sum(mask.nbytes for mask in seen._drawn.values()) < 10e6  # whole images would be 1.6 GB


# ---- in the pipeline


@pytest.mark.parametrize("route", ["tile", "resize"])
def test_a_whole_image_is_segmented_in_tiles_and_in_one_go(ij, trained, route):
    pixels, labels = np.tile(trained.gray[0], (3, 3)).astype(np.uint8), np.zeros((192, 192), np.int32)
    for row in range(3):
        for column in range(3):
            part = trained.labels[0] + 4 * (3 * row + column)
            labels[64 * row : 64 * row + 64, 64 * column : 64 * column + 64] = np.where(trained.labels[0], part, 0)
    settings = SegmentSettings(
        size=192, route=route, tile=128, overlap=64, refine=False, overlap_rules="score", probability=0.5, nms=0.3
    )
    image = Image(pixels, "nine times", Calibration(1.0, 1.0, "pixel"))
    result = pipeline.segment(image, settings, ij=ij, model=trained.model)
    assert result.labels.shape == (192, 192)
    score = metrics.score(result.labels, labels, iou=0.5)
    assert score.f1 > 0.5, score  # two images learned by heart, seen where others lie beside them


def test_a_model_that_saw_more_than_it_keeps_says_so(ij, trained):
    network = dataclasses.replace(
        trained.model.network, config=dataclasses.replace(trained.model.network.config, most_instances=2)
    )
    model = dataclasses.replace(trained.model, network=network)
    assert (model.most_instances, trained.model.most_instances) == (2, 400)
    image = Image(trained.gray[0].astype(np.uint8), "four discs", Calibration(1.0, 1.0, "pixel"))
    for route, advice in (("tile", "--tile 256"), ("resize", "--route tile")):
        settings = SegmentSettings(size=64, route=route, refine=False, probability=0.5, nms=0.3)
        result = pipeline.segment(image, settings, ij=ij, model=model)
        assert result.count <= 2
        assert any("keeps 2 nuclei" in note and note.endswith(f"give {advice}") for note in result.notes)
        assert not pipeline.segment(image, settings, ij=ij, model=trained.model).notes
