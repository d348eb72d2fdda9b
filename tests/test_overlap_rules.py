"""The rules on drawn candidates, and on random ones against a slow obvious reference with full-size masks."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stormseg_ij.candidates import Candidates
from stormseg_ij.overlap_rules import NOTEBOOK, PAPER, RULES, SCORE, OverlapRules
from stormseg_ij.postprocess import resolve

SHAPE = (14, 16)


def box(top, left, height, width, score=0.5):
    """A rectangle of pixels, with its score."""
    return np.ones((height, width), bool), (top, left), score


def candidates(*parts):
    masks, corners, scores = zip(*parts, strict=True)
    return Candidates.of_masks(masks, np.array(corners), np.array(scores, np.float32))


def resolved(*parts, rules=PAPER, shape=SHAPE, fraction=0.0, seed=0):
    return resolve(
        candidates(*parts),
        shape,
        scale=(1.0, 1.0),
        rules=rules,
        min_area_fraction=fraction,
        rng=np.random.default_rng(seed),
    )


def areas(labels):
    return np.bincount(labels.ravel())[1:].tolist()


# ---- each rule, drawn


def test_candidates_apart_stay_as_they_are():
    labels, scores = resolved(box(1, 1, 3, 4, 0.6), box(1, 5, 3, 4, 0.7), box(8, 2, 2, 2, 0.8))
    expected = np.zeros(SHAPE, np.int32)
    expected[1:4, 1:5], expected[1:4, 5:9], expected[8:10, 2:4] = 1, 2, 3
    np.testing.assert_array_equal(labels, expected)
    assert scores == pytest.approx({1: 0.6, 2: 0.7, 3: 0.8})


def test_small_candidates_go_first_and_share_no_pixel_then():
    large, small = box(0, 0, 10, 10), box(4, 9, 2, 2)  # mean 52, a quarter is 13
    labels, scores = resolved(large, small, fraction=0.25)
    assert areas(labels) == [100]
    assert len(scores) == 1
    assert areas(resolved(large, small, fraction=0.0)[0]) == [102]  # half of the small one is shared: merged


@pytest.mark.parametrize(("side", "stays"), [(3, True), (2, False)])
def test_the_least_area_is_a_share_of_the_mean_area(side, stays):
    fraction = 9 / ((100 + 9) / 2)  # 9 pixels are exactly the least area
    labels, _ = resolved(box(0, 0, 10, 10), box(12, 0, 1, side * 3), fraction=fraction)
    assert areas(labels) == ([100, 9] if stays else [100])


def test_half_of_the_smaller_one_shared_merges_and_keeps_the_larger_score():
    labels, scores = resolved(box(0, 0, 6, 10, 0.6), box(5, 2, 2, 5, 0.9))  # 5 of 10 and of 60
    assert areas(labels) == [65]
    assert scores == pytest.approx({1: 0.9})


def test_just_under_half_does_not_merge():
    labels, _ = resolved(box(0, 0, 5, 11), box(4, 1, 3, 9))  # 9 of 55 (16 %) and of 27 (33 %)
    assert len(areas(labels)) == 2
    labels, _ = resolved(box(0, 0, 1, 20), box(0, 11, 1, 20), shape=(1, 40))  # 9 of 20
    assert len(areas(labels)) == 2


def test_under_10_percent_of_one_goes_to_the_one_with_the_greater_share():
    large, small = box(0, 0, 10, 10, 0.9), box(9, 2, 4, 5, 0.5)  # 5 of 100, 5 of 20
    labels, scores = resolved(large, small)
    assert areas(labels) == [95, 20]
    assert scores == pytest.approx({1: 0.9, 2: 0.5})


def test_exactly_10_percent_of_one_is_split():
    # 5 of 50 and of 35: neither is under 10 %, nor are both at most. The line between (4.5, 2) and (22.3, 2) leaves
    # row 9 to the first, which has the smaller share.
    tee = np.ones((31, 5), bool)
    tee[1:, 1:] = False
    labels, _ = resolved(box(0, 0, 10, 5), (tee, (9, 0), 0.9), shape=(40, 5))
    assert areas(labels) == [50, 30]
    one_more = box(0, 0, 11, 5), (tee, (10, 0), 0.9)  # 5 of 55
    assert areas(resolved(*one_more, shape=(41, 5))[0]) == [50, 35]


def test_both_at_most_10_percent_go_to_one_as_a_whole_and_at_random():
    pair = box(0, 0, 10, 5, 0.9), box(9, 0, 4, 15, 0.5)  # 5 of 50: exactly 10 %, 5 of 60
    outcomes = [areas(resolved(*pair, seed=seed)[0]) for seed in range(64)]
    assert {tuple(outcome) for outcome in outcomes} == {(50, 55), (45, 60)}
    first = sum(outcome == [50, 55] for outcome in outcomes)
    assert 16 < first < 48  # 4 standard deviations of a fair coin
    assert resolved(*pair, seed=3)[0].tolist() == resolved(*pair, seed=3)[0].tolist()


def test_between_them_the_perpendicular_bisector_splits():
    labels, _ = resolved(box(2, 0, 6, 8, 0.5), box(2, 5, 6, 8, 0.5))  # columns 5, 6, 7 shared: 18 of 48
    assert [np.unique(labels[2:8, column]).tolist() for column in (4, 5, 6, 7, 8)] == [[1], [1], [1], [2], [2]]
    diagonal = resolved(box(0, 0, 8, 8, 0.6), box(4, 4, 8, 8, 0.5))[0]  # centres (3.5, 3.5), (7.5, 7.5)
    y, x = np.mgrid[4:8, 4:8]
    np.testing.assert_array_equal(diagonal[4:8, 4:8], np.where(y + x > 11, 2, 1))


def test_pixels_on_the_line_go_to_the_more_probable():
    shared = [resolved(box(2, 0, 6, 8, s), box(2, 5, 6, 8, 1 - s))[0][2, 6] for s in (0.3, 0.7)]
    assert shared == [2, 1]


def test_equal_centres_give_all_shared_pixels_to_the_more_probable():
    bars = box(5, 0, 3, 11, 0.8), box(1, 4, 11, 3, 0.4)  # a plus sign: 9 of 33
    labels, scores = resolved(*bars)
    assert scores[labels[6, 5]] == pytest.approx(0.8)
    assert sorted(areas(labels)) == [24, 33]


def test_new_small_ones_go_by_the_same_limit():
    one, two, strip = box(0, 0, 10, 5, 0.5), box(0, 5, 10, 5, 0.5), box(10, 0, 2, 10, 0.5)
    cut = SCORE  # leaves the strip what lies beyond the others
    sure = [(part[0], part[1], 0.9) for part in (one, two)]
    over = box(8, 0, 3, 10, 0.4)  # 30 pixels of which 10 are its own; mean 43.3
    assert areas(resolved(*sure, over, rules=cut, fraction=0.25)[0]) == [50, 50]
    assert areas(resolved(*sure, over, rules=cut, fraction=0.2)[0]) == [50, 50, 10]
    assert areas(resolved(one, two, strip, fraction=0.25)[0]) == [50, 50, 20]


def test_who_loses_all_pixels_is_gone():
    labels, scores = resolved(box(0, 0, 10, 10, 0.9), box(2, 2, 3, 3, 0.5), rules=SCORE)
    assert areas(labels) == [100]
    assert scores == pytest.approx({1: 0.9})


def test_a_chain_is_settled_by_decreasing_overlap_and_counts_anew_after_a_merge():
    # a and b share 30 of 50: merged, to 70 pixels. c shares 5 of its 20 with b, and 5 of 70 is under 10 %.
    a, b, c = box(0, 0, 5, 10, 0.5), box(0, 4, 5, 10, 0.6), box(4, 8, 4, 5, 0.7)
    labels, scores = resolved(a, b, c)
    assert areas(labels) == [65, 20]
    assert scores == pytest.approx({1: 0.6, 2: 0.7})
    without = resolved(b, c)[0]  # 5 of 50 is not under 10 %: split
    assert areas(without) != [45, 20]


def test_a_merge_can_make_the_next_one():
    # c shares 8 of 20 with a, and other 8 with b: less than half of each, but not of both together.
    a, b, c = box(0, 0, 4, 9), box(0, 4, 4, 9), box(3, 0, 2, 13)
    assert areas(resolved(a, b, c)[0]) == [65]
    assert len(areas(resolved(a, c)[0])) == 2


def test_three_that_claim_one_pixel_leave_it_to_one():
    three = box(0, 0, 5, 5, 0.5), box(4, 0, 6, 5, 0.6), box(4, 4, 6, 6, 0.7)
    for rules in RULES.values():
        labels, _ = resolved(*three, rules=rules)
        assert sum(areas(labels)) == 25 + 25 + 30


def test_equal_candidates_are_one():
    labels, scores = resolved(*[box(1, 1, 3, 3, score) for score in (0.5, 0.9, 0.9, 0.7)])
    assert areas(labels) == [9]
    assert scores == pytest.approx({1: 0.9})


# ---- the other rules


def test_the_notebook_merges_later_and_leaves_few_pixels_to_the_more_probable():
    halves = box(0, 0, 4, 10, 0.5), box(0, 5, 4, 10, 0.5)  # 20 of 40
    assert [len(areas(resolved(*halves, rules=rules)[0])) for rules in (PAPER, NOTEBOOK)] == [1, 2]
    few = box(0, 0, 8, 5, 0.3), box(7, 0, 8, 5, 0.8)  # 5 of 40: 12.5 %
    assert areas(resolved(*few, rules=NOTEBOOK, shape=(15, 5))[0]) == [35, 40]


def test_the_notebook_splits_along_the_major_axis():
    # What is shared is a low strip; its axis lies between the two, and so does the bisector: rows 4 to 6.
    labels = resolved(box(0, 0, 7, 12, 0.5), box(4, 0, 7, 12, 0.4), rules=NOTEBOOK)[0]
    assert [np.unique(labels[row]).tolist()[-1] for row in (4, 5, 6)] == [1, 1, 2]
    # Here the strip is tilted against the segment between the centres: the lines differ.
    lower = np.ones((8, 10), bool)
    lower[:3] = np.arange(10) < np.array([[3], [6], [9]])
    pair = box(0, 0, 7, 10, 0.5), (lower, (4, 0), 0.4)
    by_axis, by_bisector = (
        resolved(*pair, rules=rules)[0] for rules in (NOTEBOOK, replace(NOTEBOOK, split="bisector"))
    )
    assert (by_axis != by_bisector).any()
    np.testing.assert_array_equal(by_axis > 0, by_bisector > 0)


def test_shared_pixels_without_a_major_axis_are_split_by_the_bisector():
    pair = box(0, 0, 8, 8, 0.6), box(4, 4, 8, 8, 0.5)  # a square
    lines = [resolved(*pair, rules=OverlapRules(0.5, 0.1, "random", split))[0] for split in ("major axis", "bisector")]
    np.testing.assert_array_equal(*lines)


def test_an_axis_that_does_not_lie_between_the_centres_does_not_split():
    # The axis of the shared pixels (4, 4) and (5, 4) runs through both centres, (6, 4) and (2.5, 4).
    labels = resolved(box(4, 0, 5, 9, 0.6), box(0, 4, 6, 1, 0.5), rules=OverlapRules(0.5, 0.01, "random", "major axis"))
    assert labels[0][4:6, 4].tolist() == [1, 2]  # the bisector is at 4.25


def test_presets_by_name():
    assert RULES == {"paper": PAPER, "notebook": NOTEBOOK, "score": SCORE}
    assert SCORE.verdict(1.0, 0.001) == SCORE.verdict(1.0, 1.0) == "low"
    assert math.isinf(SCORE.merge)


@given(st.floats(0.001, 1.0), st.floats(0.001, 1.0), st.sampled_from(sorted(RULES)))
def test_verdicts_do_not_depend_on_which_is_first(first, second, name):
    swapped = {"give to the first": "give to the second", "give to the second": "give to the first"}
    verdict = RULES[name].verdict(first, second)
    assert RULES[name].verdict(second, first) == swapped.get(verdict, verdict)


# ---- against the reference


@st.composite
def scenes(draw, most=6):
    """Some random blots, a few of them equal or with equal scores, so that ties occur."""
    parts = []
    for _ in range(draw(st.integers(0, most))):
        shape = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
        full = draw(st.booleans())
        mask = np.ones(shape, bool) if full else draw(arrays(np.bool_, shape, elements=st.booleans()))
        corner = draw(st.tuples(st.integers(-2, 8), st.integers(-2, 9)))
        parts.append((mask, corner, draw(st.sampled_from([0.25, 0.5, 0.625, 0.75, 1.0]))))
    if parts and draw(st.booleans()):
        parts.append(draw(st.sampled_from(parts)))
    return parts


RULE_SETS = st.builds(
    OverlapRules,
    merge=st.sampled_from([0.3, 0.5, 0.6, math.inf]),
    low=st.sampled_from([0.05, 0.1, 0.25, math.inf]),
    low_to=st.sampled_from(["random", "probable"]),
    split=st.just("bisector"),
)


def drawn(parts):
    """Full-size masks and scores of those that have pixels, in the order in which they count as first."""
    found = []
    for mask, (top, left), score in parts:
        full = np.zeros((SHAPE[0] + 20, SHAPE[1] + 20), bool)
        full[top + 10 : top + 10 + mask.shape[0], left + 10 : left + 10 + mask.shape[1]] = mask
        full = full[10:-10, 10:-10]
        if full.any():
            y, x = np.nonzero(full)
            inside = full[y.min() : y.max() + 1, x.min() : x.max() + 1]
            key = (y.min(), x.min(), *inside.shape, y.size, score, inside.tolist())
            found.append((key, full, score))
    return [(full.copy(), score) for _, full, score in sorted(found, key=lambda entry: entry[0])]


def centre(mask):
    y, x = np.nonzero(mask)
    return Fraction(int(y.sum()), y.size), Fraction(int(x.sum()), x.size)


def settle_slowly(parts, rules, rng):
    """Pair by pair on full-size masks, with exact fractions; everything is counted anew after each step."""
    alive = {number: list(entry) for number, entry in enumerate(parts)}
    while True:
        pairs = list(itertools.combinations(sorted(alive), 2))
        shared = {(int((alive[a][0] & alive[b][0]).sum()), -a, -b): (a, b) for a, b in pairs}
        most = max(shared, default=(0,))
        if most[0] == 0:
            return list(alive.values())
        first, second = sorted(shared[most], key=lambda number: (-alive[number][1], number))
        both = alive[first][0] & alive[second][0]
        shares = [Fraction(most[0], int(alive[number][0].sum())) for number in (first, second)]
        merge, low = (Fraction(str(limit)) if math.isfinite(limit) else 2 for limit in (rules.merge, rules.low))
        if max(shares) >= merge:
            big, small = sorted((first, second), key=lambda number: (-alive[number][0].sum(), number))
            alive[big] = [alive[big][0] | alive[small][0], max(alive[big][1], alive[small][1])]
            del alive[small]
            continue
        if max(shares) <= low:
            to_first = np.full(SHAPE, rules.low_to == "probable" or rng.random() < 0.5)
        elif min(shares) < low:
            to_first = np.full(SHAPE, shares[0] > shares[1])
        else:
            (y1, x1), (y2, x2) = centre(alive[first][0]), centre(alive[second][0])
            to_first = np.array(
                [[(y - y1) ** 2 + (x - x1) ** 2 <= (y - y2) ** 2 + (x - x2) ** 2 for x in range(16)] for y in range(14)]
            )
        alive[first][0] &= ~(both & ~to_first)
        alive[second][0] &= ~(both & to_first)


def label_slowly(entries, least):
    """Number in reading order; without those that have fewer pixels."""
    kept = [(np.flatnonzero(mask)[0], mask, score) for mask, score in entries if mask.any() and mask.sum() >= least]
    labels, scores = np.zeros(SHAPE, np.int32), {}
    for number, (_, mask, score) in enumerate(sorted(kept, key=lambda entry: entry[0]), start=1):
        labels[mask], scores[number] = number, score
    return labels, scores


@settings(deadline=None, max_examples=300)
@given(scenes(), RULE_SETS, st.sampled_from([0.0, 0.25, 0.75]), st.integers(0, 9))
def test_against_the_reference(parts, rules, fraction, seed):
    entries = drawn(parts)
    least = fraction * sum(int(mask.sum()) for mask, _ in entries) / max(1, len(entries))
    kept = [entry for entry in entries if entry[0].sum() >= least]
    expected = label_slowly(settle_slowly(kept, rules, np.random.default_rng(seed)), least)
    if not parts:
        parts = [(np.zeros((1, 1), bool), (0, 0), 0.5)]
    labels, scores = resolved(*parts, rules=rules, fraction=fraction, seed=seed)
    np.testing.assert_array_equal(labels, expected[0])
    assert scores == pytest.approx(expected[1])


ANY_RULES = st.sampled_from([*RULES.values(), OverlapRules(0.7, 0.02, "random", "major axis")])


@settings(deadline=None, max_examples=150)
@given(scenes(most=8), ANY_RULES, st.data())
def test_the_order_of_the_candidates_changes_nothing(parts, rules, data):
    other = data.draw(st.permutations(parts))
    if parts:
        one, two = resolved(*parts, rules=rules, fraction=0.25), resolved(*other, rules=rules, fraction=0.25)
        np.testing.assert_array_equal(one[0], two[0])
        assert one[1] == two[1]


@settings(deadline=None, max_examples=150)
@given(scenes(most=8), ANY_RULES)
def test_no_pixel_is_lost_or_invented(parts, rules):
    masks = [mask for mask, _ in drawn(parts)]
    if not masks:
        return
    labels, scores = resolved(*parts, rules=rules)
    claims = np.sum(masks, axis=0)
    np.testing.assert_array_equal(labels > 0, claims > 0)
    assert sorted(scores) == list(range(1, len(scores) + 1)) == np.unique(labels[labels > 0]).tolist()
    for mask in masks:
        assert len(np.unique(labels[mask & (claims == 1)])) <= 1  # all of a candidate's own pixels stay together


@settings(deadline=None, max_examples=150)
@given(scenes(most=8), ANY_RULES)
def test_nuclei_that_stay_keep_what_only_they_claim_and_are_large_enough(parts, rules):
    masks = [mask for mask, _ in drawn(parts)]
    if not masks:
        return
    least = 0.6 * np.mean([mask.sum() for mask in masks])
    labels, _ = resolved(*parts, rules=rules, fraction=0.6)
    assert min(areas(labels), default=least) >= least
    kept = [mask for mask in masks if mask.sum() >= least]
    claims = np.sum([np.zeros(SHAPE, int), *kept], axis=0)
    assert not labels[claims == 0].any()
    for mask in kept:
        assert len(np.unique(labels[mask & (claims == 1)])) <= 1  # they stay or go as a whole


@settings(deadline=None, max_examples=100)
@given(scenes(most=8))
def test_by_score_each_pixel_goes_to_the_most_probable_that_claims_it(parts):
    entries = drawn([(mask, corner, number / 10 + 0.1) for number, (mask, corner, _) in enumerate(parts)])
    if entries:
        best = np.max([np.where(mask, score, 0.0) for mask, score in entries], axis=0)
        parts = [(mask, corner, number / 10 + 0.1) for number, (mask, corner, _) in enumerate(parts)]
        labels, scores = resolved(*parts, rules=SCORE)
        table = np.array([0.0, *scores.values()])
        np.testing.assert_allclose(table[labels], best, rtol=1e-6)
