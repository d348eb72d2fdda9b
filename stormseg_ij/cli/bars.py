"""How far one image is, in the terminal."""

from __future__ import annotations

from tqdm import tqdm

from stormseg_ij.cli.terminal import line
from stormseg_ij.estimate import Estimate
from stormseg_ij.pipeline import Progress

_LONG_SECONDS = 10.0
"""What takes longer is told before it begins."""


class Bar(Progress):
    """A bar for the stages of one image, in a terminal only; before long work one line says what to expect."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar = tqdm(
            total=1.0, desc=name, disable=None, leave=False, bar_format="{desc} {percentage:3.0f} %|{bar}| {elapsed}"
        )

    def expect(self, expected: Estimate) -> None:
        """Tell what takes long, or more memory than there is."""
        if expected.seconds > _LONG_SECONDS or expected.bytes > expected.free_bytes:
            line(f"stormseg: {self._name}: {expected}", error=True)

    def stage(self, name: str, fraction: float) -> None:
        """Move the bar."""
        self._bar.set_description_str(f"{self._name}: {name}", refresh=False)
        self._bar.n = fraction
        self._bar.refresh()

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()
