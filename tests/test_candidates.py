"""Candidates drawn at other sizes, against scikit-image's polygons and scipy's interpolation on full-size images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage import draw

from stormseg_ij.candidates import Candidates, Instance, _filled

SHAPE = (40, 52)
SCALES = st.tuples(*[st.sampled_from([0.1, 0.37, 0.5, 1.0, 1.9, 3.3])] * 2)
SLOWLY = settings(deadline=None)


def full_size(instance, shape=SHAPE):
    """The instance in its image; also sees to it that its box is as small as can be."""
    image = np.zeros(shape, bool)
    if instance is not None:
        for side in (instance.mask[0], instance.mask[-1], instance.mask[:, 0], instance.mask[:, -1]):
            assert side.any()
        assert instance.mask.dtype == bool
        assert instance.area == instance.mask.sum()
        image[instance.box] = instance.mask
    return image


def only_polygon(vertices, score=0.5):
    return Candidates(np.asarray(vertices, np.float32)[None], np.array([score], np.float32))


def only_mask(mask, corner, score=0.5):
    return Candidates.of_masks([mask], np.array([corner]), np.array([score], np.float32))


# ---- polygons


@st.composite
def stars(draw):
    """A star-convex polygon of 8 rays that may reach beyond the image, in its pixels."""
    centre = draw(st.tuples(st.floats(-6, 46), st.floats(-6, 58)))
    rays = np.array(draw(st.lists(st.floats(0.3, 17.0), min_size=8, max_size=8)))
    angle = np.arange(8) * np.pi / 4
    return np.array(centre)[:, None] + rays * np.stack([np.sin(angle), np.cos(angle)])


@SLOWLY
@given(stars(), SCALES)
def test_polygons_are_scaled_then_drawn(star, scale):
    candidates = only_polygon((star + 0.5) * np.array(scale)[:, None] - 0.5, 0.75)
    vertices = (candidates.polygons[0].astype(float) + 0.5) / np.array(scale)[:, None] - 0.5
    expected = np.zeros(SHAPE, bool)
    expected[draw.polygon(*vertices, SHAPE)] = True
    instance = candidates.draw(0, SHAPE, scale)
    np.testing.assert_array_equal(full_size(instance), expected)
    assert instance is None or instance.score == 0.75


@SLOWLY
@given(
    st.lists(st.tuples(st.integers(-8, 30), st.integers(-8, 30)), min_size=1, max_size=9),
    st.sampled_from([1.0, 2.0, 4.0]),
    st.integers(0, 12),
    st.integers(0, 12),
)
def test_any_polygon_is_filled_as_by_scikit_image(vertices, parts, height, width):
    y, x = np.array(vertices, float).T / parts  # centres on vertices and sides, crossing and double sides
    expected = np.zeros((height, width), bool)
    expected[draw.polygon(y, x, (height, width))] = True
    np.testing.assert_array_equal(_filled(y, x, height, width), expected)


@pytest.mark.parametrize("scale", [0.25, 0.5, 2.0, 4.0])
def test_a_polygon_keeps_its_place_and_size(scale):
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    disc = np.array([[20.3], [25.6]]) + 12.0 * np.stack([np.sin(angle), np.cos(angle)])
    drawn = full_size(only_polygon((disc + 0.5) * scale - 0.5).draw(0, SHAPE, (scale, scale)))
    assert drawn.sum() == pytest.approx(np.pi * 12**2, rel=0.02)
    assert ndimage.center_of_mass(drawn) == pytest.approx((20.3, 25.6), abs=0.1)


@pytest.mark.parametrize(("y", "x"), [(-9, 20), (49, 20), (20, -9), (20, 61), (-9, -9), (1e4, 1e4), (20.5, 20.5)])
def test_what_covers_no_pixel_is_not_drawn(y, x):
    diamond = np.array([[y, y - 0.4, y, y + 0.4], [x - 0.4, x, x + 0.4, x]])
    assert only_polygon(diamond).draw(0, SHAPE, (1.0, 1.0)) is None
    small = only_mask(np.ones((1, 1), bool), (int(np.floor(y)), int(np.floor(x))))
    assert (small.draw(0, SHAPE, (1.0, 1.0)) is None) == (not (0 <= y < SHAPE[0] and 0 <= x < SHAPE[1]))


# ---- masks


def interpolated(mask, corner, size):
    """Put the mask into an input of this size and resize it bilinearly to the image, in float64."""
    network = np.zeros(size)
    network[corner[0] : corner[0] + mask.shape[0], corner[1] : corner[1] + mask.shape[1]] = mask
    places = [(np.arange(SHAPE[axis]) + 0.5) * size[axis] / SHAPE[axis] - 0.5 for axis in (0, 1)]
    return ndimage.map_coordinates(network, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")


@st.composite
def boxed_masks(draw):
    """A mask, bool or float, its corner, and the size of the network's input in which it lies."""
    size = draw(
        st.tuples(*[st.sampled_from([SHAPE[axis] * k // 20 for k in (2, 7, 10, 20, 38, 40)]) for axis in (0, 1)])
    )
    shape = [draw(st.integers(1, min(9, size[axis]))) for axis in (0, 1)]
    if draw(st.booleans()):
        mask = draw(arrays(np.bool_, shape, elements=st.booleans()))
    else:
        mask = draw(arrays(np.float32, shape, elements=st.floats(0, 1, width=16)))
    return mask, [draw(st.integers(0, size[axis] - shape[axis])) for axis in (0, 1)], size


@SLOWLY
@given(boxed_masks())
def test_masks_are_resized_bilinearly_and_cut_at_half(boxed):
    mask, corner, size = boxed
    values = interpolated(mask, corner, size)
    drawn = full_size(only_mask(mask, corner).draw(0, SHAPE, (size[0] / SHAPE[0], size[1] / SHAPE[1])))
    sure = np.abs(values - 0.5) > 1e-5
    np.testing.assert_array_equal(drawn[sure], values[sure] > 0.5)


@SLOWLY
@given(arrays(np.bool_, (5, 6), elements=st.booleans()), st.integers(-7, 41), st.integers(-7, 53))
def test_a_mask_at_scale_1_is_itself_cut_at_the_sides_of_the_image(mask, top, left):
    around = np.zeros((SHAPE[0] + 40, SHAPE[1] + 40), bool)
    around[top + 20 : top + 25, left + 20 : left + 26] = mask
    drawn = only_mask(mask, (top, left)).draw(0, SHAPE, (1.0, 1.0))
    np.testing.assert_array_equal(full_size(drawn), around[20:-20, 20:-20])


def test_half_is_inside():
    values = np.array([[0.5, 0.49, 0.51]], np.float32)
    assert full_size(only_mask(values, (3, 4)).draw(0, SHAPE, (1.0, 1.0)))[3, 4:7].tolist() == [True, False, True]


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_a_mask_that_fills_the_input_fills_the_image(factor):
    mask = np.full((SHAPE[0] // factor, SHAPE[1] // factor), 0.6, np.float32)
    shape = mask.shape[0] * factor, mask.shape[1] * factor
    assert full_size(only_mask(mask, (0, 0)).draw(0, shape, (1 / factor, 1 / factor)), shape).all()


def test_trimmed_takes_away_empty_sides_only():
    mask = np.zeros((5, 6), bool)
    mask[1, 2] = mask[3, 4] = True
    trimmed = Instance(10, 20, mask, 0.5).trimmed()
    assert (trimmed.top, trimmed.left, trimmed.mask.shape, trimmed.area) == (11, 22, (3, 3), 2)
    assert Instance(10, 20, np.zeros((2, 2), bool), 0.5).trimmed() is None
    assert Instance(10, 20, np.zeros((0, 2), bool), 0.5).trimmed() is None


# ---- many


@pytest.fixture
def mixed():
    """Two polygons, then a bool and a float mask."""
    square = np.array([[-0.4, -0.4, 2.4, 2.4], [-0.4, 2.4, 2.4, -0.4]])
    polygons = np.stack([square + 3, square + np.array([[10], [20]])]).astype(np.float32)
    masks = np.ones((2, 3), bool), np.array([[0.2, 0.7], [0.5, 0.4]], np.float32)
    return Candidates(
        polygons, np.array([0.1, 0.2, 0.3, 0.4], np.float32), masks, np.array([[5, 30], [20, 8]], np.int64)
    )


def drawings(candidates):
    """Each one's pixels and score, in order."""
    found = [candidates.draw(index, SHAPE, (1.0, 1.0)) for index in range(len(candidates))]
    return [(one.top, one.left, one.mask.tolist(), one.score) for one in found]


def test_take_puts_polygons_first_and_keeps_what_belongs_together(mixed):
    every = drawings(mixed)
    for indices, order in [([3, 0, 2], [0, 3, 2]), ([1], [1]), ([], []), ([2, 3], [2, 3]), ([1, 0], [1, 0])]:
        taken = mixed.take(np.array(indices, int))
        assert drawings(taken) == [every[index] for index in order]
        np.testing.assert_array_equal(taken.boxes(), mixed.boxes()[order])


def test_joined_is_the_opposite_of_take(mixed):
    parts = [mixed.take(np.array([index])) for index in (2, 0, 3, 1)]
    assert drawings(Candidates.joined(parts)) == [drawings(mixed)[index] for index in (0, 1, 2, 3)]
    assert drawings(Candidates.joined([mixed, mixed])) == [drawings(mixed)[index] for index in (0, 1, 0, 1, 2, 3, 2, 3)]
    none = Candidates.joined([])
    assert len(none) == 0
    assert none.boxes().shape == (0, 4)
    assert none.diameters().shape == (0,)


def test_moved_shifts_all_by_whole_pixels(mixed):
    expected = [(top + 4, left - 2, mask, score) for top, left, mask, score in drawings(mixed)]
    assert drawings(mixed.moved(4, -2)) == expected


def test_boxes_hold_what_is_drawn(mixed):
    for (top, left, bottom, right), (y, x, mask, _) in zip(mixed.boxes(), drawings(mixed), strict=True):
        height, width = np.shape(mask)
        assert top <= y <= y + height - 1 <= bottom
        assert left <= x <= x + width - 1 <= right
    assert mixed.boxes()[2].tolist() == [5, 30, 6, 32]


def test_diameters_are_those_of_discs_with_the_same_area(mixed):
    expected = np.sqrt(4 / np.pi * np.array([2.8**2, 2.8**2, 6, 2]))
    np.testing.assert_allclose(mixed.diameters(), expected, rtol=1e-6)
