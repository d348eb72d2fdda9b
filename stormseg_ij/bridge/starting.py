"""Starting the one ImageJ of this process."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from stormseg_ij import installation
from stormseg_ij.bridge.imagej import ImageJ
from stormseg_ij.bridge.java import java_errors, one_line
from stormseg_ij.bridge.leaving import give_signals_to_python, leave
from stormseg_ij.errors import BridgeError
from stormseg_ij.image import Image

_lock = threading.Lock()
_running: ImageJ | None = None


def start(
    fiji: str | None = None, *, headless: bool = True, heap_mb: int | None = None, macros: bool = False
) -> ImageJ:
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
    macros : bool
        True makes the default ImageJ such that whole macros run without a window too: its classes are patched by
        ij1-patcher, from Maven Central like ImageJ itself. With a window and in Fiji they always run.

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
            _running = _launch(found, headless=headless, heap_mb=heap, patched=macros and headless and found is None)
        _check_same(_running, found, headless=headless, heap_mb=heap_mb)
        if macros and not _running.macros:
            message = "ImageJ already runs in this process and was not made to run macros; start a new process for them"
            raise BridgeError(message)
        return _running


def _launch(fiji: str | None, *, headless: bool, heap_mb: int, patched: bool) -> ImageJ:
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
    if patched:
        options.append("--add-opens=java.base/java.lang=ALL-UNNAMED")  # the patcher puts classes into Java's loader
    _quiet_loggers()
    installation.set_java_home(java)
    config.add_kwargs(jvmpath=str(java.library), interrupt=False)
    before = list(config.get_options()), list(config.endpoints)
    config.add_options(options)
    try:
        gateway = _start_imagej(patched=patched) if fiji is None else _start_fiji(fiji, headless=headless)
    except (jpype.JException, RuntimeError, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        what = "ImageJ" if fiji is None else f"Fiji {fiji}"
        message = f"{what} did not start on Java {java.home}: {one_line(error)}; run stormseg doctor"
        raise BridgeError(message) from error
    finally:
        config.get_options()[:], config.endpoints[:] = before
        if jpype.isJVMStarted():
            scyjava.when_jvm_stops(leave)
            give_signals_to_python()
    with java_errors("start"):
        if not headless:
            _open_window(gateway)
        ij = ImageJ(java, fiji=fiji, headless=headless, heap_mb=heap_mb, gateway=gateway, macros=patched)
    check_pixels(ij)
    return ij


def _start_imagej(*, patched: bool) -> object:
    """Start Java with the default ImageJ on its class path; there is no gateway."""
    import scyjava
    from scyjava import config

    config.set_java_constraints(fetch="never")
    config.endpoints.clear()
    for jar in [installation.imagej_jar(), *(installation.patcher_jars() if patched else [])]:
        config.add_classpath(str(jar))
    scyjava.start_jvm()
    if patched:
        scyjava.jimport("net.imagej.patcher.LegacyInjector").preinit()  # before the first class of ImageJ is loaded
        # What ImageJ does before the first command of a macro; without its table of commands it opens no file.
        init = scyjava.jimport("ij.IJ").class_.getDeclaredMethod("init")
        init.setAccessible(True)
        init.invoke(None)
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
        message = f"the display {display!r} does not answer ({one_line(error)}); start Xvfb or use headless mode"
        raise BridgeError(message) from error


def check_pixels(ij: ImageJ) -> None:
    """Blur one bright pixel and compare with the Gauss function: headless ImageJ can fail without an error."""
    pixels = np.zeros((9, 9), np.uint8)
    pixels[4, 4] = 255
    imp = ij.to_imageplus(Image(pixels, "check"))
    ij.gaussian_blur(imp, 1.0)
    gauss = np.exp(-0.5 * np.arange(-4, 5) ** 2)
    wanted = 255 * np.outer(gauss, gauss) / gauss.sum() ** 2
    if np.abs(ij.from_imageplus(imp).pixels - wanted).max() > 1.0:
        raise BridgeError(f"ImageJ {ij.version} does not change pixels as it should; run stormseg doctor")


def _quiet_loggers() -> None:
    """Keep the loggers of the Java packages silent where nobody has set a level: our errors say what they would."""
    for name in ("jgo", "scyjava", "imagej", "imglyb"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL)
