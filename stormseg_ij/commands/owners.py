"""Which image each ROI in the ROI Manager belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from stormseg_ij.changes import geometry
from stormseg_ij.roi_files import decoded
from stormseg_ij.roi_properties import properties

if TYPE_CHECKING:
    from roifile import ImagejRoi

    from stormseg_ij.commands.nuclei import Set
    from stormseg_ij.desk import Entry

_MOST_DECODED = 50_000


class Owners:
    """Remembers whose each ROI is, by the object in the list: names and titles may be the same, and may change.

    Parameters
    ----------
    sets : mapping of int to Set
        What is known of images, by ImageJ's numbers; others add to it and take away.
    """

    def __init__(self, sets: Mapping[int, Set]) -> None:
        self._sets = sets
        self._owners: dict[int, Set] = {}
        self._decoded: dict[bytes, ImagejRoi] = {}

    def give(self, identities: Iterable[int], owner: Set) -> None:
        """Note whose ROIs with these identities are."""
        self._owners.update((identity, owner) for identity in identities)

    def mine(self, known: Set, listed: Sequence[Entry], *, active: bool) -> list[int]:
        """Return the indexes of an image's ROIs.

        Parameters
        ----------
        known : Set
        listed : sequence of Entry
        active : bool
            A command works on the image: it takes what has no owner and may be its own.
        """
        for entry in listed:
            if entry.identity not in self._owners:
                owner = self._owner(entry, known if active else None)
                if owner is not None:
                    self._owners[entry.identity] = owner
        return [i for i, entry in enumerate(listed) if self._owners.get(entry.identity) is known]

    def keep_only(self, listed: Sequence[Entry]) -> set[int]:
        """Forget ROIs that are no more in the list; return the numbers of the images that the others belong to."""
        there = {entry.identity for entry in listed}
        self._owners = {identity: owner for identity, owner in self._owners.items() if identity in there}
        return {owner.number for owner in self._owners.values()}

    def roi(self, data: bytes) -> ImagejRoi:
        """Decode a ROI, or give the one that was decoded before."""
        if data not in self._decoded:
            if len(self._decoded) > _MOST_DECODED:
                self._decoded.clear()
            self._decoded[data] = decoded(data)
        return self._decoded[data]

    def looks(self, data: bytes) -> tuple[str, object]:
        """Return what stays the same where only colours and lines of a ROI are changed."""
        roi = self.roi(data)
        return roi.name, geometry(roi)

    def _owner(self, entry: Entry, active: Set | None) -> Set | None:
        """Find whose a ROI is that no command put there."""
        image = properties(self.roi(entry.data)).get("image", "")
        if image:
            named = [known for known in self._sets.values() if image in known.names]
            if active in named:
                return active
            return named[0] if len(named) == 1 else None
        return active if entry.drawn_in == 0 else self._sets.get(entry.drawn_in)
