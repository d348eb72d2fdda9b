"""StormSeg put into a Fiji that is started by double click, and taken out of it again.

Fiji's folder holds ``jars``, ``plugins``, ``scripts`` and ``macros`` in every layout that its documentation names: with
the launchers ImageJ-linux64, ImageJ-win64.exe and Contents/MacOS/ImageJ-macosx (until 2024), and with fiji,
fiji-linux-x64, fiji-windows-x64.exe, Fiji.app/Contents/MacOS/fiji-macos-arm64 and config/jaunch (since 2025). So no
launcher is looked for. Scripts below ``scripts/Plugins`` become entries of the menu Plugins; an underscore in a name
becomes a blank.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import stormseg_ij
from stormseg_ij import fiji_files
from stormseg_ij.errors import BridgeError
from stormseg_ij.fiji_jars import look_at_jars, updaters_files
from stormseg_ij.installation import cached_jar, fiji_places, find_fiji, install_command

PROPERTIES = f"{fiji_files.HOME}/stormseg.properties"

_PLACES = (
    ("menu", "fiji_scripts/menu", "*.groovy", "scripts/Plugins/StormSeg"),
    ("examples", "fiji_scripts/examples", "*.groovy", "scripts/Plugins/StormSeg/Examples"),
    ("library", "fiji_scripts/lib", "*.groovy", fiji_files.HOME),
    ("macros", "macros", "*.ijm", "macros/StormSeg"),
)
_TRY_SECONDS = 60
_WORKER = ("-E", "-P", "-X", "utf8", "-u", "-m", "stormseg_ij.worker")
"""What Worker.groovy gives to Python: nothing of PYTHON... variables or of the current folder has a say."""
_PACKAGES = (
    "stormseg_ij",
    "appose",
    "numpy",
    "scipy",
    "skimage",
    "roifile",
    "tifffile",
    "keras",
    "stardist",
    "tensorflow",
)
_LOOK = """
import sys
from importlib.util import find_spec
print("lacks", *(name for name in sys.argv[1:] if (spec := find_spec(name)) is None or spec.origin is None))
"""
"""A folder without code has a spec too, but no origin."""
_UV_CACHE = re.compile(r"(archive|builds|environments)-v\d+")


@dataclass(frozen=True)
class Part:
    """Files of one kind.

    Attributes
    ----------
    name : str
        "menu", "examples", "library" or "macros".
    folder : str
        Where they go, below Fiji's folder.
    files : tuple of str
        Their paths below Fiji's folder.
    """

    name: str
    folder: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What was done, or, in a dry run, what would be.

    Attributes
    ----------
    fiji : Path
        Fiji's own folder.
    done : fiji_files.Plan
        The files: as they were, added, replaced, removed, kept aside.
    running : bool
        Whether this Fiji runs: it sees the change when it starts anew.
    parts : tuple of Part
        What there is now; empty after all is taken back.
    jars : dict of str to str
        Path below Fiji's folder of each jar that is needed -> "added" or "there".
    python : Path or None
        The Python that Fiji will start.
    strangers : tuple of str
        Files in StormSeg's folders that stay because StormSeg did not put them there.
    left : dict of str to str
        Path of each jar that StormSeg put there and does not take out -> why.
    """

    fiji: Path
    done: fiji_files.Plan
    running: bool
    parts: tuple[Part, ...] = ()
    jars: dict[str, str] | None = None
    python: Path | None = None
    strangers: tuple[str, ...] = ()
    left: dict[str, str] = field(default_factory=dict)


def install(fiji: Path, *, python: Path | None = None, dry_run: bool = False) -> Report:
    """Put StormSeg's scripts, macros and what they need into a Fiji; run again it changes only what is not right.

    Parameters
    ----------
    fiji : Path
        Fiji's folder, or the one that holds it.
    python : Path, optional
        The Python that Fiji is to start; by default the one that runs this. A symbolic link stays one: through it a
        virtual environment is known.
    dry_run : bool
        Change nothing in Fiji; missing jars are downloaded into the Maven cache all the same.

    Raises
    ------
    BridgeError
        If there is no whole Fiji, one of its jars is too old, a missing one cannot be downloaded, that Python cannot do
        the work or lies in a cache, the folder cannot be written to, or another run works on it. Fiji is then as it
        was.
    """
    folder = _find(fiji)
    python = _python(python)
    check_worker(python)
    parts, wanted = _scripts(_source())
    wanted[PROPERTIES] = properties({"python": str(python), "version": stormseg_ij.__version__})
    with nullcontext() if dry_run else fiji_files.alone(folder):
        record = fiji_files.read_record(folder)
        theirs = updaters_files(folder) or frozenset()
        jars = _jars(folder, record, theirs, wanted)
        todo = fiji_files.plan(folder, wanted, record, theirs)
        running = runs(folder)
        if not dry_run:
            fiji_files.carry_out(folder, todo, record)
    states = {name: "added" if name in todo.added else "there" for name in jars}
    return Report(folder, todo, running, parts, states, python)


