"""Make the pictures of StormSeg in ImageJ's window: the finished window, the preview, and every dialog.

usage: python docs/gallery.py FOLDER      (starts Xvfb itself where there is no display)

The image is the shipped simulated one.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scyjava import jimport

from stormseg_ij import bridge, commands, display
from stormseg_ij.settings import Settings

SAMPLE = Path(__file__).parents[1] / "stormseg_ij" / "samples" / "tissue.tif"
GAP_PX = 12
PATIENCE_SECONDS = 120.0

Picture = NDArray[np.uint8]


class Gallery:
    """ImageJ with the commands and the sample, and pictures of what it shows."""

    def __init__(self, folder: Path) -> None:
        self.ij = bridge.start(headless=False)
        self.bench = commands.install(self.ij)
        self.desk = self.bench.desk
        path = Path(shutil.copy(SAMPLE, folder))
        self.imp = self.desk.open(str(path))
        put_in_place(self.imp)

    def command(self, name: str, options: str) -> None:
        """Run a command as a macro does."""
        jimport("ij.IJ").run(self.imp, name, options)

    def open_dialog(self, name: str) -> Any:  # noqa: ANN401 (an ij.gui.GenericDialog)
        """Choose a command, with Alt held down so that it asks; return its dialog."""
        jimport("ij.IJ").setKeyDown(jimport("java.awt.event.KeyEvent").VK_ALT)
        dialogs = jimport("ij.gui.GenericDialog")
        jimport("ij.Executer")(name, self.imp)
        until(lambda: dialogs.getInstance() is not None and dialogs.getInstance().isShowing())
        return dialogs.getInstance()

    def press(self, dialog: Any, label: str) -> None:  # noqa: ANN401 (as above)
        """Press a button of a dialog."""
        [button] = [b for b in dialog.getButtons() if b is not None and str(b.getLabel()).strip() == label]
        button.dispatchEvent(jimport("java.awt.event.ActionEvent")(button, 1001, label))
        jimport("ij.IJ").setKeyUp(-1)
        until(lambda: not dialog.isShowing())

    def cancel(self, dialog: Any) -> None:  # noqa: ANN401 (as above)
        """Close a dialog."""
        self.press(dialog, "Cancel")
        until(lambda: not self.bench.running)

    def dialogs(self) -> list[Picture]:
        """Return a picture of each dialog, that of Segment Nuclei with all its fields."""
        pictures = []
        for command in commands.COMMANDS:
            if command is None or command.settings is Settings:
                continue
            dialog = self.open_dialog(command.name)
            if any(b is not None and str(b.getLabel()).startswith("More") for b in dialog.getButtons()):
                self.press(dialog, "More...")
                dialog = until(jimport("ij.gui.GenericDialog").getInstance)
                until(dialog.isShowing)
            pictures.append(window_picture(dialog))
            self.cancel(dialog)
        return pictures

    def preview(self) -> Picture:
        """Return a picture of Segment Nuclei with its preview."""
        dialog = self.open_dialog("Segment Nuclei")
        dialog.setLocation(680, 120)
        dialog.toFront()
        box = dialog.getCheckboxes().lastElement()
        box.setState(True)
        dialog.itemStateChanged(jimport("java.awt.event.ItemEvent")(box, 701, box.getLabel(), 1))
        until(lambda: self.imp.getOverlay() is not None)
        shown = screen_picture(0, 0, 1120, 810)
        self.cancel(dialog)
        return shown

    def finished(self) -> Picture:
        """Return a picture of the nuclei in the ROI Manager, measured, one of them under review."""
        set_measurements()
        self.command("Segment Nuclei", "rois=append")
        self.command("Measure Nuclei", "nuclei=all")
        self.command("Next Nucleus to Review", "zoom=false")
        return result_picture()

    def close(self) -> None:
        """End without a question."""
        self.imp.changes = False
        self.bench.close()


def until(condition: Callable[[], Any]) -> Any:  # noqa: ANN401 (what the condition gives)
    """Wait until a condition gives something true, and return that."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        if time.monotonic() > end:
            raise SystemExit(f"waited {PATIENCE_SECONDS:g} s in vain")
        time.sleep(0.05)
    return found


