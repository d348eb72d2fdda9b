"""Scores against a slow obvious reference, StarDist's matching, scikit-image and an independent script."""

import importlib.util
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import hausdorff_distance
from stardist.matching import matching

from stormseg_ij import rois
from stormseg_ij.errors import ImageError, SettingsError
from stormseg_ij.image import write_labels, write_png
from stormseg_ij.metrics import (
    CAICEDO_THRESHOLDS,
    CURVE_THRESHOLDS,
    Score,
    compare,
    evaluate,
    f1_curve,
    score,
    summarize,
)
from stormseg_ij.rois import labels_to_rois, write_rois

SHARED = Path(__file__).parents[1].parent / "shared"
SLOWLY = settings(deadline=None)  # the first example of each imports something heavy
THRESHOLDS = st.sampled_from([0.0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.7, 0.9])


@st.composite
def label_pairs(draw, values=(0, 0, 1, 2, 7, 300)):
    """A random label image and one that differs from it in some places, so that all IoUs occur."""
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    truth = draw(arrays(np.int32, shape, elements=st.sampled_from(values)))
    other = draw(arrays(np.int32, shape, elements=st.sampled_from(values)))
    take = draw(arrays(np.bool_, shape, elements=st.booleans() if draw(st.booleans()) else st.just(False)))
    swapped = np.array([0, 0, 2, 1, 300, 7])[np.searchsorted([0, 0, 1, 2, 7, 300], truth, side="right") - 1]
    return np.where(take, other, swapped), truth


def reference(pred, truth, iou):
    """Mask by mask; the best matching by trying all."""
    ids = [[int(i) for i in np.unique(labels) if i] for labels in (truth, pred)]
    ious = {}
    for t, p in itertools.product(*ids):
        value = ((truth == t) & (pred == p)).sum() / ((truth == t) | (pred == p)).sum()
        if value > iou:
            ious[t, p] = value
    best = (0, 0.0, [])
    few, many = sorted(ids, key=len)
    for partners in itertools.permutations(many, len(few)):
        pairs = [pair if few is ids[0] else pair[::-1] for pair in zip(few, partners, strict=True)]
        pairs = [pair for pair in pairs if pair in ious]
        best = max(best, (len(pairs), round(sum(ious[pair] for pair in pairs), 9), pairs))
    return best[2], len(ids[0]), len(ids[1])


# ---- one image


@SLOWLY
@given(label_pairs(), THRESHOLDS)
def test_score_against_the_reference(pair, iou):
    pred, truth = pair
    matched, n_true, n_pred = reference(pred, truth, iou)
    result = score(pred, truth, iou=iou, name="x")
    assert (result.name, result.n_true, result.n_pred, result.n_matched) == ("x", n_true, n_pred, len(matched))
    tp, fp, fn = len(matched), n_pred - len(matched), n_true - len(matched)
    assert result.f1 == (2 * tp / (2 * tp + fp + fn) if n_true + n_pred else 1.0)
    assert result.fn_percent == 100 * fn / max(1, n_true)
    assert result.fp_percent == 100 * fp / max(1, n_true)
    if iou >= 0.5:  # below, other pairs may have as great a sum of IoUs
        distances = [hausdorff_distance(truth == t, pred == p) for t, p in matched]
        assert result.hausdorff_px == (pytest.approx(np.mean(distances), rel=1e-12) if distances else None)


@SLOWLY
@given(label_pairs(), THRESHOLDS)
def test_score_against_stardist(pair, iou):
    pred, truth = pair
    # StarDist matches at IoUs (32-bit) that equal the threshold, Caicedo only above.
    theirs = matching(truth, pred, thresh=float(np.nextafter(np.float32(iou), np.float32(1))))
    ours = score(pred, truth, iou=iou)
    assert (ours.n_matched, ours.n_true, ours.n_pred) == (theirs.tp, theirs.n_true, theirs.n_pred)
    if ours.n_true + ours.n_pred:
        assert ours.f1 == theirs.f1


@SLOWLY
@given(arrays(np.bool_, (2, 8, 9)), st.integers(1, 4), st.booleans())
def test_hausdorff_is_that_of_scikit_image(masks, magnified, surrounded):
    a, b = (np.kron(mask, np.ones((magnified, magnified), bool)) for mask in masks)
    if surrounded:  # the farthest pixel may lie amid a, in a hole of b
        a, b = (np.pad(mask, 2, constant_values=True) for mask in (a, b))
    a[0, 0] = b[0, 0] = True
    assert score(b.astype(np.uint8), a.astype(np.uint8), iou=0.0).hausdorff_px == hausdorff_distance(a, b)


