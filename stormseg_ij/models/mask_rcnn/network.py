"""The whole network: image to pyramid and anchors, boxes to classes, boxes to masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stormseg_ij.models.mask_rcnn.backbone import backbone
from stormseg_ij.models.mask_rcnn.config import Config
from stormseg_ij.models.mask_rcnn.heads import class_head, mask_head
from stormseg_ij.models.mask_rcnn.proposals import proposal_head
from stormseg_ij.models.mask_rcnn.pyramid import pyramid


@dataclass(frozen=True)
class Network:
    """A Mask R-CNN in three parts, between which boxes are chosen and cut out.

    Attributes
    ----------
    config : Config
    trunk : keras.Model
        From images (B, H, W, 3), the mean pixel subtracted, to P2, P3, P4, P5 and the anchors' logits and deltas.
    class_head, mask_head : keras.Model
        As `heads.class_head` and `heads.mask_head` make them.
    """

    config: Config
    trunk: Any
    class_head: Any
    mask_head: Any

    @classmethod
    def build(cls, config: Config) -> Network:
        """Build it with random weights."""
        import keras

        image = keras.Input((None, None, 3))
        maps = pyramid(backbone(image, config), config)
        trunk = keras.Model(image, [*maps[:4], *proposal_head(maps, config)], name="trunk")
        return cls(config, trunk, class_head(config), mask_head(config))

    @property
    def layers(self) -> dict[str, Any]:
        """Return the layers that have weights, by name, in the order of the network."""
        parts = (self.trunk, self.class_head, self.mask_head)
        return {layer.name: layer for part in parts for layer in part.layers if layer.weights}

    @property
    def trainable(self) -> list[Any]:
        """Return the weights that are trained."""
        return [weight for layer in self.layers.values() for weight in layer.trainable_weights]
