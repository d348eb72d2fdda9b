"""One frozen settings class per command: the single source of flags, dialog fields and macro keys."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from stormseg_ij.errors import SettingsError

S = TypeVar("S", bound="Settings")

OPEN = "auto"
"""The word for an option that is left open: as the model, the image or the screen says."""


def option(  # noqa: PLR0913 (the attributes of one option; all but two are keyword-only and rare)
    default: Any,  # noqa: ANN401 (any option's value)
    help: str,  # noqa: A002 (argparse's own word)
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
    hint: str = "",
    rare: bool = False,
    remembered: bool = True,
) -> Any:  # noqa: ANN401 (dataclasses.field, which is typed as its default)
    """Declare one option of a settings class.

    Parameters
    ----------
    default : object
        Value where the user gives none.
    help : str
        One sentence with the unit, shown by ``--help`` and in the dialog.
    minimum, maximum, above : float, optional
        Inclusive limits, and an exclusive lower limit.
    choices : tuple of str
        The only values a text option takes.
    words : tuple of str
        Words that a number takes besides numbers, for example ``("auto",)``.
    hint : str
        Placeholder in ``--help``; the dialog offers to browse for ``FILE``, ``FOLDER`` and ``NAME|FOLDER``.
    rare : bool
        The dialog shows it only when asked for more.
    remembered : bool
        The dialog begins with the value of the last time; False for what belongs to one image only.
    """
    metadata = {
        "help": help, "minimum": minimum, "maximum": maximum, "above": above,
        "choices": choices, "words": words, "hint": hint, "rare": rare,
        "remembered": remembered,
    }  # fmt: skip
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """Base of all settings: values are checked when one is made.

    Raises
    ------
    SettingsError
        On making one with a value of the wrong type or out of range; the line names option, value and range.
    """

    def __post_init__(self) -> None:
        """Check every value against its option's limits."""
        hints = typing.get_type_hints(type(self))
        for option_field in dataclasses.fields(self):
            value = getattr(self, option_field.name)
            checked = _checked(option_field, value, hints[option_field.name])
            object.__setattr__(self, option_field.name, checked)

    def as_dict(self) -> dict[str, Any]:
        """Return all values by key, ready for JSON."""
        return dataclasses.asdict(self)


def flag(key: str) -> str:
    """Return the command-line flag of a macro key.

    >>> flag("min_area_fraction")
    '--min-area-fraction'
    """
    return "--" + key.replace("_", "-")


def add_arguments(
    parser: argparse.ArgumentParser, settings: type[Settings], *, beyond: type[Settings] | None = None
) -> None:
    """Add one flag per option of `settings` to an argparse parser; absent flags stay out of the namespace.

    Those that `beyond` has too are left out.
    """
    hints = typing.get_type_hints(settings)
    there = set() if beyond is None else {option_field.name for option_field in dataclasses.fields(beyond)}
    for option_field in dataclasses.fields(settings):
        if option_field.name in there:
            continue
        meta = option_field.metadata
        text = help_text(option_field).replace("%", "%%")
        keywords: dict[str, Any] = {"help": text, "default": argparse.SUPPRESS}
        if bool in _kinds(hints[option_field.name]):
            parser.add_argument(flag(option_field.name), action=argparse.BooleanOptionalAction, **keywords)
        else:
            keywords["metavar"] = meta["hint"] or "|".join(meta["choices"] or ("N", *meta["words"]))
            parser.add_argument(flag(option_field.name), **keywords)


def help_text(option_field: dataclasses.Field[Any]) -> str:
    """Return what an option is for, its range and its default."""
    notes = [_range_text(option_field).strip()]
    default = option_field.default
    if default is not None and default != "":
        notes.append(f"default: {('on' if default else 'off') if isinstance(default, bool) else _shown(default)}")
    shown = "; ".join(note for note in notes if note)
    return f"{option_field.metadata['help']} ({shown})" if shown else str(option_field.metadata["help"])


