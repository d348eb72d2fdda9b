"""Writing leaves the old file or the new one, never a half."""

import sys
from pathlib import Path

import numpy as np
import pytest

from stormseg_ij.errors import ImageError
from stormseg_ij.files import replacing, together
from stormseg_ij.image import read_image, write_tiff


def test_new_file_in_new_folders(tmp_path):
    path = tmp_path / "a" / "b" / "table.csv"
    with replacing(path) as temporary:
        assert temporary.suffix == ".csv"
        assert temporary.parent == path.parent
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert [entry.name for entry in path.parent.iterdir()] == ["table.csv"]


def test_old_file_stands_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError("disk full")])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "table.csv"
    path.write_text("old")
    expected = ImageError if isinstance(error, OSError) else type(error)

    def write_half():
        with replacing(path) as temporary:
            temporary.write_text("ha")
            raise error

    with pytest.raises(expected):
        write_half()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_failure_before_anything_was_written(tmp_path):
    def fail():
        with replacing(tmp_path / "table.csv"):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.csv").mkdir()

    def write(path):
        with replacing(path) as temporary:
            temporary.write_text("new")

    for path in (tmp_path / "file" / "table.csv", tmp_path / "file" / "deep" / "table.csv", tmp_path / "folder.csv"):
        with pytest.raises(ImageError) as caught:
            write(path)
        message = str(caught.value)
        assert message.startswith(f"cannot write {path}: ")
        assert message.endswith("; choose a folder that you may write to")
        assert "\n" not in message
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder.csv"]


def test_files_appear_together_or_not_at_all(tmp_path):
    folder = tmp_path / "new" / "results"

    def write(*names):
        with together(folder, ["a.csv", "b.csv"]) as scratch:
            for name in names:
                (scratch / name).write_text(name)
            assert not list(folder.glob("*.csv"))

    with pytest.raises(ImageError, match=r"cannot write to .*results: No such file"):
        write("a.csv")
    assert not list(tmp_path.iterdir())
    write("a.csv", "b.csv")
    assert sorted(path.name for path in folder.iterdir()) == ["a.csv", "b.csv"]


DISK_FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the disk of Linux that is always full")


def fill_the_disk():
    with open("/dev/full", "wb") as file:  # noqa: PTH123
        file.write(bytes(100_000))


@DISK_FULL
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    def one_file():
        with replacing(tmp_path / "new" / "folders" / "labels.tif") as temporary:
            temporary.write_text("half")
            fill_the_disk()

    def several():
        with together(tmp_path / "results", ["a.csv"]) as scratch:
            (scratch / "a.csv").write_text("half")
            fill_the_disk()

    def one_of_several():
        with together(tmp_path / "results", ["a.csv"]) as scratch, replacing(scratch / "a.csv"):
            fill_the_disk()

    for write, name in ((one_file, "labels.tif"), (several, "results"), (one_of_several, "a.csv")):
        with pytest.raises(ImageError) as caught:
            write()
        message = str(caught.value)
        assert message.startswith("cannot write ")
        assert f"{name}: No space left on device; free space on its disk, or choose a folder on ano" in message
        assert "\n" not in message
        assert ".stormseg-" not in message
        assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="limits of Unix")
def test_a_disk_that_fills_while_an_image_is_written(tmp_path, run_python):
    write_tiff(tmp_path / "image.tif", np.ones((10, 10), np.uint8))
    code = f"""
import resource
import numpy as np
from stormseg_ij.errors import ImageError
from stormseg_ij.image import write_labels, write_png, write_tiff
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # no file can grow beyond this
noise = np.random.default_rng(0).integers(0, 255, (400, 400)).astype(np.uint8)
for write, suffix in ((write_tiff, "tif"), (write_labels, "tif"), (write_png, "png")):
    try:
        write(r"{tmp_path}/image." + suffix, noise)
    except ImageError as error:
        print(error)
"""
    done = run_python(code)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all("File too large; free space on its disk" in line for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["image.tif"]
    assert read_image(tmp_path / "image.tif").shape == (10, 10)
