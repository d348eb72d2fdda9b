"""ImageJ and Fiji from Python; the only module that imports Java.

One process holds one Java, and one Java one ImageJ: `start` makes it, and gives the same one again after that.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from stormseg_ij import installation
from stormseg_ij.errors import BridgeError
from stormseg_ij.image import Calibration, Image, Pixels, rgb_to_gray
from stormseg_ij.installation import Java

ImagePlus: TypeAlias = Any
"""An `ij.ImagePlus`, the Java object of an image in ImageJ."""

_EXIT_WAIT_SECONDS = 3.0
_BILINEAR = 1  # ij.process.ImageProcessor.BILINEAR
_KINDS = {
    "uint8": ("Byte", "int8"), "uint16": ("Short", "int16"), "float32": ("Float", "float32"),
    "uint32": ("Color", "int32"),
}  # fmt: skip

_lock = threading.Lock()
_running: ImageJ | None = None


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
    """

    def __init__(self, java: Java, *, fiji: str | None, headless: bool, heap_mb: int, gateway: object) -> None:
        import scyjava

        self.java = java
        self.fiji = fiji
        self.headless = headless
        self.heap_mb = heap_mb
        self.gateway = gateway
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
        with _java_errors("take the image"):
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
        with _java_errors("take the image"):
            return self._imageplus(name, packed)

    def from_imageplus(self, imp: ImagePlus, *, name: str | None = None) -> Image:
        """Copy the shown plane of an ImageJ image, with its calibration.

        Parameters
        ----------
        imp : ImagePlus
            8-bit, 16-bit or 32-bit, whose values are taken as they are, whatever the lookup table and display range;
            RGB and "8-bit Color" become gray as Image > Type > 8-bit does (the mean of the channels), and
            `Image.notes` says so.
        name : str, optional
            The image's title without its suffix if not given.

        Raises
        ------
        BridgeError
            If the image was closed meanwhile.
        """
        with _java_errors("give the image"):
            processor = imp.getProcessor()
            if processor is None:
                raise BridgeError("the image has no pixels: it was closed; open it again")
            if imp.getType() == imp.COLOR_256:
                processor = processor.convertToRGB()
            depth = int(processor.getBitDepth())
            shape = (int(processor.getHeight()), int(processor.getWidth()))
            raw = memoryview(processor.getPixels())
            title = str(imp.getShortTitle()) if name is None else name
            calibration = _calibration(imp)
        if depth == 24:
            packed = np.frombuffer(raw, np.uint32).reshape(shape)
            rgb = np.stack([(packed >> shift).astype(np.uint8) for shift in (16, 8, 0)], axis=-1)
            note = "RGB converted to 8-bit gray, the mean of the channels"
            return Image(rgb_to_gray(rgb), title, calibration, notes=(note,))
        dtype = {8: np.uint8, 16: np.uint16, 32: np.float32}[depth]
        return Image(np.frombuffer(raw, dtype).reshape(shape).copy(), title, calibration)

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
        with _java_errors("resize the image"):
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
        with _java_errors("blur the image"):
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
        with _java_errors("equalize the image"):
            processor = _only_plane(imp)
            if int(imp.getBitDepth()) not in (8, 16):
                raise BridgeError(
                    f"ImageJ cannot equalize a {imp.getBitDepth()}-bit image; convert it to 8-bit or 16-bit"
                )
            self._class("ij.plugin.ContrastEnhancer")().equalize(processor)
            processor.setMinAndMax(0, processor.maxValue())

    def to_16bit(self, imp: ImagePlus) -> None:
        """Image > Type > 16-bit with ImageJ's default "Scale when converting", over the image's full range of values.

        A 32-bit image's lowest value becomes 0 and its highest 65,535; 8-bit values stay as they are.

        Raises
        ------
        BridgeError
            If the image is a stack, or Java's memory is too small.
        """
        with _java_errors("convert the image"):
            processor = _only_plane(imp)
            calibration = imp.getCalibration()
            processor.resetMinAndMax()
            imp.setProcessor(None, processor.convertToShort(True))
            imp.setCalibration(calibration)

    def close(self) -> None:
        """Close every window of ImageJ, without asking, and shut Java down; this process cannot start it again."""
        import scyjava

        scyjava.shutdown_jvm()

    def _imageplus(self, name: str, pixels: Pixels) -> ImagePlus:
        from jpype import JArray

        kind, java_type = _KINDS[pixels.dtype.name]
        height, width = pixels.shape
        array = JArray.of(np.ascontiguousarray(pixels).view(java_type).ravel())
        lut = () if kind == "Color" else (None,)
        return self._class("ij.ImagePlus")(name, self._class(f"ij.process.{kind}Processor")(width, height, array, *lut))


