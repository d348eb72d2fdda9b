"""The settings of a command: from a macro's options, or from ImageJ's dialog."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stormseg_ij import macro_options, models
from stormseg_ij.bridge.dialog import Answer, Dialog, Field, Kind
from stormseg_ij.errors import SettingsError
from stormseg_ij.imagej_settings import in_keys, label_of
from stormseg_ij.settings import OPEN, Settings, from_mapping, help_text, is_switch, may_be_open

if TYPE_CHECKING:
    from stormseg_ij.bridge.desktop import Desktop
    from stormseg_ij.commands.previewing import Previewer

_KINDS: dict[str, Kind] = {"NAME|FOLDER": "model", "FOLDER": "folder", "FILE": "file", "IMAGE": "choice"}
_ACTIVE = "(active image)"
_YES_NO = {"yes": "true", "no": "false"}
_FOLDERS = "model-folders"
_MOST_FOLDERS = 8


@dataclass(frozen=True)
class Form:
    """The dialog of one command.

    Attributes
    ----------
    name : str
        Of the command.
    settings : type of Settings
    desk : Desktop
        Remembers the values, also for the next start of ImageJ.
    previewer : Previewer or None
    """

    name: str
    settings: type[Settings]
    desk: Desktop
    previewer: Previewer | None = None

    def ask(self) -> Settings | None:
        """Ask until the values fit; None where the person cancels."""
        values = self._remembered()
        more = self._is_rare(values)
        while True:
            fields = self._fields(values, more=more)
            dialog = Dialog(
                self.name, fields, more=self._has_rare() and not more,
                on_change=None if self.previewer is None else self.previewer.changed,
            )  # fmt: skip
            if self.previewer is not None:
                self.previewer.tell(dialog.say)
            answer = dialog.ask()
            if answer.button == "cancel":
                return None
            values |= self._texts(answer)
            if answer.button == "more":
                more = True
                continue
            try:
                made = from_mapping(self.settings, values)
            except SettingsError as error:
                self.desk.show_message(self.name, in_keys(str(error)))
                continue
            self._remember(values)
            return made

    def _fields(self, values: Mapping[str, str], *, more: bool) -> list[Field]:
        fields = []
        options = [option for option in dataclasses.fields(self.settings) if option.metadata]
        for option in sorted(options, key=lambda option: bool(option.metadata["rare"])):  # these come last
            if more or not option.metadata["rare"]:
                fields.append(self._field(option, values[option.name]))
        return fields

    def _field(self, option: dataclasses.Field[Any], value: str) -> Field:
        kind: Kind = _KINDS.get(option.metadata["hint"], "text")
        choices = tuple(option.metadata["choices"])
        if is_switch(option, self.settings):
            kind = "choice" if may_be_open(option, self.settings) else "switch"
            choices = (OPEN, *_YES_NO) if kind == "choice" else ()
            if kind == "choice":
                value = next((shown for shown, text in _YES_NO.items() if text == value), value)
        elif choices:
            kind = "choice"
        elif kind == "model":
            choices = (*models.shipped(), *self._folders())
        elif kind == "choice":
            choices = (_ACTIVE, *self.desk.titles())
            value = value if value in choices else _ACTIVE
        return Field(option.name, label_of(option.name), kind, value, in_keys(help_text(option)), choices)

    def _texts(self, answer: Answer) -> dict[str, str]:
        """Turn what the fields show into values."""
        return {
            key: "" if value == _ACTIVE else _YES_NO.get(value, value) for key, value in answer.values.items()
        }  # fmt: skip

    def _defaults(self) -> dict[str, str]:
        return {
            option.name: macro_options.text_of(option.default)
            for option in dataclasses.fields(self.settings)
            if option.metadata
        }

    def _remembered(self) -> dict[str, str]:
        """Return the values of the last time; a default where there are none, or they fit no more."""
        values = self._defaults()
        for key in self._lasting():
            value = self.desk.remembered(self._key(key))
            if value is not None and _fits(self.settings, key, value):
                values[key] = value
        return values if _fits_together(self.settings, values) else self._defaults()

    def _remember(self, values: Mapping[str, str]) -> None:
        for key in self._lasting():
            self.desk.remember(self._key(key), values[key])
        model = values.get("model")
        if model and model not in models.shipped():
            folders = [model, *(folder for folder in self._folders() if folder != model)]
            self.desk.remember(_FOLDERS, "\n".join(folders[:_MOST_FOLDERS]))

    def _lasting(self) -> list[str]:
        """Return the keys of the options whose values hold for other images too."""
        return [option.name for option in dataclasses.fields(self.settings) if option.metadata.get("remembered")]

    def _folders(self) -> list[str]:
        return [folder for folder in (self.desk.remembered(_FOLDERS) or "").split("\n") if folder]

    def _key(self, key: str) -> str:
        return f"{self.name.lower().replace(' ', '-')}.{key}"

    def _has_rare(self) -> bool:
        return any(option.metadata.get("rare") for option in dataclasses.fields(self.settings))

    def _is_rare(self, values: Mapping[str, str]) -> bool:
        """Tell whether one of the fields that are hidden at first has another value than its default."""
        defaults = self._defaults()
        rare = [option.name for option in dataclasses.fields(self.settings) if option.metadata.get("rare")]
        return any(values[key] != defaults[key] for key in rare)


def _fits(settings: type[Settings], key: str, value: str) -> bool:
    return _fits_together(settings, {key: value})


def _fits_together(settings: type[Settings], values: Mapping[str, str]) -> bool:
    try:
        from_mapping(settings, values)
    except SettingsError:
        return False
    return True
