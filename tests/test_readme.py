"""The README's Python runs, and what it says exists."""

import re
import shutil

import pytest

from stormseg_ij import cli
from stormseg_ij.image import read_image
from stormseg_ij.pipeline import segment
from stormseg_ij.settings import SegmentSettings


@pytest.fixture(scope="module")
def readme(repository):
    return (repository / "README.md").read_text(encoding="utf-8")


def test_first_steps_in_python_run(readme, ij, repository, tmp_path, monkeypatch, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (tmp_path / "stormseg_ij" / "samples").mkdir(parents=True)
    shutil.copy(repository / "stormseg_ij" / "samples" / "tissue.tif", tmp_path / "stormseg_ij" / "samples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stormseg_ij.bridge.start", lambda: ij)  # under --fiji another ImageJ runs already
    exec(compile(block, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert re.search(r"^[1-9]\d* nuclei \(512, 512\) int32$", said, re.MULTILINE)
    assert "tissue_rois.zip tissue_measurements.csv" in said
    assert (tmp_path / "results" / "tissue_overlay.png").is_file()


def test_it_shows_what_the_demo_prints(readme, ij, repository):
    image = read_image(repository / "stormseg_ij" / "samples" / "tissue.tif")
    result = segment(image, SegmentSettings(), ij=ij)
    ((count, size),) = re.findall(
        r"^tissue\.tif: (\d+) nuclei in [\d.]+ s \(scaled to (\d+) pixels\)$", readme, re.MULTILINE
    )
    assert (int(count), int(size)) == (result.count, result.run["scale"]["size"])


def test_every_subcommand_and_option_it_names_exists(readme, capsys):
    named = set(re.findall(r"stormseg ([a-z][a-z-]+)", readme))
    assert {"segment", "doctor", "evaluate"} <= named
    for name in named:
        with pytest.raises(SystemExit) as left:
            cli.main([name, "--help"])
        assert left.value.code == 0
    with pytest.raises(SystemExit):
        cli.main(["segment", "--help"])
    text = capsys.readouterr().out
    section = readme.split("The most useful options")[1].split("| other subcommands")[0]
    for option in re.findall(r"`(--[a-z-]+)", section):
        assert option in text


def test_it_starts_with_one_sentence_one_picture_two_commands(readme, repository):
    title, sentence, picture, commands = readme.split("\n\n")[:4]
    assert title == "# stormseg_ij"
    assert sentence.count(". ") == 0
    path = re.match(r"!\[[^\]]+\]\(([^)]+)\)", picture)
    assert path is not None
    assert (repository / path[1]).is_file()
    assert "$ make demo" in commands
    assert "$ make test" in commands


def test_the_files_it_names_exist(readme, repository):
    for name in re.findall(r"`((?:stormseg_ij|macros|docs)/[\w./-]+)`", readme):
        assert (repository / name).exists(), name
    assert (repository / "environment.yml").is_file()
