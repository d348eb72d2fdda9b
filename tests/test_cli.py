"""Every subcommand as a user calls it: its output, its errors in one line, its exit code."""

import csv
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from stormseg_ij import cli, rois
from stormseg_ij.cli import images
from stormseg_ij.image import Calibration, read_image, read_labels, write_labels, write_tiff


@pytest.fixture
def run(capsys, ij):
    """Call `stormseg` in this process, ImageJ running; gives (exit code, standard output, standard error)."""

    def call(*argv):
        try:
            code = cli.main([str(word) for word in argv])
        except SystemExit as left:
            code = left.code
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


@pytest.fixture(scope="module")
def sample(repository):
    return repository / "stormseg_ij" / "samples" / "tissue.tif"


def one_line(text: str) -> str:
    assert text.startswith("stormseg")
    assert text.count("\n") == 1
    return text


def test_help_names_every_subcommand(run):
    code, out, _ = run("--help")
    assert code == 0
    for name in (
        "segment",
        "preprocess",
        "labels-to-rois",
        "rois-to-labels",
        "measure",
        "evaluate",
        "simulate",
        "train",
    ):
        assert f"\n    {name}" in out
        assert run(name, "--help")[0] == 0


def test_segment_then_evaluate_then_measure(run, sample, tmp_path):
    code, out, err = run("segment", sample, "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    assert "nuclei in" in out
    for ending in ("_rois.zip", "_measurements.csv", "_overlay.png"):
        assert str(tmp_path / "out" / f"tissue{ending}") in out
    labels, zipped = (tmp_path / "out" / f"tissue{ending}" for ending in ("_labels.tif", "_rois.zip"))
    code, out, _ = run("evaluate", zipped, labels, "--json", tmp_path / "scores.json")
    assert code == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["images"][0]["f1"] == scores["mean"]["f1"] == scores["pooled"]["f1"] == 1.0
    assert scores["images"][0]["hausdorff_px"] == 0.0
    code, _, _ = run("measure", zipped, sample, "-o", tmp_path / "table.csv")
    assert code == 0
    with (tmp_path / "table.csv").open() as one, (tmp_path / "out" / "tissue_measurements.csv").open() as two:
        by_rois, by_segment = list(csv.DictReader(one)), list(csv.DictReader(two))
    assert [row["Area"] for row in by_rois] == [row["Area"] for row in by_segment]


def test_outputs_are_refused_before_the_work_and_kept(run, sample, tmp_path):
    (tmp_path / "tissue_run.json").write_text("mine")
    code, _out, err = run("segment", sample, "-o", tmp_path)
    assert code == 1
    assert "tissue_run.json exists; give --overwrite" in one_line(err)
    assert (tmp_path / "tissue_run.json").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_two_inputs_of_one_stem_are_refused(run, sample, tmp_path):
    other = tmp_path / "b" / "tissue.png"
    code, _, err = run("segment", sample, other, "-o", tmp_path / "out")
    assert code == 2
    assert "would write the same files" in one_line(err)
    assert not (tmp_path / "out").exists()


def test_a_bad_image_does_not_stop_the_others(run, sample, tmp_path):
    bad = tmp_path / "bad.tif"
    tifffile.imwrite(bad, np.full((4, 4), np.nan, np.float32))
    code, out, err = run("segment", bad, sample, "-o", tmp_path / "out", "--size", "128")
    assert code == 1
    assert "16 pixels that are NaN" in err
    assert "tissue.tif:" in out
    assert (tmp_path / "out" / "tissue_rois.zip").is_file()


def test_plane_of_a_stack(run, sample, tmp_path):
    pixels = read_image(sample).pixels
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([np.zeros_like(pixels), pixels]), imagej=True)
    code, _, err = run("segment", tmp_path / "stack.tif", "-o", tmp_path / "out")
    assert code == 1
    assert "a stack of 2 planes; choose one with --plane 1 to 2" in one_line(err)
    code, out, err = run("segment", tmp_path / "stack.tif", "-o", tmp_path / "out", "--plane", "2", "--size", "300")
    assert code == 0
    assert "plane 2 of 2" in one_line(err)
    assert {roi.position for roi in rois.read_rois(tmp_path / "out" / "stack_rois.zip")} == {2}
    assert " 0 nuclei" not in out


