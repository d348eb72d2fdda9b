"""Label images as a whole: the same by blocks and windows as all at once, and in no more memory."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import measure

from stormseg_ij import regions
from stormseg_ij.labels import areas, largest_pieces, remove_small, renumber

LABELS = hnp.arrays(
    np.int32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=14),
    elements=st.sampled_from([0, 0, 1, 2, 7, 40_000]),
)
SIZES = st.sampled_from([(1, 1), (9, 20), (1 << 20, 1 << 23)])  # of blocks and windows in pixels


def small(sizes: tuple[int, int], patch: pytest.MonkeyPatch) -> None:
    """Make blocks and windows so small that tiny images have many."""
    patch.setattr(regions, "_BLOCK_PX", sizes[0])
    patch.setattr(regions, "_WINDOW_PX", sizes[1])


def slow_largest_pieces(labels: np.ndarray) -> np.ndarray:
    kept = np.zeros_like(labels)
    for label in np.unique(labels[labels > 0]):
        pieces = measure.label(labels == label, connectivity=1)
        area = np.bincount(pieces.ravel())[1:]
        kept[pieces == np.flatnonzero(area == area.max())[-1] + 1] = label  # of equal ones the last
    return kept


def slow_remove_small(labels: np.ndarray, fraction: float) -> np.ndarray:
    area = {label: (labels == label).sum() for label in np.unique(labels[labels > 0])}
    gone = [label for label in area if area[label] < fraction * np.mean(list(area.values()))]
    return np.where(np.isin(labels, gone), 0, labels)


def slow_renumber(labels: np.ndarray) -> tuple[np.ndarray, dict[int, int]]:
    order = {0: 0}
    for label in labels.ravel().tolist():
        order.setdefault(label, len(order))
    return np.array([order[label] for label in labels.ravel().tolist()]).reshape(labels.shape), order


@settings(max_examples=150, deadline=None)
@given(labels=LABELS, sizes=SIZES, fraction=st.sampled_from([0.0, 0.25, 0.6, 1.0]))
def test_by_blocks_and_windows_as_all_at_once(labels, sizes, fraction):
    numbers, order = slow_renumber(labels)
    scores = {label: label / 7.0 for label in (1, 7, 40_000, 50_000)}
    with pytest.MonkeyPatch.context() as patch:
        small(sizes, patch)
        for function, expected in (
            (lambda image, out: largest_pieces(image, out=out), slow_largest_pieces(labels)),
            (lambda image, out: remove_small(image, fraction, out=out), slow_remove_small(labels, fraction)),
            (lambda image, out: renumber(image, scores, out=out)[0], numbers),
        ):
            before = labels.copy()
            made = function(labels, None)
            np.testing.assert_array_equal(made, expected)
            np.testing.assert_array_equal(labels, before)
            assert made.dtype == np.int32
            assert made is not labels
            for out in (np.full_like(labels, 5), before):  # another image; the image itself
                assert function(before, out) is out
                np.testing.assert_array_equal(out, expected)
        expected_scores = {order[label]: score for label, score in scores.items() if label in order}
        assert renumber(labels, scores)[1] == expected_scores
        np.testing.assert_array_equal(areas(labels), np.append(0, np.bincount(labels.ravel())[1:]))


@settings(max_examples=150, deadline=None)
@given(labels=LABELS, sizes=SIZES)
def test_regions_against_scikit_image(labels, sizes):
    with pytest.MonkeyPatch.context() as patch:
        small(sizes, patch)
        found = regions.find_regions(labels)
    expected = measure.regionprops(labels)
    assert found.labels.tolist() == [region.label for region in expected]
    assert found.area_px.tolist() == [region.area for region in expected]
    assert found.boxes.tolist() == [[region.bbox[i] for i in (1, 0, 3, 2)] for region in expected]
    assert found.first.tolist() == [np.flatnonzero(labels == label)[0] for label in found.labels]


@settings(max_examples=150, deadline=None)
@given(labels=LABELS, sizes=SIZES)
def test_windows_hold_each_nucleus_once_and_whole(labels, sizes):
    ordered = slow_renumber(labels)[0].astype(np.int32)
    with pytest.MonkeyPatch.context() as patch:
        small(sizes, patch)
        for image in (labels, ordered):
            seen: list[int] = []
            first_rows = []
            rebuilt = np.zeros_like(image)
            for window in regions.windows(image):
                spot = rebuilt[window.rows, window.columns]
                spot += regions.kept_only(image[window.rows, window.columns], window.labels)
                rows = {label: int(np.argwhere(image == label)[0, 0]) for label in window.labels.tolist()}
                first_rows.append((min(rows.values()), max(rows.values())))
                seen += sorted(rows)
                area = (window.rows.stop - window.rows.start) * (window.columns.stop - window.columns.start)
                assert area <= max(2 * sizes[1], 1) or len(rows) == 1
            np.testing.assert_array_equal(rebuilt, image)  # each is whole
            assert sorted(seen) == np.unique(image[image > 0]).tolist()  # and once
            assert all(one[1] <= two[0] for one, two in pairwise(first_rows))
            assert image is labels or seen == sorted(seen)


def test_largest_nucleus_has_a_window_of_its_own(monkeypatch):
    labels = np.zeros((60, 60), np.int32)
    labels[0, ::2] = np.arange(1, 31)
    labels[2:50, 5:55] = 31
    labels[30, :3] = 32
    labels[55, ::2] = np.arange(33, 63)
    small((100, 200), monkeypatch)
    alone = [window for window in regions.windows(labels) if 31 in window.labels]
    assert [(window.rows, window.columns, window.labels.tolist()) for window in alone] == [
        (slice(2, 50), slice(5, 55), [31])
    ]


def test_numbers_may_be_as_large_as_they_fit():
    labels = np.array([[0, 2**31 - 1, 5, 2**31 - 1]], np.int32)
    assert largest_pieces(labels).tolist() == [[0, 0, 5, 2**31 - 1]]
    assert renumber(labels, {2**31 - 1: 0.5}) == (pytest.approx(np.array([[0, 1, 2, 1]])), {1: 0.5})
    assert remove_small(labels, 1.0).tolist() == [[0, 2**31 - 1, 0, 2**31 - 1]]


def test_in_place_needs_a_fraction_of_the_image():
    labels = np.zeros((3000, 2000), np.int32)
    tile = np.zeros((50, 50), np.int32)
    tile[5:40, 5:45], tile[44:46, 3:9] = 1, 1  # with a piece cut off
    for y in range(60):
        for x in range(40):
            labels[50 * y : 50 * (y + 1), 50 * x : 50 * (x + 1)] = tile * (40 * y + x + 1)
    largest_pieces(labels[:50, :50])  # imports
    tracemalloc.start()
    try:
        largest_pieces(labels, out=labels)
        remove_small(labels, 0.25, out=labels)
        renumber(labels, {}, out=labels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert areas(labels)[1:].tolist() == [35 * 40] * 2400
    assert peak < 0.9 * labels.nbytes  # blocks of a million pixels; the image has six


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (4, 0), (3, 4)])
def test_images_without_labels(shape):
    labels = np.zeros(shape, np.int32)
    assert list(regions.windows(labels)) == []
    assert areas(labels).tolist() == [0]
    for made in (largest_pieces(labels), remove_small(labels, 0.25), renumber(labels, {1: 0.5})[0]):
        np.testing.assert_array_equal(made, labels)
    assert renumber(labels, {1: 0.5})[1] == {}


def test_largest_pieces_keeps_one_piece_per_label():
    labels = np.array([[1, 1, 2, 1], [0, 0, 2, 0], [3, 0, 2, 2], [0, 3, 0, 0], [0, 3, 0, 1]], np.int32)
    expected = np.array([[1, 1, 2, 0], [0, 0, 2, 0], [0, 0, 2, 2], [0, 3, 0, 0], [0, 3, 0, 0]], np.int32)
    np.testing.assert_array_equal(largest_pieces(labels), expected)


def test_small_nuclei_go_at_the_papers_25_percent_of_the_mean():
    labels = np.zeros((40, 60), np.int32)
    labels[:20, :20], labels[:20, 20:40] = 1, 2  # 400 px each
    labels[30, :60] = 3  # 60 px: mean 286.7, limit 71.7
    labels[35:37, :40] = 4  # 80 px: mean then 235, limit 58.75: both stay
    assert set(np.unique(remove_small(labels, 0.25))) == {0, 1, 2, 3, 4}
    labels[labels == 4] = 0
    assert set(np.unique(remove_small(labels, 0.25))) == {0, 1, 2}
    assert set(np.unique(remove_small(labels, 0.0))) == {0, 1, 2, 3}


def test_gaps_in_numbers_do_not_count_as_nuclei():
    labels = np.zeros((10, 10), np.int32)
    labels[:4, :4], labels[6:8, 6:8] = 500, 7  # 16 and 4 px: mean 10, limit 2.5
    np.testing.assert_array_equal(remove_small(labels, 0.25), labels)


def test_renumber_follows_reading_order_and_carries_scores():
    labels = np.array([[0, 9, 9], [4, 0, 2]], np.int32)
    new, scores = renumber(labels, {9: 0.1, 4: 0.2, 2: 0.3, 77: 0.4})
    assert new.tolist() == [[0, 1, 1], [2, 0, 3]]
    assert scores == {1: 0.1, 2: 0.2, 3: 0.3}
