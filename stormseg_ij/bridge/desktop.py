"""What a person sees of ImageJ: the active image and its selection, overlays, progress, messages, preferences."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.bridge.imagej import ImageJ, ImagePlus
from stormseg_ij.bridge.java import java_errors, proxy
from stormseg_ij.bridge.manager import Manager
from stormseg_ij.decode import check_finite
from stormseg_ij.errors import BridgeError
from stormseg_ij.image import SUFFIXES, Image, Labels, label_lut

if TYPE_CHECKING:
    from roifile import ImagejRoi

_TAG = "stormseg"
"""Property of the ROIs that we put into an overlay, so that the others stay."""

_AREAS = ("Rectangle", "Oval", "Polygon", "Freehand", "Traced", "Composite", "Ellipse")
_LINES = ("Straight Line", "Polyline", "Freeline")


class Desktop:
    """ImageJ's images, windows and messages.

    Attributes
    ----------
    ij : ImageJ
    manager : Manager
    """

    def __init__(self, ij: ImageJ) -> None:
        import scyjava

        self.ij = ij
        self.manager = Manager(headless=ij.headless)
        self._jimport: Callable[[str], Any] = scyjava.jimport
        self._ij: Any = self._jimport("ij.IJ")

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

    def title(self, imp: ImagePlus) -> str:
        """Return the image's title as it stands in its window."""
        return str(imp.getTitle())

    def name(self, imp: ImagePlus) -> str:
        """Return the image's name without the suffix of a file, as results and ROIs name it."""
        path = PurePath(self.file(imp)[1])
        return path.stem if path.suffix.lower() in SUFFIXES else path.name

    def file(self, imp: ImagePlus) -> tuple[str | None, str]:
        """Return folder and name of the image's file; None and the title where the image is not that of a file.

        ImageJ titles the second image of one name ``cells-1.tif``; its file is ``cells.tif``.
        """
        info, title = imp.getOriginalFileInfo(), str(imp.getTitle())
        if info is None or not info.directory or not info.fileName:
            return None, title
        name = PurePath(str(info.fileName))
        again = re.fullmatch(rf"{re.escape(name.stem)}-\d+{re.escape(name.suffix)}", title)
        return (str(info.directory), name.name) if again or title == name.name else (None, title)

    def directory(self, imp: ImagePlus) -> str | None:
        """Return the folder of the image's file; None where the image is not that of a file."""
        return self.file(imp)[0]

    def shape(self, imp: ImagePlus) -> tuple[int, int]:
        """(Y, X) in pixels."""
        return int(imp.getHeight()), int(imp.getWidth())

    def image(self, imp: ImagePlus, *, plane: int | None = None) -> Image:
        """Copy a plane; the shown one if none is named.

        Raises
        ------
        BridgeError
            If there is no such plane.
        ImageError
            If pixels are NaN or infinite.
        """
        image = self.ij.from_imageplus(imp, name=self.name(imp), plane=plane)
        check_finite(image.pixels, str(imp.getTitle()))
        return image

    def shown_plane(self, imp: ImagePlus) -> int:
        """Return which plane of a stack is shown, counted from 1; 0 for a single plane."""
        return int(imp.getCurrentSlice()) if int(imp.getStackSize()) > 1 else 0

    def planes(self, imp: ImagePlus) -> list[int]:
        """Return the planes of all slices and frames, of the channel that is shown."""
        channel, slices, frames = int(imp.getC()), int(imp.getNSlices()), int(imp.getNFrames())
        if int(imp.getStackSize()) == 1:
            return [0]
        return [
            int(imp.getStackIndex(channel, z, t)) for t in range(1, frames + 1) for z in range(1, slices + 1)
        ]  # fmt: skip

    def slice_and_frame(self, imp: ImagePlus, plane: int) -> tuple[int, int] | None:
        """Return slice and frame of a plane of a hyperstack; None for a simple stack, where the plane says all."""
        if not imp.isHyperStack():
            return None
        _, z, t = (int(part) for part in imp.convertIndexToPosition(plane))
        return z, t

    def plane_of(self, imp: ImagePlus, roi: ImagejRoi) -> int:
        """Return the plane that a ROI is tied to; 0 where it is on all."""
        if int(imp.getStackSize()) == 1:
            return 0
        if not any((roi.c_position, roi.z_position, roi.t_position)):
            return int(roi.position)
        place = (roi.c_position or imp.getC(), roi.z_position or imp.getZ(), roi.t_position or imp.getT())
        return int(imp.getStackIndex(*(int(part) for part in place)))

    def show_image(self, image: Image) -> ImagePlus:
        """Show an image in a window of its own."""
        imp = self.ij.to_imageplus(image)
        imp.show()
        return imp

    def show_labels(self, planes: Sequence[Labels], title: str, like: ImagePlus) -> ImagePlus:
        """Show label images, one per plane, in colours and with the calibration of another image.

        Raises
        ------
        BridgeError
            If Java's memory is too small.
        """
        highest = max(int(labels.max(initial=0)) for labels in planes)
        dtype = np.uint16 if highest <= np.iinfo(np.uint16).max else np.float32
        with java_errors("show the labels"):
            stack = self._jimport("ij.ImageStack")(like.getWidth(), like.getHeight())
            for labels in planes:
                stack.addSlice(self.ij.to_imageplus(Image(labels.astype(dtype), title)).getProcessor())
            imp = self._jimport("ij.ImagePlus")(title, stack)
            if len(planes) > 1:
                imp.setDimensions(1, like.getNSlices(), like.getNFrames())
                imp.setOpenAsHyperStack(like.isHyperStack())
            imp.setCalibration(like.getCalibration().copy())
            self._colour(imp, highest)
            imp.show()
        return imp

    def _colour(self, imp: ImagePlus, highest: int) -> None:
        """Give a label image colours; without them it looks black."""
        from jpype import JArray, JByte

        red, green, blue = (JArray(JByte)(colours.view(np.int8).tolist()) for colours in label_lut())
        imp.getProcessor().setColorModel(self._jimport("java.awt.image.IndexColorModel")(8, 256, red, green, blue))
        imp.getStack().setColorModel(imp.getProcessor().getColorModel())
        imp.setDisplayRange(0.0, float(max(highest, 1)))

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
        """Put ROIs into the image's overlay, in place of those put there before under this tag.

        An overlay that the person has hidden stays hidden; where nothing is added or removed, nothing is touched.

        Parameters
        ----------
        imp : ImagePlus
        rois : iterable of bytes
        tag : str
        origin : (int, int)
            x and y in the image of the place that the ROIs call (0, 0).
        """
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
        found = [overlay.get(i) for i in range(int(overlay.size()))]
        encode = self._jimport("ij.io.RoiEncoder").saveAsByteArray
        return [bytes(encode(roi)) for roi in found if str(roi.getProperty(_TAG)) == tag]

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

    def go_to(self, imp: ImagePlus, box: tuple[int, int, int, int], *, plane: int = 0, zoom: bool = True) -> None:
        """Show a plane, and with `zoom` a box (left, top, right, bottom) with as much again around it."""
        if plane and plane != int(imp.getCurrentSlice()):
            imp.setSlice(plane)
        canvas = imp.getCanvas()
        if canvas is None or not zoom:
            return
        left, top, right, bottom = box
        size, (height, width) = canvas.getSize(), self.shape(imp)
        fit = min(size.width / (3.0 * max(right - left, 1)), size.height / (3.0 * max(bottom - top, 1)))
        level = max((level for level in _ZOOMS if level <= fit), default=_ZOOMS[0])
        columns, rows = (
            min(math.ceil(side / level), most) for side, most in ((size.width, width), (size.height, height))
        )
        x = int(np.clip((left + right - columns) // 2, 0, width - columns))
        y = int(np.clip((top + bottom - rows) // 2, 0, height - rows))
        canvas.setMagnification(level)
        canvas.setSourceRect(self._jimport("java.awt.Rectangle")(x, y, columns, rows))
        canvas.repaint()

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


_ZOOMS = (1 / 72, 1 / 48, 1 / 32, 1 / 24, 1 / 16, 1 / 12, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 0.75, 1.0, 1.5, 2.0, 3.0,
          4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)  # fmt: skip
"""ImageJ's own levels."""
