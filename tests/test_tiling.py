"""Tiles, and what was found in them put together: exactly what the whole image gives."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from stormseg_ij import metrics, models, tiling
from stormseg_ij.candidates import Candidates
from stormseg_ij.overlap import find_overlap
from stormseg_ij.postprocess import RULES, resolve
from stormseg_ij.simulate import simulate
from stormseg_ij.tiling import ALIGN_PX, Tile, View, find_in_tiles, join, plan


def seen(labels, tile):
    """What a perfect network sees in a tile: every nucleus as far as the tile holds it."""
    part = labels[tile.box]
    masks, corners, scores = [], [], []
    for number, box in enumerate(ndimage.find_objects(part), start=1):
        if box is not None:
            masks.append(part[box] == number)
            corners.append([box[0].start, box[1].start])
            scores.append(0.5 + number / (2.0 * labels.max()))
    return Candidates.of_masks(masks, np.array(corners, np.int64).reshape(-1, 2), np.array(scores, np.float32))


def painted(candidates, shape):
    """A label image; what overlaps is an error."""
    labels = np.zeros(shape, np.int32)
    for i in range(len(candidates)):
        instance = candidates.draw(i, shape, (1.0, 1.0))
        assert not labels[instance.box][instance.mask].any()
        labels[instance.box][instance.mask] = i + 1
    return labels


def assert_same_nuclei(found, truth):
    """The same masks, whatever their numbers."""
    both = found.astype(np.int64) * (int(truth.max()) + 1) + truth
    pairs = np.unique(both)
    assert len(pairs) == len(np.unique(truth)) == len(np.unique(found))


def discs(shape, places):
    labels = np.zeros(shape, np.int32)
    for number, (row, column, radius) in enumerate(places, start=1):
        top, left = max(row - radius, 0), max(column - radius, 0)
        part = labels[top : row + radius + 1, left : column + radius + 1]
        y, x = np.indices(part.shape)
        part[(y + top - row) ** 2 + (x + left - column) ** 2 <= radius**2] = number
    return labels


def crowd(shape, radius, seed=0):
    """Discs on a shaken grid."""
    rng = np.random.default_rng(seed)
    step = 2 * radius + 6
    grid = [
        (row + rng.integers(-2, 3), column + rng.integers(-2, 3), radius)
        for row in range(radius, shape[0], step)
        for column in range(radius, shape[1], step)
    ]
    return discs(shape, grid)


# ---- where tiles lie


@given(
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.integers(2, 20).map(lambda n: n * ALIGN_PX),
    st.integers(0, 1000),
)
def test_tiles_cover_the_image_and_overlap(shape, side, overlap):
    overlap = min(overlap, side // 2)
    tiles = plan(shape, tile=side, overlap=overlap)
    for axis, (first, last) in enumerate((("top", "bottom"), ("left", "right"))):
        sides = sorted({(getattr(tile, first), getattr(tile, last)) for tile in tiles})
        assert sides[0][0] == 0
        assert sides[-1][1] == shape[axis]
        for (_, end), (start, following) in pairwise(sides):
            assert end - start >= overlap
            assert following > end
            assert start % ALIGN_PX == 0
        assert all(0 < end - start <= side for start, end in sides)


def test_the_papers_tiles():
    tiles = plan((5120, 5120), tile=512, overlap=128)
    assert len(tiles) == 13 * 13
    assert {(tile.bottom - tile.top, tile.right - tile.left) for tile in tiles} == {(512, 512)}


def test_clearance_counts_sides_that_cut_the_image_only():
    boxes = np.array([[10.0, 10.0, 20.0, 20.0], [0.0, 90.0, 5.0, 99.0], [95.0, 0.0, 120.0, 10.0]])
    corner, whole = Tile(0, 0, 100, 100), Tile(0, 0, 300, 300)
    assert corner.clearance(boxes, (300, 300)).tolist() == [79.0, 0.0, -21.0]
    assert np.isinf(whole.clearance(boxes, (300, 300))).all()


# ---- putting together


@pytest.mark.parametrize("shape", [(700, 900), (1300, 300), (130, 129), (128, 128)])
@pytest.mark.parametrize("radius", [5, 11, 14])
def test_every_nucleus_comes_once_and_whole(shape, radius):
    truth = crowd(shape, radius)
    told = []
    result = find_in_tiles(shape, lambda tile: seen(truth, tile), tile=256, overlap=64, progress=told.append)
    assert_same_nuclei(painted(result.candidates, shape), truth)
    assert (result.tile, result.overlap, result.notes) == (256, 64, ())
    assert told[-1] == 1.0
    assert told == sorted(told)
    assert len(told) == result.tiles


def test_the_overlap_grows_for_wide_nuclei_and_says_so():
    truth = crowd((1000, 1100), 60)
    result = find_in_tiles(truth.shape, lambda tile: seen(truth, tile), tile=256, overlap=64)
    assert_same_nuclei(painted(result.candidates, truth.shape), truth)
    assert result.overlap >= 120
    grown = f"the overlap of tiles grew from 64 to {result.overlap} pixels (tiles of {result.tile})"
    assert result.notes == (f"{grown}: some nuclei are 120 pixels wide",)


def test_one_nucleus_wider_than_the_overlap_gets_a_tile_of_its_own():
    places = [(row, column, 10) for row in range(20, 1000, 60) for column in range(20, 1000, 60)]
    truth = discs((1000, 1000), [place for place in places if np.hypot(place[0] - 150, place[1] - 150) > 130])
    truth[discs(truth.shape, [(150, 150, 110)]) > 0] = truth.max() + 1
    result = find_in_tiles(truth.shape, lambda tile: seen(truth, tile), tile=256, overlap=64)
    assert_same_nuclei(painted(result.candidates, truth.shape), truth)
    assert result.overlap == 64  # the tiles looked at first do not see it
    assert result.tiles > len(plan(truth.shape, tile=256, overlap=64))
    assert result.notes == ()


def test_a_nucleus_larger_than_any_tile_is_put_together(monkeypatch):
    monkeypatch.setattr(tiling, "LARGEST_TILE_PX", 256)
    truth = discs((1000, 1000), [(500, 480, 300), (60, 60, 20), (900, 920, 30)])
    result = find_in_tiles(truth.shape, lambda tile: seen(truth, tile), tile=256, overlap=64)
    assert_same_nuclei(painted(result.candidates, truth.shape), truth)
    assert "larger than any tile" in result.notes[-1]


def test_the_order_of_tiles_changes_nothing():
    truth = crowd((600, 600), 13)
    views = [
        View(tile, seen(truth, tile).moved(tile.top, tile.left)) for tile in plan(truth.shape, tile=256, overlap=64)
    ]
    there, _ = join(views, truth.shape)
    back, _ = join(views[::-1], truth.shape)
    assert sorted(map(tuple, there.boxes().tolist())) == sorted(map(tuple, back.boxes().tolist()))


def test_what_the_better_tile_does_not_see_is_no_nucleus():
    truth = crowd((512, 512), 12)
    tiles = plan(truth.shape, tile=256, overlap=64)

    def predict(tile):
        found = seen(truth, tile)
        rim = Candidates.of_masks([np.ones((6, 6), bool)], np.array([[100, 246]]), np.array([0.99], np.float32))
        return Candidates.joined([found, rim]) if tile == tiles[0] else found

    result = find_in_tiles(truth.shape, predict, tile=256, overlap=64)
    assert_same_nuclei(painted(result.candidates, truth.shape), truth)


def test_two_tiles_that_see_one_nucleus_as_one_or_as_two():
    """The better view counts, whole or split, and no pixel is claimed twice."""
    truth = discs((256, 448), [(128, 222, 14)])
    halves = truth.copy()
    halves[:, 224:][truth[:, 224:] > 0] = 2
    for split in (0, 1):
        tiles = plan(truth.shape, tile=256, overlap=64)
        result = find_in_tiles(
            truth.shape, lambda tile, split=split, tiles=tiles: seen(halves if tile == tiles[split] else truth, tile),
            tile=256, overlap=64,
        )  # fmt: skip
        together = painted(result.candidates, truth.shape)
        assert ((together > 0) == (truth > 0)).mean() > 0.99
        assert len(result.candidates) in (1, 2)


def test_an_overlap_that_suffices_stays():
    empty = np.zeros((600, 600), np.int32)
    for truth, overlap in ((empty, 0), (crowd((600, 600), 14), 64), (crowd((600, 600), 29), 64)):
        result = find_in_tiles(truth.shape, lambda tile, truth=truth: seen(truth, tile), tile=256, overlap=overlap)
        assert (result.tile, result.overlap, result.notes) == (256, overlap, ())
        assert_same_nuclei(painted(result.candidates, truth.shape), truth)


@pytest.mark.parametrize("count", range(2, 12))
def test_the_tiles_looked_at_first_are_spread(count):
    tiles = plan((count * 192 + 64, count * 192 + 64), tile=256, overlap=64)
    pilots = tiling._pilots(tiles)
    assert len(tiles) == count**2
    assert len({tile.top for tile in pilots}) >= min(count, 3)
    assert len({tile.left for tile in pilots}) >= min(count, 3)


def test_nothing_anywhere():
    empty = np.zeros((600, 600), np.int32)
    result = find_in_tiles(empty.shape, lambda tile: seen(empty, tile), tile=256, overlap=64)
    assert len(result.candidates) == 0
    assert result.notes == ()


def test_what_progress_raises_ends_the_work():
    truth, asked = crowd((900, 900), 10), []

    def stop(fraction):
        if fraction > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_in_tiles(
            truth.shape, lambda tile: asked.append(tile) or seen(truth, tile), tile=256, overlap=64, progress=stop
        )
    assert len(asked) < len(plan(truth.shape, tile=256, overlap=64))


# ---- every network there is


LEAST_F1 = {"mask-rcnn-storm": 0.97}
"""Mask R-CNN sees far: what lies beyond a tile's side changes a box here and there."""


