"""Long work in ImageJ's window: stopped by Escape, by closing the image or ImageJ; and what goes on meanwhile."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from person import until

from stormseg_ij.image import Calibration, Image, read_image, write_tiff

pytestmark = pytest.mark.window

SIDE_PX = 3000
SEGMENT = "Segment Nuclei"
STOP_SECONDS = 15.0

QUIT = """
import faulthandler, sys, threading
faulthandler.dump_traceback_later(160, exit=True)  # where it hangs is worth more than that it does
sys.path.insert(0, {folder!r})
from stormseg_ij import display
from stormseg_ij.cli import main

screen = display.start()

def quit_in_the_middle():
    from person import Person, until
    import scyjava
    until(scyjava.jvm_started, "Java", seconds=60)
    until(lambda: scyjava.jimport("ij.IJ").getInstance(), "ImageJ", seconds=60)
    someone = Person()
    imp = until(lambda: someone.image("big.tif"), "the image", seconds=60)
    until(lambda: imp.getWindow() is not None and imp.getWindow().isShowing(), "its window")
    someone.put_at(imp.getWindow(), 20, 100)
    someone.choose("Plugins", "StormSeg", "Segment Nuclei")
    someone.answer("Segment Nuclei", "OK")
    until(lambda: any(thread.name.startswith("stormseg_") for thread in threading.enumerate()), "work", seconds=60)
    print("quit", flush=True)  # before it: nobody is there to say so afterwards
    someone.choose("File", "Quit")

threading.Thread(target=quit_in_the_middle, daemon=True).start()
sys.exit(main(["gui", {image!r}]))
"""


@pytest.fixture(scope="module")
def big_pixels(repository):
    """A simulated image of 3,000 x 3,000 pixels: the sample many times."""
    sample = read_image(repository / "stormseg_ij" / "samples" / "tissue.tif").pixels
    times = -(-SIDE_PX // sample.shape[0])
    return np.tile(sample, (times, times))[:SIDE_PX, :SIDE_PX].copy()


@pytest.fixture
def big(ij, person, big_pixels):
    imp = ij.to_imageplus(Image(big_pixels, "big", Calibration(0.16, 0.16, "micron")))
    imp.show()
    person.put_at(imp.getWindow(), 20, 100)
    return imp


def begin(person, bench):
    """Segment in many small tiles, and wait until the network has done the first: that one takes much longer."""
    person.choose("Plugins", "StormSeg", SEGMENT)
    person.fill(SEGMENT, "Size", str(SIDE_PX))
    person.answer(SEGMENT, "More...")
    person.pick(SEGMENT, "Route", "tile")
    person.fill(SEGMENT, "Tile", "256")
    person.fill(SEGMENT, "Overlap", "64")
    person.answer(SEGMENT, "OK")
    until(lambda: bench.running == SEGMENT, "the command runs")
    until(lambda: re.search(r"network \((?!30%)", person.status()), "the network is at work", seconds=120.0)


def test_escape_stops_it_and_nothing_is_left(person, bench, big):
    bare = person.progress_bar_pixels()

    def is_bare():
        return np.array_equal(person.progress_bar_pixels(), bare)

    begin(person, bench)
    until(lambda: not is_bare(), "the bar shows how far it is")
    person.focus(big.getWindow())
    person.hit("ESCAPE")
    until(lambda: not bench.running, "it stops", seconds=STOP_SECONDS)
    assert "stopped by Escape; nothing was changed" in person.status()
    until(is_bare, "the bar goes away")
    assert bench.desk.manager.count() == 0
    assert big.getOverlay() is None
    assert bench.desk.titles() == ["big"]
    assert person.dialogs() == []
    assert person.ij.getLog() is None


def test_other_commands_work_meanwhile_and_a_second_one_of_ours_waits(person, bench, big):
    begin(person, bench)
    big.setRoi(10, 10, 300, 300)
    person.focus(big.getWindow())
    table = person.java("ij.measure.ResultsTable").getResultsTable
    person.again(lambda: person.hit("M"), lambda: int(table().size()) > 0, "a row of Analyze > Measure")
    person.choose("Image", "Duplicate...")
    person.answer("Duplicate...", "OK")
    until(lambda: len(bench.desk.titles()) == 2, "the duplicate")
    assert bench.running == SEGMENT
    person.choose("Plugins", "StormSeg", "ROIs to Labels")
    refused = person.message("ROIs to Labels")
    assert refused == "Segment Nuclei still runs; wait for it, or press Escape to stop it"
    assert bench.running == SEGMENT
    person.focus(big.getWindow())
    person.hit("ESCAPE")
    until(lambda: not bench.running, "it stops", seconds=STOP_SECONDS)


def test_an_image_that_is_closed_in_the_middle(person, bench, big):
    begin(person, bench)
    person.focus(big.getWindow())
    person.hit("CONTROL", "W")
    until(lambda: not bench.desk.titles(), "the image closes")
    until(lambda: not bench.running, "it stops", seconds=STOP_SECONDS)
    assert "the image was closed; nothing was changed" in person.status()
    assert bench.desk.manager.count() == 0
    assert person.dialogs() == []
    assert person.ij.getLog() is None


def test_imagej_closed_in_the_middle_ends_the_process(big_pixels, repository, tmp_path):
    path = tmp_path / "big.tif"
    write_tiff(path, big_pixels)
    code = QUIT.format(folder=str(repository / "tests" / "window"), image=str(path))
    environment = {**os.environ, "PYTHONPATH": str(repository), "XDG_DATA_HOME": str(tmp_path / "data")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True,
                          timeout=180, check=False)  # fmt: skip
    assert "quit" in done.stdout
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["big.tif"]
