"""Writing files so that a failure leaves nothing half done."""

from __future__ import annotations

import errno
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from stormseg_ij.errors import ImageError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` if the block ends well, else remove it.

    The temporary name ends like `path` (writers choose a format by it). Missing folders are made.

    Raises
    ------
    ImageError
        If the folder cannot be made or written to, or the disk is full.
    """
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    new_folders = _missing(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror or error}; {_remedy(error)}"
        raise ImageError(message) from error
    finally:
        with suppress(OSError):  # there is none, and a second error would hide the first
            temporary.unlink(missing_ok=True)
        _remove_empty(new_folders)


@contextmanager
def together(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Give a scratch folder; if the block ends well, move the files `names` from it to `folder`, in this order.

    So that results that belong together appear together or not at all. Missing folders are made.

    Raises
    ------
    ImageError
        If the folder cannot be made or written to, or the disk is full.
    """
    new_folders, scratch_name = _missing(folder), ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".stormseg-") as scratch_name:
            scratch = Path(scratch_name)
            yield scratch
            for name in names:
                (scratch / name).stat()  # all are there before the first is moved
            for name in names:
                (scratch / name).replace(folder / name)
    except OSError as error:
        message = f"cannot write to {folder}: {error.strerror or error}; {_remedy(error)}"
        raise ImageError(message) from error
    except ImageError as error:
        if scratch_name and scratch_name in str(error):  # by `replacing`; nobody knows that folder
            raise ImageError(str(error).replace(scratch_name, str(folder))) from error
        raise
    finally:
        _remove_empty(new_folders)


def _missing(folder: Path) -> list[Path]:
    """Return the folders that are not there yet, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _remove_empty(folders: Sequence[Path]) -> None:
    with suppress(OSError):  # it is in use, as it is after all went well
        for folder in folders:
            folder.rmdir()


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", None)):
        return "free space on its disk, or choose a folder on another one"
    return "choose a folder that you may write to"
