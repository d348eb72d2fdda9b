"""A Mask R-CNN as the pipeline sees it: a plane in, masks in their boxes out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.candidates import Candidates
from stormseg_ij.errors import ModelError, SettingsError
from stormseg_ij.models.folders import thresholds, weights_file
from stormseg_ij.models.info import ModelInfo
from stormseg_ij.models.keras_setup import load_tensorflow
from stormseg_ij.models.mask_rcnn.anchors import anchors_px, in_pixels, normalised
from stormseg_ij.models.mask_rcnn.config import LARGEST_STRIDE_PX, MASK_POOL, POOL, Config
from stormseg_ij.models.mask_rcnn.detection import choose, refine
from stormseg_ij.models.mask_rcnn.heads import cut_out
from stormseg_ij.models.mask_rcnn.network import Network
from stormseg_ij.models.mask_rcnn.proposals import propose
from stormseg_ij.models.mask_rcnn.weights import config_of, load_weights

Window = tuple[int, int, int, int]

_BATCH = 64  # boxes whose masks are drawn at once: memory stays below 100 MB
LEAST_PROBABILITY = 0.05
"""What is less probable is never drawn."""


@dataclass
class MaskRCNN:
    """A loaded Mask R-CNN; see `stormseg_ij.models.Model`."""

    name: str
    sha256: str
    info: ModelInfo
    probability: float
    nms: float
    network: Network

    def __post_init__(self) -> None:
        """Compile the part that runs once per image."""
        import tensorflow as tf

        spec = [tf.TensorSpec(shape, tf.float32) for shape in ((1, None, None, 3), (None, 4), (4,))]
        self._first_look = tf.function(self._boxes, input_signature=spec)

    @classmethod
    def load(cls, folder: Path, info: ModelInfo) -> MaskRCNN:
        """Load a model folder that `stormseg train` wrote.

        Raises
        ------
        ModelError
            If a file is missing or damaged, or the weights are not those of the network in ``config.json``.
        """
        config, (probability, nms) = Config.read(folder), thresholds(folder, (0.5, 0.7))
        return cls._with(weights_file(folder), config, info, folder.resolve().name, (probability, nms))

    @classmethod
    def load_file(cls, path: Path) -> MaskRCNN:
        """Load a weights file of Matterport's Mask R-CNN alone: what network it is of is read off it.

        Gray values count as they are, in the whole range of their type, and images keep their size.

        Raises
        ------
        ModelError
            As `weights.load_weights`; or if the file lacks layers.
        """
        config = config_of(path)
        info = ModelInfo(kind="mask-rcnn", levels="type")
        return cls._with(path, config, info, path.name, (config.probability, config.nms))

    @classmethod
    def _with(cls, path: Path, config: Config, info: ModelInfo, name: str, thresholds: tuple[float, float]) -> MaskRCNN:
        load_tensorflow()
        network = Network.build(config)
        report = load_weights(network, path)
        if not report.complete:
            raise ModelError(f"{path} is not of this network: {report}; give the weights that belong to it")
        return cls(name, hashlib.sha256(path.read_bytes()).hexdigest(), info, *thresholds, network)

    @property
    def most_instances(self) -> int | None:
        """As `Config.most_instances`."""
        return self.network.config.most_instances

    def predict(self, pixels: NDArray[np.float32], *, probability: float, nms: float) -> Candidates:
        """Find nuclei in one plane.

        Parameters
        ----------
        pixels : ndarray of float32, shape (Y, X)
            Normalised (`ModelInfo.normalize`).
        probability : float
            Least probability of a nucleus.
        nms : float
            Of two boxes that overlap by more (IoU) the less probable goes; what overlaps less is left to the overlap
            rules.
        """
        return self.look(pixels, least_probability=probability).candidates(probability=probability, nms=nms)

    def look(self, pixels: NDArray[np.float32], *, least_probability: float) -> BoxPrediction:
        """Find boxes in one plane; masks are drawn where thresholds ask for them.

        Parameters
        ----------
        pixels : ndarray of float32, shape (Y, X)
            Normalised (`ModelInfo.normalize`).
        least_probability : float
            What is less probable is forgotten.
        """
        image, window = padded(gray(pixels))
        return self.look_at(image, window, least_probability=least_probability)

    def look_at(self, image: NDArray[np.float32], window: Window, *, least_probability: float) -> BoxPrediction:
        """Find boxes in an image as the network takes it.

        Parameters
        ----------
        image : ndarray of float32, shape (H, W) or (H, W, 3)
            From 0 to 255, its sides multiples of 64.
        window : (int, int, int, int)
            First row and column of what is no padding, and those past its last.
        least_probability : float
        """
        import tensorflow as tf

        config, shape = self.network.config, (image.shape[0], image.shape[1])
        channels = image if image.ndim == 3 else image[..., np.newaxis]
        molded = channels - np.array(config.mean_pixel, np.float32)
        anchors = normalised(anchors_px(shape, config), shape)
        maps, boxes, classes, scores = self._first_look(
            tf.constant(molded[np.newaxis]),
            tf.constant(anchors),
            tf.constant(normalised(np.array([window]), shape)[0]),
        )
        least = max(least_probability, LEAST_PROBABILITY)
        sure = (classes.numpy() > 0) & (scores.numpy() >= least)
        return BoxPrediction(
            self.network, maps, shape, window, boxes.numpy()[sure], classes.numpy()[sure], scores.numpy()[sure], least
        )

    def _boxes(self, image: Any, anchors: Any, window: Any) -> tuple[Any, ...]:  # noqa: ANN401 (TensorFlow tensors)
        """Propose boxes, and look at each of them once."""
        import tensorflow as tf

        config = self.network.config
        *maps, logits, deltas = self.network.trunk(image, training=False)
        proposals = propose(
            tf.nn.softmax(logits[0])[:, 1], deltas[0], anchors,
            config=config, number=config.proposals, nms=config.rpn_nms,
        )  # fmt: skip
        images = tf.zeros(tf.shape(proposals)[0], tf.int32)
        seen = cut_out(maps, proposals, images, shape=tf.shape(image)[1:3], side=POOL, aligned=config.aligned)
        class_logits, corrections = self.network.class_head(seen, training=False)
        return maps, *refine(proposals, tf.nn.softmax(class_logits), corrections, window)


@dataclass(frozen=True)
class BoxPrediction:
    """The boxes that a Mask R-CNN saw in one plane; see `stormseg_ij.models.Prediction`.

    Attributes
    ----------
    network : Network
    maps : list of tensors
        The pyramid, from which masks are drawn when they are needed.
    shape : (int, int)
        Of the network's input.
    window : (int, int, int, int)
        Where the plane lies in it.
    boxes : ndarray of float32, shape (N, 4)
        Normalised.
    classes : ndarray of int32, shape (N,)
    scores : ndarray of float32, shape (N,)
        All from `least_probability` on.
    least_probability : float
    """

    network: Network
    maps: Any
    shape: tuple[int, int]
    window: Window
    boxes: NDArray[np.float32]
    classes: NDArray[np.int32]
    scores: NDArray[np.float32]
    least_probability: float
    _drawn: dict[int, NDArray[np.float32]] = field(default_factory=dict)

    def candidates(self, *, probability: float, nms: float) -> Candidates:
        """Return the nuclei from `probability` on, without those whose box overlaps a more probable one's by more.

        Raises
        ------
        SettingsError
            If `probability` is below `least_probability`.
        """
        if probability < self.least_probability:
            reason = f"probability {probability:g} is below {self.least_probability:g}, the least that was kept"
            raise SettingsError(f"{reason}; give a higher one, or run the network again")
        most = self.network.config.most_instances
        chosen = choose(self.boxes, self.classes, self.scores, probability=probability, nms=nms, most=most)
        boxes = self.in_plane(chosen)
        chosen, boxes = chosen[_sized(boxes)], boxes[_sized(boxes)]
        masks = [
            _resized(mask, box[2] - box[0], box[3] - box[1])
            for mask, box in zip(self.small_masks(chosen), boxes.tolist(), strict=True)
        ]
        return Candidates.of_masks(masks, boxes[:, :2].astype(np.int64), self.scores[chosen])

    def in_plane(self, chosen: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the boxes with these indices in pixels of the plane, shape (N, 4)."""
        top, left, bottom, right = self.window
        boxes = in_pixels(self.boxes[chosen], self.shape) - np.array([top, left, top, left], np.int32)
        limits = np.array([bottom - top, right - left] * 2, np.int32)
        return np.asarray(np.clip(boxes, 0, limits), np.int32)

    def small_masks(self, chosen: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """Return the masks of the boxes with these indices, each of shape (28, 28), from 0 to 1."""
        import tensorflow as tf

        new = [index for index in chosen.tolist() if index not in self._drawn]
        for start in range(0, len(new), _BATCH):
            part = new[start : start + _BATCH]
            boxes = tf.constant(self.boxes[part])
            images = tf.zeros(len(part), tf.int32)
            seen = cut_out(
                self.maps,
                boxes,
                images,
                shape=tf.constant(self.shape),
                side=MASK_POOL,
                aligned=self.network.config.aligned,
            )
            masks = self.network.mask_head(seen, training=False).numpy()
            for place, index in enumerate(part):
                self._drawn[index] = masks[place, :, :, self.classes[index]]
        return [self._drawn[index] for index in chosen.tolist()]


def gray(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return normalised pixels as gray values from 0 to 255; what is brighter is cut off."""
    return np.clip(pixels, 0.0, 1.0) * np.float32(255.0)


def padded(pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], Window]:
    """Put zeros after the last row and column up to multiples of 64; return also where the image lies.

    >>> image, window = padded(np.ones((70, 64), np.float32))
    >>> image.shape, window
    ((128, 64), (0, 0, 70, 64))
    """
    height, width = pixels.shape
    missing = [(0, -side % LARGEST_STRIDE_PX) for side in (height, width)]
    return np.pad(pixels, missing), (0, 0, height, width)


def _sized(boxes: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Tell which boxes hold a pixel."""
    return np.asarray((boxes[:, 2:] > boxes[:, :2]).all(axis=1))


def _resized(mask: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Resize a mask to its box, bilinearly, with nothing around it."""
    from skimage import transform

    return np.asarray(
        transform.resize(mask, (height, width), order=1, mode="constant", anti_aliasing=False), np.float32
    )