def start(fiji: str | None = None, *, headless: bool = True, heap_mb: int | None = None) -> ImageJ:
    """Start ImageJ, or give the one that runs.

    Parameters
    ----------
    fiji : str, optional
        Fiji's folder, or an endpoint such as ``"sc.fiji:fiji"``, both started through PyImageJ. Without it the default:
        ImageJ 1.54p, downloaded from Maven Central once. `installation.resolve_fiji` finds what the user chose.
    headless : bool
        False opens ImageJ's window.
    heap_mb : int, optional
        Java's memory in MiB. Without it a quarter of this computer's memory, at most 8 GiB; with a window three
        quarters.

    Returns
    -------
    ImageJ
        The same object for the same options.

    Raises
    ------
    BridgeError
        Without a usable Java, a whole Fiji, the network where the cache is empty, or a display where a window is
        asked; if Java already runs in this process with other options or started by others; if ImageJ does not change
        pixels.
    """
    global _running  # noqa: PLW0603 (one Java per process is what it is)
    with _lock:
        found = None if fiji is None else installation.find_fiji(fiji)
        heap = installation.java_heap_mb(heap_mb, headless=headless)
        if _running is None:
            if not headless:
                installation.check_display()
            _running = _launch(found, headless=headless, heap_mb=heap)
        _check_same(_running, found, headless=headless, heap_mb=heap_mb)
        return _running


