"""Writing files so that a failure leaves nothing half done."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
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
