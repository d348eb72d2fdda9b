"""Macros where ImageJ has a window and nobody sits in front of it: nothing waits, and the ROI Manager is there."""

import csv
import shutil
import time
from argparse import Namespace
from threading import Event, Thread

import numpy as np
import pytest
import tifffile
from roifile import roiread

from stormseg_ij.bridge.desktop import Desktop
from stormseg_ij.bridge.macros import run_macro, run_macro_file
from stormseg_ij.cli.gui import gui
from stormseg_ij.errors import BridgeError
from stormseg_ij.rois import labels_to_rois
from stormseg_ij.store import Store

pytestmark = pytest.mark.window

IMAGE = 'newImage("a", "8-bit ramp", 64, 64, 1);\n'

BAD = {
    "a syntax error": ("x = 1;\nprint(x;", "some.ijm, line 2: ')' expected (print(x;)"),
    "leaving with a message": ('exit("bad\\nthing");', "some.ijm, line 1: bad thing"),
    "no image": ('run("Gaussian Blur...", "sigma=2");', "line 1: There are no images open"),
    "no such file": ('open("/no/such.tif");', "line 1: File not found: /no/such.tif"),
    "a file that cannot be saved": (f'{IMAGE}saveAs("Tiff", "/no/such/x.tif");', "line 2: "),
    "a dialog of the macro": (
        'Dialog.create("My title");\nDialog.addNumber("How many", 1);\nDialog.show();',
        "some.ijm, line 3: the dialog 'My title' asks a person: How many (Dialog.show();)",
    ),
    "a dialog of a command": (f'{IMAGE}run("Gaussian Blur...");', "the dialog 'Gaussian Blur...' asks a person"),
    "a question": ('x = getBoolean("really?");', "asks a person: really?"),
    "a number": ('x = getNumber("n", 3);', "asks a person: n"),
    "waiting for a person": ('waitForUser("draw");', "the dialog 'Action Required' asks a person: draw"),
    "choosing a folder": ('x = getDirectory("Choose");', "the dialog 'Choose' asks a person"),
    "choosing a file": ('x = File.openDialog("Which");', "the dialog 'Which' asks a person"),
}


@pytest.fixture(autouse=True)
def _clean(ij):
    yield
    run_macro(ij, 'if (isOpen("Exception")) close("Exception");\nclose("*");\nrun("Clear Results");')


@pytest.mark.parametrize("name", BAD)
def test_a_macro_that_fails_or_asks_is_one_line(ij, name):
    source, message = BAD[name]
    with pytest.raises(BridgeError) as caught:
        run_macro(ij, f'{source}\nprint("after");', name="some.ijm", say=pytest.fail)
    assert message in str(caught.value)
    assert str(caught.value).startswith("some.ijm, line ")
    assert "\n" not in str(caught.value)


def test_an_exception_in_a_command_ends_the_macro(ij):
    from scyjava import jimport

    said = []

    def show_exception(text):
        said.append(text)
        trace = "ImageJ 1.54p\n \njava.lang.NullPointerException: no such thing\n\tat ij.Some.where(Some.java:7)"
        jimport("ij.text.TextWindow")("Exception", trace, 500, 340)

    with pytest.raises(BridgeError, match=r"some.ijm, line \d: java.lang.NullPointerException: no such thing"):
        run_macro(ij, 'print("a");\nwait(3000);\nprint("after");', name="some.ijm", say=show_exception)
    assert said == ["a"]


def test_what_is_printed_comes_and_what_is_returned(ij):
    said = []
    source = 'print("\\\\Clear");\nprint("hä");\nshowMessage("text");\nwait(300);\nprint("b", is("Batch Mode"));'
    assert run_macro(ij, f"{source}\nreturn getArgument();", "an argument", say=said.append) == "an argument"
    assert sorted(said) == ["b 0", "hä", "text"]


def test_batch_mode_ends_with_the_macro(ij):
    from scyjava import jimport

    run_macro(ij, f"setBatchMode(true);\n{IMAGE}")
    assert not jimport("ij.macro.Interpreter").isBatchMode()
    assert jimport("ij.WindowManager").getImageCount() == 0


def test_the_options_of_nested_commands_arrive(ij):
    said = []
    run_macro(ij, f'{IMAGE}eval("run(\\"Size...\\", \\"width=7 height=9\\");");\nprint(getWidth());', say=said.append)
    assert said == ["7"]


# The commands and the window


def test_the_commands_go_out_of_imagej_when_the_workbench_closes(ij):
    from scyjava import jimport

    from stormseg_ij import commands

    menus = jimport("ij.Menus")

    def ours():
        plugins = menus.getImageJMenu("Plugins")
        submenus = [str(plugins.getItem(i).getLabel()) for i in range(plugins.getItemCount())].count("StormSeg")
        names = {command.name for command in commands.COMMANDS if command is not None}
        keys = [str(key) for key in menus.getCommands().keySet()]
        return submenus, len(names & set(keys)), len(names & {str(name) for name in menus.getShortcuts().values()})

    tables = [dict(menus.getCommands()), dict(menus.getShortcuts())]
    workbench = commands.install(ij, unattended=True)
    count = sum(command is not None for command in commands.COMMANDS)
    keys = sum(bool(command.shortcut) for command in commands.COMMANDS if command is not None)
    assert ours() == (1, count, keys)
    workbench.close()
    workbench.host.put_menu()  # as a look for changes would that is late
    assert ours() == (0, 0, 0)
    assert [dict(menus.getCommands()), dict(menus.getShortcuts())] == tables
    with pytest.raises(BridgeError, match="Unrecognized command"):
        run_macro(ij, 'run("Merge Nuclei");')


