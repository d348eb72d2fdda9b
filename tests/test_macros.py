"""Whole macros in an ImageJ without a display: what they give back, print, and complain of, and the macros we ship."""

import csv
import json
import shutil
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile

from stormseg_ij.bridge.macros import read_macro
from stormseg_ij.bridge.unattended import new_lines
from stormseg_ij.errors import BridgeError, SettingsError

NO_XVFB = "needs a display; install Xvfb (apt-get install xvfb), and stormseg macro uses it"
IMAGE = 'newImage("a", "8-bit ramp", 64, 64, 1);\n'

RUN = """
import json, sys, threading
from pathlib import Path
from stormseg_ij import bridge
from stormseg_ij.bridge.macros import run_macro, run_macro_file
from stormseg_ij.errors import StormsegError
ij = bridge.start(macros=True)
assert ij.headless and ij.macros
results = {{}}
for name, source in json.loads(Path({cases!r}).read_text()).items():
    said, result = [], {{}}
    try:
        result["returned"] = run_macro(ij, source, "an argument", name="some.ijm", say=said.append)
    except StormsegError as error:
        result["error"] = str(error)
    results[name] = {{**result, "said": said}}
    run_macro(ij, "close('*'); run('Clear Results');")
for number, (path, argument, _) in enumerate(json.loads(Path({calls!r}).read_text())):
    try:
        run_macro_file(ij, Path(path), argument)
    except StormsegError as error:
        results[f"call {{number}}"] = str(error)
Path({results!r}).write_text(json.dumps(results))
"""

GOOD = {
    "an argument and a result": ('return "got " + getArgument();', "got an argument", []),
    "lines as they come": ('print("hä\\nzwei");\nprint(1.5, "x");', None, ["hä\nzwei", "1.5 x"]),
    "a macro block": ('macro "one" { print("in it"); }', None, ["in it"]),
    "leaving without a word": ('print("a"); exit; print("b");', None, ["a"]),
    "leaving without a word, as a call": ('exit();\nprint("b");', None, []),
    "commands with options": (f'{IMAGE}run("Gaussian Blur...", "sigma=2");\nprint(getValue("Mean"));', None, ["126"]),
    "a table without its rows": (f'{IMAGE}makeRectangle(1, 1, 5, 5);\nrun("Measure");\nprint(nResults);', None, ["1"]),
    "a message": ('showMessage("Title", "text");\nprint("after");', None, ["text", "after"]),
    "a macro inside that ends": (
        'print("got " + eval("exit(\\"inner\\");"));\nprint("on");', None, ["inner", "got [aborted]", "on"],
    ),
    "a macro inside that is wrong": (
        'print("got " + eval("foo(;"));', None, ["Undefined identifier in line 1", "got [aborted]"],
    ),
    "batch mode": ('print(is("Batch Mode"));', None, ["1"]),
}  # fmt: skip

BAD = {
    "a syntax error": ('x = 1;\nprint(x;\nprint("after");', "some.ijm, line 2: ')' expected (print(x;)"),
    "a name that is not known": ("\n\ny = foo(2);", "some.ijm, line 3: Undefined identifier (y = foo(2);)"),
    "an index": ("a = newArray(3);\nprint(a[5]);", "some.ijm, line 2: Index (5) out of 0-2 range (print(a[5]);)"),
    "in a function": (
        "f();\nfunction f() {\n    x = y + 1;\n}", "some.ijm, line 3: Undefined variable (x = y + 1;)",
    ),
    "leaving with a message": ('print("a");\nexit("bad\\nthing");', "some.ijm, line 2: bad thing"),
    "no image": ('run("Gaussian Blur...", "sigma=2");', "There are no images open"),
    "no such command": ('run("No Such Command", "");', 'Unrecognized command: "No Such Command" (run('),
    "no such file": ('open("/no/such.tif");\nprint("after");', "line 1: File not found: /no/such.tif"),
    "a file that cannot be saved": (f'{IMAGE}saveAs("Tiff", "/no/such/x.tif");\nprint("after");', "line 2: "),
    "the ROI Manager": (f'{IMAGE}roiManager("reset");', f'some.ijm, line 2: roiManager("reset"); {NO_XVFB}'),
    "its command": (f'{IMAGE}run("ROI Manager...");\nprint("after");', f'run("ROI Manager..."); {NO_XVFB}'),
    "what a command puts into it": (
        f'{IMAGE}setThreshold(50, 255);\nrun("Analyze Particles...", "add");\nprint("after");', NO_XVFB,
    ),
    "a dialog": ('Dialog.create("x");\nDialog.addNumber("n", 1);\nDialog.show();', NO_XVFB),
    "waiting for a person": ('waitForUser("draw");', NO_XVFB),
    "choosing a folder": ('x = getDirectory("Choose");', "line 1: it was canceled, or asks a person"),
}  # fmt: skip


