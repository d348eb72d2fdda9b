"""Properties of ROIs (image, model, score ...): text that ImageJ keeps with a ROI, read and written by Java's rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roifile import ImagejRoi

_ENTRY = re.compile(r"((?:\\.|[^\\:= \t\f])*)[ \t\f]*[:=]?[ \t\f]*(.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[^0-9A-Za-z]|[tnrf])", re.DOTALL)
_IN_KEYS = re.compile("([ :=#!])")
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def properties(roi: ImagejRoi) -> dict[str, str]:
    r"""Read the properties of a ROI, as ImageJ's Roi.getProperty gives them.

    Parameters
    ----------
    roi : roifile.ImagejRoi

    Returns
    -------
    dict of str to str
        Values stay text, also numbers: an image named ``0012`` keeps its zeros.

    Notes
    -----
    ImageJ reads with ``java.util.Properties.load``, but writes values as they are. So letters beyond ASCII may stand
    there with and without escapes, and a backslash that begins no escape stays.

    Examples
    --------
    >>> from roifile import ImagejRoi
    >>> properties(ImagejRoi(props="image: 5 \\u00b5m\\\\cell\nscore: 0.50\n"))
    {'image': '5 µm\\cell', 'score': '0.50'}
    """
    found = {}
    for line in _entries(roi.props):
        match = _ENTRY.match(line)
        if match:
            key, value = (_unescaped(part) for part in match.groups())
            found[key] = value
    return found


def property_lines(values: Mapping[str, str]) -> str:
    r"""Write properties so that ImageJ's Roi.getProperty gives the same values; the inverse of `properties`.

    Parameters
    ----------
    values : mapping of str to str
        White space in a value becomes single spaces. Empty values are left away, as ImageJ does.

    Returns
    -------
    str
        One line of ASCII letters each, for ``ImagejRoi.props``.

    Examples
    --------
    >>> property_lines({"image": "5 µm\\cell", "my key": "", "model": "stardist"})
    'image: 5 \\u00b5m\\\\cell\nmodel: stardist\n'
    """
    lines = []
    for key, value in values.items():
        text = " ".join(value.split())
        if text:
            lines.append(_IN_KEYS.sub(r"\\\1", _escaped(key)) + f": {_escaped(text)}\n")
    return "".join(lines)


def _entries(text: str) -> Iterator[str]:
    """Put lines that end in a backslash together with the next one; leave out comments and empty lines."""
    begun = ""
    for line in re.split("\r\n|\r|\n", text):
        part = line.lstrip(" \t\f")
        if not begun and (not part or part[0] in "#!"):
            continue
        if (len(part) - len(part.rstrip("\\"))) % 2:
            begun += part[:-1]
            continue
        yield begun + part
        begun = ""
    if begun:
        yield begun


def _escaped(text: str) -> str:
    units = memoryview(text.replace("\\", "\\\\").encode("utf-16-be", "surrogatepass"))
    codes = [units[i] << 8 | units[i + 1] for i in range(0, len(units), 2)]
    return "".join(chr(code) if code < 127 else f"\\u{code:04x}" for code in codes)


def _unescaped(text: str) -> str:
    def letter(match: re.Match[str]) -> str:
        code = match.group(1)
        return chr(int(code[1:], 16)) if len(code) > 1 else _CONTROLS.get(code, code)

    # Letters beyond 65,535 are written as two escapes.
    return _ESCAPE.sub(letter, text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