def _launch(fiji: str | None, *, headless: bool, heap_mb: int) -> ImageJ:
    """Start Java with ImageJ or Fiji in it."""
    import jpype
    import scyjava
    from scyjava import config

    if jpype.isJVMStarted():
        raise BridgeError("Java already runs in this process, but not with our ImageJ; start a new process for it")
    java = installation.find_java(headless=headless)
    options = [f"-Xmx{heap_mb}m"] + ["-Djava.awt.headless=true"] * headless
    if java.major >= 24:
        options.append("--enable-native-access=ALL-UNNAMED")  # else Java warns that JPype loads a library
    _quiet_loggers()
    installation.set_java_home(java)
    config.add_kwargs(jvmpath=str(java.library), interrupt=False)
    before = list(config.get_options()), list(config.endpoints)
    config.add_options(options)
    try:
        gateway = _start_imagej(installation.imagej_jar()) if fiji is None else _start_fiji(fiji, headless=headless)
    except (jpype.JException, RuntimeError, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        what = "ImageJ" if fiji is None else f"Fiji {fiji}"
        message = f"{what} did not start on Java {java.home}: {_one_line(error)}; run stormseg doctor"
        raise BridgeError(message) from error
    finally:
        config.get_options()[:], config.endpoints[:] = before
        if jpype.isJVMStarted():
            scyjava.when_jvm_stops(_leave)
            _give_signals_to_python()
    with _java_errors("start"):
        if not headless:
            _open_window(gateway)
        ij = ImageJ(java, fiji=fiji, headless=headless, heap_mb=heap_mb, gateway=gateway)
    _check_pixels(ij)
    return ij


def _start_imagej(jar: Path) -> object:
    """Start Java with the default ImageJ on its class path; there is no gateway."""
    import scyjava
    from scyjava import config

    config.set_java_constraints(fetch="never")
    config.endpoints.clear()
    config.add_classpath(str(jar))
    scyjava.start_jvm()
    return None


def _start_fiji(fiji: str, *, headless: bool) -> Any:  # noqa: ANN401 (PyImageJ's gateway, untyped)
    """Start Java with Fiji through PyImageJ."""
    import imagej
    from scyjava import config

    config.set_java_constraints(fetch="auto", version="11")  # PyImageJ 1.8 fails with "never"; the found Java meets 11
    if any(Path(fiji, "jars").glob("imglib2-imglyb-*.jar")):
        config.endpoints.clear()  # importing imagej asks Maven for imglyb, but this Fiji has its own
    gateway = imagej.init(fiji, mode="headless" if headless else "interactive")
    if not gateway:
        raise RuntimeError("its jars hold no ImageJ2")
    return gateway


def _check_same(ij: ImageJ, fiji: str | None, *, headless: bool, heap_mb: int | None) -> None:
    import jpype

    if not jpype.isJVMStarted():
        raise BridgeError("ImageJ was closed and Java cannot start twice in one process; start a new process")
    if ij.fiji != fiji or ij.headless != headless or heap_mb not in (None, ij.heap_mb):
        runs = f"{ij.fiji or 'the default ImageJ'}, headless={ij.headless}, heap_mb={ij.heap_mb}"
        asked = f"{fiji or 'the default ImageJ'}, headless={headless}, heap_mb={heap_mb or ij.heap_mb}"
        raise BridgeError(f"ImageJ already runs in this process ({runs}); start a new process for {asked}")


def _open_window(gateway: Any) -> None:  # noqa: ANN401 (PyImageJ's gateway, untyped)
    """Open ImageJ's window; raise BridgeError if the display does not answer."""
    import jpype
    import scyjava

    display = os.environ.get("DISPLAY", "")
    try:
        scyjava.jimport("java.awt.Toolkit").getDefaultToolkit().getScreenSize()
        if gateway is not None:
            gateway.ui().showUI()
        else:
            window = scyjava.jimport("ij.ImageJ")
            window(window.EMBEDDED)  # leaving it does not end Python
    except jpype.JException as error:
        message = f"the display {display!r} does not answer ({_one_line(error)}); start Xvfb or use headless mode"
        raise BridgeError(message) from error


def _check_pixels(ij: ImageJ) -> None:
    """Blur one bright pixel and compare with the Gauss function: headless ImageJ can fail without an error."""
    pixels = np.zeros((9, 9), np.uint8)
    pixels[4, 4] = 255
    imp = ij.to_imageplus(Image(pixels, "check"))
    ij.gaussian_blur(imp, 1.0)
    gauss = np.exp(-0.5 * np.arange(-4, 5) ** 2)
    wanted = 255 * np.outer(gauss, gauss) / gauss.sum() ** 2
    if np.abs(ij.from_imageplus(imp).pixels - wanted).max() > 1.0:
        raise BridgeError(f"ImageJ {ij.version} does not change pixels as it should; run stormseg doctor")


def _leave() -> None:
    """Close windows and end ImageJ's threads, so that shutting Java down does not wait for them forever."""
    import jpype
    import jpype.config
    import scyjava

    with suppress(jpype.JException):
        for window in scyjava.jimport("java.awt.Window").getWindows():
            window.dispose()
    with suppress(jpype.JException, TypeError):
        scyjava.jimport("ij.util.ThreadUtil").threadPoolExecutor.shutdownNow()
    thread = scyjava.jimport("java.lang.Thread")
    end = time.monotonic() + _EXIT_WAIT_SECONDS
    while any(t != thread.currentThread() and not t.isDaemon() for t in thread.getAllStackTraces().keySet()):
        if time.monotonic() > end:
            jpype.config.destroy_jvm = False  # a thread that does not end: leave it behind instead of waiting for it
            break
        time.sleep(0.02)


def _give_signals_to_python() -> None:
    """Put Python's handlers back, which Java replaced: Ctrl-C interrupts waiting code at once, and SIGTERM ends us."""
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        handler = None if number is None else signal.getsignal(number)
        if number is not None and handler is not None:
            signal.signal(number, handler)


def _quiet_loggers() -> None:
    """Keep the loggers of the Java packages silent where nobody has set a level: our errors say what they would."""
    for name in ("jgo", "scyjava", "imagej", "imglyb"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL)


@contextmanager
def _java_errors(doing: str) -> Iterator[None]:
    """Turn Java's exceptions into BridgeError."""
    import jpype

    try:
        yield
    except jpype.JException as error:
        if "OutOfMemoryError" in type(error).__name__:
            raise BridgeError(f"ImageJ could not {doing}: Java's memory is too small; give more (heap_mb)") from error
        raise BridgeError(f"ImageJ could not {doing}: {_one_line(error)}") from error


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


def _one_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".;") if text else type(error).__name__
