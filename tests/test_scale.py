"""The size at which an image is segmented, found with a network that is made up: what it sees depends on the size."""

import json

import numpy as np
import pytest

from stormseg_ij.candidates import Candidates
from stormseg_ij.image import Calibration, Image
from stormseg_ij.scale import find_scale, size_limits

WANTED = 30.0


def discs(diameters, score):
    """Candidates of these diameters in pixels."""
    angle = np.linspace(0.0, 2.0 * np.pi, 64, endpoint=False)
    outline = 0.5 * np.stack([np.sin(angle), np.cos(angle)])
    polygons = np.asarray(diameters, np.float32)[:, None, None] * outline
    return Candidates(polygons.astype(np.float32), np.full(len(diameters), score, np.float32))


def image(side, pixel_nm=None):
    um = None if pixel_nm is None else pixel_nm / 1000.0
    return Image(np.zeros((side // 2, side), np.uint8), "x", None if um is None else Calibration(um, um, "micron"))


def network(side, diameter, *, best=0.9):
    """See nuclei of `diameter` pixels: surely at 30 pixels, as clumps below 12 and in fragments above 60.

    ``predict.asked`` are the sizes.
    """
    asked = []

    def predict(size):
        asked.append(size)
        seen = diameter * size / side
        sure = best * np.exp(-0.5 * (np.log(seen / WANTED) / 1.2) ** 2)
        return discs(np.clip(seen, 12.0, 60.0) * np.array([0.9, 1.0, 1.1]), sure)

    predict.asked = asked
    return predict


@pytest.mark.parametrize("pixel_nm", [None, 100.0])
@pytest.mark.parametrize("side", [1000, 3000])
@pytest.mark.parametrize("diameter", [20, 40, 75, 150, 300])
def test_nuclei_of_any_size_get_the_models_diameter(diameter, side, pixel_nm):
    scale = find_scale(image(side, pixel_nm), WANTED, network(side, diameter))
    assert scale.size * diameter / side == pytest.approx(WANTED, rel=0.15)


def test_only_sizes_at_which_nuclei_can_be_seen_are_tried():
    side, nm = 4000, 50.0  # nuclei of 4 to 30 um are 80 to 600 pixels
    predict = network(side, 200)
    scale = find_scale(image(side, nm), WANTED, predict)
    low, high = size_limits(image(side, nm), WANTED)
    assert (low, high) == pytest.approx((200 / np.sqrt(2), 1500 * np.sqrt(2)))
    assert all(low <= size <= high for size in predict.asked)
    assert predict.asked[0] == 256
    assert scale.found_by == "pixel size and coarse passes"
    everything = network(side, 200)
    assert find_scale(image(side), WANTED, everything).found_by == "coarse passes"
    assert everything.asked[0] == 128


@pytest.mark.parametrize(("nm", "diameter"), [(500.0, 400), (4.0, 20)])
def test_a_wrong_pixel_size_costs_tries_and_changes_nothing(nm, diameter):
    side = 2000

    def predict(size):
        seen = diameter * size / side
        return discs([seen] * 5, 0.9) if 10.0 < seen < 90.0 else discs([], 0.0)

    scale = find_scale(image(side, nm), WANTED, predict)
    assert scale.size * diameter / side == pytest.approx(WANTED, rel=0.1)
    assert scale.size == find_scale(image(side), WANTED, predict).size
    assert scale.found_by == "coarse passes: nothing sure at the stated pixel size"


@pytest.mark.parametrize("nm", [1e-300, 1e-10, 0.01, 1e6])
def test_a_pixel_size_at_which_no_nucleus_could_be_seen_is_not_believed(nm):
    assert size_limits(image(1000, nm), WANTED) is None
    assert find_scale(image(1000, nm), WANTED, network(1000, 60)) == find_scale(
        image(1000), WANTED, network(1000, 60)
    )  # and found_by is "coarse passes"


@pytest.mark.parametrize(("side", "pixel_nm", "size"), [(2000, None, 512), (2000, 100.0, 512), (300, None, 300)])
def test_without_nuclei_the_size_is_the_papers(side, pixel_nm, size):
    scale = find_scale(image(side, pixel_nm), WANTED, lambda _: discs([], 0.0))
    assert scale.size == size
    assert len({entry["size"] for entry in scale.tried}) == len(scale.tried) > 0
    assert all(entry["probability"] == entry["diameter_px"] == 0.0 for entry in scale.tried)


def test_a_model_without_a_diameter_takes_the_image_as_it_is():
    def never(size):
        raise AssertionError(size)

    scale = find_scale(image(777), None, never)
    assert (scale.size, scale.tried) == (777, ())
    assert "the model states no size" in scale.found_by


def test_no_size_is_tried_twice_and_all_tries_are_told():
    predict = network(2000, 300, best=0.4)  # unsure: after the likely sizes all others
    scale = find_scale(image(2000, 100.0), WANTED, predict)
    assert sorted(predict.asked) == [entry["size"] for entry in scale.tried] == [128, 256, 512, 1024, 2000]
    told = json.loads(json.dumps(scale.as_dict()))
    assert told["size"] == scale.size
    assert set(told) == {"size", "found_by", "tried"}
    assert set(told["tried"][0]) == {"size", "probability", "diameter_px"}


def test_the_climb_ends_where_only_fragments_are_to_come():
    predict = network(2000, 400)
    find_scale(image(2000), WANTED, predict)
    assert predict.asked[-1] < 2000


def test_a_try_without_nuclei_does_not_end_the_climb():
    def predict(size):
        return {128: discs([20.0], 0.85), 256: discs([], 0.0)}.get(size, discs([30.0], 0.95))

    assert find_scale(image(512), WANTED, predict).size == 512


def test_a_few_large_nuclei_outweigh_many_fragments():
    scale = find_scale(image(512), WANTED, lambda size: discs([5.0] * 10 + [60.0] * 4, 0.9 if size == 256 else 0.1))
    assert scale.size == 128


@pytest.mark.parametrize(("diameter", "size"), [(0.5, 4096), (4000.0, 8)])
def test_the_size_stays_within_what_the_network_takes(diameter, size):
    scale = find_scale(
        image(3000), WANTED, lambda size: discs([diameter], 0.9 if size == 128 else 0.1), largest_px=4096
    )
    assert scale.size == size
