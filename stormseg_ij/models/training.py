"""What the training of every network has in common: where it stands, what it tells, how fast it learns."""

from __future__ import annotations

import contextlib
import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.errors import ModelError, SettingsError, first_line
from stormseg_ij.files import replacing
from stormseg_ij.mask_settings import train_settings
from stormseg_ij.settings import TrainSettings

Batch = tuple[NDArray[np.float32], NDArray[np.int32]]
"""Normalised images and their labels, shapes (B, P, P)."""


@dataclass(frozen=True)
class EpochReport:
    """What is told after each epoch of training: number from 1, of how many epochs, and the losses."""

    epoch: int
    epochs: int
    loss: float
    validation_loss: float


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands; the folder ``checkpoint`` of a model keeps it, with weights and optimizer.

    Attributes
    ----------
    settings : TrainSettings
    epoch : int
        Finished epochs.
    best : float
        Least validation loss.
    curve : tuple of (float, float)
        Loss and validation loss of each finished epoch.
    """

    settings: TrainSettings
    epoch: int = 0
    best: float = float("inf")
    curve: tuple[tuple[float, float], ...] = ()

    @staticmethod
    def file(model: Path) -> Path:
        """Return the file that makes a model folder one that can be resumed."""
        return model / "checkpoint" / "state.json"

    @classmethod
    def read(cls, model: Path) -> TrainingState:
        """Read the state from a model folder.

        Raises
        ------
        ModelError
            If it is missing or damaged, or lacks the settings.
        """
        path = cls.file(model)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            curve = tuple((float(loss), float(validation)) for loss, validation in values["curve"])
            settings = train_settings(values["settings"])
            return cls(settings, int(values["epoch"]), float(values["best"]), curve)
        except (OSError, ValueError, KeyError, TypeError, OverflowError, SettingsError) as error:
            reason = f"{path} is damaged or of an older version ({first_line(error)})"
            raise ModelError(f"cannot resume: {reason}; train into another folder") from error

    def after(self, report: EpochReport) -> TrainingState:
        """Return the state after one more epoch."""
        curve = (*self.curve, (report.loss, report.validation_loss))
        return replace(self, epoch=report.epoch, best=min(self.best, report.validation_loss), curve=curve)

    def restore(self, model: Path, keras_model: Any) -> None:  # noqa: ANN401 (a Keras model)
        """Load the weights and the optimizer's state."""
        path = self._weights(model)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Keras warns of what it raises, too
                keras_model.load_weights(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"{path} is missing, damaged or of another network"
            raise ModelError(f"cannot resume: {reason}; train into another folder") from error

    def write(self, model: Path, keras_model: Any) -> None:  # noqa: ANN401 (a Keras model)
        """Write weights and optimizer under the epoch's own name, then the state, then remove older weights.

        Whenever it is stopped, the state and the weights that it stands for are there.
        """
        path = self._weights(model)
        with replacing(path) as temporary:
            type(keras_model).save_weights(keras_model, temporary)  # Keras' own format, with the optimizer
        values = {"epoch": self.epoch, "best": self.best, "curve": self.curve, "settings": self.settings.as_dict()}
        write_json(self.file(model), values)
        for other in set(path.parent.glob("*.weights.h5")) - {path}:
            with contextlib.suppress(OSError):  # the next epoch tries again
                other.unlink()

    def _weights(self, model: Path) -> Path:
        return self.file(model).with_name(f"epoch_{self.epoch}.weights.h5")


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def learning_rate(settings: TrainSettings, epoch: int) -> float:
    """Return that of an epoch, from 0: constant as in the paper, or falling along half a cosine to a hundredth."""
    if not settings.cosine:
        return settings.learning_rate
    fraction = epoch / max(settings.epochs - 1, 1)
    return float(settings.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + np.cos(np.pi * fraction))))
