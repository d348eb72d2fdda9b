"""Files of ours in a folder of others: put in, replaced, taken back; a record of their hashes tells which are ours."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from stormseg_ij.errors import BridgeError

HOME = "stormseg"
"""The folder in Fiji that is ours alone."""
_RECORD = f"{HOME}/installed.json"
_SCRATCH = f"{HOME}/.unfinished"


@dataclass(frozen=True)
class Record:
    """What we put into a folder.

    Attributes
    ----------
    files : dict of str to str
        Path below the folder, with slashes -> SHA-256.
    folders : tuple of str
        Folders that were not there before.
    coming : dict of str to str
        As `files`: what is being put there. Not empty where a run was interrupted; then either hash is ours.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    coming: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Paths of all files."""
        return sorted({*self.files, *self.coming})

    def is_ours(self, name: str, digest: str | None) -> bool:
        """Whether a file of this content is one that we put there."""
        return digest is not None and digest in (self.files.get(name), self.coming.get(name))

    def encode(self) -> bytes:
        """Return the text of the record file."""
        content = {"coming": dict(self.coming), "files": dict(self.files), "folders": sorted(self.folders)}
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


@dataclass(frozen=True)
class Plan:
    """What there is to do in a folder.

    Attributes
    ----------
    wanted : dict of str to bytes
        All that is to be there in the end: path below the folder -> content. Empty takes all back.
    same, added, replaced, removed : tuple of str
        Paths of our files.
    kept : dict of str to str
        Path of a file that somebody changed or that was there before -> the path to which it goes aside.
    """

    wanted: Mapping[str, bytes]
    same: tuple[str, ...]
    added: tuple[str, ...]
    replaced: tuple[str, ...]
    removed: tuple[str, ...]
    kept: Mapping[str, str]

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.added or self.replaced or self.removed or self.kept)


def has_record(folder: Path) -> bool:
    """Whether we put anything into a folder."""
    return (folder / _RECORD).is_file()


def read_record(folder: Path) -> Record:
    """Read what we put into a folder; an empty record if nothing.

    Raises
    ------
    BridgeError
        If it cannot be read, or is none of ours.
    """
    path = folder / _RECORD
    try:
        return _decode(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Record()
    except OSError as error:
        raise BridgeError(f"cannot read {path}: {error.strerror}; make it readable") from error
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise BridgeError(
            f"{path} is damaged ({reason}); delete it and run stormseg install-fiji again, which writes it anew"
        ) from error


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, from the reading of its record to the last change.

    The system lets go of it with this process, however that ends. Where the file system knows no locks, there is none.

    Raises
    ------
    BridgeError
        If another run is at work there.
    """
    lock = None
    try:
        lock = _locked(folder)
    except (BlockingIOError, FileExistsError) as error:
        raise BridgeError(
            f"another stormseg install-fiji works on {folder}; wait until it has ended, and run this again"
        ) from error
    except OSError:  # one that cannot be read or written to is told by what is done there
        pass
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


if sys.platform == "win32":

    def _locked(folder: Path) -> int:
        """Make a file that goes when it is closed."""
        return os.open(folder / ".stormseg-installing", os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_TEMPORARY)

else:

    def _locked(folder: Path) -> int:
        """Lock the folder itself: no file is left, and it need not be writable."""
        import fcntl

        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise
        return lock


def plan(folder: Path, wanted: Mapping[str, bytes], record: Record, theirs: Collection[str] = ()) -> Plan:
    """Compare what is to be in a folder with what is there; nothing is written.

    A file that differs from ours is its owner's: it is kept under another name, NAME.kept, so that Fiji no longer
    makes a menu entry of it. A jar that differs stays: it is another one.

    Parameters
    ----------
    folder : Path
    wanted : dict of str to bytes
        All that is to be there in the end.
    record : Record
    theirs : collection of str
        Paths that somebody else counts as theirs by now: what we put there and want no longer stays.

    Raises
    ------
    BridgeError
        If a file cannot be read.
    """
    same: list[str] = []
    added: list[str] = []
    replaced: list[str] = []
    removed: list[str] = []
    kept: dict[str, str] = {}
    for name in sorted({*wanted, *({*record.names} - {*theirs})}):
        there = digest(folder / name)
        if name in wanted and there == _sha256(wanted[name]):
            same.append(name)
            continue
        ours = record.is_ours(name, there)
        if name in wanted:
            (replaced if ours else added).append(name)
        elif ours:
            removed.append(name)
        if there is not None and not ours and not name.endswith(".jar"):
            kept[name] = _aside(folder, name)
    return Plan(wanted, tuple(same), tuple(added), tuple(replaced), tuple(removed), kept)


def carry_out(folder: Path, todo: Plan, record: Record) -> None:
    """Do what is planned: all of it, or, if something fails, nothing.

    All new files are written to a scratch folder first and then moved. Moves are undone if one fails. If this process
    is killed meanwhile, the record knows the old and the new hashes, and the next run finishes.

    Raises
    ------
    BridgeError
        If the folder may not be written to, its disk is full, or a file is in use.
    """
    after = _after(folder, todo, record)
    unfinished = (folder / (_SCRATCH if todo.wanted else HOME)).exists()
    if not unfinished and not todo.changes and after == record:
        return
    with _one_line(folder), ExitStack() as undo:
        _move_all(folder, todo, record, after, _Moves(undo))
        undo.pop_all()
    shutil.rmtree(folder / _SCRATCH, ignore_errors=True)
    if not todo.wanted:
        with suppress(OSError):  # somebody else's files are in it
            (folder / HOME).rmdir()


