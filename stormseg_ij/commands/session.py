"""The nuclei of each image: what the ROI Manager holds of them, what changed, how to undo it, and where it is saved."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from copy import copy
from typing import TYPE_CHECKING

from stormseg_ij.changes import Change, Entry, Kind, compare, entries
from stormseg_ij.commands.keeping import Keeper
from stormseg_ij.commands.nuclei import Nucleus, Set, Step, is_ours
from stormseg_ij.commands.owners import Owners
from stormseg_ij.errors import ImageError
from stormseg_ij.roi_files import encoded
from stormseg_ij.roi_properties import properties, property_lines
from stormseg_ij.rois import extent, roi_number
from stormseg_ij.store import Store

if TYPE_CHECKING:
    from roifile import ImagejRoi

    from stormseg_ij.desk import Desk, ImagePlus
    from stormseg_ij.desk import Entry as Listed
    from stormseg_ij.review import Doubt

OVERLAY = "nuclei"
"""Tag of nuclei in an image's overlay."""

BY_HAND = "hand"
MANAGER = "ROI Manager"

_WATCH_SECONDS = 2.0
_CLOSING_SECONDS = 0.5
_WATCH_SHARE = 20.0
"""Looking for changes takes at most one part in so many of the time."""
_MOST_UNDO = 50
_MOST_CLOSED = 20
"""Closed images whose nuclei are still known, for when they are opened again."""