def test_preprocess(run, sample, tmp_path):
    code, out, err = run("preprocess", sample, "-o", tmp_path / "small.tif", "--size", 128, "--blur", 2, "--equalize")
    assert (code, err) == (0, "")
    small = read_image(tmp_path / "small.tif")
    assert small.shape == (128, 128)
    assert small.calibration == Calibration(0.64, 0.64, "micron")
    assert "128 x 128, uint8" in out
    code, _, err = run("preprocess", sample, "-o", tmp_path / "small.tif")
    assert code == 1
    assert "exists; give --overwrite" in one_line(err)


def test_labels_to_rois_and_back(run, tmp_path):
    labels = np.zeros((30, 40), np.int32)
    labels[2:9, 3:11], labels[20:, 30:] = 3, 70_000
    write_labels(tmp_path / "a.tif", labels)
    write_tiff(tmp_path / "like.tif", np.zeros((30, 40), np.uint8), calibration=Calibration(0.5, 0.5, "nm"))
    assert run("labels-to-rois", tmp_path / "a.tif", "-o", tmp_path / "a.zip")[:2] == (0, f"{tmp_path}/a.zip: 2 ROIs\n")
    code, _, err = run("rois-to-labels", tmp_path / "a.zip", "--like", tmp_path / "like.tif", "-o", tmp_path / "b.tif")
    assert (code, err) == (0, "")
    np.testing.assert_array_equal(read_labels(tmp_path / "b.tif")[0], labels)
    assert read_image(tmp_path / "b.tif").calibration == Calibration(0.5, 0.5, "nm")


