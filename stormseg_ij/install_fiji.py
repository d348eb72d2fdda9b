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
from dataclasses import dataclass
from pathlib import Path

import stormseg_ij
from stormseg_ij import fiji_files
from stormseg_ij.errors import BridgeError
from stormseg_ij.fiji_jars import look_at_jars
from stormseg_ij.installation import cached_jar, find_fiji

PROPERTIES = f"{fiji_files.HOME}/stormseg.properties"

_PLACES = (
    ("menu", "fiji_scripts/menu", "*.groovy", "scripts/Plugins/StormSeg"),
    ("examples", "fiji_scripts/examples", "*.groovy", "scripts/Plugins/StormSeg/Examples"),
    ("library", "fiji_scripts/lib", "*.groovy", fiji_files.HOME),
    ("macros", "macros", "*.ijm", "macros/StormSeg"),
)
_TRY_SECONDS = 60
_TRY_WORKER = "import appose, stormseg_ij.worker"


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
    """

    fiji: Path
    done: fiji_files.Plan
    running: bool
    parts: tuple[Part, ...] = ()
    jars: dict[str, str] | None = None
    python: Path | None = None
    strangers: tuple[str, ...] = ()


def install(
    fiji: Path,
    *,
    python: Path | None = None,
    dry_run: bool = False,
    check: bool = True,
    source: Path | None = None,
) -> Report:
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
    check : bool
        Look first whether that Python can do the work.
    source : Path, optional
        Folder with ``fiji_scripts`` and ``macros``; by default those of this package.

    Raises
    ------
    BridgeError
        If there is no whole Fiji, one of its jars is too old, a missing one cannot be downloaded, that Python cannot do
        the work, or the folder cannot be written to. Fiji is then as it was.
    """
    folder = _find(fiji)
    python = _python(python)
    if check:
        check_worker(python)
    parts, wanted = _scripts(source or _source())
    wanted[PROPERTIES] = properties({"python": str(python), "version": stormseg_ij.__version__})
    record = fiji_files.read_record(folder)
    jars = _jars(folder, record, wanted)
    todo = fiji_files.plan(folder, wanted, record)
    running = runs(folder)
    if not dry_run:
        fiji_files.carry_out(folder, todo, record)
    states = {name: "added" if name in todo.added else "there" for name in jars}
    return Report(folder, todo, running, parts, states, python)


def uninstall(fiji: Path, *, dry_run: bool = False) -> Report:
    """Take out of a Fiji what `install` put there.

    What somebody changed since is kept under another name. What StormSeg saved of nuclei lies elsewhere and stays.

    Raises
    ------
    BridgeError
        If there is no whole Fiji, or a file cannot be removed. Fiji is then as it was.
    """
    folder = _find(fiji)
    record = fiji_files.read_record(folder)
    todo = fiji_files.plan(folder, {}, record)
    others, running = fiji_files.strangers(folder, record), runs(folder)
    if not dry_run:
        fiji_files.carry_out(folder, todo, record)
    return Report(folder, todo, running, strangers=tuple(others))


def check_worker(python: Path) -> None:
    """Try whether a Python has what the worker imports, in the way in which Fiji starts it.

    Variables such as PYTHONPATH, which may make it work in this terminal, are not there after a double click on Fiji.

    Raises
    ------
    BridgeError
        If it does not, or takes more than 60 s.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(python), "-P", "-X", "utf8", "-c", _TRY_WORKER]
    try:
        done = subprocess.run(
            command,
            env=environment,
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
            f"{python} did not import stormseg_ij in {_TRY_SECONDS} s; close other programs and run this again"
        ) from error
    if done.returncode == 0:
        return
    lines = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
    missing = re.search(r"No module named '(\w+)", lines[-1])
    package = {"appose": "appose>=0.12"}.get(missing[1] if missing else "", "stormseg-ij")
    raise BridgeError(
        f'{python} cannot be Fiji\'s Python: {lines[-1].strip()}; run "{python}" -m pip install --upgrade "{package}"'
    )


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


def _python(python: Path | None) -> Path:
    path = Path(sys.executable if python is None else python).absolute()
    if not path.is_file():
        raise BridgeError(f"no Python at {path}; give the program of the Python that has stormseg_ij")
    return path


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
                f"this stormseg_ij has no {place} in {source}; run pip install --force-reinstall stormseg-ij"
            )
        parts.append(Part(name, target, tuple(files)))
        wanted |= files
    return tuple(parts), wanted


def _jars(folder: Path, record: fiji_files.Record, wanted: dict[str, bytes]) -> list[str]:
    """Add to `wanted` the jars that Fiji lacks; return the paths of all that are needed."""
    ours = {name for name in record.names if name.endswith(".jar")}
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