@pytest.mark.parametrize("others", [[(3, 3), (0, 4)], [(2, 2), (0, 3)], [(2, 2), (0, 2)], [(4, 4), (0, 5)]])
def test_hausdorff_of_few_pixels(others):
    b = np.zeros((6, 6), bool)
    b[0, 0] = True
    a = b.copy()
    for place in others:
        a[place] = True
    assert score(a.astype(np.uint8), b.astype(np.uint8), iou=0.0).hausdorff_px == hausdorff_distance(a, b)


def test_iou_must_be_greater():
    truth = np.ones((1, 10), np.int32)
    pred = (np.arange(10) < 7).astype(np.int32)[None]
    assert score(pred, truth, iou=0.7).n_matched == 0
    assert score(pred, truth, iou=0.699).n_matched == 1
    half = (np.arange(10) < 5).astype(np.int32)[None]
    assert score(half, truth, iou=0.5).n_matched == 0


def test_below_one_half_every_nucleus_matches_once():
    truth = np.array([[1, 1, 1, 1, 2, 2, 2, 2]])
    assert score(np.ones((1, 8), int), truth, iou=0.3).n_matched == 1
    # 1 could have 8 or 9, but 2 only 8: the better pair (1, 8) stands back, so that both have one
    truth = np.array([[1, 1, 1, 1, 1, 2, 2, 2]])
    pred = np.array([[9, 9, 8, 8, 8, 8, 8, 0]])
    result = score(pred, truth, iou=0.3)
    assert (result.n_matched, result.n_true, result.n_pred) == (2, 2, 2)
    assert result.hausdorff_px == (3.0 + 3.0) / 2
    # of two that would do, the one with the greater IoU
    for pred, distance in (([9, 9, 9, 0, 0, 8, 8, 8, 8], 5.0), ([9, 9, 9, 9, 0, 0, 8, 8, 8], 5.0)):
        assert score(np.array([pred]), np.ones((1, 9), int), iou=0.2).hausdorff_px == distance


def test_percentages_by_the_papers_definition():
    truth = np.array([[1, 1, 0, 2, 2, 0, 3, 3, 0, 4, 4]])
    pred = np.array([[1, 1, 5, 0, 0, 6, 7, 0, 8, 9, 9]])
    result = score(pred, truth)
    assert (result.n_matched, result.n_true, result.n_pred) == (2, 4, 6)
    assert (result.fn_percent, result.fp_percent) == (50.0, 100.0)
    assert result.f1 == 2 * 2 / (4 + 6)


@pytest.mark.parametrize(
    ("pred", "truth", "expected"),
    [
        ([[0, 0]], [[0, 0]], Score("", 1.0, 0.0, 0.0, None, 0, 0, 0)),
        ([[0, 0]], [[1, 2]], Score("", 0.0, 100.0, 0.0, None, 2, 0, 0)),
        ([[1, 2]], [[0, 0]], Score("", 0.0, 0.0, 200.0, None, 0, 2, 0)),
        ([[1, 2]], [[8, 9]], Score("", 1.0, 0.0, 0.0, 0.0, 2, 2, 2)),
    ],
)
def test_empty_and_perfect(pred, truth, expected):
    for iou in (0.0, 0.7):
        assert score(np.array(pred), np.array(truth), iou=iou) == expected


def test_labels_of_any_integer_type_and_size():
    truth = np.array([[0, 1, 1], [0, 0, 2**31 - 1]], np.int64)
    for dtype in (np.int32, np.uint32, np.int64):
        assert score(truth.astype(dtype), truth).n_matched == 2
    assert score(np.array([[0, 1, 1], [0, 0, 2]], np.uint8), truth).f1 == 1.0


def test_large_images_are_looked_through_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    truth = np.kron(rng.integers(0, 50, (12, 13)), np.ones((5, 4), int))
    pred = np.roll(truth, 1, axis=0)
    whole = score(pred, truth, iou=0.3)
    monkeypatch.setattr("stormseg_ij.overlap._PIXELS_AT_ONCE", 150)
    assert score(pred, truth, iou=0.3) == whole


