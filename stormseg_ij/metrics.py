"""How well labels agree with the truth: F1 at an IoU, missed and false nuclei, Hausdorff distance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.errors import ImageError
from stormseg_ij.image import SUFFIXES, Pixels
from stormseg_ij.mapped import open_labels
from stormseg_ij.overlap import Integers, Overlap, find_overlap
from stormseg_ij.rois import SUFFIXES as ROI_SUFFIXES
from stormseg_ij.rois import extent, read_rois, rois_to_labels
from stormseg_ij.settings import EvaluateSettings

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

CAICEDO_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
CURVE_THRESHOLDS = (*CAICEDO_THRESHOLDS, 0.95)
PARTNER_IOU = 0.1
"""From more overlap than this on, nuclei are partners: Caicedo's limit for splits and merges."""


@dataclass(frozen=True)
class Score:
    """What one prediction is worth.

    Attributes
    ----------
    name : str
    f1 : float
        2 TP / (2 TP + FP + FN), 0 to 1. With no nucleus in either image 1: the prediction is right. (Caicedo's formula
        gives 0 there, StarDist's too.)
    fn_percent, fp_percent : float
        Nuclei that were missed, and nuclei that are none, per 100 true nuclei; the latter may exceed 100. An image
        without true nuclei counts as one with a single one.
    hausdorff_px : float or None
        Mean Hausdorff distance of the matched nuclei in pixels; None if none matched.
    n_true, n_pred, n_matched : int
        Nuclei in the truth, in the prediction, and matched pairs of them.
    """

    name: str
    f1: float
    fn_percent: float
    fp_percent: float
    hausdorff_px: float | None
    n_true: int
    n_pred: int
    n_matched: int


@dataclass(frozen=True)
class Agreement:
    """All that one overlap of two label images tells.

    Attributes
    ----------
    score : Score
    curve : tuple of float
        F1 at each IoU of `CURVE_THRESHOLDS`.
    found, missed : ndarray of int
        Labels of the true nuclei that a predicted one matches, and of all others; ascending.
    hits, false : ndarray of int
        Labels of the predicted nuclei that match a true one, and of all others; ascending.
    splits, merges : int
        True nuclei with several predicted partners, and predicted ones with several true partners: see `compare`.
    """

    score: Score
    curve: tuple[float, ...]
    found: Integers
    missed: Integers
    hits: Integers
    false: Integers
    splits: int
    merges: int

    @property
    def mean_f1(self) -> float:
        """Mean F1 over `CURVE_THRESHOLDS`."""
        return float(np.mean(self.curve))


def score(pred: Pixels, truth: Pixels, *, iou: float = 0.7, name: str = "") -> Score:
    """Score one label image against the truth.

    Parameters
    ----------
    pred, truth : ndarray of int, shape (Y, X)
        0 is background, every other value one nucleus; values need not be contiguous.
    iou : float
        A predicted and a true nucleus match if their intersection over union is greater. From 0.5 on no nucleus can
        match two; below, as many pairs as possible are matched one to one, and among the ways to do that the one with
        the greatest sum of IoUs.
    name : str
        Of the image, for the result and for errors.

    Returns
    -------
    Score

    Raises
    ------
    ImageError
        If the two differ in shape, are not 2-D and of integers, or have negative values.
    SettingsError
        If `iou` is not from 0 to 0.99.

    References
    ----------
    Caicedo et al. 2019, Cytometry A 95:952 (F1 at an IoU); Mela & Liu 2021, Methods, "Network evaluation" (threshold,
    percentages, Hausdorff distance of matched nuclei as scikit-image computes it).

    Examples
    --------
    >>> truth = np.array([[1, 1, 0, 2], [1, 1, 0, 2]])
    >>> result = score(np.array([[7, 7, 0, 0], [7, 7, 0, 0]]), truth)
    >>> round(result.f1, 3), result.fn_percent, result.fp_percent, result.hausdorff_px
    (0.667, 50.0, 0.0, 0.0)
    """
    threshold = EvaluateSettings(iou=iou).iou
    overlap = find_overlap(pred, truth, name)
    return _score(overlap, overlap.pairs[_matches(overlap, threshold)], pred, truth, name)


