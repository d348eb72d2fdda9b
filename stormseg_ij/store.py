"""Where the nuclei of an image and their audit table are kept, so that nothing is lost, also after a crash."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import re
import secrets
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stormseg_ij.changes import COLUMNS, Entry, entry_line, read_entry
from stormseg_ij.errors import ImageError
from stormseg_ij.files import replacing
from stormseg_ij.roi_files import read_rois, write_rois

if TYPE_CHECKING:
    from roifile import ImagejRoi

_SET, _TABLE = "_nuclei.zip", "_nuclei_changes.csv"
_HEADER = entry_line(COLUMNS).encode()
_LONGEST_NAME = 160
"""Bytes: file names have 255, of which endings, numbers and two temporary prefixes take some."""
_FORBIDDEN = re.compile(r'[\\/:*?"<>|\x00-\x1f\x7f\ud800-\udfff]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Names that Windows does not give to files, whatever follows the point."""
_STAMP = r" \d{4}-\d\d-\d\d \d\d\.\d\d\.\d\d [0-9a-f]{6}"


class Contents(NamedTuple):
    """What a store holds: ROIs in their order, the audit table from its first row on, and what a user should know."""

    rois: list[ImagejRoi]
    entries: list[Entry]
    notes: tuple[str, ...]


class Store:
    """The set of one image, ``NAME_nuclei.zip``, and its audit table, ``NAME_nuclei_changes.csv``.

    To be used by one thread at a time. Other programs may change the files at any time: what they wrote is kept.

    Parameters
    ----------
    folder : Path
        Made when something is saved.
    name : str
        What the names of both files begin with; it must be one that a file can have: `file_name` makes such.
    start_from : Store, optional
        Holds the set of the image until this one is saved for the first time: beside an image in a folder that cannot
        be written to.

    Attributes
    ----------
    set_path, table_path : Path
    """

    def __init__(self, folder: Path, name: str, *, start_from: Store | None = None) -> None:
        self.set_path, self.table_path = folder / f"{name}{_SET}", folder / f"{name}{_TABLE}"
        self._start_from = start_from
        self._known = ""  # digest of the set as this object read or wrote it last
        self._inherited: list[Entry] = []
        self._waiting: list[Entry] = []
        self._untold: list[str] = []  # notes of a call that then failed

    @classmethod
    def for_image(cls, directory: str | Path | None, title: str) -> Store:
        """Choose where the nuclei of an image are kept.

        Parameters
        ----------
        directory : str or Path or None
            Of the image's file; None or empty if it was never saved.
        title : str
            Name of the file, or title of the unsaved image.

        Returns
        -------
        Store
            Beside the image where its folder can be written to, and where no set was kept elsewhere before; else in the
            user's data folder. That of an unsaved image is a new one each time (`unsaved` finds those of before).
        """
        if not directory:
            stamp = f"{datetime.now():%Y-%m-%d %H.%M.%S} {secrets.token_hex(3)}"  # the user's own clock
            return cls(_data_folder(), f"{file_name(title)} {stamp}")
        folder = Path(directory)
        beside = cls(folder, file_name(title))
        mark = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:8]
        elsewhere = cls(_data_folder(), f"{file_name(title)}-{mark}", start_from=beside)
        if _is_writable(folder) and (beside.set_path.exists() or not elsewhere.set_path.exists()):
            return beside
        return elsewhere

    @classmethod
    def unsaved(cls, title: str) -> list[Store]:
        """Return the stores of unsaved images with this title, of earlier sessions too; the newest first."""
        pattern = re.compile(re.escape(file_name(title)) + _STAMP + re.escape(_SET))
        try:
            names = sorted(
                (path.name for path in _data_folder().iterdir() if pattern.fullmatch(path.name)), reverse=True
            )
        except OSError:  # there is no such folder yet
            return []
        return [cls(_data_folder(), name.removesuffix(_SET)) for name in names]

    def exists(self) -> bool:
        """Tell whether there is a set to load."""
        return self.set_path.exists() or (self._start_from is not None and self._start_from.exists())

    def load(self) -> Contents:
        """Read the set and the table; after that, `save` may replace this set.

        Raises
        ------
        ImageError
            If there is none, or it is damaged: `save` keeps such a file under another name.
        """
        if self._start_from is not None and not self.set_path.exists():
            contents = self._start_from.load()
            self._inherited = [] if self.table_path.exists() else contents.entries
            return contents
        digest = _digest(self.set_path)  # before reading: what is written meanwhile is not taken for known
        rois = read_rois(self.set_path)
        self._known = digest
        entries, notes = self._read_table()
        return Contents(rois, entries, notes)

    def save(self, rois: Iterable[ImagejRoi], entries: Iterable[Entry] = ()) -> tuple[str, ...]:
        """Write the set and add rows to the table.

        The set is replaced in one step once the new one is complete. One that this object neither read nor wrote, or
        that another program has changed since, gets another name: ``NAME_nuclei-1.zip``, -2 ...

        Parameters
        ----------
        rois : iterable of roifile.ImagejRoi
            All of the set.
        entries : iterable of Entry
            New rows only.

        Returns
        -------
        tuple of str
            What a user should know, one line each.

        Raises
        ------
        ImageError
            If the folder cannot be written to or the disk is full. Each file is then as before or complete; the next
            call writes these rows too.
        """
        self._waiting.extend(entries)
        try:
            with replacing(self.set_path) as temporary:
                write_rois(temporary, rois)
                _flush(temporary)
                digest = _digest(temporary)
                if self.set_path.exists() and _digest(self.set_path) not in (self._known, digest):
                    kept = _kept_apart(self.set_path)
                    self._untold.append(f"{self.set_path.name} was not from this session; it is kept as {kept.name}")
        except ImageError as error:
            # The set is first written under a temporary name, which nobody knows.
            message = re.sub(r"(\.[0-9a-f]{8}\.)+(?=" + re.escape(self.set_path.name) + ")", "", str(error))
            raise ImageError(message) from error
        self._known = digest
        rows = self._inherited + self._waiting
        if rows:
            self._append(rows)
            self._inherited, self._waiting = [], []
        notes, self._untold = tuple(self._untold), []
        return notes

    def _append(self, entries: list[Entry]) -> None:
        """Add rows to the table; a file of its name that is none gets another name."""
        rows = ((getattr(entry, column) for column in COLUMNS) for entry in entries)
        lines = "".join(entry_line(row) for row in rows).encode()
        try:
            lead = self._missing_at_end()
            if lead is None:
                kept = _kept_apart(self.table_path)
                self.table_path.unlink(missing_ok=True)
                self._untold.append(f"{self.table_path.name} was no table of changes; it is kept as {kept.name}")
                lead = _HEADER
            with self.table_path.open("ab", buffering=0) as file:
                _write_whole(file, lead + lines)
        except OSError as error:
            reason = error.strerror or error
            message = (
                f"cannot write {self.table_path}: {reason}; make room or close it elsewhere: its rows are not lost"
            )
            raise ImageError(message) from error

    def _missing_at_end(self) -> bytes | None:
        """Return what the table lacks before new rows: all of it, the end of a row at which a crash came, or nothing.

        None if the file is no such table.
        """
        try:
            data = self.table_path.read_bytes()
        except FileNotFoundError:
            return _HEADER
        header, end, _ = data.partition(b"\n")
        if not end and _HEADER.startswith(header):
            return _HEADER[len(header) :]
        if header.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n") != _HEADER.rstrip(b"\n"):
            return None
        last = data[data.rfind(b"\n") + 1 :]
        # Were its quotes left open, ImageJ would take the following rows for a part of it.
        return (b'"\n' if last.count(b'"') % 2 else b"\n") if last else b""

    def _read_table(self) -> tuple[list[Entry], tuple[str, ...]]:
        try:
            _, *lines = _decoded(self.table_path.read_bytes()).split("\n")
        except FileNotFoundError:
            return [], ()
        except OSError as error:
            return [], (f"cannot read {self.table_path}: {error.strerror or error}; make it readable",)
        read = [read_entry(line.rstrip("\r")) for line in lines if line.strip()]
        entries = [entry for entry in read if entry is not None]
        broken = len(read) - len(entries)
        note = f"{self.table_path.name}: {broken} of {len(read)} rows cannot be read; they are left out"
        return entries, (note,) if broken else ()


