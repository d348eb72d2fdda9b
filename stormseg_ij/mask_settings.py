"""How a Mask R-CNN is trained: `TrainSettings` with other defaults, more options, and named sets of values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stormseg_ij.errors import SettingsError
from stormseg_ij.settings import TrainSettings, flag, from_mapping, nearest, option

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "matterport": {
        "epochs": 40, "steps": 110, "batch": 6, "patch": 512, "learning_rate": 1e-3, "optimizer": "sgd",
        "train_rois": 128, "aligned": False, "training_nms": 0.9, "final_nms": 0.3, "min_probability": 0.05,
    },
    "notebook": {
        "epochs": 20, "steps": 200, "learning_rate": 1e-3, "optimizer": "sgd", "aligned": False, "final_nms": 0.3,
        "min_probability": 0.7, "most_instances": 256,
    },
}  # fmt: skip
"""What other sources have in place of the paper's numbers: Matterport's sample for nuclei, the authors' notebook."""


@dataclass(frozen=True)
class MaskTrainSettings(TrainSettings):
    """How `train` makes a Mask R-CNN; the defaults are the paper's, and where it is silent its authors' notebook's."""

    model: str = option("mask-rcnn", "kind of network", choices=("mask-rcnn",))
    preset: str = option(
        "paper", "for mask-rcnn: numbers of the paper, of Matterport's sample for nuclei, or of the authors' notebook",
        choices=tuple(PRESETS),
    )  # fmt: skip
    steps: int = option(500, "batches per epoch", minimum=1)
    batch: int = option(1, "patches per batch", minimum=1)
    patch: int = option(256, "side of a patch in pixels, a multiple of 64", minimum=64, maximum=1024)
    backbone: str = option(
        "resnet50", "for mask-rcnn: the residual network below", choices=("resnet26", "resnet50", "resnet101")
    )
    backbone_width: int = option(64, "for mask-rcnn: channels of the backbone's first stage", minimum=8, maximum=256)
    pyramid_width: int = option(256, "for mask-rcnn: channels of the feature pyramid", minimum=8, maximum=1024)
    rpn_width: int = option(512, "for mask-rcnn: channels of the proposal network", minimum=8, maximum=2048)
    head_width: int = option(1024, "for mask-rcnn: channels of the class head", minimum=8, maximum=4096)
    mask_width: int = option(256, "for mask-rcnn: channels of the mask head", minimum=8, maximum=1024)
    layers: str = option(
        "all", "for mask-rcnn: what is trained: all, stage 4 of the backbone and up, or only pyramid and heads",
        choices=("heads", "4+", "all"),
    )  # fmt: skip
    weights: str = option(
        "", "for mask-rcnn: begin with what fits of this weights file (.h5), such as Matterport's COCO", hint="FILE"
    )
    batch_norm: str = option(
        "auto", "for mask-rcnn: frozen as in Matterport's, or trained, as random weights need; auto: by the start",
        choices=("auto", "frozen", "trained"),
    )  # fmt: skip
    optimizer: str = option(
        "adam", "for mask-rcnn: Adam, or SGD with momentum 0.9 and cut gradients", choices=("adam", "sgd")
    )
    train_anchors: int = option(64, "for mask-rcnn: anchors per image that count", minimum=2, maximum=4096)
    train_rois: int = option(256, "for mask-rcnn: regions per image for the heads", minimum=3, maximum=2048)
    truth_proposals: bool = option(False, "for mask-rcnn: train the heads on the true boxes too")
    aligned: bool = option(
        True,
        "for mask-rcnn: boxes see the map where they lie; --no-aligned: as Matterport's, a point off at an image's end",
    )
    training_nms: float = option(
        0.7, "for mask-rcnn: overlap (IoU) above which the less probable of two proposals goes, while it trains",
        above=0.0, maximum=1.0,
    )  # fmt: skip
    final_nms: float = option(
        0.7, "for mask-rcnn: the model's own overlap (IoU) above which the less probable of two nuclei goes",
        minimum=0.0, maximum=0.9,
    )  # fmt: skip
    min_probability: float = option(
        0.5, "for mask-rcnn: the model's own least probability of a nucleus", minimum=0.05, maximum=1.0
    )
    most_instances: int = option(400, "for mask-rcnn: most nuclei in an image or tile", minimum=1, maximum=10_000)
    half_precision: bool = option(False, "for mask-rcnn: write weights with 16 bits each, half as large")
    mixed_precision: bool = option(False, "for mask-rcnn: compute in bfloat16, which is faster on a GPU")

    def __post_init__(self) -> None:
        """Check also what a Mask R-CNN does not have, and that patches fit it."""
        super().__post_init__()
        for name in ("rays", "grid"):
            default = next(one.default for one in dataclasses.fields(TrainSettings) if one.name == name)
            if getattr(self, name) != default:
                raise SettingsError(f"{flag(name)} goes with --model stardist only; leave it out")
        if self.patch % 64:
            raise SettingsError(f"--patch {self.patch} does not fit mask-rcnn; give a multiple of 64")
        if self.weights and self.start_from:
            raise SettingsError("give either --weights or --start-from, not both")

    @property
    def trains_batch_norm(self) -> bool:
        """Whether normalisations count each batch, which a network from random weights needs."""
        if self.batch_norm == "auto":
            return not (self.weights or self.start_from)
        return self.batch_norm == "trained"


def train_settings(values: Mapping[str, Any]) -> TrainSettings:
    """Make the settings of the network that `values` name, with those of a preset in place of defaults.

    Parameters
    ----------
    values : mapping of str to object
        As for `settings.from_mapping`.

    Raises
    ------
    SettingsError
        For an unknown key or network, one of another network, or a value out of range.

    Examples
    --------
    >>> train_settings({"model": "mask-rcnn", "preset": "matterport", "batch": "2"}).learning_rate
    0.001
    """
    own = {one.name for one in dataclasses.fields(MaskTrainSettings)}
    shared = {one.name for one in dataclasses.fields(TrainSettings)}
    if values.get("model") != "mask-rcnn":
        for key in values:
            if key in own - shared:
                raise SettingsError(f"{flag(key)} goes with --model mask-rcnn only; give that too, or leave it out")
        return from_mapping(TrainSettings, values)
    preset = values.get("preset", "paper")
    if preset not in PRESETS:
        raise SettingsError(f"--preset {preset!r}: {nearest(str(preset), PRESETS)}")
    return from_mapping(MaskTrainSettings, {**PRESETS[str(preset)], **values})
