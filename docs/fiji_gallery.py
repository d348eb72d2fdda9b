"""Make the pictures of StormSeg in a Fiji's menu: the menu, and what Segment Nuclei gives.

usage: python docs/fiji_gallery.py FOLDER      (starts Xvfb itself where there is no display)

ImageJ 1.54p stands in for Fiji, with the scripts in its menu as SciJava's own search names them; they run as in Fiji,
with the worker as a second process. The image is the shipped simulated one.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from scyjava import jimport

from stormseg_ij import bridge, display
from stormseg_ij.bridge.desktop import Desktop

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "window"))

import fiji as harness
from gallery import Picture, put_in_place, result_picture, screen_picture, set_measurements, write_picture
from person import Person

SAMPLE = Path(__file__).parents[1] / "stormseg_ij" / "samples" / "tissue.tif"


def put_menu(made: harness.Fiji) -> list[str]:
    """Put the scripts into the menu Plugins, by the paths that SciJava found; return the commands' names."""
    menu, item = jimport("java.awt.Menu"), jimport("java.awt.MenuItem")
    paths = sorted(str(path) for path in made.scijava.getFound().keySet())
    ours, examples = menu("StormSeg"), menu("Examples")
    names = [path.removeprefix(harness.MENU) for path in paths]
    for name in names:
        inside, _, last = name.rpartition(" > ")
        (examples if inside else ours).add(item(last))
    ours.add(examples)
    jimport("ij.Menus").getImageJMenu("Plugins").add(ours)
    return [name for name in names if ">" not in name]


def main(folder: Path) -> None:
    """Write the pictures."""
    if not os.environ.get("DISPLAY"):
        display.start()  # it ends with this process
    with tempfile.TemporaryDirectory() as work:
        ij = bridge.start(headless=False)
        with harness.running(ij, Path(work)) as made:
            write(made, Desktop(ij).open(shutil.copy(SAMPLE, work)), folder)


def write(made: harness.Fiji, imp: Any, folder: Path) -> None:  # noqa: ANN401 (an ij.ImagePlus)
    """Show the menu over the sample, and segment it."""
    put_in_place(imp)
    names = put_menu(made)
    write_picture(folder / "fiji_menu.png", menu_picture(names))
    set_measurements()
    made.menu("Segment Nuclei")
    made.menu("Measure Nuclei")
    write_picture(folder / "fiji_result.png", result_picture())
    imp.changes = False


def menu_picture(names: list[str]) -> Picture:
    """Return a picture of the open menu, with Segment Nuclei chosen."""
    person = Person()
    menu: Any = jimport("ij.Menus").getImageJMenu("Plugins")
    entries = [str(menu.getItem(i).getLabel()) for i in range(menu.getItemCount())]
    bar = jimport("ij.IJ").getInstance().getMenuBar()
    menus = [bar.getMenu(i) for i in range(bar.getMenuCount())]
    index = [str(one.getLabel()) for one in menus].index("Plugins")
    person._open_menu(jimport("ij.IJ").getInstance(), menus, index)
    for _ in [entry for entry in entries[: entries.index("StormSeg")] if entry != "-"]:
        person.press("DOWN")
    person.press("RIGHT")
    for _ in range(names.index("Segment Nuclei")):
        person.press("DOWN")
    picture = screen_picture(0, 0, 900, 560)
    for _ in range(3):
        person.press("ESCAPE")
    return picture


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