def uninstall(fiji: Path, *, dry_run: bool = False) -> Report:
    """Take out of a Fiji what `install` put there.

    What somebody changed since is kept under another name; a jar that an update site of Fiji has by now stays. What
    StormSeg saved of nuclei lies elsewhere and stays.

    Raises
    ------
    BridgeError
        If there is neither StormSeg nor a whole Fiji, a file cannot be removed, or another run works on it. Fiji is
        then as it was.
    """
    folder = _find_installed(fiji)
    with nullcontext() if dry_run else fiji_files.alone(folder):
        record = fiji_files.read_record(folder)
        left = _left(folder, record)
        todo = fiji_files.plan(folder, {}, record, left)
        others, running = fiji_files.strangers(folder, record), runs(folder)
        if not dry_run:
            fiji_files.carry_out(folder, todo, record)
    return Report(folder, todo, running, strangers=tuple(others), left=left)


def check_worker(python: Path) -> None:
    """Look whether a Python can work for Fiji: whether it has the packages, and the worker starts as Fiji starts it.

    TensorFlow is only looked for: to import it takes 10 s.

    Raises
    ------
    BridgeError
        If it cannot, or takes more than 60 s for one of the two.
    """
    looked = _try(python, "-E", "-P", "-X", "utf8", "-c", _LOOK, *_PACKAGES)
    lines = looked.stdout.strip().splitlines()
    if re.search(r"unknown option:? -P", looked.stderr, re.IGNORECASE):
        raise BridgeError(f"{python} is older than Python 3.11; give the Python that has stormseg_ij")
    word, *lacks = lines[-1].split() if looked.returncode == 0 and lines else [""]
    if word != "lacks":
        raise _unfit(python, _why(looked))
    if lacks:
        raise _unfit(python, f"it has no {', '.join(lacks)}")
    started = _try(python, *_WORKER)
    if started.returncode != 0:
        raise _unfit(python, _why(started))


