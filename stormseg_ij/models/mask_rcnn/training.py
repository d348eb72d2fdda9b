"""One step of training: an image's anchors and proposals, the losses, the optimizer."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stormseg_ij.models.mask_rcnn import losses
from stormseg_ij.models.mask_rcnn.anchors import anchors_px, normalised
from stormseg_ij.models.mask_rcnn.config import Config
from stormseg_ij.models.mask_rcnn.heads import cut_out
from stormseg_ij.models.mask_rcnn.network import Network
from stormseg_ij.models.mask_rcnn.proposals import propose
from stormseg_ij.models.mask_rcnn.targets import (
    Regions,
    Truth,
    boxes_of,
    match_anchors,
    some_anchors,
    some_regions,
)

LAYERS = {
    "heads": r"mrcnn_.*|rpn_.*|fpn_.*",
    "4+": r"res4.*|bn4.*|res5.*|bn5.*|mrcnn_.*|rpn_.*|fpn_.*",
    "all": r".*",
}
"""Names of the layers that are trained."""


class Batch(NamedTuple):
    """Images and what the network should say of them.

    Attributes
    ----------
    images : ndarray of float32, shape (B, H, W, 3)
        The mean pixel subtracted.
    match : ndarray of int8, shape (B, A)
    deltas : ndarray of float32, shape (B, `train_anchors`, 4)
    boxes : ndarray of float32, shape (B, G, 4)
        Normalised, filled up with zeros.
    ids : ndarray of int32, shape (B, G)
        Values in `labels`; 0 where there is no box.
    labels : ndarray of int32, shape (B, H, W)
    seed : ndarray of int32, shape (2,)
    """

    images: NDArray[np.float32]
    match: NDArray[np.int8]
    deltas: NDArray[np.float32]
    boxes: NDArray[np.float32]
    ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    seed: NDArray[np.int32]


def make_batch(gray: NDArray[np.float32], labels: NDArray[np.int32], config: Config, rng: Generator) -> Batch:
    """Make a batch of gray images.

    Parameters
    ----------
    gray : ndarray of float32, shape (B, H, W)
        From 0 to 255.
    labels : ndarray of int32, shape (B, H, W)
        At least one object in each.
    config : Config
    rng : numpy.random.Generator
        Chooses the anchors that count, and the seed by which regions are chosen.
    """
    shape = labels.shape[1], labels.shape[2]
    anchors = anchors_px(shape, config)
    found = [boxes_of(plane) for plane in labels]
    most = max(len(ids) for ids, _ in found)
    boxes, ids = np.zeros((len(found), most, 4), np.float32), np.zeros((len(found), most), np.int32)
    match, deltas = [], []
    for place, (own_ids, own_boxes) in enumerate(found):
        ids[place, : len(own_ids)] = own_ids
        boxes[place, : len(own_ids)] = normalised(own_boxes, shape)
        one, other = some_anchors(*match_anchors(anchors, own_boxes), config.train_anchors, rng)
        match.append(one)
        deltas.append(other)
    seed = rng.integers(0, 2**31 - 1, 2).astype(np.int32)
    return Batch(molded(gray, config), np.stack(match), np.stack(deltas), boxes, ids, labels, seed)


def molded(gray: NDArray[np.float32], config: Config) -> NDArray[np.float32]:
    """Return gray images as the network takes them: three equal channels less the mean pixel."""
    return np.asarray(gray[..., np.newaxis] - np.array(config.mean_pixel, np.float32), np.float32)


class Trainer:
    """Trains a network batch by batch.

    Parameters
    ----------
    network : Network
    layers : str
        One of `LAYERS`; the others stay as they are.
    learning_rate : float
    train_bn : bool
        Whether normalisations count the batch at hand, as a network from random weights needs; without it they use
        their stored statistics, as Matterport's do.
    truth_proposals : bool
        Whether the true boxes are among the proposals, as in Faster R-CNN; Matterport's leave them out.
    training_nms : float
        As `Config.rpn_nms`, while training.
    """

    def __init__(
        self,
        network: Network,
        *,
        layers: str = "all",
        learning_rate: float,
        train_bn: bool,
        truth_proposals: bool = False,
        training_nms: float | None = None,
    ) -> None:
        import keras

        self.network, self._train_bn, self._truth_proposals = network, train_bn, truth_proposals
        self._nms = network.config.rpn_nms if training_nms is None else training_nms
        for name, layer in network.layers.items():
            layer.trainable = re.fullmatch(LAYERS[layers], name) is not None
        adam, sgd = keras.optimizers.Adam, keras.optimizers.SGD
        if network.config.optimizer == "adam":
            self.optimizer = adam(learning_rate)
        else:
            self.optimizer = sgd(learning_rate, momentum=0.9, clipnorm=5.0)
        self.optimizer.build(network.trainable)
        self._compiled: dict[tuple[object, ...], Any] = {}

    @cached_property
    def whole(self) -> Any:  # noqa: ANN401 (a Keras model)
        """The three parts and the optimizer as one Keras model, to be saved and restored."""
        import keras

        parts = (self.network.trunk, self.network.class_head, self.network.mask_head)
        inputs = [keras.Input(part.input_shape[1:]) for part in parts]
        model = keras.Model(inputs, [part(seen) for part, seen in zip(parts, inputs, strict=True)])
        model.compile(optimizer=self.optimizer)
        return model

    def step(self, batch: Batch) -> NDArray[np.float32]:
        """Train on a batch; return the total loss and the five losses (`losses.NAMES`) before the step."""
        return np.asarray(self._compile(self._step, batch)(*_tensors(batch)))

    def losses(self, batch: Batch) -> NDArray[np.float32]:
        """Return what `step` returns, and change nothing."""
        return np.asarray(self._compile(self._evaluate, batch)(*_tensors(batch)))

    def _compile(self, work: Callable[..., Any], batch: Batch) -> Any:  # noqa: ANN401 (a TensorFlow function)
        """Compile work once for each shape of images, whatever the number of objects in them."""
        import tensorflow as tf

        key = (work.__name__, *batch.images.shape)
        if key not in self._compiled:
            free = ("boxes", "ids")
            spec = []
            for name, part in batch._asdict().items():
                shape = (part.shape[0], None, *part.shape[2:]) if name in free else part.shape
                spec.append(tf.TensorSpec(shape, part.dtype))
            self._compiled[key] = tf.function(work, input_signature=spec)
        return self._compiled[key]

    def _evaluate(self, *batch: Any) -> Any:  # noqa: ANN401 (TensorFlow tensors)
        return self._losses(*batch, training=False)

    def _step(self, *batch: Any) -> Any:  # noqa: ANN401 (TensorFlow tensors)
        import tensorflow as tf

        variables = self.network.trainable
        with tf.GradientTape() as tape:
            told = self._losses(*batch, training=self._train_bn)
            total = told[0] + losses.decay(variables, self.network.config.weight_decay)
        gradients = tape.gradient(total, variables)
        self.optimizer.apply(
            [tf.zeros_like(v) if g is None else g for g, v in zip(gradients, variables, strict=True)], variables
        )
        return told

    def _losses(self, *batch: Any, training: bool) -> Any:  # noqa: ANN401 (TensorFlow tensors)
        import tensorflow as tf

        images, match, deltas, _, _, labels, _ = batch
        config = self.network.config
        *maps, logits, corrections = self.network.trunk(images, training=training)
        number = images.shape[0]
        regions = [self._regions(i, batch, logits, corrections) for i in range(number)]
        if not training:
            regions = [_padded(one, config.train_rois) for one in regions]
        counts = [tf.shape(one.boxes)[0] for one in regions]
        image_of = tf.repeat(tf.range(number), tf.stack(counts))
        boxes, classes, wanted = (tf.concat([one[k] for one in regions], axis=0) for k in range(3))
        shape = tf.shape(labels)[1:]
        class_logits, class_deltas = self.network.class_head(
            cut_out(maps, boxes, image_of, shape=shape, side=7, aligned=config.aligned), training=training
        )
        positive = tf.where(classes > 0)[:, 0]
        masks = self.network.mask_head(
            cut_out(
                maps,
                tf.gather(boxes, positive),
                tf.gather(image_of, positive),
                shape=shape,
                side=14,
                aligned=config.aligned,
            ),
            training=training,
        )
        wanted_masks = tf.concat([one.masks for one in regions], axis=0)
        told = [
            losses.anchor_class_loss(match, logits),
            losses.anchor_box_loss(match, deltas, corrections),
            losses.class_loss(classes, class_logits, tf.ones(config.classes)),
            losses.box_loss(classes, wanted, class_deltas),
            losses.mask_loss(tf.gather(classes, positive), wanted_masks, masks),
        ]
        return tf.stack([tf.add_n(told), *told])

    def _regions(self, i: int, batch: tuple[Any, ...], logits: Any, corrections: Any) -> Regions:  # noqa: ANN401
        """Return the boxes of one image to train on."""
        import tensorflow as tf

        images, _, _, boxes, ids, labels, seed = batch
        config, shape = self.network.config, tuple(images.shape[1:3])
        real = ids[i] > 0
        truth = Truth(tf.boolean_mask(boxes[i], real), tf.boolean_mask(ids[i], real), labels[i])
        proposals = propose(
            tf.nn.softmax(logits[i])[:, 1],
            tf.stop_gradient(corrections[i]),
            tf.constant(normalised(anchors_px(shape, config), shape)),
            config=config,
            number=config.training_proposals,
            nms=self._nms,
        )
        if self._truth_proposals:
            proposals = tf.concat([truth.boxes, proposals], axis=0)
        return some_regions(proposals, truth, seed + 2 * i, config)


def _padded(regions: Regions, number: int) -> Regions:
    """Fill up with boxes of no size, which are background: Matterport's class loss counts them."""
    import tensorflow as tf

    missing = number - tf.shape(regions.boxes)[0]
    return Regions(
        tf.pad(regions.boxes, [[0, missing], [0, 0]]),
        tf.pad(regions.classes, [[0, missing]]),
        tf.pad(regions.deltas, [[0, missing], [0, 0]]),
        regions.masks,
    )


def _tensors(batch: Batch) -> list[Any]:
    import tensorflow as tf

    return [tf.constant(part) for part in batch]
