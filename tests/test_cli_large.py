"""The command line on large images: what it tells before the work, and that stopping it leaves nothing."""

import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import tifffile

from stormseg_ij import cli, pipeline
from stormseg_ij.simulate import simulate


@pytest.fixture
def run(capsys):
    """Run a subcommand; return its exit code, output and errors."""

    def call(*words):
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as left:
            code = left.code
        return code, *capsys.readouterr()

    return call


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--route", "resize", "--size", "5000"), "--size 5000 is too much for --route resize; give up to 4096"),
        (("--tile", "256", "--overlap", "129"), "--overlap 129 is more than half of --tile 256; give a smaller one"),
        (("--tile", "100"), "--tile '100': give a whole number from 128 to 2048"),
        (("--route", "tiles"), "--route 'tiles': choose from auto, tile, resize"),
        (("--overlap-rules", "mine"), "--overlap-rules 'mine': choose from paper, notebook, score"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(run, tmp_path, words, line):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9), np.uint8))
    code, out, err = run("segment", tmp_path / "a.tif", "-o", tmp_path / "out", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert line in err
    assert not (tmp_path / "out").exists()


def test_memory_that_does_not_suffice_is_one_line(run, tmp_path, monkeypatch):
    def enormous(*_, **__):
        np.empty(1 << 50)  # more than any address space

    monkeypatch.setattr(pipeline, "segment", enormous)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9), np.uint8))
    code, _, err = run("segment", tmp_path / "a.tif", "-o", tmp_path / "out")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("stormseg: not enough memory: Unable to allocate")


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_ctrl_c_in_the_middle_leaves_no_file(tmp_path):
    scene = simulate(np.random.default_rng(2), kind="cell", size=512, diameter=30)
    tifffile.imwrite(tmp_path / "big.tif", np.tile(scene.image, (6, 6)))
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from stormseg_ij.cli import run; run()"
    )
    options = ["--size", "3072", "--route", "tile", "--tile", "128", "--overlap", "64"]
    words = ["segment", str(tmp_path / "big.tif"), "-o", str(tmp_path / "out"), *options]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    threading.Timer(120.0, process.kill).start()
    told = process.stderr.readline()
    assert re.fullmatch(r"stormseg: big\.tif: 2209 tiles, about \d+ (s|min) and \d\.\d GB of memory.*\n", told)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 1
    assert (out, err) == ("", "stormseg: stopped; finished outputs are complete, no half file is left\n")
    assert [path.name for path in tmp_path.rglob("*")] == ["big.tif"]


def test_scores_never_replace_a_label_image(run, tmp_path):
    labels = np.zeros((9, 9), np.uint16)
    labels[2:5, 2:5] = 1
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / name, labels)
    before = (tmp_path / "b.tif").read_bytes()
    code, _, err = run("evaluate", tmp_path / "a.tif", tmp_path / "a.tif", "--json", tmp_path / "b.tif", "--overwrite")
    assert (code, err.count("\n")) == (2, 1)
    assert "b.tif: give a name that ends in .json" in err
    assert (tmp_path / "b.tif").read_bytes() == before


def test_a_terminal_that_lacks_a_letter_gets_it_written_out(tmp_path):
    labels = np.zeros((9, 9), np.uint16)
    labels[2:5, 2:5], labels[7, 7] = 1, 2
    tifffile.imwrite(tmp_path / "ünï.tif", labels)
    done = subprocess.run(
        [sys.executable, "-m", "stormseg_ij.cli", "evaluate", tmp_path / "ünï.tif", tmp_path / "ünï.tif"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\xfcn\\xef" in done.stdout


def test_where_a_report_cannot_go_is_told_before_the_work(run, tmp_path):
    tifffile.imwrite(tmp_path / "lab.tif", np.zeros((9, 9), np.uint8))
    for place, line in (
        (tmp_path / "lab.tif" / "x.html", "lab.tif is a file; give a folder"),
        (tmp_path / f"{'x' * 251}.html", "is too long for a file or folder; give a shorter one"),
        (tmp_path / "report.txt", "give a name that ends in .html"),
    ):
        code, out, err = run("report", tmp_path, "-o", place)
        assert (code in (1, 2), out, err.count("\n")) == (True, "", 1)
        assert line in err