def compare(pred: Pixels, truth: Pixels, *, iou: float = 0.7, name: str = "") -> Agreement:
    """Compare one label image with the truth: its score, F1 over thresholds, which nuclei match, splits and merges.

    A true and a predicted nucleus are partners if their IoU is greater than 0.1. A true nucleus with several partners
    is split; a predicted one with several partners is a merge of them.

    Parameters
    ----------
    pred, truth, iou, name
        As in `score`.

    Returns
    -------
    Agreement

    Raises
    ------
    ImageError, SettingsError
        As `score`.

    References
    ----------
    Caicedo et al. 2019, Cytometry A 95:952, "Evaluation metrics" (splits and merges).

    Examples
    --------
    >>> agreement = compare(np.array([[7, 7, 8, 8, 0, 9]]), np.array([[1, 1, 1, 1, 1, 0]]))
    >>> agreement.splits, agreement.merges, agreement.missed.tolist(), agreement.false.tolist()
    (1, 0, [1], [7, 8, 9])
    """
    threshold = EvaluateSettings(iou=iou).iou
    overlap = find_overlap(pred, truth, name)
    matched = overlap.pairs[_matches(overlap, threshold)]
    is_found, is_hit = np.zeros(len(overlap.true.ids), bool), np.zeros(len(overlap.pred.ids), bool)
    is_found[matched[:, 0]] = is_hit[matched[:, 1]] = True
    partners = overlap.pairs[overlap.iou > PARTNER_IOU]
    return Agreement(
        score=_score(overlap, matched, pred, truth, name),
        curve=tuple(_f1(overlap, at) for at in CURVE_THRESHOLDS),
        found=overlap.true.ids[is_found],
        missed=overlap.true.ids[~is_found],
        hits=overlap.pred.ids[is_hit],
        false=overlap.pred.ids[~is_hit],
        splits=int(np.count_nonzero(np.bincount(partners[:, 0]) > 1)),
        merges=int(np.count_nonzero(np.bincount(partners[:, 1]) > 1)),
    )


def f1_curve(pred: Pixels, truth: Pixels, thresholds: Sequence[float] = CAICEDO_THRESHOLDS) -> list[float]:
    """Return the F1 of `score` at each of several IoUs.

    Examples
    --------
    >>> f1_curve(np.array([[1, 1, 1, 0]]), np.array([[1, 1, 1, 1]]), [0.5, 0.75])
    [1.0, 0.0]
    """
    overlap = find_overlap(pred, truth, "")
    return [_f1(overlap, at) for at in thresholds]


def summarize(scores: Iterable[Score]) -> dict[str, Any]:
    """Put the scores of several images together.

    Parameters
    ----------
    scores : iterable of Score
        At least one.

    Returns
    -------
    dict
        Ready for JSON. ``images``: one dict per score. ``mean``: of every number, each image of equal weight (the F1
        of Caicedo et al.). ``pooled``: from the sums of all counts, each nucleus of equal weight (the paper's FN % and
        Hausdorff distance). Images without a match are left out of ``hausdorff_px``, which is None without any.

    Raises
    ------
    ImageError
        If there is no score.
    """
    scores = list(scores)
    if not scores:
        raise ImageError("there are no scores to put together; score at least one image")
    images = [{key: value for key, value in asdict(one).items() if key != "n_matched"} for one in scores]
    n_true, n_pred, n_matched = (sum(getattr(one, key) for one in scores) for key in ("n_true", "n_pred", "n_matched"))
    matching = [(one.hausdorff_px, one.n_matched) for one in scores if one.hausdorff_px is not None]
    distance = sum(mean * count for mean, count in matching) / n_matched if n_matched else None
    pooled = asdict(_from_counts("", n_true, n_pred, n_matched, distance))
    keys = [key for key in images[0] if key != "name"]
    mean = {key: _mean([image[key] for image in images if image[key] is not None]) for key in keys}
    return {"images": images, "mean": mean, "pooled": {key: pooled[key] for key in keys}}


