"""What the network should say of an image: of its anchors, and of the boxes that it proposes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stormseg_ij.models.mask_rcnn.anchors import Boxes, corrections, overlaps
from stormseg_ij.models.mask_rcnn.config import BOX_SPREAD, MASK_SIDE, Config

_LIKE, _UNLIKE = 0.7, 0.3  # IoU from which on an anchor is an object, and below which it is none
_THIN_PX = 2
_POSITIVE = 0.5  # IoU from which on a proposal is an object


def boxes_of(labels: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the labels of an image, and their boxes in pixels.

    Parameters
    ----------
    labels : ndarray of int, shape (Y, X)

    Returns
    -------
    ids : ndarray of int32, shape (G,)
        Ascending.
    boxes : ndarray of int32, shape (G, 4)

    Examples
    --------
    >>> [part.tolist() for part in boxes_of(np.array([[0, 7, 7], [0, 0, 7]]))]
    [[7], [[0, 1, 2, 3]]]
    """
    ids = np.unique(labels)
    ids = ids[ids > 0]
    boxes = np.zeros((len(ids), 4), np.int32)
    for place, one in enumerate(ids):
        mask = labels == one
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        boxes[place] = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    return ids.astype(np.int32), boxes


def without_slivers(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the labels without objects of one row or column: an image's side cut off the rest, and no box fits them.

    >>> without_slivers(np.array([[1, 1, 0, 2], [1, 1, 0, 2]], np.int32)).tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0]]
    """
    ids, boxes = boxes_of(labels)
    thin = ids[(boxes[:, 2:] - boxes[:, :2] < _THIN_PX).any(axis=1)]
    return np.where(np.isin(labels, thin), 0, labels).astype(np.int32)


def match_anchors(anchors: Boxes, boxes: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Tell which anchors are objects, before any are left out at random.

    An anchor is an object if it overlaps one by an IoU of 0.7, or if no other anchor overlaps that object more; it is
    background below 0.3.

    Parameters
    ----------
    anchors : ndarray of float64, shape (A, 4)
        In pixels.
    boxes : ndarray, shape (G, 4)
        In pixels; G is at least 1.

    Returns
    -------
    match : ndarray of int8, shape (A,)
        1 for objects, -1 for background, 0 for what does not count.
    deltas : ndarray of float32, shape (P, 4)
        Of the objects, in the order of the anchors: how they become the box that they overlap most.
    """
    iou = overlaps(anchors, boxes)
    match = np.where(iou.max(axis=1) < _UNLIKE, -1, 0).astype(np.int8)
    match[(iou == iou.max(axis=0)).any(axis=1)] = 1
    match[iou.max(axis=1) >= _LIKE] = 1
    positive = match == 1
    wanted = np.asarray(boxes)[iou[positive].argmax(axis=1)]
    return match, (corrections(anchors[positive], wanted) / np.array(BOX_SPREAD)).astype(np.float32)


