"""Saves the nuclei of images in a thread of its own, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from stormseg_ij.changes import Entry, Kind, compare
from stormseg_ij.errors import ImageError
from stormseg_ij.store import Store

if TYPE_CHECKING:
    from roifile import ImagejRoi

    from stormseg_ij.commands.nuclei import Set


class Keeper:
    """Saves and reads what stores hold: by one thread, so that a change never waits for the disk.

    Parameters
    ----------
    tell : callable
        Takes lines that the person should read.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._worker = ThreadPoolExecutor(1, "stormseg-save")
        self._failed: set[int] = set()

    def save(self, known: Set, rois: Sequence[ImagejRoi], rows: Sequence[Entry]) -> None:
        """Save a set and new rows of its table; returns at once, and what goes wrong is told."""
        store = known.store

        def work() -> None:
            try:
                for note in store.save(rois, rows):
                    self._tell(f"StormSeg: {note}")
                self._failed.discard(known.number)
            except ImageError as error:
                if known.number not in self._failed:  # one line, not one at every change
                    self._failed.add(known.number)
                    self._tell(f"StormSeg: the nuclei of {known.title} are not saved: {error}")

        self._worker.submit(work)

    def opened(self, known: Set, rois: Sequence[ImagejRoi]) -> list[ImagejRoi]:
        """Return the saved set where these ROIs are of it: a person opened its file, and goes on with it."""
        store = Store.for_image(known.directory, known.title)
        if not rois or not store.exists():
            return []
        try:
            saved = self.rois(store)
        except ImageError:
            return []  # damaged: saving keeps it under another name
        if any(change.kind is not Kind.ADDED for change in compare(saved, rois, known.shape)):
            return []  # something saved would be lost: saving keeps the old set under another name
        known.store = store
        return saved

    def rois(self, store: Store) -> list[ImagejRoi]:
        """Read a set.

        Raises
        ------
        ImageError
            If there is none, or it is damaged.
        """
        return self._worker.submit(store.load).result().rois

    def rows(self, store: Store) -> list[Entry]:
        """Read an audit table, oldest row first; empty where there is none.

        Raises
        ------
        ImageError
            If it is damaged.
        """
        return self._worker.submit(lambda: store.load().entries if store.exists() else []).result()

    def rows_if_whole(self, store: Store) -> list[Entry]:
        """Read an audit table as `rows` does; a damaged one stays where it is, and is told."""
        try:
            return self.rows(store)
        except ImageError as error:
            self._tell(f"StormSeg: {error}")
            return []

    def flush(self, seconds: float | None = None) -> None:
        """Wait until all is saved, or so long."""
        wait([self._worker.submit(lambda: None)], seconds)

    def close(self) -> None:
        """Save what waits, and end."""
        self._worker.shutdown(wait=True)