def evaluate(pred: str | Path, truth: str | Path, *, iou: float = 0.7) -> dict[str, Any]:
    """Score files against the truth.

    Parameters
    ----------
    pred, truth : str or Path
        Two files or two folders. Label images (TIFF, PNG), or ROI files (``.zip``, ``.roi``), which take the shape of
        their partner. In folders partners have equal names but for the endings ``_labels`` and ``_rois``: files with
        such an ending are taken alone where there are some, label images before ROI files, overlays never.
    iou : float
        As in `score`.

    Returns
    -------
    dict
        As `summarize`, and ``iou``; ``missing``: the files that have no partner, which are not scored; ``notes``:
        what the user should know of a file, one line each.

    Raises
    ------
    ImageError
        If a file cannot be read, partners differ in shape, a name stands for several files, or none has a partner.
    SettingsError
        If `iou` is out of range.
    """
    pred, truth = Path(pred), Path(truth)
    EvaluateSettings(iou=iou)
    if pred.is_dir() != truth.is_dir():
        folder, other = (pred, truth) if pred.is_dir() else (truth, pred)
        raise ImageError(f"{folder} is a folder and {other} is none; give two files or two folders")
    if pred.is_dir():
        pairs, missing = _partners(label_files(pred), label_files(truth), pred, truth)
    else:
        pairs, missing = {bare_name(truth): (pred, truth)}, []
    scores, notes = [], []
    for name, (pred_file, true_file) in pairs.items():
        pred_labels, true_labels, remarks = _read_pair(pred_file, true_file)
        scores.append(score(pred_labels, true_labels, iou=iou, name=name))
        notes += remarks
    return {"iou": iou, **summarize(scores), "missing": missing, "notes": notes}


def _matches(overlap: Overlap, threshold: float) -> Integers:
    """Return which pairs of `overlap` match, each nucleus at most once."""
    above = np.flatnonzero(overlap.iou > threshold)
    if threshold >= 0.5 or not len(above):
        return above
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    # A stand-in partner for every true nucleus lets all of them have one. It costs more than all that can be won by
    # other IoUs, so that as few as possible are used.
    true, i = np.unique(overlap.pairs[above, 0], return_inverse=True)
    pred, j = np.unique(overlap.pairs[above, 1], return_inverse=True)
    stand_ins = np.arange(len(true))
    costs = np.concatenate([1.0 + (1.0 - overlap.iou[above]) / len(true), np.full(len(true), 3.0)])
    rows, columns = np.concatenate([i, stand_ins]), np.concatenate([j, len(pred) + stand_ins])
    rows, columns = min_weight_full_bipartite_matching(coo_array((costs, (rows, columns))).tocsr())
    real = columns < len(pred)
    return above[np.searchsorted(i * len(pred) + j, rows[real] * len(pred) + columns[real])]


def _f1(overlap: Overlap, threshold: float) -> float:
    n_true, n_pred = len(overlap.true.ids), len(overlap.pred.ids)
    return _from_counts("", n_true, n_pred, len(_matches(overlap, threshold)), None).f1


def _score(overlap: Overlap, matched: Integers, pred: Pixels, truth: Pixels, name: str) -> Score:
    """Score pairs of indices that match, shape (n, 2)."""
    distances = []
    for i, j in matched.tolist():
        top, left = np.minimum(overlap.true.boxes[i, :2], overlap.pred.boxes[j, :2])
        bottom, right = np.maximum(overlap.true.boxes[i, 2:], overlap.pred.boxes[j, 2:])
        window = np.s_[top:bottom, left:right]
        distances.append(_hausdorff(truth[window] == overlap.true.ids[i], pred[window] == overlap.pred.ids[j]))
    return _from_counts(name, len(overlap.true.ids), len(overlap.pred.ids), len(matched), _mean(distances))


def _hausdorff(a: Mask, b: Mask) -> float:
    """Hausdorff distance in pixels of the nonzero pixels of two masks, none of them empty, of one shape.

    The number that skimage.metrics.hausdorff_distance gives, from fewer points: see `_farthest`.
    """
    return max(_farthest(a, b), _farthest(b, a))


def _farthest(a: Mask, b: Mask) -> float:
    """Greatest distance from a pixel of `a` to the nearest of `b`.

    Only pixels of `a` outside `b` have one. Those in a 5 x 5 square around a pixel of `b` are at most 2.83 away from
    it, all others at least 3: where there are others, only they count. Wherever they are, the nearest pixel of `b` is
    on its edge: from an inner one, a step towards them would lead to a nearer one.
    """
    from scipy.spatial import KDTree

    outside = a & ~b
    if not outside.any():
        return 0.0
    far = outside & ~_grown(b)
    edge = KDTree(_points(b & ~_inner(b)), balanced_tree=False, compact_nodes=False)
    return float(np.max(edge.query(_points(far if far.any() else outside))[0]))


