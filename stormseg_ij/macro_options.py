"""The options of an ImageJ command as a macro writes them: ``size=512 model=[My Models/a b] equalize=true``."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from stormseg_ij.errors import SettingsError
from stormseg_ij.settings import OPEN, Settings, from_mapping

S = TypeVar("S", bound=Settings)

_CLOSING = {"[": "]", "'": "'"}


def parse(options: str) -> dict[str, str]:
    """Split options into keys and values.

    Parameters
    ----------
    options : str
        Keys and values as ImageJ's recorder writes them: ``key=value``, values with blanks in brackets (ImageJ's own
        ``Macro.getValue`` takes ``'...'`` too), a key alone for a ticked box, which becomes ``"true"``.

    Returns
    -------
    dict of str to str
        Keys in lower case, as ImageJ records them.

    Raises
    ------
    SettingsError
        For a bracket that is not closed, or a key given twice.

    Examples
    --------
    >>> parse("size=512 model=[my models/a [1]] equalize")
    {'size': '512', 'model': 'my models/a [1]', 'equalize': 'true'}
    """
    values: dict[str, str] = {}
    rest = options.strip(" ")
    while rest:
        word, sign, after = rest.partition("=")
        if not sign or " " in word:  # a key alone
            key, _, rest = rest.partition(" ")
            value = "true"
        elif after[:1] in _CLOSING:
            key, end = word, _end(after, rest)
            value, rest = after[1:end], after[end + 1 :]
        else:
            key = word
            value, _, rest = after.partition(" ")
        key, rest = key.lower(), rest.lstrip(" ")
        if key in values:
            raise SettingsError(f"the setting {key!r} is given twice; leave one")
        values[key] = value
    return values


def settings_from(options: str, settings: type[S]) -> S:
    """Make settings from a macro's options; keys that are left out have their defaults.

    Raises
    ------
    SettingsError
        As `parse`, and for unknown keys and values, with the nearest key.

    Examples
    --------
    >>> from stormseg_ij.settings import PreprocessSettings
    >>> settings_from("size=512 equalize", PreprocessSettings)
    PreprocessSettings(size=512, blur=0.0, equalize=True)
    """
    return from_mapping(settings, parse(options))


def written(settings: Settings) -> dict[str, str]:
    """Return every value as text by key, so that `settings_from` makes the same settings of them.

    >>> from stormseg_ij.settings import PreprocessSettings
    >>> written(PreprocessSettings(blur=2.0))
    {'size': 'auto', 'blur': '2', 'equalize': 'false'}
    """
    return {field.name: text_of(getattr(settings, field.name)) for field in dataclasses.fields(settings)}


def written_quoted(settings: Settings) -> dict[str, str]:
    """Return every value by key as it stands behind ``key=`` in a macro's options, in brackets where it needs them.

    Raises
    ------
    SettingsError
        As `quoted`.

    Examples
    --------
    >>> from stormseg_ij.imagej_settings import ScoreSettings
    >>> written_quoted(ScoreSettings(truth="my cells.zip"))
    {'truth': '[my cells.zip]', 'iou': '0.7', 'colour': 'true'}
    """
    return {key: quoted(value) for key, value in written(settings).items()}


def text_of(value: Any) -> str:  # noqa: ANN401 (a value of any option)
    """Write one value."""
    if value is None:
        return OPEN
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def quoted(value: str) -> str:
    """Put a value into brackets where ImageJ needs them.

    Raises
    ------
    SettingsError
        If it holds brackets that do not pair and a blank, or begins like a quoted one: no macro can say that.

    Examples
    --------
    >>> quoted("a b"), quoted("ab"), quoted("")
    ('[a b]', 'ab', '[]')
    """
    if value and " " not in value and value[0] not in _CLOSING:
        return value
    bracketed = f"[{value}]"
    if _closed(bracketed) != len(bracketed) - 1:
        raise SettingsError(f"{value!r} has brackets that do not pair: no macro can hold it; rename the file")
    return bracketed


def _end(text: str, options: str) -> int:
    """Return where the value that begins with a bracket or quote ends."""
    end = text.find("'", 1) if text[0] == "'" else _closed(text)
    if end < 0:
        raise SettingsError(f"no {_CLOSING[text[0]]!r} after {options!r}; close it")
    return end


def _closed(text: str) -> int:
    """Return the index of the bracket that closes the first one; -1 if there is none."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if depth == 0:
            return i
    return -1
