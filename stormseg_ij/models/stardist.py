"""StarDist on the `stardist` package: its network, non-maximum suppression and model folders.

References
----------
Schmidt et al. 2018, "Cell Detection with Star-convex Polygons"; Mela & Liu 2021, Methods, "StarDist".
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.candidates import Candidates
from stormseg_ij.errors import ModelError, SettingsError, first_line
from stormseg_ij.files import replacing
from stormseg_ij.models.folders import thresholds, weights_file
from stormseg_ij.models.info import ModelInfo
from stormseg_ij.models.keras_setup import load_tensorflow
from stormseg_ij.models.training import Batch, EpochReport, TrainingState, learning_rate, write_json
from stormseg_ij.settings import TrainSettings

PAPER_PROBABILITY = 0.5
PAPER_NMS = 0.3


@dataclass
class StarDist:
    """A loaded StarDist network; see `stormseg_ij.models.Model`."""

    name: str
    sha256: str
    info: ModelInfo
    probability: float
    nms: float
    _network: Any

    @classmethod
    def load(cls, folder: Path, info: ModelInfo) -> StarDist:
        """Load a folder that `stardist` (or `stormseg train`) wrote; its own thresholds count, else the paper's.

        Raises
        ------
        ModelError
            If a file is missing or damaged, or the network does not take one gray channel in 2-D.
        """
        weights = weights_file(folder)
        defaults = PAPER_PROBABILITY, PAPER_NMS
        probability, nms = thresholds(folder, defaults)
        load_tensorflow()
        from stardist.models import Config2D

        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            network = _network(Config2D(**Config2D.update_loaded_config(config)))
            network.keras_model.load_weights(str(weights))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"cannot load the model {folder}: {first_line(error)}; copy or train it again") from error
        if network.config.n_channel_in != 1 or network.config.n_dim != 2:
            raise ModelError(f"{folder} takes {network.config.n_channel_in} channels; give a model for gray 2-D images")
        return cls(
            folder.resolve().name, hashlib.sha256(weights.read_bytes()).hexdigest(), info, probability, nms, network
        )

    @property
    def most_instances(self) -> int | None:
        """Any number."""
        return None

    def predict(self, pixels: NDArray[np.float32], *, probability: float, nms: float) -> Candidates:
        """Find nuclei in one plane.

        Parameters
        ----------
        pixels : ndarray of float32, shape (Y, X)
            Normalised (`ModelInfo.normalize`).
        probability : float
            Least probability of a nucleus.
        nms : float
            Two polygons that overlap by more (IoU) are one nucleus: the more probable stays.

        Notes
        -----
        It takes some 450 bytes of memory per pixel: larger images go through `tiling.find_in_tiles`.
        """
        return self.look(pixels, least_probability=probability).candidates(probability=probability, nms=nms)

    def look(self, pixels: NDArray[np.float32], *, least_probability: float) -> StarPrediction:
        """Run the network on one plane; thresholds are applied to what it returns.

        Parameters
        ----------
        pixels : ndarray of float32, shape (Y, X)
            Normalised (`ModelInfo.normalize`).
        least_probability : float
            What is less probable is forgotten.
        """
        probabilities, distances, *_, points = self._network.predict_sparse(
            pixels, prob_thresh=least_probability, verbose=0
        )
        return StarPrediction(probabilities, distances, points, least_probability)


@dataclass(frozen=True)
class StarPrediction:
    """The polygons that a StarDist network saw at the points of its grid; see `stormseg_ij.models.Prediction`.

    Attributes
    ----------
    probabilities : ndarray of float32, shape (N,)
        All above `least_probability`, in reading order of the points.
    distances : ndarray of float32, shape (N, R)
        From its point to the outline along each ray, in pixels of the network's input.
    points : ndarray of int, shape (N, 2)
        Row and column in the network's input.
    least_probability : float
        Above it all polygons are here.
    """

    probabilities: NDArray[np.float32]
    distances: NDArray[np.float32]
    points: NDArray[np.int64]
    least_probability: float

    def candidates(self, *, probability: float, nms: float) -> Candidates:
        """Return the polygons above `probability`, without those that overlap a more probable one by more than `nms`.

        Ties are settled by order: the polygons stay in that in which the network gives them, so that the result is to
        the last bit that of a run of the network with these thresholds.

        Raises
        ------
        SettingsError
            If `probability` is below `least_probability`.
        """
        from stardist.geometry import dist_to_coord
        from stardist.nms import non_maximum_suppression_sparse

        if probability < self.least_probability:
            reason = f"probability {probability:g} is below {self.least_probability:g}, the least that was kept"
            raise SettingsError(f"{reason}; give a higher one, or run the network again")
        sure = self.probabilities > probability
        points, scores, distances, _ = non_maximum_suppression_sparse(
            self.distances[sure], self.probabilities[sure], self.points[sure], nms_thresh=nms
        )
        outlines = np.asarray(dist_to_coord(distances, points), np.float32)
        return Candidates(outlines.reshape(-1, 2, self.distances.shape[1]), np.asarray(scores, np.float32))


def train(
    folder: Path,
    state: TrainingState,
    info: ModelInfo,
    batches: Callable[[int, int], Batch],
    validation: Batch,
    *,
    start: Path | None = None,
) -> Iterator[EpochReport]:
    """Train a StarDist network from `state` on; write model and checkpoint after each epoch.

    Parameters
    ----------
    folder : Path
        The model folder: ``config.json``, ``stormseg.json``, ``weights_last.h5`` and ``weights_best.h5`` (least
        validation loss), and ``checkpoint/`` with the optimizer's state. Nothing is written before the first
        epoch is finished, or the checkpoint loaded.
    state : TrainingState
        With the settings.
    info : ModelInfo
    batches : callable
        ``batches(epoch, step)`` gives images (B, P, P) float32 and labels (B, P, P) int32.
    validation : tuple of ndarray
        Images and labels alike, fixed.
    start : Path, optional
        Folder of a model whose weights a new training begins with.

    Yields
    ------
    EpochReport
        After each epoch; a resumed training starts after the last finished one.

    Raises
    ------
    ModelError
        If the checkpoint or the model to start from cannot be loaded, or all epochs are finished.
    """
    settings = state.settings
    network = _trainable(settings)
    if start is not None:
        _load_weights(network, start)
    if state.epoch:
        state.restore(folder, network.keras_model)
        _describe(folder, network, info)
    if state.epoch >= settings.epochs:
        raise ModelError(f"{folder} has finished its {settings.epochs} epochs; give a larger --epochs to go on")
    val_x, val_y = _targets(validation, settings)
    for epoch in range(state.epoch, settings.epochs):
        network.keras_model.optimizer.learning_rate = learning_rate(settings, epoch)
        losses = [
            network.keras_model.train_on_batch(*_targets(batches(epoch, step), settings))[0]
            for step in range(settings.steps)
        ]
        validation_loss = float(network.keras_model.evaluate(val_x, val_y, batch_size=settings.batch, verbose=0)[0])
        for name in ("weights_last.h5", "weights_best.h5")[: 1 + (validation_loss < state.best)]:
            with replacing(folder / name) as temporary:
                network.keras_model.save_weights(temporary)  # csbdeep's: the layout that all versions of StarDist read
        report = EpochReport(epoch + 1, settings.epochs, float(losses[-1]), validation_loss)
        state = state.after(report)
        state.write(folder, network.keras_model)
        _describe(folder, network, info)  # last: config.json makes the folder a model
        yield report


def network_settings(folder: Path) -> dict[str, str | int]:
    """Return those of the training settings that a model folder's network must share with one that starts from it.

    Raises
    ------
    ModelError
        If ``config.json`` is missing or damaged.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return {"rays": int(config["n_rays"]), "grid": str(int(config["grid"][0]))}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ModelError(f"{path} is damaged: {first_line(error)}; copy or train the model again") from error


