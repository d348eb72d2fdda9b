"""From candidates to labels: drawing, sizes, numbers, memory."""

import tracemalloc

import numpy as np
import pytest
from stardist.geometry import polygons_to_label_coord

from stormseg_ij import postprocess
from stormseg_ij.candidates import Candidates
from stormseg_ij.labels import renumber
from stormseg_ij.postprocess import RULES, resolve


def discs(*circles: tuple[float, float, float, float]) -> Candidates:
    """Candidates from (y, x, radius, score)."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    polygons = [[y + r * np.sin(angle), x + r * np.cos(angle)] for y, x, r, _ in circles]
    return Candidates(np.array(polygons, np.float32), np.array([c[3] for c in circles], np.float32))


def resolved(candidates, shape, *, scale=1.0, rules="score", fraction=0.0, progress=lambda _: None):
    return resolve(
        candidates,
        shape,
        scale=(scale, scale),
        rules=RULES[rules],
        min_area_fraction=fraction,
        rng=np.random.default_rng(0),
        progress=progress,
    )


def test_at_scale_1_by_score_the_labels_are_those_of_stardist():
    candidates = discs((20, 20, 10, 0.9), (24, 33, 9, 0.7), (50, 50, 12, 0.8))
    labels, scores = resolved(candidates, (64, 64))
    by_score = np.argsort(candidates.scores)
    reference = polygons_to_label_coord(candidates.polygons[by_score], (64, 64))
    np.testing.assert_array_equal(labels, np.array([0, 2, 3, 1])[reference])
    assert scores == pytest.approx({1: 0.9, 2: 0.7, 3: 0.8})


def test_the_more_probable_nucleus_keeps_shared_pixels():
    labels, scores = resolved(discs((20, 20, 10, 0.6), (20, 30, 10, 0.9)), (40, 50))
    assert labels[20, 25] == max(scores, key=lambda label: scores[label])
    assert scores[labels[20, 12]] == pytest.approx(0.6)


@pytest.mark.parametrize("scale", [0.25, 0.5, 2.0])
def test_polygons_are_scaled_before_they_are_drawn(scale):
    small = discs((30 * scale, 40 * scale, 20 * scale, 0.9))
    shifted = Candidates(small.polygons + np.float32(0.5 * (scale - 1.0)), small.scores)
    labels, _ = resolved(shifted, (64, 80), scale=scale)
    exact, _ = resolved(discs((30, 40, 20, 0.9)), (64, 80))
    assert ((labels > 0) != (exact > 0)).sum() <= 4  # no staircase of 1/scale pixels


@pytest.mark.parametrize("rules", RULES)
def test_labels_are_numbered_in_reading_order(rules):
    rng = np.random.default_rng(2)
    places = np.column_stack([rng.uniform(0, 200, (60, 2)), rng.uniform(5, 14, 60), rng.uniform(0.5, 1.0, 60)])
    labels, scores = resolved(discs(*places), (200, 210), rules=rules, fraction=0.25)
    expected = renumber(labels, scores)
    np.testing.assert_array_equal(labels, expected[0])
    assert scores == expected[1]
    assert 10 < len(scores) == labels.max()


def test_progress_is_told_and_can_end_the_work(monkeypatch):
    monkeypatch.setattr(postprocess, "_TOLD_EVERY", 2)
    circles = [(10 + 30 * i, 20, 12, 0.9) for i in range(9)]
    told = []
    resolved(discs(*circles), (300, 40), progress=told.append)
    assert len(told) >= 8
    assert told == sorted(told)
    assert 0.0 <= told[0] < told[-1] <= 1.0

    def stop(fraction):
        if fraction > 0.6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resolved(discs(*circles), (300, 40), progress=stop)


def test_memory_holds_the_labels_and_little_more():
    side = 3000
    places = [(y, x, 41, 0.5 + x / 8000) for y in range(36, side, 72) for x in range(36, side, 72)]
    candidates = discs(*places)
    resolved(candidates, (100, 100))  # imports
    tracemalloc.start()
    labels, scores = resolved(candidates, (side, side), rules="paper")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(scores) == len(places) == 1764
    assert peak < 1.6 * labels.nbytes  # no second image, not even one byte per pixel of each candidate's box


def test_diameter_of_a_disc():
    assert discs((0, 0, 7, 1.0)).diameters()[0] == pytest.approx(14.0, rel=0.01)


@pytest.mark.parametrize("rules", RULES)
def test_no_candidates_give_an_empty_image(rules):
    empty = Candidates(np.zeros((0, 2, 32), np.float32), np.zeros(0, np.float32))
    beyond = discs((-20, 3, 5, 0.9))
    for candidates in (empty, beyond):
        labels, scores = resolved(candidates, (5, 6), rules=rules, fraction=0.25)
        assert labels.shape == (5, 6)
        assert labels.max() == 0
        assert scores == {}
