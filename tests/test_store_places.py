"""Where sets are kept: beside the image or in the user's data folder, under names that no other image has."""

import errno
import re

import platformdirs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from roifile import ROI_TYPE, ImagejRoi

from stormseg_ij import store as stores
from stormseg_ij.changes import Entry
from stormseg_ij.store import Store, file_name


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


def _rois(name):
    return [ImagejRoi(roitype=ROI_TYPE.RECT, left=1, top=1, right=5, bottom=5, name=name)]


def _entry(nucleus):
    return Entry("2026-01-31T12:00:00Z", "a.tif", "", nucleus, "redrawn", "hand", "ROI Manager", 9, 16, 0.5, "")


def _kept(store):
    """Names of the ROIs in a store."""
    return [roi.name for roi in store.load().rois]


def test_images_with_equal_stems_do_not_share_a_set(images):
    for title in ("a.tif", "a.png", "a"):
        Store.for_image(images, title).save(_rois(title))
    assert [Store.for_image(images, title).load().rois[0].name for title in ("a.tif", "a.png", "a")] == [
        "a.tif", "a.png", "a",
    ]  # fmt: skip


TITLES = [
    "Zellkerne µm 3.tif", "核.tif", "with blanks  .tif", "a/b", "a\\b", "a:b", "C:\\images\\x.tif", "..", ".", "", " ",
    "x" * 300 + ".tif", "ü" * 200, "a\nb", "a\x00b", "\ud800", "😀.tif", "CON", "nul.tif", ".hidden", "a?*|<>\".tif",
]  # fmt: skip


@pytest.mark.parametrize("title", TITLES)
def test_any_title_gives_files_that_can_be_saved_and_found_again(images, title):
    Store.for_image(images, title).save(_rois("one"), [_entry("one")])
    assert len(list(images.iterdir())) == 2
    contents = Store.for_image(images, title).load()
    assert ([roi.name for roi in contents.rois], contents.entries) == (["one"], [_entry("one")])
    unsaved = Store.for_image(None, title)
    unsaved.save(_rois("two"), [_entry("two")])
    [found] = Store.unsaved(title)
    assert found.set_path == unsaved.set_path


def test_no_two_titles_share_files():
    assert len({file_name(title).lower() for title in [*TITLES, "a_b", "_CON", "image", "x" * 301 + ".tif"]}) == (
        len(TITLES) + 4
    )


@given(st.text())
def test_names_are_file_names_on_any_system(title):
    name = file_name(title)
    assert re.search(r'[\\/:*?"<>|\x00-\x1f]', name) is None
    assert 0 < len(name.encode()) <= 180
    assert name == title or re.search("-[0-9a-f]{8}$", name)


def test_unsaved_images_have_a_new_store_each_time(data_folder):
    assert Store.unsaved("Untitled") == []
    both = [Store.for_image(None, "Untitled"), Store.for_image("", "Untitled")]
    for number, store in enumerate(both):
        assert not store.exists()
        store.save(_rois(f"session {number}"))
    Store.for_image(None, "Untitled-1").save(_rois("another"))
    found = Store.unsaved("Untitled")
    assert {store.load().rois[0].name for store in found} == {"session 0", "session 1"}
    assert [store.set_path.name for store in found] == sorted(
        (store.set_path.name for store in both), reverse=True
    )  # fmt: skip
    assert all(store.set_path.parent == data_folder for store in found)


def test_folders_that_cannot_be_written_to(images, data_folder, monkeypatch):
    other = images / "other"
    other.mkdir()
    Store.for_image(images, "a.tif").save(_rois("beside"), [_entry("beside")])
    real = stores.tempfile.TemporaryFile

    def refuse(dir):  # noqa: A002 (its name)
        if dir in (images, other):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(dir=dir)

    monkeypatch.setattr(stores.tempfile, "TemporaryFile", refuse)
    store = Store.for_image(images, "a.tif")
    assert store.set_path.parent == data_folder
    assert store.exists()
    assert _kept(store) == ["beside"]  # a set that lies there already
    elsewhere = Store.for_image(other, "a.tif")
    assert elsewhere.set_path != store.set_path
    assert not elsewhere.exists()
    assert store.save(_rois("mine"), [_entry("mine")]) == ()
    store.save(_rois("mine"), [_entry("again")])
    assert _kept(Store(images, "a.tif")) == ["beside"]
    monkeypatch.setattr(stores.tempfile, "TemporaryFile", real)
    found = Store.for_image(images, "a.tif")
    assert _kept(found) == ["beside"]  # beside the image goes first
    (images / "a.tif_nuclei.zip").unlink()
    found = Store.for_image(images, "a.tif")  # now only the other one is there
    contents = found.load()
    assert [roi.name for roi in contents.rois] == ["mine"]
    assert contents.entries == [_entry("beside"), _entry("mine"), _entry("again")]


def test_folders_that_are_not_there(tmp_path, data_folder):
    for directory in (tmp_path / "gone", "https://example.org/images/"):
        store = Store.for_image(directory, "a.tif")
        assert store.set_path.parent == data_folder
        store.save(_rois("one"))
    assert not (tmp_path / "gone").exists()
