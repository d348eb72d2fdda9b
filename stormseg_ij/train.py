"""Training a model from a folder of images and labels, or from images simulated on the fly."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from stormseg_ij import models
from stormseg_ij.errors import ImageError, ModelError, SettingsError
from stormseg_ij.examples import Example, mean_gray, read_examples, sample_batch, training_images
from stormseg_ij.models import stardist
from stormseg_ij.models.info import ModelInfo
from stormseg_ij.models.mask_rcnn import learning
from stormseg_ij.models.training import Batch, EpochReport, TrainingState
from stormseg_ij.settings import TrainSettings, flag
from stormseg_ij.stream import Stream

_VALIDATION_PATCHES = 64
_SIZE_DISTRUST = 0.1  # of Mask R-CNN, which is as sure of fragments as of nuclei: benchmarks/choices.py
# On resuming; the rest would make it another training.
_CHANGEABLE = ("epochs", "steps", "learning_rate", "cosine", "workers", "half_precision", "most_instances")


def train(
    data: Path | None, folder: Path, settings: TrainSettings, *, told: Callable[[str], None] = lambda _: None
) -> Iterator[EpochReport]:
    """Train a model and write it to `folder`.

    Parameters
    ----------
    data : Path or None
        Holds ``images`` and ``labels`` with equal stems. None: images are simulated on the fly, by processes beside
        the trainer; ``settings.simulate`` new ones per epoch, so that none is seen for long.
    folder : Path
        Of the model. An existing model there is refused unless ``settings.resume``.
    settings : TrainSettings
        On resuming, those of the checkpoint count where none are given (`resumed`).
    told : callable
        Is handed a line that says which layers begin with weights of a file.

    Yields
    ------
    EpochReport
        After each epoch. For simulated images the validation loss is that on textures that are not trained on.

    Raises
    ------
    ImageError
        If the data is missing, incomplete or has too few images.
    ModelError
        If a model stands in `folder` already, there is nothing to resume, the checkpoint is damaged, the model to
        start from is not there or of another network, or `folder` cannot be written.
    SettingsError
        If a setting contradicts that of the checkpoint, or there are both a folder and simulated images.

    References
    ----------
    Mela & Liu 2021, Methods, "Neural network implementation" (flips, rotations by 90 and 270 degrees, scaling
    by 0.5 to 1.5), "StarDist" (batch 2, patches of 128, 32 rays) and "Network training and testing".
    """
    state = _begin(folder, settings)
    settings = state.settings
    if (data is None) == (settings.simulate == 0):
        if state.epoch:
            begun = "without a folder; leave it out" if settings.simulate else "with a folder of images; give it again"
            raise SettingsError(f"this model was begun {begun}")
        raise SettingsError("give either a folder of images or --simulate N")
    if settings.shapes and not settings.simulate:
        raise SettingsError(f"--shapes {settings.shapes} goes with --simulate N only; leave it out")
    start = models.find(settings.start_from) if settings.start_from and state.epoch == 0 else None
    before = ModelInfo.read(folder if start is None else start)  # its percentiles count; defaults for a new model
    info = dataclasses.replace(
        before,
        kind=settings.model,
        nucleus_diameter_px=settings.diameter,
        gamma=settings.gamma,
        blur_px=settings.blur,
        refine=True,  # polygons and masks of 28 x 28 gain: benchmarks/choices.py
        size_distrust=before.size_distrust if settings.model == "stardist" else _SIZE_DISTRUST,
    )
    with contextlib.ExitStack() as open_sources:
        source = _Folder(data, info, settings) if data else open_sources.enter_context(Stream(info, settings))
        rng = np.random.default_rng([settings.seed, 2])
        sample = functools.partial(sample_batch, info=info, patch=settings.patch, largest_scale=settings.largest_scale)
        validation = sample(rng, source.kept, number=_VALIDATION_PATCHES)
        _make_writable(folder)

        def batches(epoch: int, step: int) -> Batch:
            own = np.random.default_rng([settings.seed, 3, epoch, step])
            return sample(own, source.examples(epoch), number=settings.batch)

        if settings.model == "stardist":
            yield from stardist.train(folder, state, info, batches, validation, start=start)
        else:
            mean = mean_gray(source.examples(state.epoch), info)
            yield from learning.train(folder, state, info, batches, validation, mean=mean, start=start, told=told)


class _Folder:
    """Examples from a folder: some kept for validation, the others the same in each epoch."""

    def __init__(self, data: Path, info: ModelInfo, settings: TrainSettings) -> None:
        examples = read_examples(data, info)
        if len(examples) < 2:
            count = len(training_images(data))
            images = f"{count} image{'s' if count != 1 else ''}, {len(examples)} of them with nuclei"
            raise ImageError(f"{data} has {images}; training needs at least 2 with nuclei")
        number = min(max(1, round(settings.validation * len(examples))), len(examples) - 1)
        order = np.random.default_rng([settings.seed, 1]).permutation(len(examples))
        self.kept = [examples[i] for i in order[:number]]
        self._used = [examples[i] for i in order[number:]]

    def examples(self, epoch: int) -> list[Example]:
        return self._used


def resumed(given: TrainSettings, stored: TrainSettings) -> TrainSettings:
    """Return the settings with which a training goes on.

    Parameters
    ----------
    given : TrainSettings
        Of the resuming command. A value that equals its default counts as not given.
    stored : TrainSettings
        Of the checkpoint. Given epochs, steps, learning rate, cosine and workers replace them.

    Raises
    ------
    SettingsError
        If another given value differs: the training would no longer be one.

    Examples
    --------
    >>> resumed(TrainSettings(epochs=9), TrainSettings(epochs=5, rays=16)).as_dict() == TrainSettings(
    ...     epochs=9, rays=16
    ... ).as_dict()
    True
    """
    if not isinstance(stored, type(given)):
        begun = f"this model was begun with {stored.model}"
        raise SettingsError(f"--model {given.model}: {begun}; leave it out, or train into another folder")
    values = stored.as_dict()
    for option_field in dataclasses.fields(given):
        name, value = option_field.name, getattr(given, option_field.name)
        if name == "resume" or value in (option_field.default, values[name]):
            continue
        if name not in _CHANGEABLE:
            begun = f"this model was begun with {'none' if values[name] == '' else values[name]}"
            raise SettingsError(f"{flag(name)} {value}: {begun}; leave it out, or train into another folder")
        values[name] = value
    return type(stored)(**values)


def _begin(folder: Path, settings: TrainSettings) -> TrainingState:
    """Return a new state or that of the checkpoint; refuse to overwrite a model."""
    try:
        if folder.is_file():
            raise ModelError(f"{folder} is a file; give a folder for the model")
        resumable = TrainingState.file(folder).exists()
        complete = (folder / "config.json").exists() and any(folder.glob("*.h5"))
    except OSError as error:
        raise ModelError(f"cannot read {folder}: {error.strerror or error}; choose another folder") from error
    if settings.resume and resumable:
        state = TrainingState.read(folder)
        return dataclasses.replace(state, settings=resumed(settings, state.settings))
    if resumable:
        raise ModelError(f"{folder} holds a model already; give --resume to go on, or another folder")
    if complete:
        raise ModelError(f"{folder} holds a model without a checkpoint; choose another folder")
    if settings.resume:
        raise ModelError(f"{folder} holds no checkpoint; leave out --resume to start from the beginning")
    return TrainingState(_like_its_start(settings) if settings.start_from else settings)


def _like_its_start(settings: TrainSettings) -> TrainSettings:
    """Take over, where nothing else is given, the scale, blur and gamma of the model to start from, and its network."""
    start = models.find(settings.start_from)
    info = ModelInfo.read(start)
    if info.kind != settings.model:
        raise ModelError(f"cannot start from {start}: it is a {info.kind}; give --model {info.kind}, or another start")
    of_network = stardist.network_settings if settings.model == "stardist" else learning.network_settings
    network = of_network(start)
    values: dict[str, object] = {**network, "gamma": info.gamma, "blur": info.blur_px}
    if info.nucleus_diameter_px is not None:
        values["diameter"] = info.nucleus_diameter_px
    for option_field in dataclasses.fields(settings):
        name, given = option_field.name, getattr(settings, option_field.name)
        if name not in values or given == option_field.default:
            continue
        if name in network and given != network[name]:
            fault = f"{settings.start_from} has {network[name]}"
            raise SettingsError(f"{flag(name)} {given}: {fault}; leave it out, or start from another model")
        values[name] = given
    try:
        return type(settings)(**{**settings.as_dict(), **values})
    except SettingsError as error:
        raise ModelError(f"cannot start from {start}: {error}") from error


def _make_writable(folder: Path) -> None:
    """Make the folder and try to write there: before the first epoch, not after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        message = f"cannot write the model {folder}: {error.strerror or error}; choose a folder that you may write to"
        raise ModelError(message) from error
