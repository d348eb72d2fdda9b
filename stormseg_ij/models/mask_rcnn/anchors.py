"""Anchors, and the arithmetic of boxes: corners y1, x1, y2, x2, the last two past the box.

In pixels, or normalised: 0 is the first pixel of an image and 1 its last one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.models.mask_rcnn.config import STRIDES_PX, Config

Boxes = NDArray[np.float64]


@lru_cache(maxsize=32)
def anchors_px(shape: tuple[int, int], config: Config) -> Boxes:
    """Return the anchors of an image in pixels, by level, row, column and ratio.

    Their centres are at the multiples of a level's stride; they may reach out of the image.

    Parameters
    ----------
    shape : (int, int)
        Of the network's input: multiples of 64.
    config : Config

    Returns
    -------
    ndarray of float64, shape (A, 4)
        Read-only.

    Examples
    --------
    >>> anchors_px((64, 64), Config()).shape, anchors_px((64, 64), Config())[1].tolist()
    ((1023, 4), [-4.0, -4.0, 4.0, 4.0])
    """
    root = np.sqrt(np.array(config.anchor_ratios))
    levels = []
    for stride, scale in zip(STRIDES_PX, config.anchor_scales_px, strict=True):
        half = 0.5 * scale * np.stack([1.0 / root, root], axis=1)
        y, x = np.meshgrid(*(np.arange(0, side, stride) for side in shape), indexing="ij")
        centres = np.stack([y, x], axis=-1)[:, :, np.newaxis]
        levels.append(np.concatenate([centres - half, centres + half], axis=-1).reshape(-1, 4))
    anchors = np.concatenate(levels)
    anchors.flags.writeable = False
    return anchors


def normalised(boxes: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return boxes in pixels as parts of an image.

    >>> normalised(np.array([[0, 0, 11, 21]]), (11, 21)).tolist()
    [[0.0, 0.0, 1.0, 1.0]]
    """
    return np.asarray((boxes - _PAST) / _span(shape), np.float32)


def in_pixels(boxes: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.int32]:
    """Return normalised boxes in whole pixels.

    >>> in_pixels(np.array([[0.0, 0.0, 1.0, 1.0]]), (11, 21)).tolist()
    [[0, 0, 11, 21]]
    """
    return np.asarray(np.around(boxes * _span(shape) + _PAST), np.int32)


_PAST = np.array([0.0, 0.0, 1.0, 1.0])


def _span(shape: tuple[int, int]) -> NDArray[np.float64]:
    return np.array([shape[0] - 1, shape[1] - 1] * 2, np.float64)


def overlaps(one: NDArray[Any], other: NDArray[Any]) -> Boxes:
    """Return the intersection over union of each box with each other, shape (N, M).

    >>> overlaps(np.array([[0, 0, 2, 2]]), np.array([[0, 0, 2, 2], [0, 1, 2, 3], [5, 5, 6, 6]])).round(3).tolist()
    [[1.0, 0.333, 0.0]]
    """
    one, other = np.asarray(one, np.float64)[:, np.newaxis], np.asarray(other, np.float64)[np.newaxis]
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared = np.maximum(sides, 0.0).prod(axis=-1)
    area = (one[..., 2:] - one[..., :2]).prod(axis=-1) + (other[..., 2:] - other[..., :2]).prod(axis=-1)
    return np.asarray(shared / (area - shared))


def corrections(boxes: NDArray[Any], truth: NDArray[Any]) -> Boxes:
    """Return dy, dx, log dh, log dw that make `truth` of `boxes`, shape (N, 4)."""
    boxes, truth = np.asarray(boxes, np.float64), np.asarray(truth, np.float64)
    size, true_size = boxes[:, 2:] - boxes[:, :2], truth[:, 2:] - truth[:, :2]
    centre, true_centre = boxes[:, :2] + 0.5 * size, truth[:, :2] + 0.5 * true_size
    return np.concatenate([(true_centre - centre) / size, np.log(true_size / size)], axis=1)


def corrected(boxes: Any, deltas: Any) -> Any:  # noqa: ANN401 (TensorFlow tensors)
    """Move and stretch boxes; tensors of float32, shapes (N, 4)."""
    import tensorflow as tf

    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + 0.5 * size + deltas[:, :2] * size
    size = size * tf.exp(deltas[:, 2:])
    first = centre - 0.5 * size
    return tf.concat([first, first + size], axis=1)


def clipped(boxes: Any, window: Any) -> Any:  # noqa: ANN401 (TensorFlow tensors)
    """Cut boxes to a window (4 numbers)."""
    import tensorflow as tf

    low, high = tf.tile(window[:2], [2]), tf.tile(window[2:], [2])
    return tf.maximum(tf.minimum(boxes, high), low)