def from_mapping(settings: type[S], values: Mapping[str, Any]) -> S:
    """Make settings from texts or values by key; unknown keys are an error that names the nearest one.

    Parameters
    ----------
    settings : type
        A subclass of `Settings`.
    values : mapping of str to object
        Texts are converted to the option's type.

    Raises
    ------
    SettingsError
        For an unknown key, or a value that does not convert or is out of range.
    """
    names = [option_field.name for option_field in dataclasses.fields(settings)]
    for key in values:
        if key not in names:
            raise SettingsError(f"no setting {key!r}; {nearest(key, names)}")
    return settings(**values)


def may_be_open(option_field: dataclasses.Field[Any], settings: type[Settings]) -> bool:
    """Tell whether an option can be left open, which the word `OPEN` says too."""
    return type(None) in _kinds(typing.get_type_hints(settings)[option_field.name])


def is_switch(option_field: dataclasses.Field[Any], settings: type[Settings]) -> bool:
    """Tell whether an option is on or off."""
    return bool in _kinds(typing.get_type_hints(settings)[option_field.name])


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean X?`` for a near word, else the list of those known."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(names)}"


def _checked(option_field: dataclasses.Field[Any], value: Any, hint: Any) -> Any:  # noqa: ANN401
    """Convert `value` to the option's type and check its limits."""
    meta = option_field.metadata
    kinds = _kinds(hint)
    if not meta or (value is None and type(None) in kinds):
        return value
    if type(None) in kinds and value == OPEN:
        return None
    if isinstance(value, str) and value in meta["words"]:
        return value
    numbers = [kind for kind in kinds if kind in (int, float)]
    if numbers and not isinstance(value, bool):
        return _checked_number(option_field, value, numbers[0])
    if bool in kinds:
        return _checked_bool(option_field, value)
    if not isinstance(value, str) or (meta["choices"] and value not in meta["choices"]):
        allowed = f"choose from {', '.join(meta['choices'])}" if meta["choices"] else "give a text"
        raise SettingsError(f"{flag(option_field.name)} {value!r}: {allowed}")
    return value


