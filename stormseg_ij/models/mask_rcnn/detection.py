"""From proposals to detections."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.models.mask_rcnn.anchors import clipped, corrected
from stormseg_ij.models.mask_rcnn.config import BOX_SPREAD


def refine(proposals: Any, probabilities: Any, deltas: Any, window: Any) -> tuple[Any, Any, Any]:  # noqa: ANN401
    """Give each proposal its most probable class and that class' better box.

    Parameters
    ----------
    proposals : tensor of float32, shape (N, 4)
        Normalised.
    probabilities : tensor of float32, shape (N, classes)
    deltas : tensor of float32, shape (N, classes, 4)
    window : tensor of float32, shape (4,)
        Where the image lies in the network's input, normalised.

    Returns
    -------
    boxes : tensor of float32, shape (N, 4)
        Cut to the window.
    classes : tensor of int32, shape (N,)
        0 is background.
    scores : tensor of float32, shape (N,)
    """
    import tensorflow as tf

    classes = tf.argmax(probabilities, axis=1, output_type=tf.int32)
    scores = tf.gather(probabilities, classes, batch_dims=1)
    boxes = corrected(proposals, tf.gather(deltas, classes, batch_dims=1) * tf.constant(BOX_SPREAD))
    return clipped(boxes, window), classes, scores


def choose(
    boxes: NDArray[np.float32],
    classes: NDArray[np.int32],
    scores: NDArray[np.float32],
    *,
    probability: float,
    nms: float,
    most: int,
) -> NDArray[np.int64]:
    """Return the indices of the detections that stay, the most probable first.

    Parameters
    ----------
    boxes : ndarray, shape (N, 4)
    classes : ndarray, shape (N,)
    scores : ndarray, shape (N,)
    probability : float
        Least one.
    nms : float
        Of two of one class that overlap by more (IoU) the less probable goes.
    most : int
        So many per class, and in all.
    """
    import tensorflow as tf

    kept = []
    for number in np.unique(classes[classes > 0]):
        here = np.flatnonzero((classes == number) & (scores >= probability))
        chosen = tf.image.non_max_suppression(boxes[here], scores[here], most, nms).numpy()
        kept.append(here[chosen])
    indices = np.concatenate([np.zeros(0, np.int64), *kept])
    return np.asarray(indices[np.argsort(-scores[indices], kind="stable")][:most], np.int64)