def some_anchors(
    match: NDArray[np.int8], deltas: NDArray[np.float32], number: int, rng: Generator
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Let so many anchors count, at most half of them objects; deltas are filled up with zeros to that number.

    >>> match, deltas = some_anchors(np.array([1, -1, -1, -1], np.int8), np.ones((1, 4), np.float32), 3,
    ...                              np.random.default_rng(0))
    >>> sorted(match.tolist()), deltas.shape
    ([-1, -1, 0, 1], (3, 4))
    """
    match = match.copy()
    positives = np.flatnonzero(match == 1)
    surplus = len(positives) - number // 2
    if surplus > 0:
        match[rng.choice(positives, surplus, replace=False)] = 0
    deltas = deltas[match[positives] == 1]
    negatives = np.flatnonzero(match == -1)
    surplus = len(negatives) - (number - len(deltas))
    if surplus > 0:
        match[rng.choice(negatives, surplus, replace=False)] = 0
    return match, np.concatenate([deltas, np.zeros((number - len(deltas), 4), np.float32)])


class Truth(NamedTuple):
    """The objects of one image as tensors.

    Attributes
    ----------
    boxes : tensor of float32, shape (G, 4)
        Normalised.
    ids : tensor of int32, shape (G,)
        Their values in `labels`.
    labels : tensor of int32, shape (H, W)
    """

    boxes: Any
    ids: Any
    labels: Any


class Regions(NamedTuple):
    """Boxes of one image that are trained on, positives first, and what should be said of them.

    Attributes
    ----------
    boxes : tensor of float32, shape (N, 4)
    classes : tensor of int32, shape (N,)
        0 is background.
    deltas : tensor of float32, shape (N, 4)
    masks : tensor of float32, shape (P, 28, 28)
        0 or 1, of the positives only.
    """

    boxes: Any
    classes: Any
    deltas: Any
    masks: Any


def assign(proposals: Any, truth: Truth) -> tuple[Any, Any]:  # noqa: ANN401 (TensorFlow tensors)
    """Return for each proposal its largest IoU with an object, and the index of that object."""
    import tensorflow as tf

    one, other = proposals[:, tf.newaxis], truth.boxes[tf.newaxis]
    sides = tf.minimum(one[..., 2:], other[..., 2:]) - tf.maximum(one[..., :2], other[..., :2])
    shared = tf.reduce_prod(tf.maximum(sides, 0.0), axis=-1)
    area = tf.reduce_prod(one[..., 2:] - one[..., :2], axis=-1) + tf.reduce_prod(
        other[..., 2:] - other[..., :2], axis=-1
    )
    iou = shared / (area - shared)
    return tf.reduce_max(iou, axis=1), tf.argmax(iou, axis=1, output_type=tf.int32)


def describe(positives: Any, objects: Any, truth: Truth) -> tuple[Any, Any]:  # noqa: ANN401 (TensorFlow tensors)
    """Return deltas and masks of proposals that are objects.

    Parameters
    ----------
    positives : tensor of float32, shape (P, 4)
        Normalised.
    objects : tensor of int32, shape (P,)
        Which object each one is.
    truth : Truth
    """
    import tensorflow as tf

    wanted = tf.gather(truth.boxes, objects)
    size, true_size = positives[:, 2:] - positives[:, :2], wanted[:, 2:] - wanted[:, :2]
    centre, true_centre = positives[:, :2] + 0.5 * size, wanted[:, :2] + 0.5 * true_size
    deltas = tf.concat([(true_centre - centre) / size, tf.math.log(true_size / size)], axis=1)
    own = truth.labels[tf.newaxis] == tf.gather(truth.ids, objects)[:, tf.newaxis, tf.newaxis]
    cut = tf.image.crop_and_resize(
        tf.cast(own, tf.float32)[..., tf.newaxis], positives, tf.range(tf.shape(positives)[0]), (MASK_SIDE, MASK_SIDE)
    )
    return deltas / tf.constant(BOX_SPREAD), tf.round(cut[..., 0])


def some_regions(proposals: Any, truth: Truth, seed: Any, config: Config) -> Regions:  # noqa: ANN401
    """Choose proposals to train on: a third positives at most, and two negatives for each; none without a positive.

    Parameters
    ----------
    proposals : tensor of float32, shape (N, 4)
        Normalised; those without size are left out.
    truth : Truth
    seed : tensor of int32, shape (2,)
        Decides which.
    config : Config
    """
    import tensorflow as tf

    proposals = tf.boolean_mask(proposals, tf.reduce_all(proposals[:, 2:] > proposals[:, :2], axis=1))
    best, objects = assign(proposals, truth)
    positives = _shuffled(tf.where(best >= _POSITIVE)[:, 0], seed)[: config.positives]
    number = tf.shape(positives)[0]
    others = tf.cast(tf.cast(number, tf.float32) / config.positive_fraction, tf.int32) - number
    negatives = _shuffled(tf.where(best < _POSITIVE)[:, 0], seed + 1)[:others]
    deltas, masks = describe(tf.gather(proposals, positives), tf.gather(objects, positives), truth)
    empty = tf.shape(negatives)[0]
    return Regions(
        tf.gather(proposals, tf.concat([positives, negatives], axis=0)),
        tf.concat([tf.ones(number, tf.int32), tf.zeros(empty, tf.int32)], axis=0),
        tf.concat([deltas, tf.zeros((empty, 4))], axis=0),
        masks,
    )


def _shuffled(values: Any, seed: Any) -> Any:  # noqa: ANN401 (TensorFlow tensors)
    import tensorflow as tf

    return tf.gather(values, tf.argsort(tf.random.stateless_uniform(tf.shape(values), seed)))
