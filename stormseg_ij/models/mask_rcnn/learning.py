"""Training a Mask R-CNN epoch by epoch, with a checkpoint after each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.errors import ModelError
from stormseg_ij.mask_settings import MaskTrainSettings
from stormseg_ij.models import training
from stormseg_ij.models.folders import weights_file
from stormseg_ij.models.info import ModelInfo
from stormseg_ij.models.keras_setup import load_tensorflow
from stormseg_ij.models.mask_rcnn.config import Config
from stormseg_ij.models.mask_rcnn.network import Network
from stormseg_ij.models.mask_rcnn.predictor import gray
from stormseg_ij.models.mask_rcnn.targets import without_slivers
from stormseg_ij.models.mask_rcnn.training import Batch, Trainer, make_batch
from stormseg_ij.models.mask_rcnn.weights import load_weights, save_weights
from stormseg_ij.models.training import EpochReport, TrainingState

_SHAPE = ("backbone", "backbone_width", "pyramid_width", "rpn_width", "head_width", "mask_width")
"""What decides the shapes of the weights."""


def train(  # noqa: PLR0913 (as `stardist.train`)
    folder: Path,
    state: TrainingState,
    info: ModelInfo,
    batches: Callable[[int, int], training.Batch],
    validation: training.Batch,
    *,
    mean: float,
    start: Path | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Iterator[EpochReport]:
    """Train a Mask R-CNN from `state` on; write model and checkpoint after each epoch.

    Parameters
    ----------
    folder, state, info, batches, validation
        As in `stormseg_ij.models.stardist.train`.
    mean : float
        Of the normalised training images; a resumed training keeps that of its beginning.
    start : Path, optional
        Folder of a model whose weights a new training begins with.
    told : callable
        Is handed a line that says which layers begin with weights of a file.

    Raises
    ------
    ModelError
        If the checkpoint, or the weights to start from, cannot be loaded, or all epochs are finished.
    """
    settings = state.settings
    if not isinstance(settings, MaskTrainSettings):
        raise ModelError(f"{folder} was begun as a {settings.model}; train into another folder")
    if state.epoch >= settings.epochs:
        raise ModelError(f"{folder} has finished its {settings.epochs} epochs; give a larger --epochs to go on")
    if state.epoch:
        config = dataclasses.replace(Config.read(folder), most_instances=settings.most_instances)
    else:
        config = _config(settings, mean, start)
    trainer = _trainer(config, settings)
    if state.epoch:
        state.restore(folder, trainer.whole)
    else:
        _begin_with(trainer.network, settings, start, told)
    kept = _batches(validation, config, settings)
    for epoch in range(state.epoch, settings.epochs):
        trainer.optimizer.learning_rate = training.learning_rate(settings, epoch)
        loss = np.mean([trainer.step(_batch(batches, epoch, i, config, settings))[0] for i in range(settings.steps)])
        validation_loss = float(np.mean([trainer.losses(batch)[0] for batch in kept]))
        for name in ("weights_last.h5", "weights_best.h5")[: 1 + (validation_loss < state.best)]:
            save_weights(trainer.network, folder / name, dtype=np.float16 if settings.half_precision else np.float32)
        report = EpochReport(epoch + 1, settings.epochs, float(loss), validation_loss)
        state = state.after(report)
        state.write(folder, trainer.whole)
        _describe(folder, config, settings, info)
        yield report


def network_settings(folder: Path) -> dict[str, str | int]:
    """Return those of the training settings that a model folder's network must share with one that starts from it.

    Raises
    ------
    ModelError
        If ``config.json`` is missing or damaged.
    """
    config = Config.read(folder)
    return {name: getattr(config, name) for name in _SHAPE}


def _config(settings: MaskTrainSettings, mean: float, start: Path | None) -> Config:
    """Return the numbers of the network that these settings ask for."""
    names = (*_SHAPE, "train_anchors", "train_rois", "optimizer", "most_instances", "aligned")
    values: dict[str, Any] = {name: getattr(settings, name) for name in names}
    values |= {"nms": settings.final_nms, "probability": settings.min_probability}
    mean_pixel = (round(255.0 * mean, 2),) * 3 if start is None else Config.read(start).mean_pixel
    return Config(**values, mean_pixel=mean_pixel)


def _trainer(config: Config, settings: MaskTrainSettings) -> Trainer:
    """Build the network and what trains it, the same for the same seed."""
    load_tensorflow()
    import keras

    keras.utils.set_random_seed(settings.seed)
    before = keras.mixed_precision.dtype_policy()
    if settings.mixed_precision:
        keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        network = Network.build(config)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    return Trainer(
        network,
        layers=settings.layers,
        learning_rate=settings.learning_rate,
        train_bn=settings.trains_batch_norm,
        truth_proposals=settings.truth_proposals,
        training_nms=settings.training_nms,
    )


def _begin_with(network: Network, settings: MaskTrainSettings, start: Path | None, told: Callable[[str], None]) -> None:
    """Load what a new training begins with."""
    if settings.weights:
        report = load_weights(network, Path(settings.weights))
        told(f"{settings.weights}: {report}")
    elif start is not None:
        report = load_weights(network, weights_file(start))
        if not report.complete:
            raise ModelError(f"cannot start from {start}: {report}; give a model with the same backbone and widths")


def _batch(
    batches: Callable[[int, int], training.Batch], epoch: int, step: int, config: Config, settings: MaskTrainSettings
) -> Batch:
    rng = np.random.default_rng([settings.seed, 6, epoch, step])
    return make_batch(*_occupied(*batches(epoch, step)), config, rng)


def _occupied(images: NDArray[np.float32], labels: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return gray images; those without a nucleus teach nothing, and others take their place."""
    labels = np.stack([without_slivers(plane) for plane in labels])
    full = np.flatnonzero(labels.any(axis=(1, 2)))
    if not full.size:
        raise ModelError("a batch without any nucleus; give a larger --batch or --patch")
    places = np.resize(full, len(labels))
    return gray(images[places]), labels[places]


def _batches(whole: training.Batch, config: Config, settings: MaskTrainSettings) -> list[Batch]:
    """Cut the validation patches into batches, which are the same in each epoch."""
    images, labels = _occupied(*whole)
    rng = np.random.default_rng([settings.seed, 7])
    starts = range(0, len(images) - settings.batch + 1, settings.batch)
    return [
        make_batch(images[i : i + settings.batch], labels[i : i + settings.batch], config, rng) for i in starts
    ] or [make_batch(images, labels, config, rng)]


def _describe(folder: Path, config: Config, settings: MaskTrainSettings, info: ModelInfo) -> None:
    info.write(folder)
    training.write_json(folder / "thresholds.json", {"prob": settings.min_probability, "nms": settings.final_nms})
    config.write(folder)  # last: config.json makes the folder a model
