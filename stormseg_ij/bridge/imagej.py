"""The ImageJ that runs: images into it and back, and the commands that the preprocessing needs."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stormseg_ij.bridge.java import java_errors
from stormseg_ij.errors import BridgeError
from stormseg_ij.image import Calibration, Image, Pixels, image_of_packed_rgb
from stormseg_ij.installation import Java

ImagePlus: TypeAlias = Any
"""An `ij.ImagePlus`, the Java object of an image in ImageJ."""

Lines: TypeAlias = NDArray[np.float32]
"""A band of whole rows or whole columns of an image, shape (Y, X)."""

_BILINEAR = 1  # ij.process.ImageProcessor.BILINEAR
_KINDS = {
    "uint8": ("Byte", "int8"), "uint16": ("Short", "int16"), "float32": ("Float", "float32"),
    "uint32": ("Color", "int32"),
}  # fmt: skip


class ImageJ:
    """A running ImageJ or Fiji, made by `start` only.

    Its methods are ImageJ's own plugin classes, called so that they work with and without a window and give the bytes
    that the menu commands give. They change the `ImagePlus` in place, as the commands do.

    Attributes
    ----------
    version : str
        ``"1.54p"``, or Fiji's ``"2.16.0/1.54p"``.
    headless : bool
        True where it has no window.
    fiji : str or None
        Folder or endpoint of Fiji; None for the default ImageJ.
    gateway : object or None
        PyImageJ's gateway where Fiji runs.
    java : Java
    heap_mb : int
        Java's memory in MiB.
    macros : bool
        True where whole macros run: with a window, in Fiji, or patched for it.
    """

    def __init__(
        self, java: Java, *, fiji: str | None, headless: bool, heap_mb: int, gateway: object, macros: bool = False
    ) -> None:
        import scyjava

        self.java = java
        self.fiji = fiji
        self.headless = headless
        self.heap_mb = heap_mb
        self.gateway = gateway
        self.macros = macros or not headless or fiji is not None
        self._class = scyjava.jimport
        self.version = str(self._class("ij.IJ").getVersion())

    def to_imageplus(self, image: Image) -> ImagePlus:
        """Copy an image into ImageJ, with its name and calibration; it is not shown.

        Parameters
        ----------
        image : Image
            uint8, uint16 or float32: 8-bit, 16-bit or 32-bit in ImageJ.

        Raises
        ------
        BridgeError
            For another dtype or shape, or if Java's memory is too small.
        """
        pixels = image.pixels
        if pixels.ndim != 2 or pixels.dtype.name not in ("uint8", "uint16", "float32"):
            raise BridgeError(
                f"ImageJ cannot hold {pixels.dtype} pixels of shape {pixels.shape}; give 2-D uint8, uint16 or float32"
            )
        with java_errors("take the image"):
            imp = self._imageplus(image.name, pixels)
            if image.calibration is not None:
                calibration = self._class("ij.measure.Calibration")(imp)
                calibration.pixelWidth = image.calibration.pixel_width
                calibration.pixelHeight = image.calibration.pixel_height
                calibration.setUnit(image.calibration.unit)
                imp.setCalibration(calibration)
            return imp

    def rgb_to_imageplus(self, rgb: Pixels, *, name: str) -> ImagePlus:
        """Copy colour pixels, uint8 of shape (Y, X, 3), into an RGB image of ImageJ; it is not shown.

        Raises
        ------
        BridgeError
            For another dtype or shape, or if Java's memory is too small.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise BridgeError(f"{rgb.dtype} pixels of shape {rgb.shape} are no RGB; give uint8 of shape (Y, X, 3)")
        wide = rgb.astype(np.uint32)
        packed = np.uint32(0xFF000000) | wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
        with java_errors("take the image"):
            return self._imageplus(name, packed)

    def from_imageplus(self, imp: ImagePlus, *, name: str | None = None, plane: int | None = None) -> Image:
        """Copy a plane of an ImageJ image, with its calibration.

        Parameters
        ----------
        imp : ImagePlus
            8-bit, 16-bit or 32-bit, whose values are taken as they are, whatever the lookup table and display range;
            RGB and "8-bit Color" become gray as Image > Type > 8-bit does (the mean of the channels), and
            `Image.notes` says so.
        name : str, optional
            The image's title without its suffix if not given.
        plane : int, optional
            Counted from 1 through the stack; the shown one if not given.

        Raises
        ------
        BridgeError
            If the image was closed meanwhile, or has no such plane.
        """
        with java_errors("give the image"):
            if plane is not None and not 1 <= plane <= int(imp.getStackSize()):
                raise BridgeError(f"{imp.getTitle()} has no plane {plane}; give 1 to {imp.getStackSize()}")
            processor = imp.getProcessor() if plane is None else imp.getStack().getProcessor(plane)
            if processor is None:
                raise BridgeError("the image has no pixels: it was closed; open it again")
            if imp.getType() == imp.COLOR_256:
                processor = processor.convertToRGB()
            depth = int(processor.getBitDepth())
            pixels = _from_java(processor, np.dtype({8: np.uint8, 16: np.uint16, 24: np.uint32, 32: np.float32}[depth]))
            title = str(imp.getShortTitle()) if name is None else name
            calibration = _calibration(imp)
        if depth == 24:
            return image_of_packed_rgb(pixels, title, calibration)
        return Image(pixels, title, calibration)

    def resize(self, imp: ImagePlus, width: int, height: int) -> None:
        """Image > Adjust > Size: bilinear, averaging when it gets smaller; the calibration follows.

        Parameters
        ----------
        imp : ImagePlus
            One plane of any type.
        width, height : int
            New size in pixels, at least 1.

        Raises
        ------
        BridgeError
            If the image is a stack, or Java's memory is too small.
        """
        with java_errors("resize the image"):
            processor = _only_plane(imp)
            calibration = imp.getCalibration().copy()
            if calibration.scaled():
                calibration.pixelWidth *= processor.getWidth() / width
                calibration.pixelHeight *= processor.getHeight() / height
            processor.setInterpolationMethod(_BILINEAR)
            imp.setProcessor(None, processor.resize(width, height, True))
            imp.setCalibration(calibration)

    def gaussian_blur(self, imp: ImagePlus, sigma: float) -> None:
        """Process > Filters > Gaussian Blur; `sigma` in pixels.

        Raises
        ------
        BridgeError
            If the image is a stack, or Java's memory is too small.
        """
        with java_errors("blur the image"):
            self._class("ij.plugin.filter.GaussianBlur")().blurGaussian(_only_plane(imp), float(sigma))

    def equalize(self, imp: ImagePlus) -> None:
        """Process > Enhance Contrast with "Normalize" and "Equalize histogram" both ticked.

        ImageJ then equalizes by the square roots of the histogram's counts; the other boxes have no effect on the
        pixels, only on the display range, which becomes that of the type.

        Raises
        ------
        BridgeError
            If the image is not 8-bit or 16-bit (ImageJ's command leaves it as it is, without an error), or a stack.
        """
        with java_errors("equalize the image"):
            processor = _only_plane(imp)
            if int(imp.getBitDepth()) not in (8, 16):
                raise BridgeError(
                    f"ImageJ cannot equalize a {imp.getBitDepth()}-bit image; convert it to 8-bit or 16-bit"
                )
            self._class("ij.plugin.ContrastEnhancer")().equalize(processor)
            processor.setMinAndMax(0, processor.maxValue())

    def to_16bit(self, imp: ImagePlus, limits: tuple[float, float] | None = None) -> None:
        """Image > Type > 16-bit with ImageJ's default "Scale when converting", over the image's full range of values.

        A 32-bit image's lowest value, or the first of `limits`, becomes 0, and its highest, or the second of them,
        65,535; 8-bit values stay as they are.

        Raises
        ------
        BridgeError
            If the image is a stack, or Java's memory is too small.
        """
        with java_errors("convert the image"):
            processor = _only_plane(imp)
            calibration = imp.getCalibration()
            if limits is None:
                processor.resetMinAndMax()
            else:
                processor.setMinAndMax(*limits)
            imp.setProcessor(None, processor.convertToShort(True))
            imp.setCalibration(calibration)

    def resize_lines(self, pixels: Lines, length_px: int, *, along_x: bool) -> Lines:
        """Make every line shorter as `resize` does in its first or second pass; the other direction stays.

        `resize` averages in floats along x, then along y, and rounds once at the end: whole rows of a band through
        this, then whole columns, give its very numbers without the whole image in Java.

        Parameters
        ----------
        pixels : ndarray of float32, shape (Y, X)
            A band of whole rows, or of whole columns.
        length_px : int
            New length of the lines; less than now.
        along_x : bool
            True where rows are the lines.

        Returns
        -------
        ndarray of float32

        Raises
        ------
        BridgeError
            If Java's memory is too small.
        """
        height, width = pixels.shape
        shape = (height, length_px) if along_x else (length_px, width)
        with java_errors("resize the image"):
            processor = self._processor(pixels)
            processor.setInterpolationMethod(_BILINEAR)
            return _from_java(processor.resize(shape[1], shape[0], True), np.dtype(np.float32))

    def equalization(self, histogram: NDArray[np.int64]) -> Pixels:
        """Return the new value of every old one with which `equalize` would replace the pixels.

        Parameters
        ----------
        histogram : ndarray of int64, shape (256,) or (65536,)
            Number of pixels of every value, of an 8-bit or 16-bit image.

        Returns
        -------
        ndarray of uint8 or uint16, shape as `histogram`

        Raises
        ------
        BridgeError
            If this ImageJ cannot tell it.
        """
        from jpype import JArray, JInt, JObject

        dtype = np.uint8 if len(histogram) == 256 else np.uint16
        values = np.arange(len(histogram), dtype=dtype)[None, :]
        counts = JArray.of(histogram.astype(np.int32))
        with java_errors("equalize the image"):
            processor = self._processor(values)
            enhancer = self._class("ij.plugin.ContrastEnhancer")
            # Its public methods count the pixels of what they are given; this one is what they call after that.
            equalize = enhancer.class_.getDeclaredMethod(
                "equalize", self._class("ij.process.ImageProcessor").class_, JArray(JInt).class_
            )
            equalize.setAccessible(True)
            equalize.invoke(enhancer(), JArray(JObject)([processor, counts]))
            table: Pixels = _from_java(processor, np.dtype(dtype))[0]
            return table

    def free_memory(self) -> None:
        """Let Java give the memory of images that are no longer used back to the computer.

        Java would only do so when its memory is full. It takes 0.02 s; with a window, where it may take long because
        many images may be open, nothing is done.
        """
        if self.headless:
            self._class("java.lang.System").gc()

    def close(self) -> None:
        """Close every window of ImageJ, without asking, and shut Java down; this process cannot start it again."""
        import scyjava

        scyjava.shutdown_jvm()

    def _imageplus(self, name: str, pixels: Pixels) -> ImagePlus:
        return self._class("ij.ImagePlus")(name, self._processor(pixels))

    def _processor(self, pixels: Pixels) -> Any:  # noqa: ANN401 (an ij.process.ImageProcessor)
        from jpype import JArray

        kind, java_type = _KINDS[pixels.dtype.name]
        height, width = pixels.shape
        array = JArray.of(np.ascontiguousarray(pixels).view(java_type).ravel())
        lut = () if kind == "Color" else (None,)
        return self._class(f"ij.process.{kind}Processor")(width, height, array, *lut)


def _only_plane(imp: ImagePlus) -> Any:  # noqa: ANN401 (an ij.process.ImageProcessor)
    if int(imp.getStackSize()) != 1:
        raise BridgeError(f"{imp.getTitle()} is a stack of {imp.getStackSize()} planes; give one plane")
    processor = imp.getProcessor()
    processor.resetRoi()
    return processor


def _calibration(imp: ImagePlus) -> Calibration | None:
    calibration = imp.getCalibration()
    if not calibration.scaled():
        return None
    return Calibration(float(calibration.pixelWidth), float(calibration.pixelHeight), str(calibration.getUnit()))


def _from_java(processor: Any, dtype: np.dtype[Any]) -> Pixels:  # noqa: ANN401 (an ij.process.ImageProcessor)
    """Copy the pixels of an ImageProcessor."""
    shape = (int(processor.getHeight()), int(processor.getWidth()))
    pixels: Pixels = np.frombuffer(memoryview(processor.getPixels()), dtype).reshape(shape).copy()
    return pixels
