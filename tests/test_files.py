"""Writing leaves the old file or the new one, never a half."""

import pytest

from stormseg_ij.errors import ImageError
from stormseg_ij.files import replacing


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