@pytest.mark.parametrize("name", models.shipped())
@pytest.mark.parametrize(("kind", "diameter"), [("tissue", 30), ("cell", 30), ("cell", 45)])
def test_tiles_give_what_the_whole_image_gives(name, kind, diameter):
    model = models.load(name)
    scene = simulate(np.random.default_rng([8, diameter]), kind=kind, size=800, diameter=diameter)
    pixels = model.info.normalize(scene.image)
    limits = {"probability": model.probability, "nms": model.nms}
    found = find_in_tiles(pixels.shape, lambda tile: model.predict(pixels[tile.box], **limits), tile=512, overlap=128)
    whole, tiled = (
        resolve(
            candidates, pixels.shape, scale=(1.0, 1.0), rules=RULES["score"], min_area_fraction=0.0,
            rng=np.random.default_rng(0),
        )[0]
        for candidates in (model.predict(pixels, **limits), found.candidates)
    )  # fmt: skip
    assert found.tiles >= 4
    count = int(whole.max())
    assert count > 20
    assert abs(int(tiled.max()) - count) <= max(0.01 * count, 0)
    assert metrics.score(tiled, whole, iou=0.9).f1 > LEAST_F1.get(name, 0.99)
    overlap = find_overlap(tiled, whole)
    matched = overlap.iou[overlap.iou > 0.5]
    assert matched.min() > 0.8
    assert np.median(matched) == 1.0
    assert matched.mean() >= 0.95
    assert straight_cuts(tiled, found) <= straight_cuts(whole, found)


def straight_cuts(labels, found):
    """Longest run, in pixels, along which a tile's side separates a nucleus from what is beside it."""
    lines = []
    for tile in plan(labels.shape, tile=found.tile, overlap=found.overlap):
        lines += [(labels[row], labels[row - 1]) for row in {tile.top, tile.bottom} - {0, labels.shape[0]}]
        lines += [
            (labels[:, column], labels[:, column - 1]) for column in {tile.left, tile.right} - {0, labels.shape[1]}
        ]
    return max(longest_run((one != two) & (one * two == 0)) for one, two in lines)


def longest_run(line):
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))
