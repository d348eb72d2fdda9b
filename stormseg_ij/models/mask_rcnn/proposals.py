"""The region proposal network: which anchors hold something, and the boxes that are made of them."""

from __future__ import annotations

from typing import Any

from stormseg_ij.models.mask_rcnn.anchors import clipped, corrected
from stormseg_ij.models.mask_rcnn.config import BOX_SPREAD, Config


def proposal_head(maps: list[Any], config: Config) -> tuple[Any, Any]:
    """Look at the anchors of the maps P2 to P6, with the same three layers on each.

    Returns
    -------
    logits : Keras tensor, shape (B, A, 2)
        Background and foreground of each anchor, in the order of `anchors.anchors_px`.
    deltas : Keras tensor, shape (B, A, 4)
        As the network gives them: not yet times `config.BOX_SPREAD`.

    References
    ----------
    Ren, He, Girshick & Sun 2015, "Faster R-CNN".
    """
    from keras import layers

    ratios = len(config.anchor_ratios)
    shared = layers.Conv2D(config.rpn_width, 3, padding="same", activation="relu", name="rpn_conv_shared")
    of_class = layers.Conv2D(2 * ratios, 1, name="rpn_class_raw")
    of_box = layers.Conv2D(4 * ratios, 1, name="rpn_bbox_pred")
    seen = [shared(level) for level in maps]
    logits = layers.Concatenate(axis=1)([layers.Reshape((-1, 2))(of_class(x)) for x in seen])
    deltas = layers.Concatenate(axis=1)([layers.Reshape((-1, 4))(of_box(x)) for x in seen])
    # Sums of several layers' outputs count in 32 bits, whatever the layers themselves compute in.
    return layers.Activation("linear", dtype="float32")(logits), layers.Activation("linear", dtype="float32")(deltas)


def propose(scores: Any, deltas: Any, anchors: Any, *, config: Config, number: int, nms: float) -> Any:  # noqa: ANN401
    """Return the boxes of the best anchors of one image, without those that overlap a better one.

    Parameters
    ----------
    scores : tensor of float32, shape (A,)
        Of the foreground.
    deltas : tensor of float32, shape (A, 4)
    anchors : tensor of float32, shape (A, 4)
        Normalised.
    config : Config
    number : int
        Most that are returned.
    nms : float
        As `Config.rpn_nms`.

    Returns
    -------
    tensor of float32, shape (at most `number`, 4)
        Normalised, by score; no gradient goes through them.
    """
    import tensorflow as tf

    best = tf.math.top_k(scores, tf.minimum(config.most_anchors, tf.shape(scores)[0]), sorted=True).indices
    scores = tf.gather(scores, best)
    boxes = corrected(tf.gather(anchors, best), tf.gather(deltas, best) * tf.constant(BOX_SPREAD))
    boxes = clipped(boxes, tf.constant([0.0, 0.0, 1.0, 1.0]))
    kept = tf.image.non_max_suppression(boxes, scores, number, nms)
    return tf.stop_gradient(tf.gather(boxes, kept))
