"""The numbers of a Mask R-CNN: its layers, its anchors, what is kept, and how it is trained."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stormseg_ij.errors import ModelError
from stormseg_ij.files import replacing

BLOCKS = {"resnet26": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
"""Blocks in stages 2 to 5 of each backbone."""

STRIDES_PX = (4, 8, 16, 32, 64)
"""Pixels of the input per point of the maps P2 to P6."""

LARGEST_STRIDE_PX = 64
"""Sides of the network's input are multiples of it."""

BOX_SPREAD = (0.1, 0.1, 0.2, 0.2)
"""Standard deviations by which box corrections (dy, dx, log dh, log dw) are divided."""

POOL, MASK_POOL, MASK_SIDE = 7, 14, 28
"""Points per side of what the class head and the mask head see, and of a mask."""


@dataclass(frozen=True)
class Config:
    """Everything that decides what a Mask R-CNN computes; the defaults are the paper's.

    What the paper leaves open is taken from its authors' notebook.

    Attributes
    ----------
    backbone : str
        One of `BLOCKS`.
    backbone_width, pyramid_width, rpn_width, head_width, mask_width : int
        Channels of the first stage, of the pyramid, and of the three heads.
    classes : int
        With background as the first.
    anchor_scales_px : tuple of float
        Side of a square anchor on P2 to P6.
    anchor_ratios : tuple of float
        Width by height.
    mean_pixel : tuple of float
        Red, green and blue of the training set, from 0 to 255; subtracted from every image.
    most_anchors : int
        The best ones that are compared with each other.
    proposals, training_proposals : int
        Most that are left of them.
    rpn_nms, nms : float
        Of two proposals, or detections, that overlap by more (IoU) the less probable goes.
    probability : float
        Least one of a nucleus.
    most_instances : int
        The best ones that are kept of an image.
    train_anchors, train_rois : int
        That an image's losses count, with negatives.
    positive_fraction : float
        Of `train_rois`.
    weight_decay : float
    aligned : bool
        Whether a box is cut out of a map where it lies. Matterport's boxes slide by up to a point of the map towards
        the end of an image, so that a nucleus' mask depends on where in an image or tile it lies.
    optimizer : str
        ``"adam"``, or ``"sgd"`` with momentum 0.9 and gradients cut to a norm of 5 per weight.
    """

    backbone: str = "resnet50"
    backbone_width: int = 64
    pyramid_width: int = 256
    rpn_width: int = 512
    head_width: int = 1024
    mask_width: int = 256
    classes: int = 2
    anchor_scales_px: tuple[float, ...] = (8.0, 16.0, 32.0, 64.0, 128.0)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    mean_pixel: tuple[float, ...] = (0.0, 0.0, 0.0)
    most_anchors: int = 6000
    proposals: int = 2000
    training_proposals: int = 1000
    rpn_nms: float = 0.7
    nms: float = 0.7
    probability: float = 0.5
    most_instances: int = 400
    train_anchors: int = 64
    train_rois: int = 256
    positive_fraction: float = 0.33
    weight_decay: float = 1e-4
    aligned: bool = False
    optimizer: str = "adam"

    def __post_init__(self) -> None:
        """Refuse what no network can be built of."""
        for option in dataclasses.fields(self):
            value = getattr(self, option.name)
            if isinstance(option.default, tuple):
                value = tuple(value)
                object.__setattr__(self, option.name, value)
            values = value if isinstance(value, tuple) else (value,)
            kind = str if isinstance(option.default, str) else int if isinstance(option.default, int) else float
            for one in values:
                number = isinstance(one, int | float) and not isinstance(one, bool)
                if isinstance(option.default, bool) != isinstance(one, bool):
                    raise ValueError(f"{option.name} {one!r}")
                if not (isinstance(one, kind) or (kind is float and number)) or (number and not 0.0 <= one <= 1e6):
                    raise ValueError(f"{option.name} {one!r}")
        widths = [self.backbone_width, self.pyramid_width, self.rpn_width, self.head_width, self.mask_width]
        counts = [self.most_anchors, self.proposals, self.training_proposals, self.most_instances, self.train_rois]
        if min(*widths, *counts, self.train_anchors) < 1 or self.classes < 2 or max(*widths, self.classes) > 4096:
            raise ValueError("a number of channels, classes or boxes out of range")
        if max(self.rpn_nms, self.nms, self.probability, self.positive_fraction) > 1.0 or self.positive_fraction == 0.0:
            raise ValueError("rpn_nms, nms, probability and positive_fraction are parts of 1, the last above 0")
        if self.backbone not in BLOCKS or self.optimizer not in ("adam", "sgd"):
            raise ValueError(f"backbone {self.backbone!r}, optimizer {self.optimizer!r}")
        if len(self.anchor_scales_px) != len(STRIDES_PX) or not self.anchor_ratios or len(self.mean_pixel) != 3:
            raise ValueError("five anchor_scales_px, some anchor_ratios and three numbers of mean_pixel are needed")
        if min(self.anchor_scales_px) <= 0.0 or min(self.anchor_ratios) <= 0.0:
            raise ValueError("an anchor without size")

    @property
    def positives(self) -> int:
        """Most positive regions of an image that is trained on."""
        return int(self.train_rois * self.positive_fraction)

    @classmethod
    def read(cls, folder: Path) -> Config:
        """Read ``config.json`` of a model folder.

        Raises
        ------
        ModelError
            If it is missing or damaged, or holds unknown keys or values out of range.
        """
        path = folder / "config.json"
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(f"{path} is damaged: {error}; copy or train the model again") from error

    def write(self, folder: Path) -> None:
        """Write ``config.json`` into a model folder."""
        with replacing(folder / "config.json") as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")


MATTERPORT: dict[str, Any] = {
    "nms": 0.3, "train_rois": 128, "mean_pixel": (43.53, 39.56, 48.22), "optimizer": "sgd",
}  # fmt: skip
"""What differs from the paper's numbers in Matterport's sample for nuclei, of which a weights file tells nothing."""
