"""Outlines end where the localizations end."""

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import measure, morphology

from stormseg_ij import borders, metrics, models, pipeline
from stormseg_ij import refine as module
from stormseg_ij.image import Image
from stormseg_ij.refine import refine
from stormseg_ij.settings import SegmentSettings
from stormseg_ij.simulate import simulate


def disc(shape: tuple[int, int], y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.indices(shape)
    return np.hypot(rows - y, columns - x) <= radius


def kidney(side: int = 120) -> np.ndarray:
    """A disc of half the image with a dent from the right."""
    half = side / 2.0
    return disc((side, side), half, half, side / 4.0) & ~disc((side, side), half, 1.5 * half, side / 9.0)


def localizations(mask: np.ndarray, *, mean: float = 0.6, gray: int = 40) -> np.ndarray:
    """Sparse counts: half of the pixels of a nucleus are zero; a few lie outside."""
    rng = np.random.default_rng(3)
    return np.clip(rng.poisson(np.where(mask, mean, 0.01)) * gray, 0, 255).astype(np.uint8)


def iou(one: np.ndarray, two: np.ndarray) -> float:
    return float((one & two).sum() / (one | two).sum())


def scene(kind: str, diameter: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, truth, and outlines that are rounder and larger than the truth."""
    made = simulate(np.random.default_rng(5), kind=kind, size=int(8 * diameter), diameter=diameter)
    start = np.zeros_like(made.labels)
    for region in measure.regionprops(made.labels):
        hull = disc(start.shape, *region.centroid, 0.53 * region.equivalent_diameter_area) | (
            ndimage.binary_dilation(made.labels == region.label, iterations=max(round(0.04 * diameter), 1))
        )
        start[hull & (start == 0)] = region.label
    return made.image, made.labels, borders.whole(start, start)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_kidney_gets_its_dent(dtype):
    truth = kidney()
    start = ndimage.binary_dilation(morphology.convex_hull_image(truth), iterations=2)
    assert iou(start, truth) < 0.82
    refined = refine(start.astype(np.int32) * 7, localizations(truth).astype(dtype))
    assert set(np.unique(refined)) == {0, 7}
    assert iou(refined > 0, truth) > 0.9


def test_an_outline_also_grows():
    truth = disc((120, 120), 60, 60, 30)
    start = disc((120, 120), 60, 60, 27)
    assert iou(refine(start.astype(np.int32), localizations(truth)) > 0, truth) > iou(start, truth) + 0.08


def test_the_border_moves_to_the_dark_line_between_two_rims():
    truth = np.zeros((60, 100), np.int32)
    truth[10:50, 10:50], truth[10:50, 52:90] = 1, 2
    depth = np.maximum(*(ndimage.distance_transform_edt(truth == n) for n in (1, 2)))
    image = np.where(truth == 0, 0.0, np.where(depth <= 3, 90.0, 30.0)).astype(np.float32)
    start = np.zeros_like(truth)
    start[10:50, 10:48], start[10:50, 48:90] = 1, 2  # the border lies inside the first nucleus
    refined = refine(start, image)
    assert iou(start == 1, truth == 1) < 0.96
    assert iou(refined == 1, truth == 1) > 0.98
    assert abs((refined[15:45] == 1).sum(axis=1).mean() - 40.0) <= 1.0


def test_dark_insides_and_nucleoli_stay_inside():
    truth = disc((120, 120), 60, 60, 35)
    bright = truth & ~disc((120, 120), 60, 60, 28)  # a rim only, open on one side
    bright[55:65, 60:] = False
    refined = refine(truth.astype(np.int32), localizations(bright, mean=2.0))
    assert iou(refined > 0, truth) > 0.93
    assert refined[60, 60] == 1


@pytest.mark.parametrize(("kind", "diameter"), [("tissue", 30.0), ("tissue", 60.0), ("cell", 90.0)])
def test_simulated_nuclei_gain(kind, diameter):
    image, truth, start = scene(kind, diameter)
    before, after = (np.mean(metrics.f1_curve(labels, truth)) for labels in (start, refine(start, image)))
    assert after > before + 0.05


def test_size_in_pixels_does_not_matter():
    image, _, start = scene("tissue", 30.0)
    once = refine(start, image)
    big = [np.kron(array, np.ones((3, 3), array.dtype)) for array in (start, image, once)]
    other = refine(big[0], big[1])
    assert metrics.score(other, big[2], iou=0.85).f1 > 0.95
    assert iou(other > 0, big[2] > 0) > 0.97


def test_factor_and_offset_of_the_intensities_do_not_matter():
    image, _, start = scene("tissue", 40.0)
    once = refine(start, image)
    for other in (image.astype(np.uint16) * 257, image.astype(np.float32) * 1e-3, image.astype(np.float64) - 1000.0):
        assert (refine(start, other) != once).mean() < 1e-3


def test_every_label_is_kept_as_one_piece_without_holes():
    image, _, start = scene("tissue", 40.0)
    start = np.where(start > 0, 3 * start, 0).astype(np.int32)  # numbers with gaps
    before = start.copy()
    refined = refine(start, image)
    np.testing.assert_array_equal(start, before)
    np.testing.assert_array_equal(refine(start, image), refined)
    assert refined.dtype == np.int32
    assert set(np.unique(refined)) == set(np.unique(start))
    old, new = np.bincount(start.ravel()), np.bincount(refined.ravel())
    for label in np.unique(start)[1:]:
        assert 0.5 * old[label] <= new[label] <= 1.6 * old[label]
        assert ndimage.label(refined == label)[1] == 1
        holes = ndimage.binary_fill_holes(refined == label) & (refined != label)
        assert (refined[holes] > 0).all()


def test_a_label_without_any_signal_keeps_about_its_outline():
    image = localizations(disc((120, 240), 60, 60, 30))
    start = disc((120, 240), 60, 60, 32) * 1 + disc((120, 240), 60, 180, 30) * 2
    image[:, 120:] = 0
    refined = refine(start.astype(np.int32), image)
    assert iou(refined == 2, start == 2) > 0.9


def test_labels_gone_astray_keep_their_old_outline():
    old = np.zeros((20, 40), np.int32)
    old[5:15, 5:15], old[5:15, 20:30], old[5:15, 32:38] = 1, 2, 3
    new = old.copy()
    new[old == 1] = 0  # lost
    new[4:16, 16:32] = 2  # too large: 192 px of 100, and before that in the way of none
    new[8, 32:38] = 0  # cut in two: the larger piece stays
    whole = borders.whole(new, old)
    np.testing.assert_array_equal(whole[:, :31], old[:, :31])
    assert (whole == 3).sum() == 36


@pytest.mark.parametrize("level", [0, 9])
def test_an_image_without_contrast_changes_nothing(level):
    labels = scene("tissue", 30.0)[2]
    np.testing.assert_array_equal(refine(labels, np.full(labels.shape, level, np.uint8)), labels)


def test_no_labels_and_labels_from_border_to_border():
    image = localizations(kidney())
    empty = np.zeros(image.shape, np.int32)
    np.testing.assert_array_equal(refine(empty, image), empty)
    np.testing.assert_array_equal(refine(empty + 4, image), empty + 4)
    for shape in ((1, 1), (1, 7), (5, 2)):
        labels = np.zeros(shape, np.int32)
        labels[0, 0] = 1
        assert refine(labels, np.arange(labels.size).reshape(shape)).max() == 1


@settings(max_examples=60, deadline=None)
@given(mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=25)), most=st.integers(1, 20))
def test_short_distances_are_exact(mask, most):
    mask[0, 0] = True
    exact, found = ndimage.distance_transform_edt(~mask), borders._distance(mask, most)
    near = exact <= most
    np.testing.assert_allclose(found[near], exact[near], rtol=1e-6)
    assert (found[~near] > most).all()


@settings(max_examples=100, deadline=None)
@given(labels=hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 2)))
def test_what_one_label_encloses_is_filled(labels):
    expected = labels.copy()
    lakes, count = ndimage.label(labels == 0)
    for lake in range(1, count + 1):
        shore = ndimage.binary_dilation(np.pad(lakes == lake, 1))
        around = set(np.pad(labels, 1, constant_values=-1)[shore].tolist()) - {0}
        if len(around) == 1 and -1 not in around:
            expected[lakes == lake] = around.pop()
    np.testing.assert_array_equal(borders._filled(labels), expected)


@settings(max_examples=100, deadline=None)
@given(
    labels=hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7), elements=st.integers(0, 3)),
    factor=st.integers(2, 7),
)
def test_enlarged_labels_keep_pieces_and_middles(labels, factor):
    shape = tuple(side * factor for side in labels.shape)
    large = module._enlarged(labels, factor, tuple(slice(0, side) for side in shape))
    middles = large[factor // 2 :: factor, factor // 2 :: factor]
    if factor % 2:
        np.testing.assert_array_equal(middles, labels)
    part = module._enlarged(labels, factor, (slice(1, shape[0]), slice(0, shape[1] - 1)))
    np.testing.assert_array_equal(part, large[1:, :-1])
    for label in range(4):
        assert ndimage.label(large == label)[1] <= ndimage.label(labels == label)[1]


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"labels of shape \(3, 4\) for an image of shape \(4, 3\)"):
        refine(np.ones((3, 4), np.int32), np.zeros((4, 3)))


def small_windows(patch: pytest.MonkeyPatch, core_px: int, *, fine_px: int = 1_000_000) -> None:
    """Let every image be a large one."""
    patch.setattr(module, "_ONE_WINDOW_PX", 0)
    patch.setattr(module, "_CORE_PX", core_px)
    patch.setattr(module, "_FINE_PX", fine_px)


@functools.cache
def many_sizes() -> tuple[np.ndarray, np.ndarray]:
    """Image and outlines of small and usual nuclei, and of one very large one, with gaps in their numbers."""
    image, labels = np.zeros((900, 620), np.uint8), np.zeros((900, 620), np.int32)
    for number, (kind, size, diameter, top, left) in enumerate(
        [("tissue", 300, 20.0, 0, 0), ("cell", 320, 60.0, 0, 300), ("cell", 420, 120.0, 310, 10)]
    ):
        made = simulate(np.random.default_rng(number), kind=kind, size=size, diameter=diameter)
        spot = np.s_[top : top + size, left : left + size]
        image[spot], labels[spot] = made.image, np.where(made.labels, 5 * made.labels + 2_000 * number, 0)
    large = disc(image.shape, 640, 470, 180)
    image[large], labels[large] = localizations(large)[large], 9_999
    return image, np.where(labels > 0, labels, ndimage.grey_dilation(labels, 5)).astype(np.int32)


@pytest.mark.parametrize("core_px", [110, 250])
def test_windows_give_what_the_whole_image_gives(monkeypatch, core_px):
    image, start = many_sizes()
    whole = refine(start, image)
    assert (whole != start).mean() > 0.01
    small_windows(monkeypatch, core_px)
    told: list[float] = []
    by_windows = refine(start, image, progress=told.append)
    np.testing.assert_array_equal(by_windows, whole)  # the same sums in the same order: not a pixel differs
    assert len(told) > 3
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_in_place_and_from_a_file(monkeypatch, tmp_path):
    image, start = many_sizes()
    before = start.copy()
    whole = refine(start, image)
    np.save(tmp_path / "image.npy", image)
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    small_windows(monkeypatch, 200)
    other, same = np.full_like(start, 7), start.copy()
    assert refine(start, mapped, out=other) is other
    assert refine(same, mapped, out=same) is same
    for found, expected in ((other, whole), (same, whole), (start, before)):
        np.testing.assert_array_equal(found, expected)


def test_large_nuclei_gain_on_a_coarser_grid_too(monkeypatch):
    image, truth, start = scene("cell", 110.0)
    fine = refine(start, image)
    small_windows(monkeypatch, 400, fine_px=50)
    coarse = refine(start, image)
    assert set(np.unique(coarse)) == set(np.unique(start))
    assert all(ndimage.label(coarse == label)[1] == 1 for label in np.unique(start)[1:])
    before, gained, expected = (np.mean(metrics.f1_curve(labels, truth)) for labels in (start, coarse, fine))
    assert gained > before + 0.05
    assert gained > expected - 0.03
    assert (coarse != fine).mean() < 5e-3
    small_windows(monkeypatch, 5_000, fine_px=50)
    assert (refine(start, image) != coarse).mean() < 1e-4  # one window


def test_what_a_coarser_grid_does_not_see_stays(monkeypatch):
    image, _, start = scene("cell", 60.0)
    start[start == 0] = ndimage.grey_dilation(start, 3)[start == 0]
    y, x = np.argwhere(start == 0)[len(start) // 2]
    start[y, x] = 999
    small_windows(monkeypatch, 200, fine_px=15)
    refined = refine(start, image)
    np.testing.assert_array_equal(refined == 999, start == 999)


def test_a_nucleus_larger_than_a_window_keeps_its_outline(monkeypatch):
    image, start = many_sizes()
    small_windows(monkeypatch, 200)
    monkeypatch.setattr(module, "_LARGEST_PX", 300)
    refined = refine(start, image)
    np.testing.assert_array_equal(refined == 9_999, start == 9_999)
    assert (refined != start).mean() > 0.005


def test_rows_of_windows_see_labels_as_they_were():
    """Windows of very different height: the rows above that a later one needs are kept."""
    labels = np.arange(40 * 3, dtype=np.int32).reshape(40, 3)
    columns = slice(0, 3)

    def window(seen: tuple[int, int], target: tuple[int, int]) -> module._Window:
        return module._Window((slice(*seen), columns), (slice(*target), columns))

    rows = [
        [window((0, 14), (2, 6)), window((3, 20), (5, 10))],
        [window((8, 22), (10, 20))],
        [window((1, 40), (20, 30)), window((29, 35), (32, 33))],
    ]
    before = labels.copy()
    seen = []
    for old, part in module._with_old_labels(labels, rows):
        np.testing.assert_array_equal(old, before[part.seen])
        labels[part.target] = -1
        seen.append(part)
    assert seen == [part for row in rows for part in row]


def test_segment_refines_where_asked_or_where_the_model_says_so(ij):
    model = models.load("stardist-storm")
    image = Image(scene("cell", 40.0)[0], "scene")
    model.info = dataclasses.replace(model.info, refine=False)
    plain, asked = (pipeline.segment(image, SegmentSettings(refine=r), ij=ij, model=model) for r in (None, True))
    model.info = dataclasses.replace(model.info, refine=True)
    own, refused = (pipeline.segment(image, SegmentSettings(refine=r), ij=ij, model=model) for r in (None, False))
    np.testing.assert_array_equal(asked.labels, own.labels)
    np.testing.assert_array_equal(plain.labels, refused.labels)
    assert asked.count == plain.count == len(asked.scores) > 0
    assert sorted(asked.scores.values()) == sorted(plain.scores.values())
    assert (asked.labels != plain.labels).any()
    assert [result.run["settings"]["used"]["refine"] for result in (plain, asked, own, refused)] == [0, 1, 1, 0]
    assert "refine" in asked.run["seconds"]
    assert "refine" not in plain.run["seconds"]