def _kinds(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401 (a type or a union of types)
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _checked_number(option_field: dataclasses.Field[Any], value: Any, kind: type) -> int | float:  # noqa: ANN401
    meta = option_field.metadata
    wanted = f"{flag(option_field.name)} {value!r}: give {'a whole number' if kind is int else 'a number'}"
    wanted += _range_text(option_field) + "".join(f" or {word!r}" for word in meta["words"])
    try:
        number = kind(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingsError(wanted) from error
    if isinstance(value, float) and number != value:
        raise SettingsError(wanted)
    low, high, above = meta["minimum"], meta["maximum"], meta["above"]
    inside = (low is None or number >= low) and (high is None or number <= high) and (above is None or number > above)
    if not math.isfinite(number) or not inside:
        raise SettingsError(wanted)
    return number  # type: ignore[no-any-return]


def _checked_bool(option_field: dataclasses.Field[Any], value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "1": True, "": True, "false": False, "no": False, "0": False}
    text = str(value).strip().lower()
    if text not in words:
        raise SettingsError(f"{flag(option_field.name)} {value!r}: give true or false")
    return words[text]


def _range_text(option_field: dataclasses.Field[Any]) -> str:
    meta = option_field.metadata
    low, high, above = meta["minimum"], meta["maximum"], meta["above"]
    if low is not None and high is not None:
        return f" from {_shown(low)} to {_shown(high)}"
    if low is not None:
        return f" of at least {_shown(low)}"
    return f" above {_shown(above)}" if above is not None else ""


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class PreprocessSettings(Settings):
    """What ImageJ does to an image before the network sees it, in the paper's order (Methods, Fig. 8)."""

    size: int | None = option(
        None, "longer side in pixels after resizing; unchanged without it", minimum=8, maximum=100_000
    )
    blur: float = option(0.0, "sigma of the Gaussian blur in pixels of the resized image", minimum=0.0, maximum=100.0)
    equalize: bool = option(False, "equalize the histogram, normalized, as Enhance Contrast does")


ONE_GO_SIZE_PX = 4096
"""The largest size of an image that the network sees in one go: a square one takes 6 to 8 GiB then."""

LEAST_PROBABILITY, MOST_NMS = 0.05, 0.9
"""Beyond these nearly every pixel is a nucleus of its own, and comparing them all takes minutes."""


@dataclass(frozen=True)
class SegmentSettings(Settings):
    """Everything that decides what `segment` finds."""

    model: str = option(
        "stardist-storm", "shipped model, model folder, or weights file (.h5) of Mask R-CNN", hint="NAME|FOLDER"
    )
    size: int | str = option(
        "auto", "longer side in pixels after resizing; auto: by the model's scale",
        minimum=8, maximum=100_000, words=("auto",),
    )  # fmt: skip
    blur: float | None = option(
        None, "sigma of the Gaussian blur in pixels of the resized image; the model's own without it",
        minimum=0.0, maximum=100.0,
    )  # fmt: skip
    equalize: bool = option(False, "equalize the histogram, normalized, as Enhance Contrast does")
    probability: float | None = option(
        None, "least probability of a nucleus; the model's own without it", minimum=LEAST_PROBABILITY, maximum=1.0
    )
    nms: float | None = option(
        None, "overlap (IoU) above which the less probable of two nuclei goes; the model's own without it",
        minimum=0.0, maximum=MOST_NMS,
    )  # fmt: skip
    min_area_fraction: float = option(
        0.25, "remove nuclei smaller than this fraction of the image's mean nucleus area", minimum=0.0, maximum=1.0
    )
    refine: bool | None = option(
        None, "move outlines to where the localizations end, also into dents; the model's own choice without it"
    )
    overlap_rules: str = option(
        "paper", "where nuclei overlap: the rules of the paper or its authors' code, or the more probable one wins",
        choices=("paper", "notebook", "score"),
    )  # fmt: skip
    route: str = option(
        "auto", "the whole image in tiles, or resized and in one go; auto: in one go where it is small enough",
        choices=("auto", "tile", "resize"), rare=True,
    )  # fmt: skip
    tile: int = option(512, "side of a tile in pixels of the network's input", minimum=128, maximum=2048, rare=True)
    overlap: int = option(
        128, "overlap of tiles in pixels of the network's input; it grows by itself where nuclei are wider",
        minimum=0, maximum=1024, rare=True,
    )  # fmt: skip
    seed: int = option(0, "the same seed gives the same nuclei where the paper's rules draw lots", minimum=0, rare=True)
    plane: int | None = option(None, "plane of a stack, counted from 1", minimum=1, rare=True, remembered=False)

    def __post_init__(self) -> None:
        """Check also that tiles are wider than their overlap, and that what goes in one go is small enough."""
        super().__post_init__()
        if self.route == "resize" and self.size != "auto" and int(self.size) > ONE_GO_SIZE_PX:
            raise SettingsError(
                f"--size {self.size} is too much for --route resize; give up to {ONE_GO_SIZE_PX}, or --route tile"
            )
        if self.overlap > self.tile // 2:
            raise SettingsError(f"--overlap {self.overlap} is more than half of --tile {self.tile}; give a smaller one")

    def preprocessing(self, size: int) -> PreprocessSettings:
        """Return what ImageJ does before the network, at this size of the longer side; without a blur, none."""
        return PreprocessSettings(size=size, blur=self.blur or 0.0, equalize=self.equalize)


@dataclass(frozen=True)
class SimulateSettings(Settings):
    """What `simulate` writes."""

    count: int = option(4, "number of images", minimum=1, maximum=100_000)
    kind: str = option("tissue", "crowded rough nuclei, or few large smooth ones", choices=("tissue", "cell"))
    size: int = option(512, "side of the images in pixels", minimum=64, maximum=32_768)
    seed: int = option(0, "the same seed gives the same images", minimum=0)
    diameter: float | None = option(
        None,
        "mean nucleus diameter in pixels; that of 8 um (tissue) or 18 um (cell), varied, without it",
        minimum=8.0,
        maximum=4096.0,
    )
    pixel_size: float | None = option(
        None,
        "pixel size in nm; 160, or such that nuclei of that diameter have a usual size, without it",
        minimum=0.1,
        maximum=10_000.0,
    )
    shapes: str = option("", "folder with labels/ whose nuclei lend their shapes, such as DSB2018's", hint="FOLDER")
    localizations: bool = option(True, "write the table of localizations too")


@dataclass(frozen=True)
class TrainSettings(Settings):
    """How `train` makes a model; the defaults are the paper's for StarDist. Mask R-CNN: `mask_settings`."""

    model: str = option("stardist", "kind of network", choices=("stardist", "mask-rcnn"))
    epochs: int = option(400, "number of epochs", minimum=1)
    steps: int = option(300, "batches per epoch (mask-rcnn: 500)", minimum=1)
    batch: int = option(2, "patches per batch (mask-rcnn: 1)", minimum=1)
    patch: int = option(
        128, "side of a patch in pixels, a multiple of 8 x grid (mask-rcnn: 256, a multiple of 64)",
        minimum=32, maximum=1024,
    )  # fmt: skip
    learning_rate: float = option(1e-4, "learning rate of Adam", above=0.0)
    cosine: bool = option(False, "let the learning rate fall along a cosine instead of staying constant")
    rays: int = option(32, "rays of a star-convex polygon", minimum=8, maximum=256)
    grid: str = option("2", "the network predicts at every 1st, 2nd or 4th pixel", choices=("1", "2", "4"))
    diameter: float = option(
        32.0, "mean nucleus diameter in pixels to which the images are rescaled", minimum=8.0, maximum=256.0
    )
    blur: float = option(0.0, "sigma of the Gaussian blur in pixels after rescaling", minimum=0.0, maximum=100.0)
    gamma: float = option(1.0, "exponent of the normalised gray values", above=0.0, maximum=4.0)
    largest_scale: float = option(
        1.5, "patches are scaled by 0.5 up to this: what sizes of nuclei the model bears", minimum=0.5, maximum=4.0
    )
    validation: float = option(0.1, "fraction of the images kept for validation", minimum=0.01, maximum=0.9)
    seed: int = option(0, "the same seed gives the same patches", minimum=0, maximum=2**32 - 1)
    simulate: int = option(
        0,
        "train on simulated images, so many new ones per epoch, in place of a folder (20 MB of memory for each)",
        minimum=0,
        maximum=500,
    )
    shapes: str = option(
        "", "for --simulate: folder with labels/ whose nuclei lend their shapes, such as DSB2018's", hint="FOLDER"
    )
    workers: int = option(1, "processes that simulate", minimum=1, maximum=64)
    start_from: str = option(
        "", "begin with the weights of this model; its rays, grid, diameter, blur and gamma replace defaults",
        hint="NAME|FOLDER",
    )  # fmt: skip
    resume: bool = option(False, "go on from the checkpoint in the model folder")

    def __post_init__(self) -> None:
        """Check also that the patch fits the network."""
        super().__post_init__()
        if self.model != "stardist":
            return
        step = 8 * int(self.grid)
        if self.patch % step:
            raise SettingsError(f"--patch {self.patch} does not fit --grid {self.grid}; give a multiple of {step}")


def iou_option() -> Any:  # noqa: ANN401 (as `option`)
    """Declare the option of how much a predicted and a true nucleus must overlap."""
    return option(
        0.7, "intersection over union that a predicted and a true nucleus must exceed to match",
        minimum=0.0, maximum=0.99,
    )  # fmt: skip


@dataclass(frozen=True)
class EvaluateSettings(Settings):
    """When a predicted nucleus counts as found."""

    iou: float = iou_option()
