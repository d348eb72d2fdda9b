"""Files of ImageJ's ROI Manager, read and written without trusting what is in them."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterable
from copy import copy
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from stormseg_ij.errors import ImageError
from stormseg_ij.files import replacing

if TYPE_CHECKING:
    from roifile import ImagejRoi

SUFFIXES = (".zip", ".roi")
"""Endings of ROI files."""

_LARGEST_FILE = 1 << 30
"""Bytes that the ROIs of one file may unpack to: a million nuclei need less."""

_LAST_SINGLE = "\uffff"

_BROKEN_ARCHIVE = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, OverflowError, RuntimeError,
)  # fmt: skip
"""What zipfile raises for damaged, encrypted and foreign archives."""


def write_rois(path: str | Path, rois: Iterable[ImagejRoi]) -> int:
    """Write ROIs as ImageJ's ROI Manager saves them, replacing `path` only once the file is complete.

    Parameters
    ----------
    path : str or Path
        ``.zip``, or ``.roi`` for a single ROI.
    rois : iterable of roifile.ImagejRoi
        Into a ``.zip`` they go one after the other, as many as there are: from `iterate_rois`, they never are in
        memory together.

    Returns
    -------
    int
        How many they were.

    Raises
    ------
    ImageError
        If the suffix is another one, ``.roi`` gets other than one ROI, or the folder cannot be written to.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ImageError(f"cannot write ROIs to {path}; choose a name that ends in .zip, or .roi for a single ROI")
    if suffix == ".roi":
        only = list(rois)
        if len(only) != 1:
            raise ImageError(f"{path} can hold one ROI, not {len(only)}; choose a name that ends in .zip")
        with replacing(path) as temporary:
            temporary.write_bytes(encoded(only[0]))
        return 1
    taken: set[str] = set()
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for roi in rois:
            # A fixed date: the same ROIs give the same bytes.
            entry = zipfile.ZipInfo(f"{_entry_name(roi, taken)}.roi", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, encoded(roi), compresslevel=1)  # as small as level 6, in less time
    return len(taken)


def read_rois(path: str | Path) -> list[ImagejRoi]:
    """Read the ROIs of a ``.zip`` of ImageJ's ROI Manager, or of a single ``.roi``.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    list of roifile.ImagejRoi
        In the order of the file; one without a name of its own gets that of its entry. Entries that are no ``.roi``
        are passed over, as in ImageJ.

    Raises
    ------
    ImageError
        If the file is missing or damaged, holds other files only, an entry's name leads out of the archive, or it would
        unpack to more than ROIs can be. Nothing is ever unpacked to the disk.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ImageError(f"{path} is no ROI file; give a .zip or .roi that ImageJ's ROI Manager saved")
    try:
        if suffix == ".roi":
            return [decoded(path.read_bytes(), name=path.stem, source=str(path))]
        with zipfile.ZipFile(path) as archive:
            entries = _checked_entries(archive, path)
            return [
                decoded(archive.read(entry), name=PurePosixPath(entry.filename).stem, source=str(path))
                for entry in entries
            ]
    except FileNotFoundError as error:
        raise ImageError(f"there is no file {path}; check the path") from error
    except PermissionError as error:
        raise ImageError(f"you may not read {path}; ask for the right, or give a copy that you may read") from error
    except _BROKEN_ARCHIVE as error:
        reason = " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
        raise ImageError(f"cannot read {path}: {reason}; save it again with ImageJ's ROI Manager") from error


def _checked_entries(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """List the ROIs in an archive that is safe to read."""
    entries = archive.infolist()
    for entry in entries:
        parts = PurePosixPath(entry.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts:
            raise ImageError(f"{path} is not safe: its entry {entry.filename!r} leads out of it; get the file anew")
    rois = [entry for entry in entries if entry.filename.endswith(".roi") and "__MACOSX/" not in entry.filename]
    size = sum(entry.file_size for entry in rois)
    if size > _LARGEST_FILE:
        raise ImageError(f"{path} would unpack to {size >> 20} MiB, too much for ROIs; get the file anew")
    if entries and not rois:
        others = "another file" if len(entries) == 1 else f"{len(entries)} other files"
        raise ImageError(f"{path} holds no ROIs but {others}; give one that the ROI Manager saved")
    return rois


def encoded(roi: ImagejRoi) -> bytes:
    """Encode a ROI as a ``.roi`` file; letters of its name that Java keeps in two parts become U+FFFD.

    `roifile` counts such a letter once, and would cut the name and shift what follows.
    """
    if roi.name and max(roi.name) > _LAST_SINGLE:
        roi = copy(roi)
        roi.name = "".join(letter if letter <= _LAST_SINGLE else "\ufffd" for letter in roi.name)
    return roi.tobytes()


def decoded(data: bytes, *, name: str = "", source: str = "ImageJ") -> ImagejRoi:
    """Decode the bytes of a ``.roi`` file.

    Parameters
    ----------
    data : bytes
    name : str
        What it is called if it has no name of its own.
    source : str
        Where it comes from, for the error.

    Raises
    ------
    ImageError
        If it is damaged.
    """
    from roifile import ImagejRoi

    try:
        roi = ImagejRoi.frombytes(data)
    except (ValueError, TypeError, IndexError, OverflowError, MemoryError, struct.error) as error:
        raise ImageError(f"cannot read the ROI {name} in {source}: {error}; save it again with ImageJ") from error
    roi.name = roi.name or name
    return roi


def _entry_name(roi: ImagejRoi, taken: set[str]) -> str:
    """Name a ROI's entry by the ROI; a name that is taken gets -1, -2, ... as in ImageJ."""
    stem = re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", roi.name or "roi")
    name, count = stem, 0
    while name in taken:
        count += 1
        name = f"{stem}-{count}"
    taken.add(name)
    return name