def _try(python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [str(python), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TRY_SECONDS,
            check=False,
        )
    except OSError as error:
        raise BridgeError(f"cannot start {python}: {error.strerror}; give the Python of StormSeg") from error
    except subprocess.TimeoutExpired as error:
        raise BridgeError(
            f"{python} did not start StormSeg's worker in {_TRY_SECONDS} s; close other programs and run this again"
        ) from error


def _why(done: subprocess.CompletedProcess[str]) -> str:
    """Return in one line why a Python failed."""
    lines = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
    return lines[-1].strip()


def _unfit(python: Path, why: str) -> BridgeError:
    advice = f"install stormseg_ij into it ({install_command(python=python)})"
    return BridgeError(f"{python} cannot be Fiji's Python: {why}; {advice}")


def properties(values: dict[str, str]) -> bytes:
    r"""Encode what ``java.util.Properties`` reads, in ASCII.

    Raises
    ------
    BridgeError
        If a value is no text: a path with bytes that are no UTF-8.

    Examples
    --------
    >>> properties({"python": "C:\\Ana Łuk\\python.exe"})
    b'python=C:\\\\Ana \\u0141uk\\\\python.exe\n'
    """
    return "".join(f"{key}={_escape(value)}\n" for key, value in values.items()).encode("ascii")


def runs(fiji: Path) -> bool:
    """Whether this Fiji runs now, as far as this user may see: a program that lies in it, or a Java told of it."""
    import psutil

    def in_it(text: str | None) -> bool:
        return bool(text) and Path(text or "").is_relative_to(fiji)

    named = re.compile(re.escape(str(fiji)) + r"(?![^/\\:;])")
    for process in psutil.process_iter(["pid", "exe", "cmdline", "cwd"]):
        seen = process.info
        if seen["pid"] == os.getpid():
            continue
        if in_it(seen["exe"]):
            return True
        words = seen["cmdline"] or [""]
        program = Path(seen["exe"] or words[0]).name.lower()
        if program.startswith("java") and (in_it(seen["cwd"]) or any(named.search(word) for word in words)):
            return True
    return False


def _find(fiji: Path) -> Path:
    if not fiji.expanduser().is_dir():  # `find_fiji` takes endpoints too
        raise BridgeError(f"no Fiji at {fiji}: no such folder; give the folder that Fiji was unpacked to")
    return Path(find_fiji(str(fiji)))


def _find_installed(fiji: Path) -> Path:
    """Find the Fiji that has StormSeg, be it whole or not; else a whole one."""
    places = fiji_places(fiji.expanduser())
    found = next((place for place in places if fiji_files.has_record(place)), None)
    return _find(fiji) if found is None else found.resolve()


def _left(folder: Path, record: fiji_files.Record) -> dict[str, str]:
    """Return which jars of ours stay, and why: whose updates Fiji now counts on, or nobody knows."""
    listed = updaters_files(folder)
    why = "Fiji's updater has it now" if listed is not None else "Fiji's db.xml.gz, which may name it, cannot be read"
    names = [name for name in record.names if name.endswith(".jar") and (listed is None or name in listed)]
    return {name: why for name in names if record.is_ours(name, fiji_files.digest(folder / name))}


def _python(python: Path | None) -> Path:
    path = Path(sys.executable if python is None else python.expanduser()).absolute()
    if not path.is_file():
        raise BridgeError(f"no Python at {path}; give the program of the Python that has stormseg_ij")
    if cache := _cache_of(path):
        raise BridgeError(
            f"{path} lies in a cache that {cache} empties, and Fiji would lose it; install stormseg_ij into an "
            "environment that lasts, and run stormseg install-fiji of that one, or give its Python with --python"
        )
    return path


def _cache_of(python: Path) -> str:
    """Return whose cache a Python lies in; empty if in none.

    So it is under ``uvx``, ``uv run --with`` and ``pipx run`` (uv 0.13, pipx 1.18). uv marks its cache by a file; pipx
    has its own in the user's caches, or in its home.
    """
    import platformdirs

    for place in python.parents:
        if _UV_CACHE.fullmatch(place.name) and (place.parent / "CACHEDIR.TAG").is_file():
            return "uv"
    caches = [Path(platformdirs.user_cache_path("pipx"))]
    if home := os.environ.get("PIPX_HOME"):
        caches.append(Path(home) / ".cache")
    if any(place in caches or place.parts[-2:] == ("pipx", ".cache") for place in python.parents):
        return "pipx"
    return ""


def _source() -> Path:
    """Return the folder that holds our scripts: the package, or in a checkout the repository."""
    package = Path(__file__).parent
    return package if (package / "fiji_scripts").is_dir() else package.parent


def _scripts(source: Path) -> tuple[tuple[Part, ...], dict[str, bytes]]:
    parts: list[Part] = []
    wanted: dict[str, bytes] = {}
    for name, place, pattern, target in _PLACES:
        files = {f"{target}/{path.name}": path.read_bytes() for path in sorted((source / place).glob(pattern))}
        if not files:
            raise BridgeError(
                f"this stormseg_ij has no {place} in {source}; run {install_command('--force-reinstall')}"
            )
        parts.append(Part(name, target, tuple(files)))
        wanted |= files
    return tuple(parts), wanted


def _jars(folder: Path, record: fiji_files.Record, theirs: frozenset[str], wanted: dict[str, bytes]) -> list[str]:
    """Add to `wanted` the jars that Fiji lacks; return the paths of all that are needed."""
    ours = {name for name in record.names if name.endswith(".jar") and name not in theirs}
    ours = {name for name in ours if record.is_ours(name, fiji_files.digest(folder / name))}
    jars = look_at_jars(folder, {folder / name for name in ours})
    needed = [path.relative_to(folder).as_posix() for path in jars.found.values()]
    for jar in jars.missing:
        name = f"jars/{jar.name}"
        try:
            path = folder / name if name in ours else cached_jar(jar)
        except BridgeError as error:
            raise BridgeError(f"{error}, or put {jar.name} into {folder / 'jars'} by hand") from error
        wanted[name] = path.read_bytes()
        needed.append(name)
    return sorted(needed)


def _escape(value: str) -> str:
    return "".join(_escaped(value))


def _escaped(value: str) -> Iterator[str]:
    for position, letter in enumerate(value):
        if letter == "\\" or (letter == " " and position == 0):
            yield "\\" + letter
        elif " " <= letter <= "~":
            yield letter
        else:
            try:
                units = letter.encode("utf-16-be")
            except UnicodeEncodeError as error:
                raise BridgeError(
                    f"the path {value!r} is no text; install StormSeg's Python in another folder"
                ) from error
            yield from (f"\\u{units[i]:02X}{units[i + 1]:02X}" for i in range(0, len(units), 2))
