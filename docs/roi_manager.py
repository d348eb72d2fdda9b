"""Make the README's picture: a simulated image with its nuclei in the real ROI Manager, measured by ImageJ.

usage: python docs/roi_manager.py PICTURE.png      (needs a display: xvfb-run -s "-screen 0 1280x810x24" does)
"""

import sys
import tempfile
import time
from pathlib import Path

from scyjava import jimport

from stormseg_ij import bridge
from stormseg_ij.image import read_image
from stormseg_ij.pipeline import segment
from stormseg_ij.settings import SegmentSettings

SAMPLE = Path(__file__).parents[1] / "stormseg_ij" / "samples" / "tissue.tif"


def main(picture: Path) -> None:
    """Segment the sample, open everything in ImageJ as a user would, and write what the display shows."""
    ij = bridge.start(headless=False)
    macro, window_manager = jimport("ij.IJ"), jimport("ij.WindowManager")
    with tempfile.TemporaryDirectory() as folder:
        paths = segment(read_image(SAMPLE), SegmentSettings(), ij=ij).save(folder)
        imp = macro.openImage(str(SAMPLE))
        imp.show()
        manager = jimport("ij.plugin.frame.RoiManager").getRoiManager()
        manager.runCommand("Open", str(paths["rois"]))
    imp.setDisplayRange(0, 130)
    imp.getWindow().setLocationAndSize(20, 120, 640, 680)
    manager.runCommand(imp, "Show All with labels")
    measurements = jimport("ij.measure.Measurements")
    names = ("AREA", "MEAN", "CENTROID", "CIRCULARITY", "LABELS")
    jimport("ij.plugin.filter.Analyzer").setMeasurements(sum(getattr(measurements, name) for name in names))
    manager.runCommand("Deselect")
    manager.runCommand("Measure")
    manager.setLocation(680, 120)
    manager.setSize(280, 430)
    table = window_manager.getWindow("Results")
    table.setLocation(680, 565)
    table.setSize(580, 230)
    macro.getInstance().setLocation(20, 5)
    manager.toFront()
    time.sleep(1.5)
    robot = jimport("java.awt.Robot")()
    robot.waitForIdle()
    shown = robot.createScreenCapture(jimport("java.awt.Rectangle")(0, 0, 1280, 810))
    jimport("javax.imageio.ImageIO").write(shown, "png", jimport("java.io.File")(str(picture)))
    imp.changes = False


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
