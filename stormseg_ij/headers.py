"""The scripts behind StormSeg's commands in Fiji's menu: their ``#@`` fields are written from the settings classes.

``python -m stormseg_ij.headers fiji_scripts/menu`` writes them anew. What SciJava and imagej-legacy make of a script
decides its form:

- In a macro they open their dialog for every key that the macro leaves out, and would fill it with the values of the
  last time. Neither may happen: a macro means the same everywhere. So a menu script has no fields of its own; it hands
  them as a text to ``stormseg/Menu.groovy``, which shows them to a person only. A macro's options go to the command as
  they stand, and an unknown key is an error that names the nearest. (``visibility=INVISIBLE`` and ``required=false``
  do not help: both kinds of field are shown.)
- Commands of which the menu takes the defaults are asked about with Alt held down, as in ImageJ hosted by Python.
- Values are remembered by the name of the field alone, for all scripts of Fiji together: ours have keys of their own.
- SciJava's dialog has no button for more: what is rarely needed comes last.
- Fiji sorts scripts by name and puts no lines between them; a weight cannot be given, since the menu is made before a
  script is read. A file name needs an underscore to get into the menu.
- What a script gives back would be shown: these give back nothing.
- Groovy keeps each class that a script has called: so ``Menu`` is compiled once, and lies among Java's properties.
"""

from __future__ import annotations

import argparse
import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stormseg_ij import macro_options
from stormseg_ij.commands import COMMANDS, Command
from stormseg_ij.files import replacing
from stormseg_ij.imagej_settings import in_keys, label_of
from stormseg_ij.settings import OPEN, Settings, help_text, is_switch, may_be_open

_SCRIPT = """\
// Plugins > StormSeg > {name}
// Made by stormseg_ij/headers.py from the options of the command: python -m stormseg_ij.headers FOLDER
(System.properties["stormseg.menu"] ?: new GroovyClassLoader(getClass().classLoader)
    .parseClass(new File(ij.IJ.getDirectory("imagej"), "stormseg/Menu.groovy")))
    .choose("{name}", this, {asks}, '''{fields}''')
"""
_FILE = "FILE"


def commands() -> list[Command]:
    """Return the commands that have a script, in the order of the other menu."""
    return [command for command in COMMANDS if command is not None]


def file_name(command: Command) -> str:
    """Return the name of a command's script; Fiji's menu shows it without the underscores.

    >>> file_name(commands()[0])
    'Preprocess_STORM_Image.groovy'
    """
    return f"{command.name.replace(' ', '_')}.groovy"


def script(command: Command) -> str:
    """Write a command's script."""
    lines = [f"\n    {line}" for line in fields(command)]
    asks = "true" if command.asks else "false"
    return _SCRIPT.format(name=command.name, asks=asks, fields=_in_groovy("".join([*lines, "\n"] if lines else [])))


def fields(command: Command) -> list[str]:
    """Write the fields of a command's dialog as SciJava reads them, a line each; what is rarely needed comes last.

    >>> [line.split()[-1] for line in fields(commands()[0])]
    ['size', 'blur', 'equalize']
    """
    options = [option for option in dataclasses.fields(command.settings) if option.metadata]
    options.sort(key=lambda option: bool(option.metadata["rare"]))
    return [_field(command, option) for option in options]


def write_scripts(folder: Path) -> None:
    """Write all scripts into a folder, in place of those that are there.

    Raises
    ------
    ImageError
        If one cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for command in commands():
        with replacing(folder / file_name(command)) as temporary:
            temporary.write_text(script(command), encoding="utf-8")


def _field(command: Command, option: dataclasses.Field[Any]) -> str:
    meta, default = option.metadata, macro_options.text_of(option.default)
    kind = _kind(option, command.settings)
    attributes: dict[str, str] = {
        "label": _text(label_of(option.name)), "description": _text(in_keys(help_text(option)))
    }  # fmt: skip
    if kind == "File":
        attributes |= {"style": _text("open"), "required": "false"}
    else:
        attributes["value"] = default if kind in ("Integer", "Double", "Boolean") else _text(default)
    if kind in ("Integer", "Double"):
        attributes |= _limits(meta)
    if kind == "Double":
        attributes["stepSize"] = "0.05" if meta["maximum"] is not None and meta["maximum"] <= 1.0 else "0.1"
    choices = (OPEN, "yes", "no") if is_switch(option, command.settings) else meta["choices"]
    if kind == "String" and choices:
        attributes["choices"] = "{" + ", ".join(map(_text, choices)) + "}"
    if meta["remembered"]:
        attributes["persistKey"] = _text(f"stormseg.{command.name.lower().replace(' ', '-')}.{option.name}")
    else:
        attributes["persist"] = "false"
    written = ", ".join(f"{key}={value}" for key, value in attributes.items())
    return f"#@ {kind} ({written}) {option.name}"


def _kind(option: dataclasses.Field[Any], settings: type[Settings]) -> str:
    """Return SciJava's type of a field; a text wherever something else than a number may stand."""
    if is_switch(option, settings):
        return "String" if may_be_open(option, settings) else "Boolean"
    if option.metadata["hint"] == _FILE:
        return "File"
    return {int: "Integer", float: "Double"}.get(typing.get_type_hints(settings)[option.name], "String")


def _limits(meta: Mapping[str, Any]) -> dict[str, str]:
    """Return the inclusive limits; SciJava has no others, the command checks them."""
    limits = {"min": meta["minimum"], "max": meta["maximum"]}
    return {key: macro_options.text_of(limit) for key, limit in limits.items() if limit is not None}


def _text(text: str) -> str:
    """Quote a text for SciJava's parser."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _in_groovy(text: str) -> str:
    """Write a text as it stands between Groovy's triple quotes."""
    return text.replace("\\", "\\\\").replace("'''", "\\'\\'\\'")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the scripts into the folder that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m stormseg_ij.headers", description="Write Fiji's menu scripts anew."
    )
    parser.add_argument("folder", type=Path)
    write_scripts(parser.parse_args(arguments).folder)


if __name__ == "__main__":
    main()