def test_simulate_and_train(run, tmp_path):
    assert run("simulate", tmp_path / "d", "--count", 4, "--size", 128, "--diameter", 20, "--no-localizations")[0] == 0
    words = ["--epochs", 1, "--steps", 1, "--batch", 1, "--patch", 32, "--rays", 8, "--validation", 0.5]
    code, out, err = run("train", tmp_path / "d", "-o", tmp_path / "m", *words)
    assert (code, err) == (0, "")
    assert "epoch 1/1: loss" in out
    code, out, err = run("segment", tmp_path / "d" / "images" / "tissue_0_0000.tif", "-o", tmp_path / "o",
                         "--model", tmp_path / "m", "--size", 64)  # fmt: skip
    assert code == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "SUBCOMMAND"),
        (("segmnt",), 2, "segmnt"),
        (("segment", "x.tif"), 2, "-o/--output"),
        (("segment", "x.tif", "-o", "out", "--blurr", "2"), 2, "--blurr"),
        (("segment", "x.tif", "-o", "out", "--blur", "x"), 2, "--blur 'x': give a number from 0 to 100"),
        (("segment", "x.tif", "-o", "out", "--probability", "2"), 2, "--probability '2': give a number from 0.05 to 1"),
        (("segment", "x.tif", "-o", "out", "--size", "big"), 2, "or 'auto'"),
        (("segment", "x.tif", "-o", "out", "--plane", "0"), 2, "--plane '0': give a whole number of at least 1"),
        (("segment", "x.tif", "-o", "out", "--nms", "nan"), 2, "--nms 'nan'"),
        (("segment", "x.tif", "-o", "out"), 1, "no file x.tif; check the name"),
        (("segment", "x.tif", "-o", "out", "--model", "nope"), 1, "no model 'nope'; give a model folder or one of"),
        (("preprocess", "x.tif", "-o", "y.tif"), 1, "no file x.tif"),
        (("measure", "x.zip", "x.tif", "-o", "y.csv"), 1, "no file x.tif"),
        (("labels-to-rois", "x.tif", "-o", "y.zip"), 1, "no file x.tif"),
        (("evaluate", "x.tif", "y.tif"), 1, "x.tif"),
        (("evaluate", "x.tif", "y.tif", "--iou", "1.5"), 2, "--iou '1.5'"),
        (("train", "nowhere", "-o", "m"), 1, "nowhere"),
        (("train", "-o", "m"), 2, "give either a folder of images or --simulate N"),
        (("train", "nowhere", "-o", "m", "--simulate", "2"), 2, "give either a folder of images or --simulate N"),
        (("train", "-o", "m", "--simulate", "2", "--shapes", "no"), 1, "no/labels holds no label images; give the"),
        (("train", "-o", "m", "--simulate", "2", "--start-from", "nope"), 1, "no model 'nope'; give a model folder or"),
        (("train", "-o", "m", "--simulate", "2", "--start-from", "stardist-storm", "--grid", "4"), 2, "--grid 4: "),
        (("train", "-o", "m", "--simulate", "2", "--workers", "0"), 2, "--workers '0': give a whole number from 1"),
        (("simulate", "d", "--shapes", "no"), 1, "no/labels holds no label images; give the folder above labels/"),
        (("simulate", "d", "--pixel-size", "0"), 2, "--pixel-size '0': give a number from 0.1 to 10000"),
        (("simulate", "d", "--kind", "fish"), 2, "--kind 'fish': choose from tissue, cell"),
        (("doctor", "--fiji", "/no/such/Fiji"), 1, "/no/such/Fiji"),
    ],
)
def test_wrong_calls_are_one_line(run, tmp_path, monkeypatch, words, code, message):
    monkeypatch.chdir(tmp_path)
    got, out, err = run(*words)
    assert got == code
    assert message in (one_line(err) if words[:1] != ("doctor",) else out)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_is_one_line(run, monkeypatch, tmp_path):
    def stopped(folder, settings, *, track):
        raise KeyboardInterrupt

    monkeypatch.setattr("stormseg_ij.simulate.write_dataset", stopped)
    code, _, err = run("simulate", tmp_path / "d")
    assert code == 1
    assert "stopped" in one_line(err)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("preprocess", "a.tif", "-o", "b.png"), 2, "--output b.png: give a name that ends in .tif or .tiff"),
        (("rois-to-labels", "a.zip", "--like", "a.tif", "-o", "b"), 2, "ends in .tif or .tiff"),
        (("labels-to-rois", "a.tif", "-o", "b.csv"), 2, "ends in .zip or .roi"),
        (("measure", "a.tif", "a.tif", "-o", "b.xlsx"), 2, "ends in .csv"),
        (("measure", "a.tif", "a.tif", "-o", "dir.csv", "--overwrite"), 1, "dir.csv is a folder; give the name of a"),
        (("measure", "a.tif", "a.tif", "-o", "a.tif/b.csv"), 1, "a.tif is a file; give a folder"),
        (("measure", "a.tif", "a.tif", "-o", "old.csv"), 1, "old.csv exists; give --overwrite to replace it, or anoth"),
        (("preprocess", "a.tif", "-o", "./a.tif", "--overwrite"), 1, "a.tif is an input; give the output another name"),
        (("rois-to-labels", "a.zip", "--like", "a.tif", "-o", "a.tif", "--overwrite"), 1, "a.tif is an input"),
        (("evaluate", "a.tif", "a.tif", "--json", "a.tif", "--overwrite"), 2, "--json a.tif: give a name that ends in"),
        (("evaluate", "a.tif", "a.tif", "--json", "old.json"), 1, "old.json exists; give --overwrite"),
        (("segment", "a.tif", "-o", "a.tif"), 1, "a.tif is a file; give a folder"),
        (("segment", "a.tif", "-o", "a" * 300), 1, "is too long for a file or folder; give a shorter one"),
        (("segment", "a" * 240 + ".tif", "-o", "out"), 1, "is too long for a file or folder"),
        (("train", "dir.csv", "-o", "a.tif"), 1, "a.tif is a file; give a folder"),
        (("simulate", "a.tif"), 1, "a.tif is a file; give a folder"),
        (("segment", "dir.csv", "-o", "out"), 1, "dir.csv is a folder; give image files"),
        (("segment", "a.tif", "-o", "out", "--plane", "2"), 1, "it has one only: leave --plane out"),
        (("segment", "a.tif", "-o", "out", "--over"), 2, "--over"),
        (("preprocess", "a.tif", "-o", "b.tif", "--plane", "x"), 2, "--plane 'x': give a whole number of at least 1"),
        (("measure", "a.tif", "a.tif", "-o", "b.csv", "--plane", "0"), 2, "--plane '0': give a whole number of at"),
        (("measure", "far.zip", "a.tif", "-o", "b.csv"), 1, "far.zip: no ROI covers a pixel of the image of 4 x 3 pix"),
        (
            ("rois-to-labels", "high.zip", "--like", "a.tif", "-o", "b.tif"),
            1,
            "high.zip has a ROI nucleus_16777217, but",
        ),
        (("doctor", "--heap-mb", "10"), 2, "--heap-mb"),
    ],
)
def test_what_cannot_end_well_is_refused_before_the_work(run, tmp_path, monkeypatch, words, code, message):
    def started(*_):
        raise AssertionError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(images, "start", started)
    write_tiff("a.tif", np.ones((3, 4), np.uint8))
    for name in ("old.csv", "old.json"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "dir.csv").mkdir()
    rois.write_rois("a.zip", [])
    rois.write_rois("far.zip", rois.labels_to_rois(np.eye(50, dtype=np.int32)[:, ::-1] * np.arange(50, dtype=np.int32)))
    rois.write_rois("high.zip", rois.labels_to_rois(np.full((1, 1), 2**24 + 1, np.int32)))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    got, _, err = run(*words)
    assert (got, message in one_line(err)) == (code, True), err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_folder_that_may_not_be_written_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    code, _, err = run("measure", "a.zip", "a.tif", "-o", tmp_path / "a" / "b.csv")
    assert code == 1
    assert f"you may not write to {tmp_path}; choose another folder" in one_line(err)