def _inner(mask: Mask) -> Mask:
    """Pixels that have no neighbour above, below, left or right that is not in the mask."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return inner


def _grown(mask: Mask) -> Mask:
    """Pixels of the 5 x 5 squares around those of the mask."""
    for _ in range(2):
        grown = mask.copy()
        for step in (1, 2):
            grown[step:] |= mask[:-step]
            grown[:-step] |= mask[step:]
        mask = grown.T
    return mask


def _points(mask: Mask) -> Floats:
    return np.array(np.divmod(np.flatnonzero(mask), mask.shape[1]), np.float64).T


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _from_counts(name: str, n_true: int, n_pred: int, n_matched: int, hausdorff_px: float | None) -> Score:
    return Score(
        name=name,
        f1=2.0 * n_matched / (n_true + n_pred) if n_true + n_pred else 1.0,
        fn_percent=100.0 * (n_true - n_matched) / max(1, n_true),
        fp_percent=100.0 * (n_pred - n_matched) / max(1, n_true),
        hausdorff_px=hausdorff_px,
        n_true=n_true,
        n_pred=n_pred,
        n_matched=n_matched,
    )


def bare_name(path: Path) -> str:
    """Return the name by which partners find each other: without suffix, and without ``_labels`` or ``_rois``."""
    return path.stem.removesuffix("_labels").removesuffix("_rois")


def _holds_rois(path: Path) -> bool:
    return path.suffix.lower() in ROI_SUFFIXES


def label_files(folder: Path) -> dict[str, Path]:
    """Choose the files in a folder that hold labels, by `bare_name`, as `evaluate` does.

    Raises
    ------
    ImageError
        If there is no such file, or a name stands for several, or it is no folder that can be read.
    """
    if not folder.is_dir():
        raise ImageError(f"{folder} is no folder; give the folder that holds the label images or ROI files")
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES or _holds_rois(path)]
    files = [path for path in files if not path.name.startswith(".") and not path.stem.endswith("_overlay")]
    marked = [path for path in files if path.stem != bare_name(path)]
    chosen: dict[str, Path] = {}
    # Beside a ROI file, an image is preferred if its name says that it holds labels; else it is the microscope's.
    for path in sorted(marked or files, key=lambda path: _holds_rois(path) == bool(marked)):
        rival = chosen.setdefault(bare_name(path), path)
        if rival != path and _holds_rois(rival) == _holds_rois(path):
            raise ImageError(f"{folder} has two files for one image, {rival.name} and {path.name}; keep one")
    if not chosen:
        raise ImageError(f"{folder} has no label images and no ROI files; give the folder that holds them")
    return chosen


def _partners(
    pred: dict[str, Path], truth: dict[str, Path], pred_folder: Path, true_folder: Path
) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """Pair files of one name; list those that have no partner."""
    pairs = {name: (pred[name], truth[name]) for name in sorted(pred.keys() & truth.keys())}
    if not pairs:
        raise ImageError(
            f"no name in {pred_folder} ({min(pred)!r}, ...) is one in {true_folder} ({min(truth)!r}, ...); "
            "give both files of an image one name (_labels and _rois at its end do not count)"
        )
    lonely = [files[name] for files in (pred, truth) for name in sorted(files.keys() - pairs.keys())]
    return pairs, [str(path) for path in lonely]


def read_as_labels(path: Path, shape: tuple[int, int]) -> tuple[Pixels, tuple[str, ...]]:
    """Read a label image as `open_labels` does, or paint a ROI file as a label image of this shape (Y, X).

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    return rois_to_labels(read_rois(path), shape) if _holds_rois(path) else open_labels(path)


def _read_pair(pred: Path, truth: Path) -> tuple[Pixels, Pixels, list[str]]:
    """Read two files as label images; a ROI file takes the shape of the other one."""
    labels = {path: open_labels(path) for path in (pred, truth) if not _holds_rois(path)}
    if labels:
        height, width = next(iter(labels.values()))[0].shape
    else:  # two ROI files: any shape that holds all
        everything = [roi for path in (pred, truth) for roi in read_rois(path)]
        height, width = extent(everything)
    labels |= {path: read_as_labels(path, (height, width)) for path in (pred, truth) if _holds_rois(path)}
    notes = [f"{path}: {note}" for path in (pred, truth) for note in labels[path][1]]
    return labels[pred][0], labels[truth][0], notes
