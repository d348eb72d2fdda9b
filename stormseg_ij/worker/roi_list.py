"""Fiji's ROI Manager: of what it holds, only what changed is sent."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from stormseg_ij.desk import Entry, RoiList
from stormseg_ij.errors import BridgeError
from stormseg_ij.worker.link import Link

if TYPE_CHECKING:
    from stormseg_ij.worker.desk import FijiImage


class FijiRoiList(RoiList):
    """The ROI Manager of the Fiji that started this process.

    Parameters
    ----------
    link : Link
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._known: dict[int, bytes] = {}
        self.headless = False

    def is_open(self) -> bool:
        """Tell whether there is one: a person who closes it empties it, but deletes no nucleus."""
        return self._listed() is not None

    def entries(self) -> list[Entry]:
        """Return all ROIs in the list's order, read at one moment.

        Raises
        ------
        BridgeError
            If Fiji takes one for known that is not.
        """
        found = self._listed()
        if found is None:
            return []
        identities = [int(identity) for identity in found["identities"]]
        unknown = [identity for identity in identities if identity not in self._known]
        if unknown:
            raise BridgeError(f"Fiji sent {len(unknown)} ROIs of its list without their outlines; restart Fiji")
        places = zip(identities, found["drawn_in"], strict=True)
        return [Entry(self._known[identity], identity, int(number)) for identity, number in places]

    def selected(self) -> list[int]:
        """Return the indexes of the selected entries, ascending."""
        return [] if self.headless else sorted(int(index) for index in self._link.ask("selected"))

    def append(self, rois: Sequence[bytes], imp: FijiImage | None) -> list[int]:
        """Add ROIs at the end, and show all on the image if it is given; return their identities."""
        if not rois:
            return []
        added = self._asked("append", rois=[as_text(roi) for roi in rois], image=_number(imp))
        return [int(identity) for identity in added]

    def replace(self, identity: int, roi: bytes) -> int | None:
        """Put a ROI in the place of another, with its own name; return its identity, None where that one is gone."""
        new = self._asked("replace", identity=int(identity), roi=as_text(roi))
        return None if new is None else int(new)

    def delete(self, identities: Iterable[int], imp: FijiImage | None = None) -> None:
        """Take ROIs out, and repaint the image if it is given; those that are gone already are none."""
        doomed = sorted({int(identity) for identity in identities})
        if doomed and not self.headless:
            self._link.ask("delete", identities=doomed, image=_number(imp))

    def select(self, imp: FijiImage, index: int) -> None:
        """Select one entry, in the list and as the image's selection."""
        self._asked("select", image=imp.number, index=int(index))

    def deselect(self) -> None:
        """Select no entry."""
        if not self.headless:
            self._link.ask("deselect")

    def _listed(self) -> dict[str, Any] | None:
        """Ask what is in the list, and remember the bytes that are new; None where there is no ROI Manager."""
        found: dict[str, Any] | None = None if self.headless else self._link.ask("entries")
        if found is None:
            return None
        there = {int(identity) for identity in found["identities"]}
        new = {int(identity): b64decode(roi) for identity, roi in found["changed"].items()}
        self._known = {identity: roi for identity, roi in (self._known | new).items() if identity in there}
        return found

    def _asked(self, do: str, **values: Any) -> Any:  # noqa: ANN401 (as Link.ask)
        if self.headless:
            raise BridgeError("the ROI Manager needs a display; put the nuclei into the Overlay")
        return self._link.ask(do, **values)


def _number(imp: FijiImage | None) -> int | None:
    return None if imp is None else imp.number


def as_text(roi: bytes) -> str:
    """Write the bytes of a ``.roi`` file so that JSON can hold them."""
    return b64encode(roi).decode("ascii")