def test_simulate_replaces_images_only_if_asked(run, tmp_path):
    words = ("simulate", tmp_path, "--size", 64, "--diameter", 20, "--no-localizations", "--count")
    assert run(*words, 1)[:2] == (0, f"{tmp_path}: 1 image of kind tissue\n")
    for made in list(tmp_path.rglob("tissue_0_0000.*")):
        made.rename(made.with_stem("tissue_0_0001"))
    code, _, err = run(*words, 2)
    assert code == 1
    assert "tissue_0_0001.tif exists; give --overwrite" in one_line(err)
    assert not (tmp_path / "images" / "tissue_0_0000.tif").exists()
    (tmp_path / "images" / "tissue_0_0001.tif").unlink()
    assert "labels/tissue_0_0001.tif exists; give --overwrite" in one_line(run(*words, 2)[2])
    assert run(*words, 2, "--overwrite")[0] == 0


def test_no_table_of_an_image_that_was_replaced_stays(run, tmp_path):
    words = ("simulate", tmp_path, "--size", 64, "--diameter", 20, "--count", 1)
    assert run(*words)[0] == 0
    assert (tmp_path / "localizations" / "tissue_0_0000.csv").is_file()
    assert run(*words, "--overwrite", "--no-localizations")[0] == 0
    assert not (tmp_path / "localizations" / "tissue_0_0000.csv").exists()


