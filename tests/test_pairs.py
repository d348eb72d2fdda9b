"""Pairs of boxes that intersect."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stormseg_ij import pairs


def slow(boxes):
    found = []
    for i, one in enumerate(boxes):
        for j in range(i + 1, len(boxes)):
            two = boxes[j]
            if one[0] <= two[2] and two[0] <= one[2] and one[1] <= two[3] and two[1] <= one[3]:
                found.append([i, j])
    return found


@given(arrays.arrays(np.int64, st.tuples(st.integers(0, 25), st.just(4)), elements=st.integers(0, 30)))
def test_all_pairs_are_found(corners):
    boxes = np.concatenate([np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], 1)
    assert pairs.box_pairs(boxes).tolist() == slow(boxes.tolist())


def test_little_memory_gives_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 200, (300, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 20, (300, 2))], axis=1)
    boxes[7] = [0, 0, 200, 200]
    whole = pairs.box_pairs(boxes)
    assert len(whole) > 300
    monkeypatch.setattr(pairs, "_PAIRS_AT_ONCE", 10)
    np.testing.assert_array_equal(pairs.box_pairs(boxes), whole)