class Session:
    """The nuclei of every image that a command has worked on.

    The ROI Manager holds them. Which image one belongs to is known of those that a command put there; another one,
    drawn or opened by a person, belongs to the image that its property ``image`` names, else to the one it was drawn
    in, else to the active one when a command first meets it. Each command and a look every few seconds compare the set
    with the last known one, so that what a person does with the ROI Manager's own buttons is in the audit table too.
    Every change is saved.

    Parameters
    ----------
    desk : Desk

    Attributes
    ----------
    saves : bool
        False where a macro works through images and saves what it wants itself.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._sets: dict[int, Set] = {}
        self._owners = Owners(self._sets)
        self._keeper = Keeper(desk.log)
        self._ended, self._woken = threading.Event(), threading.Event()
        self._last_seen: list[tuple[Set, list[Listed], int]] = []
        self._lock = threading.RLock()
        self._changes = 0
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
        listed = self._desk.manager.entries()
        mine = self._owners.mine(self._set(imp), listed, active=True)
        if mine or selected:
            return [
                Nucleus(i, self._owners.roi(listed[i].data), listed[i].identity)
                for i in mine
                if chosen is None or i in chosen
            ]
        drawn = self._desk.overlay(imp, OVERLAY)
        return [Nucleus(i, self._owners.roi(data), in_overlay=True) for i, data in enumerate(drawn)]

    def none(self, imp: ImagePlus) -> ImageError:
        """Return the error that the image has no nuclei; it names the images that those in the list belong to."""
        others = {
            properties(self._owners.roi(entry.data)).get("image", "") for entry in self._desk.manager.entries()
        } - {""}
        title, some = self._desk.title(imp), ", ".join(sorted(others)[:3])
        if others:
            return ImageError(
                f"the ROI Manager has no ROI of {title}, but of {some}; choose that image, or segment this"
            )
        return ImageError(f"the ROI Manager has no ROI of {title}; segment it, or open its ROI zip")

    def next_number(self, imp: ImagePlus) -> int:
        """Return the number that the image's next nucleus gets: while this process runs, none is given twice."""
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
        removed = [nucleus for nucleus in there if is_ours(nucleus.roi) and among(nucleus.roi)]
        self.change(imp, command, removed=removed, added=rois, by=by)
        return ()

    def change(
        self,
        imp: ImagePlus,
        command: str,
        *,
        removed: Sequence[Nucleus] = (),
        replaced: Sequence[tuple[Nucleus, ImagejRoi]] = (),
        added: Sequence[ImagejRoi] = (),
        by: str = BY_HAND,
        saved: Sequence[ImagejRoi] = (),
    ) -> list[int]:
        """Change the set in the ROI Manager, note it in the audit table, and save.

        Parameters
        ----------
        imp : ImagePlus
        command : str
        removed : sequence of Nucleus
        replaced : sequence of (Nucleus, ImagejRoi)
            Nuclei, and the ROIs that come in their place.
        added : sequence of ImagejRoi
        by : str
            ``"hand"``, or the model.
        saved : sequence of ImagejRoi
            The set of an earlier time that is gone on with: only what differs from it is a change.

        Returns
        -------
        list of int
            Indexes of the new ROIs in the ROI Manager.

        Raises
        ------
        ImageError
            If a nucleus was deleted meanwhile; then nothing is changed.
        """
        manager = self._desk.manager
        self.sync(imp)  # what a person did during long work is theirs
        self._changes += 1  # a look that began before is out of date
        known, listed = self._set(imp), {entry.identity: entry for entry in manager.entries()}
        taken = [*removed, *(nucleus for nucleus, _ in replaced)]
        for nucleus in taken:
            if nucleus.identity not in listed:
                raise ImageError(f"{nucleus.roi.name} was changed or deleted meanwhile; nothing is done, try again")
        before = tuple(listed[nucleus.identity].data for nucleus in taken)
        made = [manager.replace(nucleus.identity, encoded(roi)) for nucleus, roi in replaced]
        manager.delete([nucleus.identity for nucleus in removed], imp)
        made += manager.append([encoded(roi) for roi in added], imp)
        manager.deselect()
        now = manager.entries()
        places = {entry.identity: i for i, entry in enumerate(now)}
        new = [places[identity] for identity in made if identity in places]
        self._owners.give((now[i].identity for i in new), known)
        if saved:
            known.known = [encoded(roi) for roi in saved]
        self._note(known, now, command, by)
        known.steps.append(Step(command, before, tuple(now[i].data for i in new)))
        del known.steps[:-_MOST_UNDO]
        return new

    def undo(self, imp: ImagePlus) -> str:
        """Take the last change by a command back; return its name.

        Raises
        ------
        ImageError
            If there is none, or what it made was changed since; the next undo then takes back what was before it.
        """
        known = self._set(imp)
        if not known.steps:
            raise ImageError("there is nothing to undo for this image")
        step = known.steps.pop()
        listed = self._desk.manager.entries()
        places: dict[tuple[str, object], list[int]] = {}
        for i in self._owners.mine(known, listed, active=True):
            places.setdefault(self._owners.looks(listed[i].data), []).append(i)
        made = [places.get(self._owners.looks(data), []) for data in step.added]
        gone = [self._owners.roi(data).name for data, there in zip(step.added, made, strict=True) if not there]
        if gone:
            raise ImageError(f"cannot undo {step.command}: {gone[0]} was changed or deleted since; it stays as it is")
        self._changes += 1
        self._desk.manager.delete([listed[there.pop()].identity for there in made], imp)
        self._owners.give(self._desk.manager.append(list(step.removed), imp), known)
        self._note(known, self._desk.manager.entries(), f"Undo {step.command}", BY_HAND)
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
        found = self._keeper.rows(self._set(imp).store)
        if not found:
            raise ImageError(f"no nucleus of {self._desk.title(imp)} was changed yet")
        return found

    # ---- watching and saving

    def sync(self, imp: ImagePlus) -> None:
        """Note what a person changed in the ROI Manager since the last look."""
        self._note(self._set(imp), self._desk.manager.entries(), MANAGER, BY_HAND, active=True)

    def before_closing(self) -> None:
        """Read the list while it is whole: an image, the ROI Manager or ImageJ is about to be closed."""
        listed = self._desk.manager.entries()
        self._last_seen = [*self._last_seen, *((known, listed, self._changes) for known in self._open_sets())]
        self._woken.set()

    def look(self, listed: Sequence[Listed]) -> None:
        """Note what a person changed in all images: before one, or the ROI Manager, was closed, and until now."""
        last_seen, self._last_seen = self._last_seen, []
        still_open, now = self._open_sets(), self._changes
        for known, seen, changes in last_seen:
            if known not in still_open or (not listed and changes == now):
                self._note(known, seen, MANAGER, BY_HAND)
        for known in still_open:
            self._note(known, listed, MANAGER, BY_HAND)
        busy = self._owners.keep_only(listed)
        closed = [number for number in self._sets if number not in busy and self._desk.numbered(number) is None]
        for number in closed[:-_MOST_CLOSED]:
            del self._sets[number]

    def watch(self, when_idle: Callable[[Callable[[], Callable[[], None]]], None]) -> None:
        """Look every few seconds, from now on, in a thread of its own.

        Parameters
        ----------
        when_idle : callable
            Calls what it is given, and what that returns if no command runs.
        """

        def wait() -> None:
            seconds = _WATCH_SECONDS
            while not self._ended.is_set():
                if self._woken.wait(seconds):
                    self._woken.clear()
                    if self._ended.wait(_CLOSING_SECONDS):
                        return
                start = time.monotonic()
                when_idle(self._read)
                seconds = max(_WATCH_SECONDS, _WATCH_SHARE * (time.monotonic() - start))

        threading.Thread(target=wait, name="stormseg-watch", daemon=True).start()

    def _read(self) -> Callable[[], None]:
        """Read the list, in the thread that paints, for which a command may wait; return the look at it."""
        changes, listed = self._changes, self._desk.manager.entries()
        return lambda: self.look(listed) if changes == self._changes else None

    def restore(self, imp: ImagePlus) -> tuple[int, str]:
        """Put the nuclei that were saved for this image back into the ROI Manager.

        Returns
        -------
        int
            How many.
        str
            The file that they were saved in.

        Raises
        ------
        ImageError
            If none are saved that fit into the image, or they are all there.
        """
        known, title = self._set(imp), self._desk.title(imp)
        folder, name = self._desk.file(imp)
        for store in [Store.for_image(folder, name)] if folder else Store.unsaved(name):
            if not store.exists():
                continue
            rois = self._keeper.rois(store)
            height, width = extent(rois)
            if height > known.shape[0] or width > known.shape[1]:
                continue
            there = {nucleus.roi.name for nucleus in self.nuclei(imp) if not nucleus.in_overlay}
            missing = [roi for roi in rois if roi.name not in there]
            if not missing:
                raise ImageError(f"all {len(rois)} nuclei saved for {title} are in the ROI Manager already")
            goes_on = bool(folder) and not known.known  # an unsaved image gets a file of its own: it can be another one
            if goes_on:
                known.store = store
            added = [_of_image(roi, self._desk.name(imp)) for roi in missing]
            self.change(imp, "Restore Nuclei", added=added, saved=rois if goes_on else ())
            return len(missing), str(store.set_path)
        raise ImageError(f"no nuclei are saved for {title} that fit into it; segment it, or open its ROI zip")

    def flush(self, seconds: float | None = None) -> None:
        """Wait until all is saved, or so long."""
        self._keeper.flush(seconds)

    def close(self) -> None:
        """Note the last changes, save, and end."""
        self._ended.set()
        self._woken.set()
        self.look(self._desk.manager.entries() if self._desk.running else [])
        self._keeper.close()

    def _note(self, known: Set, listed: Sequence[Listed], command: str, by: str, *, active: bool = False) -> None:
        """Compare with what was known; write what changed into the audit table, and save.

        Where there is no list, because the ROI Manager was closed, nothing was deleted: the set begins anew.
        """
        if self.saves and self._desk.batch:
            return  # the list is a macro's own; what it leaves behind is seen afterwards
        now = [listed[i].data for i in self._owners.mine(known, listed, active=active)]
        if now == known.known:
            return
        rois = [self._owners.roi(data) for data in now]
        before = [self._owners.roi(data) for data in known.known]
        if not before and command == MANAGER:
            before = self._keeper.opened(known, rois)
        found = compare(before, rois, known.shape) if now or self._desk.manager.is_open() else []
        known.known = now
        known.highest = max([known.highest, *(roi_number(roi.name) or 0 for roi in (*before, *rois))])
        self._changes += 1
        if self.saves and found:
            # A person who empties the list begins anew: the file keeps the last nuclei, the table says what happened.
            whose = [(change, _author(change, rois, by)) for change in found]
            rows = [
                row for change, who in whose for row in entries([change], image=known.title, by=who, command=command)
            ]
            self._keeper.save(known, rois or before, rows)
        if not now:
            known.store = Store.for_image(known.directory, known.title)

    # ---- whose is what

    def _set(self, imp: ImagePlus) -> Set:
        """Return what is known of an image; one that was closed and opened again is the same."""
        with self._lock:  # also called before closing, while a command runs
            return self._seen(imp)

    def _seen(self, imp: ImagePlus) -> Set:
        number, (directory, title) = self._desk.number(imp), self._desk.file(imp)
        known = self._sets.get(number)
        if known is None:
            same = [
                other for other in self._sets.values()
                if directory and (other.title, other.directory) == (title, directory)
                and self._desk.numbered(other.number) is None
            ]  # fmt: skip
            if same:
                known = same[-1]
                del self._sets[known.number]
                known.number = number
            else:
                shape, store = self._desk.shape(imp), Store.for_image(directory, title)
                known = Set(title, directory, number, store, shape=shape)
            self._sets[number] = known
        known.names.add(self._desk.name(imp))
        if directory and (known.title, known.directory) != (title, directory):
            self._move(known, directory, title)
        return known

    def _move(self, known: Set, directory: str, title: str) -> None:
        """Keep the set beside the image's new file: it was saved under another name."""
        old = known.store
        known.directory, known.title, known.store = directory, title, Store.for_image(directory, title)
        if self.saves and known.known:
            rows = [] if known.store.exists() else self._keeper.rows_if_whole(old)
            self._keeper.save(known, [self._owners.roi(data) for data in known.known], rows)

    def _open_sets(self) -> list[Set]:
        """Return the sets of open images, of which some may have been saved under another name meanwhile."""
        images = [self._desk.numbered(number) for number in list(self._sets)]
        return [self._set(imp) for imp in images if imp is not None]


def _author(change: Change, rois: Sequence[ImagejRoi], by: str) -> str:
    """Return who made a change: what a person opened, or a macro left behind, can be a model's."""
    values = properties(rois[change.after]) if change.kind is Kind.ADDED and change.after is not None else {}
    model = values.get("model") if by == BY_HAND and "corrected" not in values else None
    return f"model {model}" if model else by


def _of_image(roi: ImagejRoi, name: str) -> ImagejRoi:
    """Return a ROI that names this image: the file of the image may have another name by now."""
    roi = copy(roi)
    roi.props = property_lines(properties(roi) | {"image": name})
    return roi
