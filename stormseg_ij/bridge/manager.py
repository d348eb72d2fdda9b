"""ImageJ's ROI Manager: what is in it, put in and taken out without touching the rest."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from stormseg_ij.bridge.imagej import ImagePlus
from stormseg_ij.bridge.java import java_errors, on_event_thread
from stormseg_ij.desk import Entry, RoiList
from stormseg_ij.errors import BridgeError

_LEAST_KEPT = 20_000
"""So many ROI objects are remembered before those that are no more in the list are forgotten."""

_REPAINTED = 10
"""So many deletions may repaint the image one after the other."""


class Manager(RoiList):
    """The ROI Manager of the ImageJ in this process.

    Parameters
    ----------
    headless : bool
        True where ImageJ has no display: then there is no ROI Manager.
    """

    def __init__(self, *, headless: bool) -> None:
        import scyjava

        self.headless = headless
        self._jimport: Callable[[str], Any] = scyjava.jimport
        self._identities: Any = None
        self._most = _LEAST_KEPT
        self._numbers, self._lock = itertools.count(1), threading.Lock()

    def is_open(self) -> bool:
        """Tell whether there is one: a person who closes it empties it, but deletes no nucleus."""
        return self._instance() is not None

    def count(self) -> int:
        """Return how many ROIs it holds; 0 where it is not open."""
        manager = self._instance()
        return 0 if manager is None else int(manager.getCount())

    def entries(self) -> list[Entry]:
        """Return all ROIs in the list's order, read at one moment."""
        manager = self._instance()
        if manager is None:
            return []
        encode = self._jimport("ij.io.RoiEncoder").saveAsByteArray
        found: list[Entry] = []

        def read() -> None:
            # Painting gives ROIs without a colour one for a moment: in the thread that paints, no such moment is seen.
            for roi in manager.getRoisAsArray():
                found.append(Entry(bytes(encode(roi)), self._identity(roi), int(roi.getImageID())))

        on_event_thread(read, visible=bool(manager.isVisible()))
        return found

    def rois(self) -> list[bytes]:
        """Return all ROIs in the list's order; their names are those of the list."""
        return [entry.data for entry in self.entries()]

    def selected(self) -> list[int]:
        """Return the indexes of the selected entries, ascending."""
        manager = self._instance()
        return [] if manager is None else [int(index) for index in manager.getSelectedIndexes()]

    def append(self, rois: Sequence[bytes], imp: ImagePlus | None) -> list[int]:
        """Add ROIs at the end, and show all on the image if it is given; return their identities."""
        if not rois:
            return []
        manager, made, added = self._opened(), [self.decoded(roi) for roi in rois], list[int]()

        def add() -> None:
            # Adding one as the button does would repaint the image each time.
            for roi in made:
                manager.add(imp, roi, -1)
                added.append(self._identity(manager.getRoi(manager.getCount() - 1)))

        on_event_thread(add, visible=bool(manager.isVisible()))
        if imp is not None:
            self.show_all(imp)
        return added

    def replace(self, identity: int, roi: bytes) -> int | None:
        """Put a ROI in the place of another, with its own name; return its identity, None where that one is gone."""
        manager, made, new = self._opened(), self.decoded(roi), list[int]()

        def put() -> None:
            listed = enumerate(manager.getRoisAsArray())
            place = next((i for i, old in listed if self._identity(old) == identity), None)
            if place is not None:
                name = made.getName()
                manager.setRoi(made, place)
                manager.rename(place, name)
                new.append(self._identity(manager.getRoi(place)))

        on_event_thread(put, visible=bool(manager.isVisible()))
        return new[0] if new else None

    def delete(self, identities: Iterable[int], imp: ImagePlus | None = None) -> None:
        """Take ROIs out, and repaint the image if it is given; those that are gone already are none."""
        manager, doomed = self._instance(), set(identities)
        if manager is None or not doomed:
            return
        shown = imp is not None and self.shows_all(imp)
        if shown and len(doomed) > _REPAINTED:
            self._command(manager, "Show None", imp)

        def delete() -> None:
            rois = manager.getRoisAsArray()
            for index in reversed(range(len(rois))):
                if self._identity(rois[index]) in doomed:
                    manager.delete(index)

        with self._unrecorded():
            on_event_thread(delete, visible=bool(manager.isVisible()))
        if shown and len(doomed) > _REPAINTED:
            self.show_all(imp)

    def select(self, imp: ImagePlus, index: int) -> None:
        """Select one entry, in the list and as the image's selection."""
        manager = self._opened()
        with self._unrecorded():
            manager.selectAndMakeVisible(imp, index)

    def deselect(self) -> None:
        """Select no entry."""
        manager = self._instance()
        if manager is not None and manager.getSelectedIndexes():
            with self._unrecorded():
                manager.setSelectedIndexes([])

    def shows_all(self, imp: ImagePlus) -> bool:
        """Tell whether "Show All" is on in the image."""
        canvas = imp.getCanvas()
        return canvas is not None and canvas.getShowAllList() is not None

    def show_all(self, imp: ImagePlus) -> None:
        """Tick "Show All"; the image keeps its selection."""
        manager = self._instance()
        if manager is not None and imp.getWindow() is not None:
            selection = imp.getRoi()
            self._command(manager, "Show All", imp)
            if selection is not None:
                imp.setRoi(selection)

    def copies(self, rois: Sequence[bytes | int]) -> list[Any]:
        """Make ROIs to be measured: of the bytes of files, or copies of what the list holds, by identity.

        As bytes of a file, what a person drew would lose digits.

        Raises
        ------
        BridgeError
            If the list has no such ROI any more.
        """
        manager = self._instance()
        listed = {} if manager is None else {self._identity(roi): roi for roi in manager.getRoisAsArray()}
        if any(isinstance(roi, int) and roi not in listed for roi in rois):
            raise BridgeError("the ROI Manager was changed meanwhile; start again")
        with java_errors("copy the ROIs"):
            return [listed[roi].clone() if isinstance(roi, int) else self.decoded(roi) for roi in rois]

    def decoded(self, roi: bytes) -> Any:  # noqa: ANN401 (an ij.gui.Roi)
        """Make a ROI of the bytes of a ``.roi`` file."""
        from jpype import JArray, JByte

        with java_errors("take a ROI"):
            return self._jimport("ij.io.RoiDecoder").openFromByteArray(JArray(JByte)(roi))

    def _identity(self, roi: Any) -> int:  # noqa: ANN401 (an ij.gui.Roi)
        """Return the number of a ROI object; Java's own hash codes of objects are not unique."""
        with self._lock:
            if self._identities is None or self._identities.size() > self._most:
                self._forget()
            found = self._identities.get(roi)
            if found is None:
                found = next(self._numbers)
                self._identities.put(roi, found)
            return int(found)

    def _forget(self) -> None:
        """Forget the ROI objects that are no more in the list: they would stay in Java's memory."""
        kept, manager = self._identities, self._instance()
        self._identities = self._jimport("java.util.IdentityHashMap")()
        for roi in [] if kept is None or manager is None else manager.getRoisAsArray():
            if (number := kept.get(roi)) is not None:
                self._identities.put(roi, number)
        self._most = _LEAST_KEPT + 2 * int(self._identities.size())

    def _instance(self) -> Any | None:  # noqa: ANN401 (an ij.plugin.frame.RoiManager)
        return None if self.headless else self._jimport("ij.plugin.frame.RoiManager").getInstance2()

    def _opened(self) -> Any:  # noqa: ANN401 (an ij.plugin.frame.RoiManager)
        if self.headless:
            raise BridgeError(
                "the ROI Manager needs a display; install Xvfb (apt-get install xvfb), or use the Overlay"
            )
        with java_errors("open the ROI Manager"):
            found = self._instance()
            return found if found is not None else self._jimport("ij.plugin.frame.RoiManager").getRoiManager()

    @contextmanager
    def _unrecorded(self) -> Iterator[None]:
        """Keep what is selected out of the recorder: the command's own line selects it again."""
        records = self._jimport("ij.plugin.frame.Recorder").class_.getField("record")  # a method has that name too
        before = records.getBoolean(None)
        records.setBoolean(None, False)
        try:
            yield
        finally:
            records.setBoolean(None, before)

    def _command(self, manager: Any, command: str, imp: ImagePlus | None) -> None:  # noqa: ANN401 (as above)
        with java_errors("show the ROIs"):
            manager.runCommand(imp, command)
