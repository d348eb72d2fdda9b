"""ImageJ's own dialog, made from a list of fields."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stormseg_ij.bridge.java import java_errors, proxy

Kind = Literal["text", "switch", "choice", "file", "folder", "model"]

_COLUMNS = {"text": 8, "file": 28, "folder": 28}
_HELP_WIDTH = 60


@dataclass(frozen=True)
class Field:
    """One field of a dialog.

    Attributes
    ----------
    key : str
        By which its value comes back.
    label : str
        Before the field.
    kind : str
        ``text``, ``switch`` (a box to tick; its texts are ``true`` and ``false``), ``choice``, ``file`` and ``folder``
        (with a button that browses), ``model`` (a choice with a button that adds a folder to it).
    value : str
        What it shows at first.
    help : str
        One sentence, shown while the field has the focus.
    choices : tuple of str
    """

    key: str
    label: str
    kind: Kind
    value: str
    help: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What a person gave: the button (``"ok"``, ``"more"``, ``"cancel"``) and every field's text by key."""

    button: Literal["ok", "more", "cancel"]
    values: Mapping[str, str]


class Dialog:
    """A modal dialog of ImageJ; `ask` shows it.

    Parameters
    ----------
    title : str
    fields : sequence of Field
    more : bool
        With a button ``More...``.
    on_change : callable, optional
        Told the values whenever a field changes while the box "Preview" is ticked, and None when it is unticked or the
        dialog closes; in the thread that paints windows, so it must be quick.
    """

    def __init__(
        self,
        title: str,
        fields: Sequence[Field],
        *,
        more: bool = False,
        on_change: Callable[[Mapping[str, str] | None], None] | None = None,
    ) -> None:
        import scyjava

        self._jimport: Callable[[str], Any] = scyjava.jimport
        self._fields, self._on_change, self._more_pressed = tuple(fields), on_change, False
        with java_errors("open the dialog"):
            self._dialog = self._jimport("ij.gui.GenericDialog")(title)
            self._parts = [self._add(field) for field in self._fields]
            if on_change is not None:
                self._dialog.addCheckbox("Preview", False)
            self._message = self._put_message()
            self._dialog.addHelp(_page(title, self._fields))
            if more:
                self._dialog.enableYesNoCancel("OK", "More...")
                pressed = proxy("java.awt.event.ActionListener", actionPerformed=self._ask_more)
                self._dialog.getButtons()[2].addActionListener(pressed)
            if on_change is not None:
                self._dialog.addDialogListener(self._change_listener())

    def ask(self) -> Answer:
        """Show it and wait for a button."""
        with java_errors("show the dialog"):
            self._dialog.showDialog()
            if self._on_change is not None:
                self._on_change(None)
            if self._dialog.wasOKed():
                return Answer("ok", self._values())
            # A dialog that was closed without a button, because ImageJ ends, is a cancelled one.
            return Answer("more", self._values()) if self._more_pressed else Answer("cancel", {})

    def _ask_more(self, _: object) -> None:
        self._more_pressed = True

    def say(self, text: str) -> None:
        """Show a line below the fields."""
        self._message.setText(_wrapped(text, self._lines))

    def _add(self, field: Field) -> Any:  # noqa: ANN401 (an AWT component)
        dialog, label = self._dialog, field.label
        if field.kind == "switch":
            dialog.addCheckbox(label, field.value == "true")
            part = dialog.getCheckboxes().lastElement()
        elif field.kind in ("choice", "model"):
            choices = list(dict.fromkeys([*field.choices, field.value]))
            dialog.addChoice(f"{label}:", choices, field.value)
            part = dialog.getChoices().lastElement()
            if field.kind == "model":
                dialog.addToSameRow()
                dialog.addButton("Browse...", self._browser(part, label))
        else:
            add = {"text": dialog.addStringField, "file": dialog.addFileField, "folder": dialog.addDirectoryField}
            add[field.kind](f"{label}:", field.value, _COLUMNS[field.kind])
            part = dialog.getStringFields().lastElement()
        part.addFocusListener(self._help_listener(field.help))
        return part

    def _values(self) -> dict[str, str]:
        return {
            field.key: _read(part, field.kind).strip() for field, part in zip(self._fields, self._parts, strict=True)
        }

    def _put_message(self) -> Any:  # noqa: ANN401 (an ij.gui.MultiLineLabel)
        gray = self._jimport("java.awt.Color")(90, 90, 90)
        font = self._jimport("java.awt.Font")("SansSerif", 0, 12)
        self._lines = max([2, *(len(textwrap.wrap(field.help, _HELP_WIDTH)) for field in self._fields)])
        self._dialog.addMessage(" " * 100 + "\n " * (self._lines - 1), font, gray)  # room for the longest help
        return self._dialog.getMessage()

    def _help_listener(self, text: str) -> Any:  # noqa: ANN401 (a Java object)
        return proxy("java.awt.event.FocusListener", focusGained=lambda _: self.say(text), focusLost=lambda _: None)

    def _browser(self, choice: Any, label: str) -> Any:  # noqa: ANN401 (an AWT component; a Java object)
        chooser = self._jimport("ij.io.DirectoryChooser")

        def browse(_: object) -> None:
            folder = chooser(f"Select {label}").getDirectory()
            if folder is not None:
                path = str(folder).rstrip("/\\")
                choice.add(path)
                choice.select(path)

        return proxy("java.awt.event.ActionListener", actionPerformed=browse)

    def _change_listener(self) -> Any:  # noqa: ANN401 (a Java object)
        def changed(_: object, event: object) -> bool:
            if event is not None and self._on_change is not None:
                on = bool(self._dialog.getCheckboxes().lastElement().getState())
                self._on_change(self._values() if on else None)
            return True

        return proxy("ij.gui.DialogListener", dialogItemChanged=changed)


def _read(part: Any, kind: Kind) -> str:  # noqa: ANN401 (an AWT component)
    if kind == "switch":
        return "true" if part.getState() else "false"
    return str(part.getSelectedItem()) if kind in ("choice", "model") else str(part.getText())


def _wrapped(text: str, lines: int) -> str:
    """Break a text into so many lines that fit: the message keeps its height."""
    return "\n".join([*textwrap.wrap(text, _HELP_WIDTH), *[" "] * lines][:lines])


def _page(title: str, fields: Sequence[Field]) -> str:
    """Write the page behind the button "Help": every field with its text."""
    import html

    rows = "".join(f"<p><b>{html.escape(field.label)}</b><br>{html.escape(field.help)}</p>" for field in fields)
    return f"<html><h3>{html.escape(title)}</h3>{rows}</html>"
