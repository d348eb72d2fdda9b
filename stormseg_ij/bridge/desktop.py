"""What a person sees of ImageJ: the active image and its selection, overlays, progress, messages, preferences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.bridge.imagej import ImageJ, ImagePlus
from stormseg_ij.bridge.java import java_errors, on_event_thread, proxy
from stormseg_ij.bridge.manager import Manager
from stormseg_ij.bridge.tables import Tables
from stormseg_ij.desk import Colours, Desk, Measured
from stormseg_ij.errors import BridgeError
from stormseg_ij.facts import ImageFacts, View
from stormseg_ij.image import Image, Pixels

_TAG = "stormseg"
"""Property of the ROIs that we put into an overlay, so that the others stay."""

_AREAS = ("Rectangle", "Oval", "Polygon", "Freehand", "Traced", "Composite", "Ellipse")
_LINES = ("Straight Line", "Polyline", "Freeline")


class Desktop(Desk):
    """ImageJ's images, windows and messages, in this process.

    Attributes
    ----------
    manager : Manager
    tables : Tables
    """

    def __init__(self, ij: ImageJ) -> None:
        import scyjava

        self._imagej = ij
        self.manager: Manager = Manager(headless=ij.headless)
        self.tables = Tables(ij)
        self._jimport: Callable[[str], Any] = scyjava.jimport
        self._ij: Any = self._jimport("ij.IJ")

    @property
    def ij(self) -> ImageJ:
        """The ImageJ that runs."""
        return self._imagej

    @property
    def fiji(self) -> str | None:
        """Folder or endpoint of the Fiji that runs; None for the default ImageJ."""
        return self._imagej.fiji

    @property
    def headless(self) -> bool:
        """True where it has no window."""
        return self._imagej.headless

    # ---- images

    def open(self, path: str) -> ImagePlus:
        """Open and show an image file as File > Open does.

        Raises
        ------
        BridgeError
            If ImageJ cannot open it.
        """
        with java_errors(f"open {path}"):
            imp = self._ij.openImage(path)
            if imp is None:
                raise BridgeError(f"ImageJ cannot open {path}; check that it is an image")
            imp.show()
            return imp

    def is_open(self, imp: ImagePlus) -> bool:
        """Tell whether the image still is among ImageJ's, shown or in batch mode."""
        return self._jimport("ij.WindowManager").getImage(imp.getID()) is not None

    def numbered(self, number: int) -> ImagePlus | None:
        """Return the open image with this number of ImageJ's."""
        return self._jimport("ij.WindowManager").getImage(number)

    def number(self, imp: ImagePlus) -> int:
        """Return the image's number: ImageJ gives none twice."""
        return int(imp.getID())

    def titled(self, title: str) -> ImagePlus | None:
        """Return the open image with this title."""
        return self._jimport("ij.WindowManager").getImage(title)

    def titles(self) -> list[str]:
        """Return the titles of all open images."""
        return [str(title) for title in self._jimport("ij.WindowManager").getImageTitles()]

    def facts(self, imp: ImagePlus) -> ImageFacts:
        """Return what ImageJ says of an image now."""
        info = imp.getOriginalFileInfo()
        folder, name = (None, None) if info is None else (info.directory, info.fileName)
        return ImageFacts(
            str(imp.getTitle()), folder and str(folder), name and str(name), int(imp.getHeight()), int(imp.getWidth()),

            int(imp.getNChannels()), int(imp.getNSlices()), int(imp.getNFrames()),
            int(imp.getC()), int(imp.getZ()), int(imp.getT()), int(imp.getCurrentSlice()), bool(imp.isHyperStack()),
        )  # fmt: skip

    def copied(self, imp: ImagePlus, *, plane: int | None) -> Image:
        """Copy a plane, whatever its values; the shown one if none is named.

        Raises
        ------
        BridgeError
            If there is no such plane.
        """
        return self.ij.from_imageplus(imp, name=self.name(imp), plane=plane)

    def show_image(self, image: Image) -> ImagePlus:
        """Show an image in a window of its own."""
        imp = self.ij.to_imageplus(image)
        imp.show()
        return imp

    def show_stack(
        self, planes: Sequence[Pixels], title: str, *, like: ImagePlus, colours: Colours, highest: int
    ) -> ImagePlus:
        """Show planes, uint16 or float32, with the calibration of another image, in colours from 0 to `highest`.

        Raises
        ------
        BridgeError
            If Java's memory is too small.
        """
        with java_errors("show the labels"):
            stack = self._jimport("ij.ImageStack")(like.getWidth(), like.getHeight())
            for pixels in planes:
                stack.addSlice(self.ij.to_imageplus(Image(pixels, title)).getProcessor())
            imp = self._jimport("ij.ImagePlus")(title, stack)
            if len(planes) > 1:
                imp.setDimensions(1, like.getNSlices(), like.getNFrames())
                imp.setOpenAsHyperStack(like.isHyperStack())
            imp.setCalibration(like.getCalibration().copy())
            self._colour(imp, colours, highest)
            imp.show()
        return imp

    def _colour(self, imp: ImagePlus, colours: Colours, highest: int) -> None:
        """Give a label image colours; without them it looks black."""
        from jpype import JArray, JByte

        red, green, blue = (JArray(JByte)(channel.view(np.int8).tolist()) for channel in colours)
        imp.getProcessor().setColorModel(self._jimport("java.awt.image.IndexColorModel")(8, 256, red, green, blue))
        imp.getStack().setColorModel(imp.getProcessor().getColorModel())
        imp.setDisplayRange(0.0, float(highest))

    # ---- selections and overlays

    def selection(self, imp: ImagePlus) -> tuple[str, bytes] | None:
        """Return the image's selection: ``"area"``, ``"line"`` or ``"other"``, and its ``.roi`` bytes."""
        roi = imp.getRoi()
        if roi is None:
            return None
        kind = str(roi.getTypeAsString())
        group = "area" if roi.isArea() or kind in _AREAS else "line" if kind in _LINES else "other"
        return group, bytes(self._jimport("ij.io.RoiEncoder").saveAsByteArray(roi))

    def clear_selection(self, imp: ImagePlus) -> None:
        """Take the image's selection away; Edit > Selection > Restore Selection brings it back."""
        imp.deleteRoi()

    def line(self, imp: ImagePlus) -> NDArray[np.float64] | None:
        """Return the corners (x, y) of the line drawn in the image, shape (V, 2); None where there is none."""
        roi = imp.getRoi()
        if roi is None or not roi.isLine():
            return None
        points = roi.getFloatPoints() if str(roi.getTypeAsString()) == "Straight Line" else roi.getFloatPolygon()
        count = int(points.npoints)
        return np.stack([np.array(points.xpoints[:count]), np.array(points.ypoints[:count])], axis=1, dtype=np.float64)

    def put_overlay(self, imp: ImagePlus, rois: Iterable[bytes], tag: str, *, origin: tuple[int, int] = (0, 0)) -> None:
        """Put ROIs into the image's overlay, in place of those put there before under this tag."""
        with java_errors("draw into the image"):
            before = imp.getOverlay()
            overlay = before or self._jimport("ij.gui.Overlay")()
            old = [i for i in range(int(overlay.size())) if str(overlay.get(i).getProperty(_TAG)) == tag]
            new = [self.manager.decoded(data) for data in rois]
            if not old and not new:
                return
            for i in reversed(old):
                overlay.remove(i)
            for roi in new:
                roi.setProperty(_TAG, tag)
                if origin != (0, 0):
                    roi.translate(*origin)
                overlay.add(roi)
            hidden = before is not None and bool(imp.getHideOverlay())
            imp.setOverlay(overlay if int(overlay.size()) else None)  # shows it
            if hidden:
                imp.setHideOverlay(True)

    def overlay(self, imp: ImagePlus, tag: str) -> list[bytes]:
        """Return the ROIs that `put_overlay` put into the image under this tag."""
        overlay = imp.getOverlay()
        if overlay is None:
            return []
        encode = self._jimport("ij.io.RoiEncoder").saveAsByteArray
        found: list[bytes] = []

        def read() -> None:
            # Painting gives ROIs without a colour one for a moment: in the thread that paints, no such moment is seen.
            rois = [overlay.get(i) for i in range(int(overlay.size()))]
            found.extend(bytes(encode(roi)) for roi in rois if str(roi.getProperty(_TAG)) == tag)

        on_event_thread(read, visible=imp.getWindow() is not None)
        return found

    def visible(self, imp: ImagePlus) -> tuple[slice, slice]:
        """Return rows and columns of the part of the image that its window shows."""
        height, width = self.shape(imp)
        canvas = imp.getCanvas()
        if canvas is None:
            return slice(0, height), slice(0, width)
        box = canvas.getSrcRect()
        return slice(int(box.y), min(int(box.y + box.height), height)), slice(
            int(box.x), min(int(box.x + box.width), width)
        )

    def canvas(self, imp: ImagePlus) -> tuple[int, int] | None:
        """Return width and height of the image on the screen; None where it is in no window."""
        canvas = imp.getCanvas()
        if canvas is None:
            return None
        size = canvas.getSize()
        return int(size.width), int(size.height)

    def show_plane(self, imp: ImagePlus, plane: int) -> None:
        """Show this plane of a stack."""
        imp.setSlice(plane)

    def look_at(self, imp: ImagePlus, view: View) -> None:
        """Show a part of the image in its window."""
        canvas = imp.getCanvas()
        if canvas is not None:
            canvas.setMagnification(view.level)
            canvas.setSourceRect(self._jimport("java.awt.Rectangle")(view.x, view.y, view.columns, view.rows))
            canvas.repaint()

    # ---- tables

    def measure(
        self, imp: ImagePlus, wanted: Sequence[Measured], *, each: Callable[[int], None] = lambda _: None
    ) -> int:
        """Add a row to Results for each ROI, as the ROI Manager's Measure does, with further columns."""
        rois = self.manager.copies([one.roi for one in wanted])
        rows = self.tables.measure(imp, rois, [one.plane for one in wanted], each=each)
        each(len(wanted))
        return self.tables.show(rows, [one.extra for one in wanted])

    def add_rows(self, title: str, rows: Sequence[Mapping[str, str | float]]) -> None:
        """Add rows at the end of the table with this title, which is opened if it is not there."""
        self.tables.append(title, rows)

    def when_opened(self, tell: Callable[[ImagePlus], None]) -> Callable[[], None]:
        """Call a function with each image that gets a window, from now on; return what ends that.

        It is called in the thread that paints windows: it must be short.
        """
        images = self._jimport("ij.ImagePlus")
        listener = proxy("ij.ImageListener", imageOpened=tell, imageClosed=lambda _: None, imageUpdated=lambda _: None)
        images.addImageListener(listener)
        return lambda: images.removeImageListener(listener)

    # ---- talking

    def status(self, text: str) -> None:
        """Show a line in ImageJ's status bar."""
        self._ij.showStatus(text)

    def progress(self, fraction: float) -> None:
        """Move ImageJ's bar; 1 and more takes it away."""
        self._ij.showProgress(min(fraction, 1.0))

    def show_message(self, title: str, text: str) -> None:
        """Show a line in a window of its own, or in the Log where nobody could close it."""
        if self.batch:
            self.log(f"{title}: {text}")
        else:
            self._ij.showMessage(title, text)

    def log(self, text: str) -> None:
        """Write a line into the Log window."""
        self._ij.log(text)

    def show_text(self, title: str, text: str) -> None:
        """Show a text in a window of its own."""
        if self.ij.headless:
            self.log(text)
        else:
            self._jimport("ij.text.TextWindow")(title, text, 760, 360)

    def show_table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show texts as a table in a window of its own, or in the Log where there are no windows."""
        lines = ["\t".join(row) for row in rows]
        if self.ij.headless:
            self.log("\n".join([title, "\t".join(columns), *lines]))
        else:
            self._jimport("ij.text.TextWindow")(title, "\t".join(columns), "\n".join(lines), 900, 360)

    def leave_thread(self) -> None:
        """Tell Java that this thread of Python's ends; it would count it among its own for ever."""
        self._jimport("java.lang.Thread").detach()

    def escape_pressed(self) -> bool:
        """Tell whether Escape was pressed since the last `reset_escape`."""
        return bool(self._ij.escapePressed())

    def alt_down(self) -> bool:
        """Tell whether the key Alt is held down."""
        return bool(self._ij.altKeyDown())

    def reset_escape(self) -> None:
        """Forget that Escape was pressed."""
        self._ij.resetEscape()

    @property
    def batch(self) -> bool:
        """True where nobody can answer a dialog: no window, or a macro in batch mode."""
        return self.ij.headless or bool(self._jimport("ij.macro.Interpreter").isBatchMode())

    @property
    def running(self) -> bool:
        """False once ImageJ's window, or Java, was closed."""
        import jpype

        if not jpype.isJVMStarted():
            return False
        window = self._ij.getInstance()
        return self.ij.headless or (window is not None and bool(window.isDisplayable()))

    # ---- preferences

    def remembered(self, key: str) -> str | None:
        """Return what `remember` kept, also from an earlier start of ImageJ."""
        value = self._jimport("ij.Prefs").get(f"{_TAG}.{key}", None)
        return None if value is None else str(value)

    def remember(self, key: str, value: str) -> None:
        """Keep a text in ImageJ's preferences."""
        self._jimport("ij.Prefs").set(f"{_TAG}.{key}", value)