def put_in_place(imp: Any) -> None:  # noqa: ANN401 (an ij.ImagePlus)
    """Put ImageJ's window above the image's."""
    imp.setDisplayRange(0, 130)
    imp.updateAndDraw()
    imp.getWindow().setLocationAndSize(20, 120, 640, 680)
    jimport("ij.IJ").getInstance().setLocation(20, 5)


def set_measurements() -> None:
    """Ask for the columns that the pictures show."""
    names = ("AREA", "MEAN", "CENTROID", "CIRCULARITY", "LABELS")
    measurements = jimport("ij.measure.Measurements")
    jimport("ij.plugin.filter.Analyzer").setMeasurements(sum(getattr(measurements, name) for name in names))


def result_picture() -> Picture:
    """Return a picture of the image with the ROI Manager and Results beside it."""
    manager = jimport("ij.plugin.frame.RoiManager").getInstance()
    manager.setLocation(680, 120)
    manager.setSize(280, 430)
    table = jimport("ij.WindowManager").getWindow("Results")
    table.setLocation(680, 565)
    table.setSize(580, 230)
    manager.toFront()
    return screen_picture(0, 0, 1280, 810)


def screen_picture(x: int, y: int, width: int, height: int) -> Picture:
    """Return a part of the display, RGB, uint8."""
    robot = jimport("java.awt.Robot")()
    time.sleep(1.0)  # windows are painted a little later than they are told to
    robot.waitForIdle()
    shown = robot.createScreenCapture(jimport("java.awt.Rectangle")(x, y, width, height))
    pixels = np.array(shown.getRGB(0, 0, width, height, None, 0, width), np.int64).reshape(height, width)
    return np.stack([pixels >> 16 & 255, pixels >> 8 & 255, pixels & 255], axis=2).astype(np.uint8)


def window_picture(window: Any) -> Picture:  # noqa: ANN401 (a java.awt.Window)
    """Return a picture of one window."""
    window.toFront()
    place, size = window.getLocationOnScreen(), window.getSize()
    return screen_picture(place.x, place.y, size.width, size.height)


def in_columns(pictures: list[Picture], columns: int = 2) -> Picture:
    """Put pictures into columns of like heights, on white."""
    stacks: list[list[Picture]] = [[] for _ in range(columns)]
    for picture in sorted(pictures, key=lambda one: -one.shape[0]):
        min(stacks, key=lambda stack: sum(one.shape[0] + GAP_PX for one in stack)).append(picture)
    widths = [max(one.shape[1] for one in stack) for stack in stacks]
    height = max(sum(one.shape[0] + GAP_PX for one in stack) for stack in stacks) + GAP_PX
    page = np.full((height, sum(widths) + GAP_PX * (columns + 1), 3), 255, np.uint8)
    left = GAP_PX
    for stack, width in zip(stacks, widths, strict=True):
        top = GAP_PX
        for one in stack:
            page[top : top + one.shape[0], left : left + one.shape[1]] = one
            top += one.shape[0] + GAP_PX
        left += width + GAP_PX
    return page


def write_picture(path: Path, picture: Picture) -> None:
    """Write a PNG of 128 colours, half as large; outlines of like colours become one colour."""
    Image.fromarray(picture).quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def main(folder: Path) -> None:
    """Write the pictures."""
    if not os.environ.get("DISPLAY"):
        display.start()  # it ends with this process
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        os.environ["XDG_DATA_HOME"] = work  # where the nuclei of unsaved images are kept
        gallery = Gallery(Path(work))
        write_picture(folder / "dialogs.png", in_columns(gallery.dialogs()))
        write_picture(folder / "preview.png", gallery.preview())
        write_picture(folder / "workbench.png", gallery.finished())
        gallery.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