@pytest.mark.parametrize(
    ("pred", "words"),
    [
        (np.zeros((4, 5), int), "the prediction has 5 x 4 pixels, the truth 4 x 4; give equal sizes"),
        (np.zeros((4, 4)), "2-D labels of float64"),
        (np.zeros((4, 4, 1), int), "3-D labels"),
        (np.full((4, 4), -1), "negative labels"),
    ],
)
def test_arrays_that_cannot_be_scored(pred, words):
    with pytest.raises(ImageError, match=words) as caught:
        score(pred, np.ones((4, 4), int), name="Tissue1")
    assert str(caught.value).startswith("Tissue1: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("iou", [-0.1, 1.0, float("nan"), "much"])
def test_ious_that_are_refused(iou, tmp_path):
    for call in (
        lambda: score(np.ones((2, 2), int), np.ones((2, 2), int), iou=iou),
        lambda: evaluate("a", "b", iou=iou),
    ):
        with pytest.raises(SettingsError, match="--iou"):
            call()


@SLOWLY
@given(label_pairs())
def test_f1_curve_is_score_at_each(pair):
    assert f1_curve(*pair) == [score(*pair, iou=iou).f1 for iou in CAICEDO_THRESHOLDS]


@pytest.mark.skipif(not (SHARED / "tools" / "score.py").is_file(), reason="the shared folder is not beside this one")
def test_score_against_an_independent_script():
    spec = importlib.util.spec_from_file_location("independent", SHARED / "tools" / "score.py")
    independent = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(independent)
    truths = sorted((SHARED / "data" / "storm_examples").glob("*_labels.png"))
    truths += sorted((SHARED / "data" / "dsb2018" / "labels").glob("*.png"))[:40:8]
    matched = 0
    for path in truths:
        truth = independent.labels(path)
        pred = np.roll(truth, (2, 3), axis=(0, 1))
        pred[:, ::17] = 0
        pred[truth == truth.max()] = truth.max() + 5
        for iou in (0.5, 0.7, 0.8):
            theirs, ours = independent.score(pred, truth, iou), score(pred, truth, iou=iou)
            assert (ours.n_true, ours.n_pred) == (theirs["n_true"], theirs["n_pred"])
            assert (ours.f1, ours.fn_percent) == (theirs["f1"], theirs["fn_pct"])
            assert ours.fp_percent == theirs["fp_pct"]
            assert ours.hausdorff_px == pytest.approx(theirs["hausdorff_px"], rel=1e-12)
            matched += ours.n_matched
    assert matched > 100


# ---- all that one overlap tells


def partners_reference(pred, truth):
    """Pair by pair: the numbers of partners (IoU > 0.1) of each true and each predicted nucleus."""
    true_ids, pred_ids = ([int(i) for i in np.unique(labels) if i] for labels in (truth, pred))
    partners = {
        (t, p)
        for t, p in itertools.product(true_ids, pred_ids)
        if ((truth == t) & (pred == p)).sum() / ((truth == t) | (pred == p)).sum() > 0.1
    }
    of_true = [sum(pair[0] == t for pair in partners) for t in true_ids]
    of_pred = [sum(pair[1] == p for pair in partners) for p in pred_ids]
    return of_true, of_pred


@SLOWLY
@given(label_pairs(), THRESHOLDS)
def test_compare_against_the_reference(pair, iou):
    pred, truth = pair
    result = compare(pred, truth, iou=iou, name="x")
    assert result.score == score(pred, truth, iou=iou, name="x")
    assert list(result.curve) == [score(pred, truth, iou=at).f1 for at in CURVE_THRESHOLDS]
    assert result.mean_f1 == np.mean(result.curve)
    of_true, of_pred = partners_reference(pred, truth)
    assert result.splits == sum(count > 1 for count in of_true)
    assert result.merges == sum(count > 1 for count in of_pred)
    for parts, labels in (((result.found, result.missed), truth), ((result.hits, result.false), pred)):
        assert sorted(np.concatenate(parts).tolist()) == [i for i in np.unique(labels).tolist() if i]
    if iou >= 0.5:
        matched, _, _ = reference(pred, truth, iou)
        assert result.found.tolist() == sorted(t for t, _ in matched)
        assert result.hits.tolist() == sorted(p for _, p in matched)


def test_splits_and_merges_of_drawn_nuclei():
    truth = np.zeros((20, 60), np.int32)
    truth[2:12, 2:22], truth[2:12, 30:40], truth[2:12, 40:50] = 1, 2, 3
    pred = np.zeros_like(truth)
    pred[2:12, 2:12], pred[2:12, 12:22], pred[2:12, 30:50] = 1, 2, 3  # 1 in two halves; 2 and 3 as one
    result = compare(pred, truth)
    assert (result.splits, result.merges) == (1, 1)
    assert (result.missed.tolist(), result.false.tolist()) == ([1, 2, 3], [1, 2, 3])
    pred[2:12, 12:22] = 1
    pred[2:4, 2:12] = 9  # shares 20 of 200 pixels with nucleus 1: not more than a tenth
    assert compare(pred, truth).splits == 0
    pred[4, 2:4] = 9
    assert compare(pred, truth).splits == 1


def test_caicedo_curve_goes_on_to_95_percent():
    assert pytest.approx(np.arange(0.5, 0.96, 0.05)) == CURVE_THRESHOLDS
    assert CURVE_THRESHOLDS[:-1] == CAICEDO_THRESHOLDS


# ---- several images


def test_mean_weighs_images_and_pooled_weighs_nuclei():
    scores = [
        Score("a", 1.0, 0.0, 0.0, 2.0, 1, 1, 1),
        Score("b", 0.5, 50.0, 50.0, 4.0, 6, 6, 3),
        Score("c", 0.0, 100.0, 0.0, None, 1, 0, 0),
    ]
    result = summarize(scores)
    assert result["mean"] == {
        "f1": 0.5, "fn_percent": 50.0, "fp_percent": 50.0 / 3, "hausdorff_px": 3.0, "n_true": 8 / 3, "n_pred": 7 / 3,
    }  # fmt: skip
    assert result["pooled"] == {
        "f1": 8 / 15, "fn_percent": 50.0, "fp_percent": 37.5, "hausdorff_px": 3.5, "n_true": 8, "n_pred": 7,
    }  # fmt: skip
    keys = ["name", "f1", "fn_percent", "fp_percent", "hausdorff_px", "n_true", "n_pred"]
    assert [list(image) for image in result["images"]] == [keys] * 3
    nothing = summarize(scores[2:])
    assert (nothing["mean"]["hausdorff_px"], nothing["pooled"]["hausdorff_px"]) == (None, None)
    with pytest.raises(ImageError, match="no scores"):
        summarize([])


# ---- files and folders

LABELS = np.kron(np.array([[0, 1, 0, 2], [0, 0, 0, 0], [3, 0, 4, 0]]), np.ones((5, 5), np.int32)).astype(np.int32)
MOVED = np.where(LABELS == 2, 0, LABELS)


def test_two_files(tmp_path):
    write_labels(tmp_path / "mine.tif", MOVED)
    write_png(tmp_path / "Tissue1_labels.png", LABELS.astype(np.uint8))
    result = evaluate(str(tmp_path / "mine.tif"), tmp_path / "Tissue1_labels.png", iou=0.5)
    assert json.loads(json.dumps(result)) == result
    assert list(result) == ["iou", "images", "mean", "pooled", "missing", "notes"]
    assert (result["iou"], result["notes"], result["missing"]) == (0.5, [], [])
    (image,) = result["images"]
    assert (image["name"], image["n_true"], image["n_pred"], image["f1"]) == ("Tissue1", 4, 3, 6 / 7)


def test_roi_files_take_the_shape_of_their_partner(tmp_path):
    write_labels(tmp_path / "truth.tif", LABELS)
    write_rois(tmp_path / "truth.zip", labels_to_rois(LABELS))
    write_rois(tmp_path / "pred.zip", labels_to_rois(MOVED))
    expected = score(MOVED, LABELS)
    for truth in ("truth.tif", "truth.zip"):
        result = evaluate(tmp_path / "pred.zip", tmp_path / truth)
        assert result["pooled"]["f1"] == expected.f1
        assert result["images"][0]["n_pred"] == 3
    assert evaluate(tmp_path / "truth.zip", tmp_path / "truth.tif")["images"][0]["f1"] == 1.0


def test_results_folder_against_truth_folder(tmp_path):
    pred, truth = tmp_path / "out", tmp_path / "labels"
    for name in ("a", "b", "only_here"):
        write_labels(pred / f"{name}_labels.tif", LABELS)
        write_rois(pred / f"{name}_rois.zip", labels_to_rois(MOVED))  # the image goes first
        write_png(pred / f"{name}_overlay.png", np.zeros((3, 3), np.uint8))
        (pred / f"{name}_run.json").write_text("{}")
        (pred / f"{name}_measurements.csv").write_text("")
    write_png(truth / "a.png", LABELS.astype(np.uint8))
    write_labels(truth / "b.tif", LABELS)
    write_labels(truth / "c.tif", LABELS)
    result = evaluate(pred, truth)
    assert [image["name"] for image in result["images"]] == ["a", "b"]
    assert result["pooled"]["f1"] == 1.0
    assert result["missing"] == [str(pred / "only_here_labels.tif"), str(truth / "c.tif")]


def test_images_beside_their_labels_are_no_labels(tmp_path):
    pred, truth = tmp_path / "out", tmp_path / "truth"
    for name in ("a", "b"):
        write_labels(pred / f"{name}.tif", LABELS)
        write_png(truth / f"{name}.png", np.full(LABELS.shape, 9, np.uint8))
    write_labels(truth / "a_labels.tif", LABELS)
    write_rois(truth / "b_rois.zip", labels_to_rois(LABELS))
    write_png(truth / "not_annotated.png", np.full(LABELS.shape, 9, np.uint8))
    result = evaluate(pred, truth)
    assert (result["pooled"]["f1"], result["missing"]) == (1.0, [])
    for file in truth.glob("*_*"):
        file.unlink()
    write_rois(truth / "b.zip", labels_to_rois(LABELS))  # in a folder without endings: the ROIs, not the image
    assert evaluate(pred, truth)["images"][1]["f1"] == 1.0


def test_notes_name_the_file(tmp_path):
    write_png(tmp_path / "mask.png", (LABELS > 0).astype(np.uint8) * 255)
    write_labels(tmp_path / "truth.tif", LABELS)
    result = evaluate(tmp_path / "mask.png", tmp_path / "truth.tif")
    assert result["notes"] == [f"{tmp_path / 'mask.png'}: binary image split into 4 connected components"]
    assert result["pooled"]["f1"] == 1.0


def test_files_that_cannot_be_scored(tmp_path):
    a, b, none = tmp_path / "a", tmp_path / "b", tmp_path / "none"
    none.mkdir()
    write_labels(a / "one.tif", LABELS)
    write_labels(b / "two.tif", LABELS)
    write_labels(tmp_path / "small" / "one.tif", LABELS[:3])
    write_labels(tmp_path / "double" / "one_labels.tif", LABELS)
    write_png(tmp_path / "double" / "one_labels.png", LABELS.astype(np.uint8))
    for pred, truth, words in (
        (a, b / "two.tif", f"{a} is a folder and {b / 'two.tif'} is none; give two files or two folders"),
        (b / "two.tif", a, f"{a} is a folder and {b / 'two.tif'} is none"),
        (a, b, f"no name in {a} ('one', ...) is one in {b} ('two', ...); give both files of an image one name"),
        (a, none, f"{none} has no label images and no ROI files"),
        (a, tmp_path / "double", "has two files for one image, one_labels.png and one_labels.tif; keep one"),
        (a, tmp_path / "small", "one: the prediction has 20 x 15 pixels, the truth 20 x 3; give equal sizes"),
        (a / "missing.tif", b / "two.tif", "no file"),
        (a / "missing.zip", b / "two.tif", "missing.zip"),
    ):
        with pytest.raises(ImageError) as caught:
            evaluate(pred, truth)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_two_roi_files_of_an_image_wider_than_65_535_pixels(tmp_path):
    labels = np.zeros((20, 70_000), np.int32)
    for number, left in enumerate((5, 40_000, 66_000, 69_000), start=1):
        labels[3:9, left : left + 10] = number
    labels[5, 66_005] = 0  # a hole: a composite ROI
    rois.write_rois(tmp_path / "a.zip", rois.labels_to_rois(labels))
    rois.write_rois(tmp_path / "b.zip", rois.labels_to_rois(np.where(labels == 3, 0, labels)))
    scores = evaluate(tmp_path / "b.zip", tmp_path / "a.zip", iou=0.7)["pooled"]
    assert (scores["n_true"], scores["n_pred"], scores["fn_percent"]) == (4, 3, 25.0)
    assert rois.extent(rois.read_rois(tmp_path / "a.zip")) == (9, 69_010)
    assert rois.extent([]) == (1, 1)
