"""Writing files so that a failure leaves nothing half done."""

from __future__ import annotations

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
        If the folder cannot be made or written to.
    """
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror or error}; choose a folder that you may write to"
        raise ImageError(message) from error
    finally:
        with suppress(OSError):  # there is none, and a second error would hide the first
            temporary.unlink(missing_ok=True)


@contextmanager
def together(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Give a scratch folder; if the block ends well, move the files `names` from it to `folder`, in this order.

    So that results that belong together appear together or not at all. Missing folders are made.

    Raises
    ------
    ImageError
        If the folder cannot be made or written to.
    """
    was_there = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".stormseg-") as scratch:
            yield Path(scratch)
            for name in names:
                (Path(scratch) / name).replace(folder / name)
    except OSError as error:
        message = f"cannot write to {folder}: {error.strerror or error}; choose a folder that you may write to"
        raise ImageError(message) from error
    finally:
        if not was_there:
            with suppress(OSError):
                folder.rmdir()  # only if it is empty
