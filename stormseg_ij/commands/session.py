"""The nuclei of each image: what the ROI Manager holds of them, what changed, how to undo it, and where it is saved."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from stormseg_ij.changes import Entry, compare, entries
from stormseg_ij.commands.nuclei import Nucleus, Set, Step, is_ours
from stormseg_ij.errors import ImageError
from stormseg_ij.roi_files import decoded, encoded
from stormseg_ij.roi_properties import properties
from stormseg_ij.rois import roi_number
from stormseg_ij.store import Store

if TYPE_CHECKING:
    from roifile import ImagejRoi

    from stormseg_ij.bridge import ImagePlus
    from stormseg_ij.bridge.desktop import Desktop
    from stormseg_ij.review import Doubt

OVERLAY = "nuclei"
"""Tag of nuclei in an image's overlay."""

BY_HAND = "hand"
MANAGER = "ROI Manager"

_WATCH_SECONDS = 2.0
_WATCH_SHARE = 20.0
"""Looking for changes takes at most one part in so many of the time."""
_MOST_UNDO = 50
_MOST_DECODED = 50_000
_MOST_CLOSED = 20
"""Closed images whose nuclei are still known, for when they are opened again."""


class Session:
    """The nuclei of every image that a command has worked on.

    The ROI Manager holds them; they belong to the image that their property ``image`` names, those without it to the
    image they were drawn in. Each command and a look every few seconds compare the set with the last known one, so that
    what a person does with the ROI Manager's own buttons is in the audit table too. Every change is saved.

    Parameters
    ----------
    desk : Desktop

    Attributes
    ----------
    saves : bool
        False where a macro works through images and saves what it wants itself.
    """

    def __init__(self, desk: Desktop) -> None:
        self._desk = desk
        self._sets: dict[int, Set] = {}
        self._decoded: dict[bytes, ImagejRoi] = {}
        self._images: dict[bytes, str] = {}
        self._saver = ThreadPoolExecutor(1, "stormseg-save")
        self._ended = threading.Event()
        self._failed: set[int] = set()
        self.saves = True

    # ---- the set

    def nuclei(self, imp: ImagePlus, *, selected: bool = False) -> list[Nucleus]:
        """Return the image's ROIs in the ROI Manager; where there are none, ours in its overlay.

        Parameters
        ----------
        imp : ImagePlus
        selected : bool
            Only those that are selected in the ROI Manager.
        """
        chosen = set(self._desk.manager.selected()) if selected else None
        every = self._desk.manager.rois()
        ours = self._belonging(imp, every)
        found = [Nucleus(i, self._roi(every[i])) for i in ours if chosen is None or i in chosen]
        if ours or selected:
            return found
        drawn = self._desk.overlay(imp, OVERLAY)
        return [Nucleus(i, self._roi(data), in_overlay=True) for i, data in enumerate(drawn)]

    def next_number(self, imp: ImagePlus) -> int:
        """Return the number that the image's next nucleus gets: no number is given twice, also after deletions."""
        named = [roi_number(nucleus.roi.name) or 0 for nucleus in self.nuclei(imp)]
        return 1 + max([self._set(imp).highest, *named])

    def put(
        self,
        imp: ImagePlus,
        rois: Sequence[ImagejRoi],
        where: str,
        *,
        command: str,
        by: str,
        among: Callable[[ImagejRoi], bool] = lambda _: True,
    ) -> tuple[str, ...]:
        """Put nuclei where the settings of a command say.

        Parameters
        ----------
        imp : ImagePlus
        rois : sequence of ImagejRoi
        where : {"append", "replace", "overlay"}
            Into the ROI Manager; the same, in place of those that StormSeg put there before, while what a person drew
            stays; into the image's overlay, in place of ours there: these are not saved or audited.
        command, by : str
            For the audit table.
        among : callable
            Tells which of those that StormSeg put there are to be replaced.

        Returns
        -------
        tuple of str
            What the person should know, one line each.
        """
        if where == "overlay" or self._desk.manager.headless:
            self._desk.put_overlay(imp, [encoded(roi) for roi in rois], OVERLAY)
            elsewhere = "there is no ROI Manager without a display: the nuclei are in the image's Overlay"
            return () if where == "overlay" else (elsewhere,)
        there = [nucleus for nucleus in self.nuclei(imp) if not nucleus.in_overlay] if where == "replace" else []
        removed = [nucleus.index for nucleus in there if is_ours(nucleus.roi) and among(nucleus.roi)]
        self.change(imp, command, removed=removed, added=rois, by=by)
        return ()

    def change(
        self,
        imp: ImagePlus,
        command: str,
        *,
        removed: Sequence[int] = (),
        replaced: Mapping[int, ImagejRoi] | None = None,
        added: Sequence[ImagejRoi] = (),
        by: str = BY_HAND,
    ) -> None:
        """Change the set in the ROI Manager, note it in the audit table, and save.

        Parameters
        ----------
        imp : ImagePlus
        command : str
        removed : sequence of int
            Indexes in the ROI Manager.
        replaced : mapping of int to ImagejRoi
            New ROIs in the place of old ones.
        added : sequence of ImagejRoi
        by : str
            ``"hand"``, or the model.
        """
        manager, replaced = self._desk.manager, dict(replaced or {})
        known = self._set(imp)
        before = manager.rois([*removed, *replaced])
        there = set(known.known)
        for index, roi in replaced.items():
            manager.replace(index, encoded(roi))
        manager.delete(removed, imp)
        manager.append([encoded(roi) for roi in added], imp)
        manager.deselect()
        now = manager.rois()
        after = [now[i] for i in self._belonging(imp, now) if now[i] not in there]
        self._note(imp, now, command, by)
        known.steps.append(Step(command, tuple(before), tuple(after)))
        del known.steps[:-_MOST_UNDO]

    def undo(self, imp: ImagePlus) -> str:
        """Take the last change by a command back; return its name.

        Raises
        ------
        ImageError
            If there is none, or what it made was changed since.
        """
        known = self._set(imp)
        if not known.steps:
            raise ImageError("there is nothing to undo for this image")
        step = known.steps[-1]
        now = self._desk.manager.rois()
        places = {data: i for i, data in enumerate(now)}
        gone = [self._roi(data).name for data in step.added if data not in places]
        if gone:
            raise ImageError(f"cannot undo {step.command}: {gone[0]} was changed or deleted since; undo that by hand")
        self._desk.manager.delete([places[data] for data in step.added], imp)
        self._desk.manager.append(list(step.removed), imp)
        self._note(imp, self._desk.manager.rois(), f"Undo {step.command}", BY_HAND)
        known.steps.pop()
        return step.command

    def reviewed(self, imp: ImagePlus) -> set[str]:
        """Return the names of the nuclei that were reviewed; the caller adds to it."""
        return self._set(imp).reviewed

    def ranked(
        self, imp: ImagePlus, nuclei: Sequence[Nucleus], rank: Callable[[list[ImagejRoi]], list[Doubt]]
    ) -> list[Doubt]:
        """Return the order for review; made anew only where the set has changed."""
        known = self._set(imp)
        if known.ranked[0] != known.known:
            known.ranked = list(known.known), rank([nucleus.roi for nucleus in nuclei])
        return known.ranked[1]

    def changes(self, imp: ImagePlus) -> list[Entry]:
        """Return the image's audit table, oldest first.

        Raises
        ------
        ImageError
            If nothing was changed yet, or it cannot be read.
        """
        store = self._set(imp).store
        found = self._saver.submit(lambda: store.load().entries if store.exists() else []).result()
        if not found:
            raise ImageError(f"no nucleus of {self._desk.title(imp)} was changed yet")
        return found

    # ---- watching and saving

    def sync(self, imp: ImagePlus) -> None:
        """Note what a person changed in the ROI Manager since the last look."""
        self._note(imp, self._desk.manager.rois(), MANAGER, BY_HAND)

    def closing(self, imp: ImagePlus) -> None:
        """Note the last changes of an image that is being closed."""
        if self._desk.number(imp) in self._sets:
            self.sync(imp)

    def watch(self, when_idle: Callable[[Callable[[], None]], None]) -> None:
        """Look every few seconds, from now on, in a thread of its own.

        Parameters
        ----------
        when_idle : callable
            Does what it is given if no command runs.
        """

        def look() -> None:
            wait = _WATCH_SECONDS
            while not self._ended.wait(wait):
                start = time.monotonic()
                when_idle(self._look)
                wait = max(_WATCH_SECONDS, _WATCH_SHARE * (time.monotonic() - start))

        threading.Thread(target=look, name="stormseg-watch", daemon=True).start()

    def restore(self, imp: ImagePlus) -> int:
        """Put the nuclei that were saved for this image back into the ROI Manager; return how many.

        Raises
        ------
        ImageError
            If none are saved, or they are all there.
        """
        title, store = self._desk.title(imp), self._set(imp).store
        if not store.exists():
            store = next(iter(Store.unsaved(title)), store)
        if not store.exists():
            raise ImageError(f"no nuclei are saved for {title}; segment it, or open its ROI zip")
        rois = self._saver.submit(store.load).result().rois
        there = {nucleus.roi.name for nucleus in self.nuclei(imp) if not nucleus.in_overlay}
        missing = [roi for roi in rois if roi.name not in there]
        if not missing:
            raise ImageError(f"all {len(rois)} nuclei saved for {title} are in the ROI Manager already")
        self._set(imp).store = store
        self.change(imp, "Restore Nuclei", added=missing)
        return len(missing)

    def saved_before(self, imp: ImagePlus) -> bool:
        """Tell whether nuclei of an earlier time are saved for this image."""
        return self._set(imp).store.exists()

    def flush(self) -> None:
        """Wait until all is saved."""
        self._saver.submit(lambda: None).result()

    def close(self) -> None:
        """Note the last changes, save, and end."""
        self._ended.set()
        if self._desk.running:
            self._look()
        self._saver.shutdown(wait=True)

    def _look(self) -> None:
        every = self._desk.manager.rois()
        for number, known in list(self._sets.items()):
            imp = self._desk.numbered(number)
            if imp is not None:
                self._note(imp, every, MANAGER, BY_HAND, known)
        closed = [number for number in self._sets if self._desk.numbered(number) is None]
        for number in closed[:-_MOST_CLOSED]:
            del self._sets[number]

    def _note(self, imp: ImagePlus, every: Sequence[bytes], command: str, by: str, known: Set | None = None) -> None:
        """Compare with what was known; write what changed into the audit table, and save."""
        known = self._set(imp) if known is None else known
        now = [every[i] for i in self._belonging(imp, every)]
        if now == known.known:
            return
        rois = [self._roi(data) for data in now]
        before = [self._roi(data) for data in known.known] or self._saved(known, rois)
        was_open = self._desk.manager.is_open()
        found = compare(before, rois, self._desk.shape(imp)) if was_open else []
        known.known = now
        known.highest = max([known.highest, *(roi_number(roi.name) or 0 for roi in (*before, *rois))])
        if self.saves and found and not self._desk.batch:
            # A person who empties the list begins anew: the file keeps the last nuclei, the table says what happened.
            self._save(known, rois or before, entries(found, image=known.title, by=by, command=command))
        if not now:
            known.store = Store.for_image(known.directory, known.title)

    def _saved(self, known: Set, rois: Sequence[ImagejRoi]) -> list[ImagejRoi]:
        """Return the saved set where these ROIs come from it: a person opened its file."""
        if not rois or not known.store.exists():
            return []
        try:
            saved = self._saver.submit(known.store.load).result().rois
        except ImageError:
            return []  # damaged: saving keeps it under another name
        names = {roi.name for roi in saved}
        return saved if sum(roi.name in names for roi in rois) > len(rois) / 2 else []

    def _save(self, known: Set, rois: Sequence[ImagejRoi], rows: Sequence[Entry]) -> None:
        store = known.store

        def save() -> None:
            try:
                for note in store.save(rois, rows):
                    self._desk.log(f"StormSeg: {note}")
                self._failed.discard(known.number)
            except ImageError as error:
                if known.number not in self._failed:  # one line, not one at every change
                    self._failed.add(known.number)
                    self._desk.log(f"StormSeg: the nuclei of {known.title} are not saved: {error}")

        self._saver.submit(save)

    def _set(self, imp: ImagePlus) -> Set:
        """Return what is known of an image; one that was closed and opened again is the same."""
        number, title, directory = self._desk.number(imp), self._desk.title(imp), self._desk.directory(imp)
        if number not in self._sets:
            same = [
                known for known in self._sets.values()
                if directory and (known.title, known.directory) == (title, directory)
                and self._desk.numbered(known.number) is None
            ]  # fmt: skip
            if same:
                del self._sets[same[-1].number]
                same[-1].number = number
            made = same[-1] if same else Set(title, directory, number, Store.for_image(directory, title))
            self._sets[number] = made
        return self._sets[number]

    def _belonging(self, imp: ImagePlus, every: Sequence[bytes]) -> list[int]:
        """Return the indexes of the ROIs that belong to an image."""
        name, number = self._desk.name(imp), self._desk.number(imp)
        images = [self._image_of(data) for data in every]
        unnamed = [i for i, image in enumerate(images) if not image]
        drawn_in = dict(zip(unnamed, self._desk.manager.image_numbers(unnamed), strict=True))
        return [
            i
            for i, image in enumerate(images)
            if (image == name if image else drawn_in[i] in (0, number) or self._desk.numbered(drawn_in[i]) is None)
        ]

    def _image_of(self, data: bytes) -> str:
        if data not in self._images:
            self._images[data] = properties(self._roi(data)).get("image", "")
        return self._images[data]

    def _roi(self, data: bytes) -> ImagejRoi:
        """Decode a ROI, or give the one that was decoded before."""
        if data not in self._decoded:
            if len(self._decoded) > _MOST_DECODED:
                self._decoded.clear()
                self._images.clear()
            self._decoded[data] = decoded(data)
        return self._decoded[data]
