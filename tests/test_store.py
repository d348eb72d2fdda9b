"""Sets and audit tables on the disk: nothing is lost, whatever happens between two steps."""

import builtins
import errno
import itertools
import os
import re
import shutil
from functools import partial
from pathlib import Path

import platformdirs
import pytest
from roifile import ROI_TYPE, ImagejRoi

from stormseg_ij import store as stores
from stormseg_ij.changes import COLUMNS, Entry
from stormseg_ij.errors import ImageError
from stormseg_ij.roi_files import read_rois, write_rois
from stormseg_ij.store import Store


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    """The user's data folder of a test; its images lie elsewhere."""
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *names, **options: tmp_path / "data")
    return tmp_path / "data" / "nuclei"


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "my images"
    folder.mkdir()
    return folder


def _rois(*names):
    return [
        ImagejRoi(roitype=ROI_TYPE.RECT, left=5 * i, top=1, right=5 * i + 4, bottom=5, name=name, props="score: 0.5\n")
        for i, name in enumerate(names)
    ]  # fmt: skip


def _entry(nucleus, change="redrawn"):
    return Entry("2026-01-31T12:00:00Z", "a, b.tif", "", nucleus, change, "hand", "ROI Manager", 9, 16, 0.5, "")


def _names(path):
    return [roi.name for roi in read_rois(path)]


def _files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_set_and_its_table_come_back(images):
    store = Store.for_image(images, "a.tif")
    assert not store.exists()
    assert store.save(_rois("one", "two"), [_entry("one"), _entry("two")]) == ()
    assert store.save(_rois("two"), [_entry("one", "deleted")]) == ()
    assert _files(images) == ["a.tif_nuclei.zip", "a.tif_nuclei_changes.csv"]
    again = Store.for_image(str(images), "a.tif")
    assert again.exists()
    rois, entries, notes = again.load()
    assert [roi.name for roi in rois] == ["two"]
    assert rois[0].props == "score: 0.5\n"
    assert entries == [_entry("one"), _entry("two"), _entry("one", "deleted")]
    assert notes == ()
    assert again.save(_rois("two", "three")) == ()  # what was loaded may be replaced
    assert _files(images) == ["a.tif_nuclei.zip", "a.tif_nuclei_changes.csv"]


def test_an_empty_set_is_a_set(images):
    Store.for_image(images, "a.tif").save([])
    store = Store.for_image(images, "a.tif")
    assert store.exists()
    assert store.load() == ([], [], ())


def test_the_order_of_rois_and_equal_names_are_kept(images):
    store = Store.for_image(images, "a.tif")
    store.save(_rois("b", "a", "b", "a"))
    assert [roi.name for roi in store.load().rois] == ["b", "a", "b", "a"]
    assert [roi.left for roi in store.load().rois] == [0, 5, 10, 15]


# ---- what others wrote


def test_a_set_of_somebody_else_is_kept(images):
    path = images / "a.tif_nuclei.zip"
    write_rois(path, _rois("theirs"))
    store = Store.for_image(images, "a.tif")
    [note] = store.save(_rois("mine"))
    assert note == "a.tif_nuclei.zip was not from this session; it is kept as a.tif_nuclei-1.zip"
    assert _names(path) == ["mine"]
    assert _names(images / "a.tif_nuclei-1.zip") == ["theirs"]
    assert store.save(_rois("mine", "too")) == ()
    Store.for_image(images, "a.tif").save(_rois("third"))
    assert _names(images / "a.tif_nuclei-2.zip") == ["mine", "too"]
    assert _names(images / "a.tif_nuclei-1.zip") == ["theirs"]


