"""Cuts of masks beside slow ones, and how near to the truth nuclei are parted that touch."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from stormseg_ij import cuts, shapes

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)).filter(np.any)
PLACES = st.tuples(st.floats(-2, 11), st.floats(-2, 11))


def _crosses(a, b, c, d):
    def side(p, q, r):
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]) > 0

    return side(a, b, c) != side(a, b, d) and side(c, d, a) != side(c, d, b)


def _slow_pieces(mask, line):
    """Go from pixel to pixel, but not across the line."""
    pieces, count = np.zeros(mask.shape, int), 0
    for start in np.argwhere(mask).tolist():
        if pieces[tuple(start)]:
            continue
        count += 1
        pieces[tuple(start)] = count
        waiting = [start]
        while waiting:
            y, x = waiting.pop()
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if not (0 <= v < mask.shape[0] and 0 <= u < mask.shape[1]) or not mask[v, u] or pieces[v, u]:
                    continue
                step = (x + 0.5, y + 0.5), (u + 0.5, v + 0.5)
                if any(_crosses(*step, one, two) for one, two in pairwise(line)):
                    continue
                pieces[v, u] = count
                waiting.append([v, u])
    return pieces


def _partition(pieces):
    return {(pieces == piece).tobytes() for piece in np.unique(pieces[pieces > 0])}


@settings(max_examples=250, deadline=None)
@given(mask=MASKS, line=st.lists(PLACES, min_size=1, max_size=5), ends=st.tuples(st.floats(0, 9), st.floats(0, 9)))
def test_pieces_are_what_a_walk_around_the_line_reaches(mask, line, ends):
    assume(ndimage.label(mask)[1] == 1)
    line = [(-3.0, ends[0] + 0.137), *((x + 0.0713, y + 0.0371) for x, y in line), (14.0, ends[1] + 0.219)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuts, "CRUMB_PX", 0)
        patch.setattr(cuts, "CRUMB_FRACTION", 0.0)
        found = cuts.cut_along(mask, np.array(line))
    assert _partition(found) == _partition(_slow_pieces(mask, line))
    sizes = np.bincount(found.ravel())[1:].tolist()
    assert sizes == sorted(sizes, reverse=True)


@settings(max_examples=250, deadline=None)
@given(mask=MASKS, line=st.lists(PLACES, min_size=2, max_size=6))
def test_any_line_gives_every_pixel_to_one_piece(mask, line):
    found = cuts.cut_along(mask, np.array(line))
    np.testing.assert_array_equal(found > 0, mask)
    assert found.dtype == np.int32
    sizes = np.bincount(found.ravel())[1:]
    assert (sizes > 0).all()
    assert len(sizes) == 1 or (sizes >= cuts.CRUMB_PX).all()


@pytest.mark.parametrize(
    "line", [[[0, 0], [6, 6]], [[-1, -1], [7, 7]], [[2.5, -1], [2.5, 9]], [[0.5, 0.5], [5.5, 5.5]]]
)
def test_a_line_through_the_centres_of_pixels_is_tight(line):
    found = cuts.cut_along(np.ones((6, 6), bool), np.array(line, float))
    assert found.max() == 2
    assert ndimage.label(found == 1)[1] == ndimage.label(found == 2)[1] == 1


@settings(max_examples=200, deadline=None)
@given(mask=MASKS)
def test_bridges_are_a_shortest_tree(mask):
    pieces, count = ndimage.label(mask)
    bridges = cuts._bridges(mask)
    assert len(bridges) == count - 1
    total = float(np.hypot(*(bridges[:, 0] - bridges[:, 1]).T).sum())
    places = [np.argwhere(pieces == piece + 1) for piece in range(count)]
    reached, slow = {0}, 0.0  # Prim's way, with all distances
    while len(reached) < count:
        far = {
            other: min(np.hypot(*(places[one][:, None] - places[other]).T).min() for one in reached)
            for other in set(range(count)) - reached
        }
        nearest = min(far, key=far.get)
        slow += far[nearest]
        reached.add(nearest)
    assert total == pytest.approx(slow)
    assert (mask[bridges[..., 0], bridges[..., 1]]).all()


@settings(max_examples=200, deadline=None)
@given(mask=MASKS, by=st.sampled_from(["bisector", "neck"]))
def test_in_two_gives_every_pixel_to_one_of_two(mask, by):
    found = cuts.cut_in_two(mask, by=by)
    np.testing.assert_array_equal(found > 0, mask)
    sizes = np.bincount(found.ravel())[1:].tolist()
    assert len(sizes) in (1, 2)
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 1 or sizes[1] >= cuts.CRUMB_PX


@pytest.mark.parametrize("by", ["bisector", "neck"])
@pytest.mark.parametrize(("distance", "off"), [(18, 2.0), (20, 1.5), (26, 1.5)])
def test_two_equal_discs_are_parted_in_the_middle(by, distance, off):
    y, x = np.ogrid[-14:15, -14 : 15 + distance]
    mask = (np.hypot(y, x) < 13) | (np.hypot(y, x - distance) < 13)
    found = cuts.cut_in_two(mask, by=by)
    column = np.flatnonzero((found[:, :-1] * found[:, 1:] == 2).any(axis=0))
    assert np.abs(column - (14 + distance / 2)).max(initial=0) <= off
    sizes = np.bincount(found.ravel())[1:]
    assert sizes[1] / sizes[0] > 0.85


@pytest.mark.parametrize("by", ["bisector", "neck"])
def test_what_is_too_small_stays_whole(by):
    for mask in (np.ones((1, 1), bool), np.ones((2, 3), bool)):
        assert cuts.cut_in_two(mask, by=by).max() == 1


# ---- nuclei that overlap, whose truth is known


def _pair(rng, kind):
    """Draw two nuclei that share 3 to 40 % of the smaller one; their masks."""
    while True:
        diameters = rng.uniform(60, 90) * np.array([1.0, 1.0 if kind == "equal discs" else rng.uniform(0.55, 1.0)])
        angle, distance = rng.uniform(0, 2 * np.pi), diameters.mean() * rng.uniform(0.6, 1.0)
        masks = np.zeros((2, 260, 260), bool)
        for mask, diameter, sign in zip(masks, diameters, (-1, 1), strict=True):
            y, x = 130 + sign * np.sin(angle) * distance / 2, 130 + sign * np.cos(angle) * distance / 2
            long = rng.uniform(1.1, 1.8) if kind == "ellipses" else 1.0
            form = shapes.lobed(rng) if kind == "lobed" else None
            rough = 0.03 if kind == "ellipses" else 0.0
            place = shapes.Placement(y, x, diameter, rng.uniform(0, 2 * np.pi), long, rough, form)
            rows, columns, drawn = shapes.nucleus_mask(rng, place, mask.shape)
            mask[rows, columns] = drawn
        shared = np.count_nonzero(masks.all(axis=0)) / masks.sum(axis=(1, 2)).min()
        if 0.03 <= shared <= 0.4 and ndimage.label(masks.any(axis=0))[1] == 1:
            return masks


def _worse_overlap(masks, found):
    """Intersection by union of the worse of two nuclei, without the pixels that both claim."""
    own = masks & ~masks.all(axis=0)
    parts = np.stack([found == 1, found == 2]) & ~masks.all(axis=0)

    def score(one, two):
        return np.count_nonzero(one & two) / np.count_nonzero(one | two)

    return max(min(score(own[0], parts[i]), score(own[1], parts[1 - i])) for i in (0, 1))


@pytest.mark.parametrize(
    ("kind", "by", "least", "typical"),
    [
        ("equal discs", "bisector", 1.0, 0.98), ("discs", "bisector", 0.95, 0.95), ("ellipses", "bisector", 0.75, 0.88),
        ("lobed", "bisector", 0.55, 0.82), ("equal discs", "neck", 1.0, 0.99), ("discs", "neck", 0.95, 0.99),
        ("ellipses", "neck", 0.85, 0.97), ("lobed", "neck", 0.6, 0.9),
    ],
)  # fmt: skip
def test_overlapping_nuclei_are_parted_near_the_truth(kind, by, least, typical):
    rng = np.random.default_rng(5)
    pairs = [_pair(rng, kind) for _ in range(40)]
    overlaps = np.array([_worse_overlap(masks, cuts.cut_in_two(masks.any(axis=0), by=by)) for masks in pairs])
    assert np.mean(overlaps >= 0.8) >= least
    assert np.median(overlaps) >= typical