def test_gui_tells_of_saved_nuclei_of_every_image_that_is_opened(ij, tmp_path, monkeypatch):
    from scyjava import jimport

    image_j = jimport("ij.IJ")
    nuclei = list(labels_to_rois(np.eye(9, dtype=np.int32).repeat(5, 0).repeat(5, 1)))
    for name in ("one.tif", "two.tif", "three.tif"):
        tifffile.imwrite(tmp_path / name, np.zeros((45, 45), np.uint8))
        if name != "three.tif":
            Store.for_image(tmp_path, name).save(nuclei)
    done, hints = Event(), []

    def hinted(work):
        """Do something; tell whether there is a hint in the status bar after it."""
        image_j.showStatus("")
        work()
        end = time.monotonic() + 2.0
        while "Restore Nuclei" not in (text := str(jimport("ij.ImageJ").getStatusBarText())):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        assert text == "Nuclei of an earlier time are saved: Plugins > StormSeg > Restore Nuclei"
        return True

    def person():
        try:
            hints.append(hinted(lambda: None))  # that on the command line
            hints.append(hinted(lambda: image_j.open(str(tmp_path / "two.tif"))))
            hints.append(hinted(lambda: image_j.open(str(tmp_path / "three.tif"))))
            hints.append(hinted(lambda: image_j.newImage("one.tif", "8-bit", 45, 45, 1)))
            image_j.runMacro(f'close("two.tif");\nsetBatchMode(true);\nopen("{tmp_path / "two.tif"}");', "")
            hints.append(hinted(lambda: None))
        finally:
            done.set()
            jimport("java.lang.Thread").detach()

    monkeypatch.setattr(Desktop, "running", property(lambda _: not done.is_set()))
    Thread(target=person, daemon=True).start()
    assert gui(Namespace(images=[tmp_path / "one.tif"], fiji=ij.fiji, heap_mb=None)) == 0
    assert hints == [True, True, False, False, False]


# The macros that we ship


@pytest.fixture(scope="module")
def results(ij, repository, tmp_path_factory):
    """What three of our macros write of the sample, where the user has a ROI of another image in the ROI Manager."""
    from stormseg_ij import commands

    folder, said = tmp_path_factory.mktemp("my results"), []
    images, once, batch, truth = (folder / name for name in ("images", "once", "batch", "truth"))
    for made in (images, truth):
        made.mkdir()
    shutil.copy(repository / "stormseg_ij" / "samples" / "tissue.tif", images / "my tissue.tif")

    def run(name, argument):
        run_macro_file(ij, repository / "macros" / name, argument, say=said.append)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        workbench = commands.install(ij, unattended=True)
        try:
            run_macro(ij, f'{IMAGE}makeRectangle(1, 1, 5, 5);\nroiManager("add");\nclose();')
            run("segment_measure_save.ijm", f"image=[{images / 'my tissue.tif'}] output=[{once}]")
            run("batch_folder.ijm", f"input=[{images}] output=[{batch}]")
            run_macro(ij, 'print("holds " + roiManager("count"));', say=said.append)
            shutil.copy(once / "my tissue_rois.zip", truth)
            with pytest.raises(BridgeError, match="The ROI Manager holds ROIs, which could be taken for nuclei"):
                run("score_folder.ijm", f"results=[{once}] truth=[{truth}]")
            run_macro(ij, 'roiManager("reset");')
            run("score_folder.ijm", f"results=[{once}] truth=[{truth}]")
        finally:
            workbench.close()
            run_macro(ij, 'roiManager("reset");\nclose("*");')
    return folder, said


def rows(path):
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_segment_measure_save_saves_what_it_found(results):
    folder, said = results
    found = roiread(folder / "once" / "my tissue_rois.zip")
    labels = tifffile.imread(folder / "once" / "my tissue_labels.tif")
    assert len(found) == labels.max() > 10
    assert [row["ROI"] for row in rows(folder / "once" / "my tissue_measurements.csv")] == [roi.name for roi in found]
    assert [roi.name for roi in found] == [f"nucleus_{number:04}" for number in range(1, len(found) + 1)]
    assert f"{folder / 'once' / 'my tissue'}: {len(found)} nuclei" in said


def test_results_agree_with_themselves(results):
    (row,) = rows(results[0] / "once" / "scores.csv")
    assert (float(row["F1"]), float(row["FN %"]), float(row["FP %"])) == (1.0, 0.0, 0.0)


def test_a_batch_finds_the_same_and_leaves_the_roi_manager_alone(results):
    folder, said = results
    tables = [rows(folder / where / "my tissue_measurements.csv") for where in ("once", "batch")]
    assert [row["Area"] for row in tables[0]] == [row["Area"] for row in tables[1]]
    assert len(roiread(folder / "batch" / "my tissue_rois.zip")) == len(tables[0])
    assert f"holds {1 + len(tables[0])}" in said  # the user's, and those of the image that was segmented in its window
    assert any("1 images segmented" in text for text in said)


def test_the_variants_show_as_stacks(ij, repository):
    from scyjava import jimport

    run_macro(ij, f'open("{repository / "stormseg_ij" / "samples" / "tissue.tif"}");')
    run_macro_file(ij, repository / "macros" / "preprocess_variants.ijm", "sizes=96,64")
    manager = jimport("ij.WindowManager")
    assert sorted(str(title) for title in manager.getImageTitles()) == ["tissue.tif", "tissue_64", "tissue_96"]
    stack = manager.getImage("tissue_64")
    assert (stack.getStackSize(), stack.getWidth(), stack.getHeight()) == (3, 64, 64)
    assert stack.getWindow() is not None