def test_what_another_program_wrote_meanwhile_is_kept(images):
    store = Store.for_image(images, "a.tif")
    store.save(_rois("mine"))
    status = store.set_path.stat()
    write_rois(store.set_path, _rois("time"))  # of equal length
    os.utime(store.set_path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert store.set_path.stat().st_size == status.st_size
    [note] = store.save(_rois("mine", "more"))
    assert "a.tif_nuclei-1.zip" in note
    assert _names(images / "a.tif_nuclei-1.zip") == ["time"]
    assert _names(store.set_path) == ["mine", "more"]


def test_the_same_set_by_somebody_else_is_not_kept_twice(images):
    Store.for_image(images, "a.tif").save(_rois("one"))
    assert Store.for_image(images, "a.tif").save(_rois("one")) == ()
    assert _files(images) == ["a.tif_nuclei.zip"]


def test_a_set_that_was_deleted_is_written_again(images):
    store = Store.for_image(images, "a.tif")
    store.save(_rois("one"))
    store.set_path.unlink()
    assert store.save(_rois("one", "two")) == ()
    assert _names(store.set_path) == ["one", "two"]


def test_a_damaged_set_is_told_and_kept(images):
    (images / "a.tif_nuclei.zip").write_bytes(b"half a file")
    store = Store.for_image(images, "a.tif")
    with pytest.raises(ImageError, match="cannot read"):
        store.load()
    assert len(store.save(_rois("new"))) == 1
    assert (images / "a.tif_nuclei-1.zip").read_bytes() == b"half a file"
    assert _names(store.set_path) == ["new"]


def test_where_files_have_no_second_names(images, monkeypatch):
    def refuse(*names):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for name in ("first", "second", "third"):
        Store.for_image(images, "a.tif").save(_rois(name))
    assert [_names(images / f"a.tif_nuclei{mark}.zip") for mark in ("-1", "-2", "")] == [
        ["first"],
        ["second"],
        ["third"],
    ]


def test_two_sessions_with_the_same_image(images):
    one, two = Store.for_image(images, "a.tif"), Store.for_image(images, "a.tif")
    saved = set()
    for turn in range(3):
        for store, name in ((one, f"one {turn}"), (two, f"two {turn}")):
            store.save(_rois(name), [_entry(name)])
            saved.add(name)
    sets = [path for path in images.iterdir() if path.suffix == ".zip"]
    assert {name for path in sets for name in _names(path)} == saved
    assert {entry.nucleus for entry in one.load().entries} == saved


# ---- crashes


class Crash(BaseException):
    """The process ends here: nothing catches it."""


def _save_until(monkeypatch, store, number):
    """Save, but crash before a step on the disk, by its number from 0; return the step, None if there are fewer."""
    steps = []
    with monkeypatch.context() as patches:
        # In a crash nothing is tidied up either.
        patches.setattr(Path, "unlink", lambda *arguments, **options: None)
        for name in ("fsync", "link", "replace", "fstat"):

            def step(name, real, *arguments, **options):
                if len(steps) == number:
                    raise Crash(name)
                steps.append(name)
                return real(*arguments, **options)

            patches.setattr(os, name, partial(step, name, getattr(os, name)))
        try:
            store.save(_rois("new"), [_entry("new")])
        except Crash as crash:
            return str(crash)
    return None


@pytest.mark.parametrize("foreign", [False, True])
def test_a_crash_at_any_step_loses_nothing(images, monkeypatch, foreign):
    crashes = []
    for number in itertools.count():
        folder = images / str(number)
        folder.mkdir()
        Store.for_image(folder, "a.tif").save(_rois("old"), [_entry("old")])
        store = Store.for_image(folder, "a.tif")
        if not foreign:
            store.load()
        step = _save_until(monkeypatch, store, number)
        later = Store.for_image(folder, "a.tif")
        contents = later.load()
        names, rows = [roi.name for roi in contents.rois], [entry.nucleus for entry in contents.entries]
        crashes.append((step, names, rows))
        sets = [path for path in folder.iterdir() if path.suffix == ".zip" and not path.name.startswith(".")]
        if foreign:
            assert "old" in {name for path in sets for name in _names(path)}
        assert len(sets) <= 1 + foreign
        assert later.save(_rois("newer"), [_entry("newer")]) == ()
        assert [entry.nucleus for entry in later.load().entries] == [*rows, "newer"]
        if step is None:
            break
    assert crashes == [
        ("replace", ["old"], ["old"]),  # of the file that is written under a temporary name
        ("fsync", ["old"], ["old"]),
        *[("link", ["old"], ["old"])] * foreign,
        ("replace", ["old"], ["old"]),
        ("fstat", ["new"], ["old"]),
        ("fsync", ["new"], ["old", "new"]),
        (None, ["new"], ["old", "new"]),
    ]


def test_crashes_after_a_set_got_its_second_name_make_no_third(images, monkeypatch):
    Store.for_image(images, "a.tif").save(_rois("old"))
    for _ in range(3):
        assert _save_until(monkeypatch, Store.for_image(images, "a.tif"), 3) == "replace"
    assert [name for name in _files(images) if not name.startswith(".")] == ["a.tif_nuclei-1.zip", "a.tif_nuclei.zip"]
    Store.for_image(images, "a.tif").save(_rois("new"))
    assert _names(images / "a.tif_nuclei-1.zip") == ["old"]
    assert _names(images / "a.tif_nuclei.zip") == ["new"]


def test_rows_after_a_crash_in_the_middle_of_one(images):
    store = Store.for_image(images, "a.tif")
    store.save(_rois("one"), [_entry("µ, one")])
    whole = store.table_path.read_bytes()
    store.save(_rois("one"), [_entry('"two", µ')])
    both = store.table_path.read_bytes()
    for end in range(len(both) + 1):  # the crash may come after any byte, in the header too
        store.table_path.write_bytes(both[:end])
        Store(images, "a.tif").load()
        later = Store(images, "a.tif")
        later.load()
        assert later.save(_rois("one"), [_entry("three")]) == ()
        data = later.table_path.read_bytes()
        assert data.startswith(both[:end])
        entries, notes = later.load()[1:]
        expected = [_entry("µ, one")] * (end >= len(whole) - 1) + [_entry("three")]
        if end >= len(both) - 1:
            expected.insert(1, _entry('"two", µ'))
        assert [entry for entry in entries if entry.nucleus != ""] == expected
        assert len(notes) <= 1
        assert data.count(b'"') % 2 == 0  # else ImageJ joins rows
        assert data.endswith(b"\n")


def test_rows_that_cannot_be_read_are_told(images):
    store = Store.for_image(images, "a.tif")
    store.save(_rois("one"), [_entry("one"), _entry("two")])
    lines = store.table_path.read_text(encoding="utf-8").splitlines()
    lines[1] = "what is this"
    store.table_path.write_text("\r\n".join(["\ufeff" + lines[0], *lines[1:], "", ""]), encoding="utf-8", newline="")
    rois, entries, notes = store.load()
    assert entries == [_entry("two")]
    assert notes == ("a.tif_nuclei_changes.csv: 1 of 2 rows cannot be read; they are left out",)
    assert store.save(rois, [_entry("three")]) == ()
    assert store.load().entries == [_entry("two"), _entry("three")]
    assert b"what is this" in store.table_path.read_bytes()


def test_another_table_of_that_name_is_kept(images):
    table = images / "a.tif_nuclei_changes.csv"
    table.write_text("my,own\ntable,1\n")
    store = Store.for_image(images, "a.tif")
    [note] = store.save(_rois("one"), [_entry("one")])
    assert note == "a.tif_nuclei_changes.csv was no table of changes; it is kept as a.tif_nuclei_changes-1.csv"
    assert (images / "a.tif_nuclei_changes-1.csv").read_text() == "my,own\ntable,1\n"
    assert table.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert store.load().entries == [_entry("one")]


# ---- failures


def test_a_full_disk_while_the_set_is_written(images, monkeypatch):
    store = Store.for_image(images, "a.tif")
    store.save(_rois("old"), [_entry("old")])
    write_rois(store.set_path, _rois("theirs"))
    real = os.fsync

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for name in ("one", "two"):
        with pytest.raises(ImageError) as caught:
            store.save(_rois("new"), [_entry(name)])
        assert str(caught.value) == (
            f"cannot write {store.set_path}: No space left on device; "
            "free space on its disk, or choose a folder on another one"
        )
    assert _files(images) == ["a.tif_nuclei.zip", "a.tif_nuclei_changes.csv"]
    assert _names(store.set_path) == ["theirs"]
    monkeypatch.setattr(os, "fsync", real)
    assert len(store.save(_rois("new"), [_entry("three")])) == 1
    assert [entry.nucleus for entry in store.load().entries] == ["old", "one", "two", "three"]
    assert _names(images / "a.tif_nuclei-1.zip") == ["theirs"]


def test_temporary_names_are_not_told(images, monkeypatch):
    store = Store.for_image(images, "a.tif")

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("stormseg_ij.roi_files.zipfile.ZipFile", full)
    with pytest.raises(ImageError) as caught:
        store.save(_rois("one"))
    assert str(caught.value).startswith(f"cannot write {store.set_path}: No space left on device; ")
    assert _files(images) == []


def test_a_full_disk_while_rows_are_added(images, monkeypatch):
    store = Store.for_image(images, "a.tif")
    store.save(_rois("one"), [_entry("one")])
    before = store.table_path.read_bytes()
    write_rois(store.set_path, _rois("theirs"))
    real, calls = stores._write_whole, []

    class Full:
        """A file on a disk that has room for some bytes only."""

        def __init__(self, file):
            self._file = file

        def fileno(self):
            return self._file.fileno()

        def write(self, data):
            if calls:
                raise OSError(errno.ENOSPC, "No space left on device")
            calls.append(data)
            return self._file.write(data[:20])

    with monkeypatch.context() as patches:
        patches.setattr(stores, "_write_whole", lambda file, data: real(Full(file), data))
        with pytest.raises(ImageError, match=re.escape(f"cannot write {store.table_path}: No space left")) as caught:
            store.save(_rois("two"), [_entry("two")])
    assert "\n" not in str(caught.value)
    assert len(calls) == 1
    assert store.table_path.read_bytes() == before
    assert _names(store.set_path) == ["two"]
    [note] = store.save(_rois("two"))  # told late, but told
    assert "it is kept as a.tif_nuclei-1.zip" in note
    assert store.save(_rois("two")) == ()
    assert [entry.nucleus for entry in store.load().entries] == ["one", "two"]


def test_a_folder_that_went_away(images):
    store = Store.for_image(images, "a.tif")
    store.save(_rois("one"), [_entry("one")])
    shutil.rmtree(images)
    images.write_text("a file is there now")
    with pytest.raises(ImageError, match="cannot write"):
        store.save(_rois("two"), [_entry("two")])
    images.unlink()
    assert store.save(_rois("two"), [_entry("three")]) == ()
    assert [entry.nucleus for entry in store.load().entries] == ["two", "three"]


def test_a_set_that_cannot_be_read(images, monkeypatch):
    store = Store.for_image(images, "a.tif")
    store.save(_rois("one"))
    real = builtins.open

    def refuse(path, mode="r", *arguments, **options):
        if path == store.set_path and mode == "rb":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, mode, *arguments, **options)

    with monkeypatch.context() as patches:
        patches.setattr(Path, "open", refuse)
        with pytest.raises(ImageError, match="Permission denied"):
            store.load()
        with pytest.raises(ImageError, match="Permission denied"):
            store.save(_rois("two"))
    assert _names(store.set_path) == ["one"]
