"""The five losses of a Mask R-CNN, and the decay of its weights."""

from __future__ import annotations

from typing import Any

Tensor = Any  # of TensorFlow

NAMES = ("rpn_class_loss", "rpn_bbox_loss", "mrcnn_class_loss", "mrcnn_bbox_loss", "mrcnn_mask_loss")


def anchor_class_loss(match: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy of the anchors that count; 0 if none does.

    Parameters
    ----------
    match : tensor of int8, shape (B, A)
        As `targets.match_anchors` gives it.
    logits : tensor of float32, shape (B, A, 2)
    """
    import tensorflow as tf

    counted = tf.where(match != 0)
    wanted = tf.cast(tf.gather_nd(match, counted) == 1, tf.int32)
    return _mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=wanted, logits=tf.gather_nd(logits, counted)))


def anchor_box_loss(match: Tensor, wanted: Tensor, deltas: Tensor) -> Tensor:
    """Smooth distance of the corrections of positive anchors from the wanted ones; 0 if there are none.

    Parameters
    ----------
    match : tensor of int8, shape (B, A)
    wanted : tensor of float32, shape (B, N, 4)
        Of each image's positive anchors in their order, then zeros.
    deltas : tensor of float32, shape (B, A, 4)
    """
    import tensorflow as tf

    positive = match == 1
    counts = tf.reduce_sum(tf.cast(positive, tf.int32), axis=1)
    packed = tf.boolean_mask(wanted, tf.sequence_mask(counts, tf.shape(wanted)[1]))
    return _mean(_smooth(packed - tf.boolean_mask(deltas, positive)))


def class_loss(classes: Tensor, logits: Tensor, active: Tensor) -> Tensor:
    """Cross-entropy of regions, without those whose most probable class is not active.

    Parameters
    ----------
    classes : tensor of int32, shape (N,)
    logits : tensor of float32, shape (N, C)
    active : tensor of float32, shape (C,)
        1 for classes that the image can hold.
    """
    import tensorflow as tf

    counted = tf.gather(active, tf.argmax(logits, axis=1))
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=classes, logits=logits)
    return tf.math.divide_no_nan(tf.reduce_sum(loss * counted), tf.reduce_sum(counted))


def box_loss(classes: Tensor, wanted: Tensor, deltas: Tensor) -> Tensor:
    """Smooth distance of the corrections of positive regions, those of the true class; 0 if there are none.

    Parameters
    ----------
    classes : tensor of int32, shape (N,)
    wanted : tensor of float32, shape (N, 4)
    deltas : tensor of float32, shape (N, C, 4)
    """
    import tensorflow as tf

    positive = tf.where(classes > 0)[:, 0]
    own = tf.gather(tf.gather(deltas, positive), tf.gather(classes, positive), batch_dims=1)
    return _mean(_smooth(tf.gather(wanted, positive) - own))


def mask_loss(classes: Tensor, wanted: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy per pixel of positive regions' masks, those of the true class; 0 if there are none.

    Parameters
    ----------
    classes : tensor of int32, shape (N,)
    wanted : tensor of float32, shape (N, 28, 28)
        0 or 1.
    masks : tensor of float32, shape (N, 28, 28, C)
        From 0 to 1.
    """
    import tensorflow as tf

    positive = tf.where(classes > 0)[:, 0]
    own = tf.gather(tf.transpose(tf.gather(masks, positive), [0, 3, 1, 2]), tf.gather(classes, positive), batch_dims=1)
    own = tf.clip_by_value(own, 1e-7, 1.0 - 1e-7)
    true = tf.gather(wanted, positive)
    return _mean(-(true * tf.math.log(own) + (1.0 - true) * tf.math.log(1.0 - own)))


def decay(weights: list[Any], factor: float) -> Tensor:
    """Mean square of each weight but those of normalisations, summed, times a factor."""
    import tensorflow as tf

    kept = [weight for weight in weights if weight.path.rsplit("/", 1)[-1] not in ("gamma", "beta")]
    if not kept:
        return tf.constant(0.0)
    return factor * tf.add_n([tf.reduce_mean(tf.square(tf.cast(weight, tf.float32))) for weight in kept])


def _smooth(difference: Tensor) -> Tensor:
    """Return half the square below 1, the size less a half above."""
    import tensorflow as tf

    size = tf.abs(difference)
    return tf.where(size < 1.0, 0.5 * size**2, size - 0.5)


def _mean(values: Tensor) -> Tensor:
    """Return the mean; 0 of nothing."""
    import tensorflow as tf

    return tf.math.divide_no_nan(tf.reduce_sum(values), tf.cast(tf.size(values), tf.float32))
