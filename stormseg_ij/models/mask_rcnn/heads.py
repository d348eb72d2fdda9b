"""What is seen in a box: its class and better box, and its mask."""

from __future__ import annotations

from typing import Any

from stormseg_ij.models.mask_rcnn.backbone import batch_norm
from stormseg_ij.models.mask_rcnn.config import MASK_POOL, POOL, Config

_INSIDE = 1.0 - 1e-6
"""TensorFlow rounds, and gives zeros for points that it finds just past the last row or column."""

_USUAL_PX = 224.0  # a box of this side, in an image of any size, is looked at on P4


def cut_out(
    maps: Any,  # noqa: ANN401 (TensorFlow tensors)
    boxes: Any,  # noqa: ANN401
    images: Any,  # noqa: ANN401
    *,
    shape: Any,  # noqa: ANN401
    side: int,
    aligned: bool = False,
) -> Any:  # noqa: ANN401
    """Sample the pyramid in boxes, each on the level of its size, bilinearly and once per point.

    Parameters
    ----------
    maps : list of tensors, shapes (B, h, w, C)
        P2 to P5.
    boxes : tensor of float32, shape (N, 4)
        Normalised. No gradient goes through them.
    images : tensor of int32, shape (N,)
        Which of the B images a box is of.
    shape : tensor of int32, shape (2,)
        Rows and columns of the network's input.
    side : int
        Points per side of what is returned.
    aligned : bool
        As `Config.aligned`.

    Returns
    -------
    tensor, shape (N, side, side, C)
        In the order of the boxes.

    References
    ----------
    Lin et al. 2017, equation 1 (the level of a box).
    """
    import tensorflow as tf

    boxes = tf.stop_gradient(boxes)
    sides = boxes[:, 2:] - boxes[:, :2]
    root = tf.sqrt(tf.maximum(sides[:, 0] * sides[:, 1], 1e-12))  # boxes of no size are padding
    area = tf.cast(shape[0] * shape[1], tf.float32)
    octave = tf.math.log(root / (_USUAL_PX / tf.sqrt(area))) / tf.math.log(2.0)
    level = tf.clip_by_value(4 + tf.cast(tf.round(octave), tf.int32), 2, 5)
    parts, places = [], []
    for number, seen in enumerate(maps, start=2):
        here = tf.where(level == number)[:, 0]
        places_in = tf.gather(boxes, here)
        if aligned:
            places_in = _on_map(places_in, tf.cast(tf.shape(seen)[1:3], tf.float32), tf.cast(shape, tf.float32))
        parts.append(
            tf.image.crop_and_resize(
                tf.cast(seen, tf.float32), tf.minimum(places_in, _INSIDE), tf.gather(images, here), (side, side)
            )
        )
        places.append(here)
    order = tf.argsort(tf.concat(places, axis=0))
    return tf.gather(tf.concat(parts, axis=0), order)


def _on_map(boxes: Any, points: Any, pixels: Any) -> Any:  # noqa: ANN401 (TensorFlow tensors)
    """Return boxes as parts of a map whose points lie in the middle of the pixels that they stand for."""
    import tensorflow as tf

    points, pixels = tf.tile(points, [2]), tf.tile(pixels, [2])
    places = (boxes * (pixels - 1.0) + 0.5) * points / pixels - 0.5
    return tf.clip_by_value(places / (points - 1.0), 0.0, 1.0)


def class_head(config: Config) -> Any:  # noqa: ANN401 (a Keras model)
    """Build the head that tells class and better box.

    Returns
    -------
    keras.Model
        From (N, 7, 7, `pyramid_width`) to logits (N, classes) and deltas (N, classes, 4).
    """
    import keras
    from keras import layers, ops

    class WholeConv2D(layers.Conv2D):  # type: ignore[misc]
        """A convolution whose kernel is as large as what it sees: one product, several times as fast."""

        def call(self, inputs: Any) -> Any:  # noqa: ANN401 (Keras tensors)
            flat = ops.matmul(ops.reshape(inputs, (-1, POOL * POOL * config.pyramid_width)), self._flat_kernel())
            return ops.reshape(ops.add(flat, self.bias), (-1, 1, 1, config.head_width))

        def _flat_kernel(self) -> Any:  # noqa: ANN401 (Keras tensors)
            return ops.reshape(self.kernel, (-1, config.head_width))

    seen = keras.Input((POOL, POOL, config.pyramid_width))
    x = WholeConv2D(config.head_width, POOL, name="mrcnn_class_conv1")(seen)
    x = layers.ReLU()(batch_norm("mrcnn_class_bn1")(x))
    x = layers.Conv2D(config.head_width, 1, name="mrcnn_class_conv2")(x)
    x = layers.ReLU()(batch_norm("mrcnn_class_bn2")(x))
    x = layers.Flatten()(x)
    logits = layers.Dense(config.classes, name="mrcnn_class_logits", dtype="float32")(x)
    deltas = layers.Dense(4 * config.classes, name="mrcnn_bbox_fc", dtype="float32")(x)
    return keras.Model(seen, [logits, layers.Reshape((config.classes, 4), dtype="float32")(deltas)], name="class_head")


def mask_head(config: Config) -> Any:  # noqa: ANN401 (a Keras model)
    """Build the head that draws masks.

    Returns
    -------
    keras.Model
        From (N, 14, 14, `pyramid_width`) to (N, 28, 28, classes), each from 0 to 1.
    """
    import keras
    from keras import layers

    x = seen = keras.Input((MASK_POOL, MASK_POOL, config.pyramid_width))
    for number in (1, 2, 3, 4):
        x = layers.Conv2D(config.mask_width, 3, padding="same", name=f"mrcnn_mask_conv{number}")(x)
        x = layers.ReLU()(batch_norm(f"mrcnn_mask_bn{number}")(x))
    x = layers.Conv2DTranspose(config.mask_width, 2, strides=2, activation="relu", name="mrcnn_mask_deconv")(x)
    masks = layers.Conv2D(config.classes, 1, activation="sigmoid", name="mrcnn_mask", dtype="float32")(x)
    return keras.Model(seen, masks, name="mask_head")
