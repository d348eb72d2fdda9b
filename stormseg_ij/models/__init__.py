"""The networks: the only importer of Keras and TensorFlow.

`find` and `load` import neither until a network is really built.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.candidates import Candidates
from stormseg_ij.errors import ModelError
from stormseg_ij.models.info import ModelInfo

WEIGHTS = Path(__file__).parents[1] / "weights"
"""The folder of the shipped models."""

WEIGHTS_SUFFIXES = (".h5", ".hdf5")
"""Of weights files that are a model by themselves."""


class Prediction(Protocol):
    """What a network saw in one plane, kept so that thresholds can change without running it again."""

    def candidates(self, *, probability: float, nms: float) -> Candidates:
        """Return the nuclei at these thresholds: what `Model.predict` gives with them.

        Raises
        ------
        SettingsError
            If `probability` is below the least one that was kept.
        """
        ...


class Model(Protocol):
    """What every network offers to the pipeline.

    Attributes
    ----------
    most_instances : int or None
        Nuclei that it finds at most in what it sees at once; None: any number.
    """

    name: str
    sha256: str
    info: ModelInfo
    probability: float
    nms: float

    @property
    def most_instances(self) -> int | None:  # noqa: D102 (above)
        ...

    def predict(self, pixels: NDArray[np.float32], *, probability: float, nms: float) -> Candidates:
        """Find nuclei in one normalised plane of shape (Y, X)."""
        ...

    def look(self, pixels: NDArray[np.float32], *, least_probability: float) -> Prediction:
        """Run the network on one normalised plane of shape (Y, X), and keep what any higher probability needs."""
        ...


def shipped() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(folder.name for folder in WEIGHTS.iterdir() if (folder / "config.json").is_file())


def find(model: str) -> Path:
    """Return the folder of a shipped model's name or of a path, or a weights file.

    Raises
    ------
    ModelError
        If there is none of them.
    """
    path = Path(model)
    if model in shipped():
        return WEIGHTS / model
    if path.is_file() and path.suffix.lower() in WEIGHTS_SUFFIXES:
        return path
    if not path.is_dir():
        names = ", ".join(shipped())
        raise ModelError(f"no model {model!r}; give a model folder or one of {names}, or a Mask R-CNN's weights (.h5)")
    if not (path / "config.json").is_file():
        raise ModelError(f"{model} is no model folder: it has no config.json; give the folder that holds it")
    return path


def load(model: str) -> Model:
    """Load a model by shipped name, folder, or weights file of Matterport's Mask R-CNN.

    The kind of a folder stands in its ``stormseg.json`` (without one: StarDist).

    Raises
    ------
    ModelError
        If it is not there, incomplete, or of a kind that this version does not know.
    """
    path = find(model)
    if path.is_file():
        from stormseg_ij.models.mask_rcnn.predictor import MaskRCNN

        return MaskRCNN.load_file(path)
    info = ModelInfo.read(path)
    if info.kind == "mask-rcnn":
        from stormseg_ij.models.mask_rcnn.predictor import MaskRCNN

        return MaskRCNN.load(path, info)
    if info.kind != "stardist":
        raise ModelError(f"{path} is a model of kind {info.kind!r}; this version knows stardist and mask-rcnn")
    from stormseg_ij.models.stardist import StarDist

    return StarDist.load(path, info)