def digest(path: Path) -> str | None:
    """Return the SHA-256 of a file, or None if there is none.

    Raises
    ------
    BridgeError
        If it cannot be read.
    """
    try:
        return _sha256(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BridgeError(f"cannot read {path}: {error.strerror}; move it away or make it readable") from error


def strangers(folder: Path, record: Record) -> list[str]:
    """Return the files that lie in folders of ours and are none of ours: what stays when all is taken back."""
    ours = {*record.names, _RECORD}
    found = []
    for place in sorted({HOME, *(name for name in record.folders if "stormseg" in name.lower())}):
        paths = [path for path in (folder / place).glob("*") if path.is_file()]
        found += [path.relative_to(folder).as_posix() for path in sorted(paths)]
    return [name for name in found if name not in ours]


class _Moves:
    """Changes in a folder, each with its undoing."""

    def __init__(self, undo: ExitStack) -> None:
        self._undo = undo

    def folder(self, path: Path) -> None:
        """Make a folder and those above it."""
        for missing in reversed([place for place in (path, *path.parents) if not place.exists()]):
            missing.mkdir()
            self.at_failure(missing.rmdir)

    def move(self, source: Path, target: Path) -> None:
        """Rename a file; what `target` was is gone."""
        source.replace(target)
        self.at_failure(target.replace, source)

    def remove_empty(self, path: Path) -> None:
        """Remove a folder, if it is there and holds nothing."""
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
            self.at_failure(path.mkdir)

    def at_failure(self, step: Callable[..., object], *arguments: object) -> None:
        def quietly() -> None:
            with suppress(OSError):  # the first error is told
                step(*arguments)

        self._undo.callback(quietly)


def _move_all(folder: Path, todo: Plan, record: Record, after: Record, moves: _Moves) -> None:
    scratch, record_path = folder / _SCRATCH, folder / _RECORD
    shutil.rmtree(scratch, ignore_errors=True)  # of an interrupted run: nothing but files of ours
    moves.folder(folder / HOME)
    scratch.mkdir()
    moves.at_failure(shutil.rmtree, scratch)
    coming = [*todo.added, *todo.replaced]
    for number, name in enumerate(coming):
        (scratch / f"new{number}").write_bytes(todo.wanted[name])
    between = Record(record.files, after.folders, after.files)
    for number, state in enumerate((record, between, after)):
        (scratch / f"record{number}").write_bytes(state.encode())
    if record_path.exists():
        moves.at_failure((scratch / "record0").replace, record_path)
    else:
        moves.at_failure(record_path.unlink)
    (scratch / "record1").replace(record_path)
    for name, aside in todo.kept.items():
        moves.move(folder / name, folder / aside)
    for number, name in enumerate([*todo.removed, *todo.replaced]):  # before the new ones: never two jars of one kind
        moves.move(folder / name, scratch / f"old{number}")
    for number, name in enumerate(coming):
        moves.folder((folder / name).parent)
        moves.move(scratch / f"new{number}", folder / name)
    for name in sorted({*after.folders} - {HOME}, key=lambda name: name.count("/"), reverse=True):  # innermost first
        moves.remove_empty(folder / name)
    if todo.wanted:
        (scratch / "record2").replace(record_path)
    else:
        record_path.replace(scratch / "record2")


def _after(folder: Path, todo: Plan, record: Record) -> Record:
    """Return the record that will be true."""
    above = {str(parent) for name in todo.wanted for parent in PurePosixPath(name).parents} - {"."}
    new = {name for name in above if not (folder / name).exists()}
    files = {name: _sha256(content) for name, content in sorted(todo.wanted.items())}
    return Record(files, tuple(sorted({*record.folders, *new})))


def _aside(folder: Path, name: str) -> str:
    number, aside = 1, f"{name}.kept"
    while (folder / aside).exists():
        number += 1
        aside = f"{name}.kept{number}"
    return aside


def _decode(text: str) -> Record:
    content: dict[str, Any] = json.loads(text)
    record = Record(dict(content["files"]), tuple(content["folders"]), dict(content["coming"]))
    if not all(_is_below(name) for name in (*record.names, *record.folders)):
        raise ValueError("it names files outside of this folder")
    return record


def _is_below(name: object) -> bool:
    """Whether a path of a record leads to nowhere else."""
    return isinstance(name, str) and not {"..", ""} & {*name.split("/")} and not set(name) & {"\\", ":"}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _one_line(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        places = [Path(name) for name in (error.filename, error.filename2) if isinstance(name, str)]
        scratch = folder / _SCRATCH
        place = next((path for path in places if scratch not in (path, *path.parents)), folder)
        if error.errno == errno.ENOSPC:
            remedy = "free space on its disk"
        else:
            remedy = "close Fiji if it runs, or let somebody run this who may write there"
        raise BridgeError(f"cannot change {place}: {error.strerror or error}; nothing was changed; {remedy}") from error