WRONG = [
    ("segment_measure_save.ijm", "sise=5", 'No setting "sise"; choose from image, output, options, overwrite, quiet'),
    ("segment_measure_save.ijm", "image=[/a b", "A bracket is not closed in"),
    ("segment_measure_save.ijm", "", "There is no image: open one first"),
    ("segment_measure_save.ijm", "overwrite=2", '"overwrite=2" is neither 0 nor 1'),
    ("preprocess_variants.ijm", "sizes=512,no", "No size in sizes=512,no"),
    ("preprocess_variants.ijm", "blur=much", 'No number in "blur=much"'),
    ("batch_folder.ijm", "input=[/no/such folder]", "input=/no/such folder is no folder"),
    ("score_folder.ijm", "results=[/no/such] truth=[/no]", "results=/no/such is no folder"),
    ("preprocess.ijm", "size=64", "There is no image: open one first."),
]


@pytest.fixture(scope="module")
def results(run_python, tmp_path_factory, repository):
    """What all cases came to, in one ImageJ."""
    folder = tmp_path_factory.mktemp("macros")
    cases = {name: case[0] for name, case in {**GOOD, **BAD}.items()}
    (folder / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    calls = [(str(repository / "macros" / name), *rest) for name, *rest in WRONG]
    (folder / "calls.json").write_text(json.dumps(calls), encoding="utf-8")
    code = RUN.format(**{name: str(folder / f"{name}.json") for name in ("cases", "calls", "results")})
    done = run_python(code, DISPLAY=None, timeout=180.0)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ""
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", GOOD)
def test_a_macro_runs(results, name):
    assert results[name] == {"returned": GOOD[name][1], "said": GOOD[name][2]}


@pytest.mark.parametrize("name", BAD)
def test_a_macro_that_fails_is_one_line(results, name):
    error = results[name]["error"]
    assert BAD[name][1] in error
    assert error.startswith("some.ijm, line ")
    assert "\n" not in error
    assert "after" not in results[name]["said"]


def test_an_imagej_that_was_not_made_for_macros_says_so(run_python):
    code = """
from stormseg_ij import bridge
from stormseg_ij.bridge.macros import run_macro
ij = bridge.start()
for call in (lambda: run_macro(ij, "x = 1;"), lambda: bridge.start(macros=True)):
    try:
        call()
    except bridge.BridgeError as error:
        print(error)
"""
    lines = run_python(code).stdout.splitlines()
    assert lines[0].startswith("this ImageJ runs no macro (macro): start it with macros=True")
    assert lines[1].startswith(
        "ImageJ already runs in this process and was not made to run macros; start a new process"
    )


def test_an_imagej_for_macros_is_also_one_without(run_python):
    done = run_python("""
from stormseg_ij import bridge
ij = bridge.start(macros=True)
assert bridge.start() is ij and bridge.start(macros=True) is ij
print(ij.version)
""")
    assert (done.stderr, done.returncode) == ("", 0)


def test_other_errors_of_a_macro_are_not_lost(run_python):
    done = run_python("""
from stormseg_ij import bridge
from stormseg_ij.bridge.macros import run_macro
def say(text):
    raise OSError(28, "disk full")
try:
    run_macro(bridge.start(macros=True), "print(1);", say=say)
except OSError as error:
    print(error)
""")
    assert done.stdout.strip() == "[Errno 28] disk full", done.stderr


# Macro files


def test_macro_files_are_utf_8_or_latin_1(tmp_path):
    path = tmp_path / "a.ijm"
    for data in ("µm".encode(), "\ufeffµm".encode(), "µm".encode("latin-1")):
        path.write_bytes(data)
        assert read_macro(path) == "µm"


def test_what_is_no_macro_file_is_one_line(tmp_path):
    with pytest.raises(SettingsError, match=r"a.py is no macro; give a file that ends in .ijm or .txt"):
        read_macro(tmp_path / "a.py")
    with pytest.raises(BridgeError, match=r"cannot read the macro .*a.ijm: No such file or directory; check its name"):
        read_macro(tmp_path / "a.ijm")


@pytest.mark.parametrize(
    ("before", "now", "new"),
    [
        ([], ["a"], ["a"]),
        (["a"], ["a"], []),
        (["a", "b"], ["a", "b", "c", "d"], ["c", "d"]),
        (["a", "10 %"], ["a", "20 %", "c"], ["20 %", "c"]),
        (["a", "b"], [], []),
        (["a", "b"], ["c"], ["c"]),
        (["a", "b"], ["a"], []),
    ],
)
def test_new_lines_of_the_log(before, now, new):
    assert new_lines(before, now) == new


# The macros that we ship, as a user runs them


@pytest.fixture(scope="module")
def stormseg(run_python, repository):
    """Run `stormseg macro` with one of our macros, without a display."""

    def run(name, argument):
        call = ["macro", str(repository / "macros" / name), argument, "--headless"]
        return run_python(f"from stormseg_ij.cli import main\nraise SystemExit(main({call!r}))", timeout=300.0)

    return run


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Two simulated images with their labels."""
    from stormseg_ij.cli import main

    folder = tmp_path_factory.mktemp("simulated data")
    assert main(["simulate", str(folder), "--count", "2", "--seed", "5", "--size", "256"]) == 0
    return folder


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_preprocessing_variants(stormseg, simulated, tmp_path, dtype):
    image = next((simulated / "images").glob("*0000.tif"))
    tifffile.imwrite(tmp_path / "an image.tif", tifffile.imread(image).astype(dtype), imagej=True)
    argument = f"image=[{tmp_path / 'an image.tif'}] sizes=128,64 blur=1.5 output=[{tmp_path / 'out'}]"
    done = stormseg("preprocess_variants.ijm", argument)
    assert (done.returncode, done.stderr) == (0, "")
    for size in (128, 64):
        with tifffile.TiffFile(tmp_path / "out" / f"an image_{size}.tif") as file:
            pixels, labels = file.asarray(), file.imagej_metadata["Labels"]
        assert pixels.shape == (3, size, size)
        assert pixels.dtype == dtype
        assert labels == [f"{what}, size {size}" for what in ("resized", "blurred, sigma 1.5", "equalized")]
        assert pixels[1].std() < pixels[0].std()
        assert pixels[2].astype(float).mean() > 1.5 * pixels[0].mean()
    if dtype == "uint8":  # once is enough: it does not depend on the pixels
        again = stormseg("preprocess_variants.ijm", argument)
        assert again.returncode == 1
        assert "an image_128.tif exists; give overwrite=1 to replace it" in again.stderr


def test_a_folder_is_segmented_measured_and_scored(stormseg, simulated, tmp_path):
    inputs, output = tmp_path / "in put", tmp_path / "out put"
    shutil.copytree(simulated / "images", inputs)
    (inputs / "notes.txt").write_text("no image", encoding="utf-8")
    (inputs / "bad.tif").write_text("no image either", encoding="utf-8")
    tifffile.imwrite(inputs / "empty.tif", np.zeros((90, 80), np.uint8))
    argument = f"input=[{inputs}] output=[{output}]"
    done = stormseg("batch_folder.ijm", argument)
    assert done.returncode == 1
    assert "3 images segmented" in done.stdout
    assert "1 of 4 images failed: bad.tif: " in done.stderr
    assert done.stderr.count("\n") == 1
    stems = sorted(path.stem for path in (simulated / "images").iterdir())
    assert sorted(path.name for path in output.iterdir()) == sorted(
        ["empty_labels.tif"]
        + [f"{stem}_{end}" for stem in stems for end in ("labels.tif", "rois.tif", "measurements.csv")]
    )
    for stem in stems:
        labels = tifffile.imread(output / f"{stem}_labels.tif")
        count = len(np.unique(labels)) - 1
        assert count > 1
        assert len(rows(output / f"{stem}_measurements.csv")) == count
        with tifffile.TiffFile(output / f"{stem}_rois.tif") as file:
            assert len(file.imagej_metadata["Overlays"]) == count
    assert tifffile.imread(output / "empty_labels.tif").max() == 0

    (inputs / "bad.tif").unlink()
    times = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    again = stormseg("batch_folder.ijm", argument)
    assert again.returncode == 0
    assert "0 images segmented, 3 left out, which have results" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in output.iterdir()} == times

    argument = f"results=[{output}] truth=[{simulated / 'labels'}]"
    scored = stormseg("score_folder.ijm", argument)
    assert "Not scored: empty_labels.tif: no true nuclei of that name" in scored.stderr
    table = rows(output / "scores.csv")
    assert [row["Image"] for row in table] == [f"{stem}_labels.tif" for stem in stems]
    assert all(float(row["F1"]) > 0.3 for row in table)
    assert "scores.csv exists; give overwrite=1" in stormseg("score_folder.ijm", argument).stderr


@pytest.mark.parametrize("other", ["a.png", "A.tiff"])
def test_two_images_never_share_the_names_of_their_results(stormseg, tmp_path, other):
    inputs, output = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    for name in ("a.tif", "b.tif", other):
        imageio.imwrite(inputs / name, np.zeros((90, 80), np.uint8))
    (inputs / "a.txt").write_text("no image", encoding="utf-8")
    folder = stormseg("batch_folder.ijm", f"input=[{inputs}] output=[{output}]")
    assert folder.returncode == 1
    assert " would have results of the same names; rename one of them" in folder.stderr
    assert "a.tif" in folder.stderr
    assert other in folder.stderr
    assert "results (" not in folder.stdout
    assert list(output.iterdir()) == []

    if other == "a.png":
        argument = f"image=[{{}}] output=[{output}] overwrite=1"
        assert stormseg("segment_measure_save.ijm", argument.format(inputs / "a.tif")).returncode == 0
        written = {path: path.read_bytes() for path in output.iterdir()}
        assert [path.name for path in written] == ["a_labels.tif"]
        second = stormseg("segment_measure_save.ijm", argument.format(inputs / "a.png"))
        assert second.returncode == 1
        assert "a_labels.tif may be of a.tif: the results of a.png would have the same names" in second.stderr
        assert {path: path.read_bytes() for path in output.iterdir()} == written


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_is_wrong_with_an_argument_is_one_line(results, number):
    macro, _, message = WRONG[number]
    error = results[f"call {number}"]
    assert error.startswith(f"{macro}, line ")
    assert message in error
    assert "\n" not in error


def test_a_nucleus_model_that_is_not_there_stops_the_macro(stormseg, simulated, tmp_path):
    image = next((simulated / "images").glob("*.tif"))
    argument = f"image=[{image}] output=[{tmp_path}] options=[modle=none]"
    done = stormseg("segment_measure_save.ijm", argument)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no setting 'modle'; did you mean 'model'?" in done.stderr
    assert list(tmp_path.iterdir()) == []


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))