def file_name(title: str) -> str:
    """Make a title the beginning of a file name on any system; other titles give other names.

    The whole title is used, so that ``a.tif`` and ``a.png`` do not share a set.

    >>> file_name("cells 3.tif"), file_name("a/b")
    ('cells 3.tif', 'a_b-c14cddc0')
    """
    name = _FORBIDDEN.sub("_", title) or "image"
    name = f"_{name}" if _DEVICE.match(name) else name
    name = name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    if name == title:
        return name
    return f"{name}-{hashlib.sha256(title.encode(errors='surrogatepass')).hexdigest()[:8]}"


def _data_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_data_path("stormseg", appauthor=False)) / "nuclei"


def _is_writable(folder: Path) -> bool:
    """Try it: rights alone do not tell, for example on network drives."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _digest(path: Path) -> str:
    """Return the hash of a file; empty if there is none.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}; make it readable, or move it away") from error


def _flush(path: Path) -> None:
    """Have a file on the disk before it takes the place of another one: a power cut then leaves one of them whole."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _kept_apart(path: Path) -> Path:
    """Give a file a second name beside it, NAME-1 or the next that is free, and return that.

    What takes its first name then is another file; what another program is still writing to it goes to the second name.
    On file systems without second names it is renamed.
    """
    for number in itertools.count(1):
        kept = path.with_name(f"{path.stem}-{number}{path.suffix}")
        try:
            os.link(path, kept)
        except FileExistsError:
            if kept.samefile(path):
                return kept  # it got this name before, and what should have replaced it was not written
            continue
        except OSError:
            if kept.exists():
                continue
            path.rename(kept)
        return kept
    raise ImageError(f"there is no free name for {path}; move it away")


def _write_whole(file: io.FileIO, data: bytes) -> None:
    """Write at the end of a file, and have it on the disk; if that fails, the file is as before."""
    size = os.fstat(file.fileno()).st_size
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):  # the first error tells what is wrong
            os.ftruncate(file.fileno(), size)
        raise


def _decoded(data: bytes) -> str:
    return data.decode("utf-8-sig", errors="replace")
