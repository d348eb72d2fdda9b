"""Arrays that both processes see: those sent are unlinked by who made them, those received are copied and closed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np

from stormseg_ij.errors import BridgeError

_FILES = Path("/dev/shm")  # noqa: S108 (where Linux shows shared memory)

_made: dict[str, SharedMemory] = {}
_lock = threading.Lock()


@contextmanager
def sent(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Put arrays among values into shared memory for as long as this lasts.

    They are made as Python makes them, not as Appose does: so Python's resource tracker takes them away if this process
    is killed, and says nothing if it is not.

    Parameters
    ----------
    values : dict
        Its values may be arrays, and lists of arrays.

    Yields
    ------
    dict
        The same with Appose's description of each array in its place.

    Raises
    ------
    BridgeError
        If there is no room for them.
    """
    names: list[str] = []

    def described(value: Any) -> Any:  # noqa: ANN401 (what JSON can hold, and arrays)
        if isinstance(value, np.ndarray):
            return _described(value, names)
        if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
            return [_described(array, names) for array in value]
        return value

    try:
        yield {key: described(value) for key, value in values.items()}
    finally:
        for name in names:
            _unlink(name)


def received(value: Any) -> Any:  # noqa: ANN401 (what JSON can hold, and arrays)
    """Return a value with a copy of each Appose NDArray in it, and close these."""
    from appose import NDArray

    if isinstance(value, NDArray):
        try:
            return value.ndarray().copy()
        finally:
            value.shm.close()
    if isinstance(value, list):
        return [received(one) for one in value]
    if isinstance(value, dict):
        return {key: received(one) for key, one in value.items()}
    return value


def unlink_all() -> None:
    """Take away what was sent and not yet taken back: this process ends."""
    for name in list(_made):
        _unlink(name)


def _described(array: np.ndarray, names: list[str]) -> dict[str, Any]:
    """Copy an array into shared memory; return what Appose writes of its NDArrays."""
    megabytes = max(1, round(array.nbytes / 2**20))
    try:
        memory = SharedMemory(create=True, size=array.nbytes)
    except OSError as error:
        raise BridgeError(f"no room for {megabytes} MB in shared memory: {error.strerror}; close programs") from error
    with _lock:
        _made[memory.name] = memory
    names.append(memory.name)
    if (file := _FILES / memory.name).exists() and not _has_room(file, array.nbytes):
        raise BridgeError(f"no room for {megabytes} MB in {_FILES}; close programs, or give it more memory")
    np.ndarray(array.shape, array.dtype, buffer=memory.buf)[...] = array
    shared = {"appose_type": "shm", "name": memory.name, "rsize": array.nbytes}
    return {"appose_type": "ndarray", "dtype": array.dtype.name, "shape": list(array.shape), "shm": shared}


def _has_room(file: Path, size: int) -> bool:
    """Reserve the memory: writing to what is not there would kill this process."""
    with file.open("r+b") as opened:
        try:
            os.posix_fallocate(opened.fileno(), 0, size)
        except OSError:
            return False
    return True


def _unlink(name: str) -> None:
    with _lock:
        memory = _made.pop(name, None)
    if memory is not None:
        with suppress(BufferError):  # it is being filled: this process ends
            memory.close()
        with suppress(FileNotFoundError):  # the computer took it away, as some do when a person logs out
            memory.unlink()