def test_simulate_writes_the_pixel_size_that_is_given(run, tmp_path):
    words = ("--size", 64, "--diameter", 20, "--pixel-size", 75, "--count", 1, "--no-localizations")
    assert run("simulate", tmp_path, *words)[0] == 0
    assert read_image(tmp_path / "images" / "tissue_0_0000.tif").calibration == Calibration(0.075, 0.075, "micron")


def test_the_scale_is_told(run, sample, tmp_path):
    _, out, _ = run("segment", sample, "-o", tmp_path, "--size", 128)
    assert "(scaled to 128 pixels)" in out


def test_rois_that_do_not_fit_are_summed_up(run, tmp_path):
    labels = np.zeros((40, 3), np.int32)
    labels[::4, 1] = np.arange(1, 11)
    rois.write_rois(tmp_path / "a.zip", rois.labels_to_rois(labels))
    write_tiff(tmp_path / "a.tif", np.ones((6, 3), np.uint8))
    code, out, err = run("measure", tmp_path / "a.zip", tmp_path / "a.tif", "-o", tmp_path / "a.csv")
    assert (code, out) == (0, f"{tmp_path}/a.csv: 2 nuclei\n")
    assert err.splitlines()[2:] == [
        "stormseg: a.zip: nucleus_0005: left out: it lies outside the image",
        "stormseg: a.zip: and 5 more",
        "stormseg: a.zip: 8 of 10 ROIs lie outside the image of 3 x 6 pixels: wrong image?",
    ]


def test_evaluate_names_what_it_leaves_out_and_rounds_counts(run, tmp_path):
    for folder, names in (("p", "abc"), ("t", "abcd")):
        for i, name in enumerate(names):
            write_labels(tmp_path / folder / f"{name}.tif", np.arange(4 + (i == 0), dtype=np.int32)[None, :])
    code, out, err = run("evaluate", tmp_path / "p", tmp_path / "t")
    assert code == 0
    assert one_line(err) == f"stormseg: {tmp_path}/t/d.tif has no partner; left out of the scores\n"
    lines = {line.split()[0]: line.split()[-2:] for line in out.splitlines()}
    assert (lines["a"], lines["mean"], lines["pooled"]) == (["4", "4"], ["3.3", "3.3"], ["10", "10"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(
    ("shell", "code", "errors"),
    [
        (">&-", 0, ""),
        (">/dev/full", 1, "stormseg: cannot write output: [Errno 28] No space left on device\n"),
        ("| true; exit ${PIPESTATUS[0]}", 1, ""),
    ],
)
def test_output_that_nobody_takes_is_no_traceback(tmp_path, shell, code, errors):
    write_tiff(tmp_path / "a.tif", np.ones((3, 4), np.uint8))
    command = f"{shlex.quote(sys.executable)} -m stormseg_ij.cli evaluate a.tif a.tif {shell}"
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, check=False)
    told = "".join(line for line in ran.stderr.splitlines(keepends=True) if "binary image" not in line)
    assert (ran.returncode, told) == (code, errors)


def test_no_handler_meets_a_broken_pipe_with_a_traceback(run, monkeypatch, tmp_path):
    def gone(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr("stormseg_ij.simulate.write_dataset", gone)
    assert run("simulate", tmp_path / "d") == (1, "", "")


def test_as_a_program_it_leaves_with_the_right_code_and_all_output(tmp_path):
    def stormseg(*words):
        command = [sys.executable, "-m", "stormseg_ij.cli", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    good, wrong, bad = stormseg("--version"), stormseg("segment"), stormseg("measure", "a.zip", "b.tif", "-o", "c.csv")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("stormseg ")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--help" in one_line(wrong.stderr)
    assert (bad.returncode, bad.stdout) == (1, "")
    assert "no file b.tif" in one_line(bad.stderr)


def test_help_and_version_in_a_fresh_process_load_no_engine():
    code = "import sys; from stormseg_ij.cli import main\ntry: main(['segment', '--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'jpype', 'scyjava', 'tensorflow', 'keras', 'stardist', 'numpy'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"