def _trainable(settings: TrainSettings) -> Any:  # noqa: ANN401 (classes of an untyped package)
    """Build the network with its optimizer, the same for the same seed."""
    load_tensorflow()
    import keras
    from stardist.models import Config2D

    grid = int(settings.grid)
    config = Config2D(
        n_rays=settings.rays,
        grid=(grid, grid),
        train_patch_size=(settings.patch, settings.patch),
        train_batch_size=settings.batch,
        train_learning_rate=settings.learning_rate,
        train_epochs=settings.epochs,
        train_steps_per_epoch=settings.steps,
        train_tensorboard=False,
        train_reduce_lr=None,
    )
    keras.utils.set_random_seed(settings.seed)
    network = _network(config)
    network.prepare_for_training()
    network.keras_model.optimizer.build(network.keras_model.trainable_variables)
    return network


def _load_weights(network: Any, folder: Path) -> None:  # noqa: ANN401 (classes of an untyped package)
    """Give the network the weights of a model folder."""
    weights = weights_file(folder)
    try:
        network.keras_model.load_weights(str(weights))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"cannot start from {folder}: {first_line(error)}"
        raise ModelError(f"{reason}; give a model with the same --rays and --grid") from error


def _describe(folder: Path, network: Any, info: ModelInfo) -> None:  # noqa: ANN401 (classes of an untyped package)
    info.write(folder)
    write_json(folder / "config.json", vars(network.config))


def _targets(batch: Batch, settings: TrainSettings) -> tuple[NDArray[np.float32], tuple[NDArray[np.float32], ...]]:
    """Return the network's input and targets: object probability, and ray lengths with their weight."""
    from stardist.geometry import star_dist
    from stardist.utils import edt_prob

    images, labels = batch
    step = int(settings.grid)
    grid = slice(None, None, step)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "EDT of constant label image")  # a patch within one nucleus is normal
        probability = np.stack([edt_prob(plane[grid, grid]) for plane in labels])[..., None]
    rays = np.stack([star_dist(plane, settings.rays, mode="cpp", grid=(step, step)) for plane in labels])
    return images[..., None], (
        probability.astype(np.float32),
        np.concatenate([rays, probability], axis=-1).astype(np.float32),
    )


def _network(config: Any) -> Any:  # noqa: ANN401 (classes of an untyped package)
    """Build the network in memory: the package itself would print and search for files."""
    from stardist.models import StarDist2D

    with contextlib.redirect_stdout(io.StringIO()):
        return StarDist2D(config, name="in_memory", basedir=None)
