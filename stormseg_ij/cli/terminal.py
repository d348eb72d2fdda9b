"""What all subcommands share: settings from flags, checks before the work, lines and bars in the terminal."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from stormseg_ij import settings as options
from stormseg_ij.errors import ImageError, SettingsError

if TYPE_CHECKING:
    from stormseg_ij.bridge import ImageJ

T = TypeVar("T")

_LONGEST_NAME = 255
"""Bytes that file systems take."""
_MOST_NOTES = 5


def settings_of(arguments: argparse.Namespace) -> Any:  # noqa: ANN401 (the settings class of the subcommand)
    """Make the settings of a subcommand from its flags."""
    return options.from_mapping(arguments.settings, given(arguments, arguments.settings))


def given(arguments: argparse.Namespace, settings: type[options.Settings]) -> dict[str, Any]:
    """Return what the user gave of the options of some settings."""
    return {name: value for name, value in vars(arguments).items() if name in settings.__dataclass_fields__}


def start(arguments: argparse.Namespace) -> ImageJ:
    """Start ImageJ, or the Fiji that the user chose."""
    from stormseg_ij import bridge, installation

    return bridge.start(installation.resolve_fiji(arguments.fiji), heap_mb=arguments.heap_mb)


def plane_of(arguments: argparse.Namespace) -> int | None:
    """Return the checked `--plane` of a subcommand whose settings have none."""
    return options.SegmentSettings(plane=arguments.plane).plane


def check_file(arguments: argparse.Namespace, inputs: Sequence[Path], *suffixes: str) -> None:
    """Refuse the file of `--output` before the work."""
    output: Path = arguments.output
    if output.suffix.lower() not in suffixes:
        raise SettingsError(f"--output {output}: give a name that ends in {' or '.join(suffixes)}")
    check_outputs([output], inputs, overwrite=arguments.overwrite)


def check_outputs(outputs: Sequence[Path], inputs: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse, before the work, outputs that could not be written or would replace what is to stay."""
    for path in outputs:
        check_place(path)
        if path.is_dir():
            raise ImageError(f"{path} is a folder; give the name of a file")
        if path.exists() and any(other.exists() and path.samefile(other) for other in inputs):
            raise ImageError(f"{path} is an input; give the output another name")
        if path.exists() and not overwrite:
            raise ImageError(f"{path} exists; give --overwrite to replace it, or another name")


def check_place(path: Path) -> None:
    """Refuse a file whose name is too long, or whose folder cannot be made or written to."""
    for name in (*path.parent.parts, f"{path.name}.8letters."):  # as long as the temporary name while writing
        if len(os.fsencode(name)) > _LONGEST_NAME:
            raise ImageError(f"the name {name[:30]}... is too long for a file or folder; give a shorter one")
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise ImageError(f"{folder} is a file; give a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImageError(f"you may not write to {folder}; choose another folder")


def say(notes: Sequence[str], name: str) -> None:
    """Tell notes on a file; of many the first only."""
    shown = notes if len(notes) <= _MOST_NOTES else [*notes[:3], f"and {len(notes) - 3} more"]
    for note in shown:
        line(f"stormseg: {name}: {note}", error=True)


def progress(steps: Iterable[T], unit: str) -> Iterable[T]:
    """Show a bar while stepping through, in a terminal only; lines written meanwhile go through `_line`."""
    from tqdm import tqdm

    return cast("Iterable[T]", tqdm(steps, unit=unit, disable=None, leave=False))


def line(text: str, *, error: bool = False) -> None:
    """Print a line above the bar, if there is one."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr if error else sys.stdout)


def complain(error: OSError) -> None:
    """Tell what the system refused in one line, but not that a reader has gone away: stormseg ... | head."""
    if not isinstance(error, BrokenPipeError):
        with suppress(OSError):
            print(f"stormseg: {error if error.filename else f'cannot write output: {error}'}", file=sys.stderr)
