"""Which jars a Fiji needs to speak with Python, which of them it has, and which it lacks."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from stormseg_ij.errors import BridgeError
from stormseg_ij.installation import Jar

# Versions are those that pom-scijava 43 names, so that a Fiji which gets them later from its updater gets the same.
# None is shipped with stormseg_ij. Licences: Appose BSD-2-Clause, Groovy Apache-2.0, JNA Apache-2.0 (or LGPL-2.1+).
_APPOSE = Jar("org.apposed", "appose", "0.9.0", "b09ce4ff9d7a29518bba7ec7903c63d0504159637376506d9b2a3a70ed37b1bc")
_GROOVY = Jar(
    "org.apache.groovy", "groovy", "4.0.28", "d77164a44ab994837e61eecead64721bdb1794fa2bc6704ac6fe70cd32ef9dd3"
)
_JNA = Jar("net.java.dev.jna", "jna", "5.14.0", "34ed1e1f27fa896bca50dbc4e99cf3732967cec387a7a0d5e3486c09673fe8c6")
_JNA_PLATFORM = Jar(
    "net.java.dev.jna", "jna-platform", "5.14.0", "ae4caceb3840730c2537f9b7fb55a01baba580286b4122951488bcee558c2449"
)
_GROOVY_JSON = {
    "3.0.4": "0519f539850fcd819f184c7985b28de487a065b81da3d76b174418c193890257",
    "4.0.18": "0dbd50b52b215b27af3afb53ddba199b29c35d88134570d46c1ec3991e8b2804",
    "4.0.23": "c38cb3e30fefa49768a424abc5cc6b7fe4ccde526996a75836fa0295a779a22b",
    "4.0.28": "edec45c85ff811f9a9baacdf5b020e34593a0055ac63c92fbf1233c3b2cc9cc6",
}
"""Those that pom-scijava 31 to 45 name. The hash of any other is not known here: Maven Central is asked for it."""

_LEAST = {"appose": (0, 5, 1), "groovy": (3,), "groovy-json": (3,), "jna": (5,), "jna-platform": (5,)}
"""Oldest versions that work: Appose before 0.5.1 hangs with today's Python side; its shared memory needs JNA 5."""

_UPDATERS_LIST = "db.xml.gz"
_LONGEST_LIST_BYTES = 256 * 2**20
_CHUNK_BYTES = 2**20

_NAME = re.compile(r"(?:groovy-all|" + "|".join(_LEAST) + r")(?=-\d|\.jar$)")


@dataclass(frozen=True)
class Jars:
    """What Fiji has of the jars that are needed.

    Attributes
    ----------
    found : dict of str to Path
        By artifact: "appose", "groovy", "groovy-json", "jna", "jna-platform".
    missing : list of Jar
        What it lacks, in the versions that fit what it has.
    """

    found: dict[str, Path]
    missing: list[Jar]


def look_at_jars(fiji: Path, ours: Collection[Path] = ()) -> Jars:
    """Look through Fiji's folders ``jars`` and ``plugins``, whose jars are all on its class path.

    Parameters
    ----------
    fiji : Path
    ours : collection of Path
        Jars that do not count: those that we put there.

    Raises
    ------
    BridgeError
        If one is too old. A newer one beside it would not help: Java takes the class that it meets first.
    """
    found: dict[str, Path] = {}
    for folder in ("jars", "plugins"):
        for path in sorted((fiji / folder).rglob("*.jar")):
            matched = _NAME.match(path.name)
            if matched is None or path in ours:
                continue
            artifact = "groovy" if matched[0] == "groovy-all" else matched[0]
            numbers = _numbers(path)
            if numbers and numbers < _LEAST[artifact]:
                least = ".".join(map(str, _LEAST[artifact]))
                raise BridgeError(
                    f"{path} is too old: StormSeg needs {artifact} {least} or newer; "
                    "update Fiji (Help > Update...) and run stormseg install-fiji again"
                )
            found.setdefault(artifact, path)
    return Jars(found, _missing(found))


def updaters_files(fiji: Path) -> frozenset[str] | None:
    """Return which files Fiji's updater counts as those of its update sites: by ``db.xml.gz`` in Fiji's folder.

    There each ``plugin`` is a file; one without a ``version`` is no longer part of its site (``XMLFileWriter`` of
    imagej-updater). What such a site got later may be the very file that we put there.

    Returns
    -------
    frozenset of str or None
        Paths below Fiji's folder, with slashes; empty without such a list; None if it cannot be read.
    """
    from xml.parsers import expat

    names: set[str] = set()
    name = ""

    def begin(tag: str, attributes: dict[str, str]) -> None:
        nonlocal name
        if tag == "plugin":
            name = attributes.get("filename", "")
        elif tag == "version":
            names.add(name)

    def refuse(*_: object) -> None:
        raise ValueError("an updater's list has no entities")  # they could make a short text endless

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EntityDeclHandler = begin, refuse
    try:
        with gzip.open(fiji / _UPDATERS_LIST) as opened:
            read = 0
            while chunk := opened.read(_CHUNK_BYTES):
                read += len(chunk)
                if read > _LONGEST_LIST_BYTES:
                    return None
                parser.Parse(chunk, False)
            parser.Parse(b"", True)
    except FileNotFoundError:
        return frozenset()
    except (OSError, EOFError, zlib.error, expat.ExpatError, ValueError, LookupError):
        return None
    return frozenset(names)


def _missing(found: dict[str, Path]) -> list[Jar]:
    """Return what is lacking; of what belongs together both get one version."""
    groovy = _version(found.get("groovy") or found.get("groovy-json"), _GROOVY)
    group = "org.codehaus.groovy" if groovy.startswith("3.") else _GROOVY.group
    jna = _version(found.get("jna") or found.get("jna-platform"), _JNA)
    wanted = (
        _APPOSE,
        _GROOVY if groovy == _GROOVY.version else Jar(group, "groovy", groovy),
        Jar(group, "groovy-json", groovy, _GROOVY_JSON.get(groovy, "")),
        *(jar if jna == jar.version else Jar(jar.group, jar.artifact, jna) for jar in (_JNA, _JNA_PLATFORM)),
    )
    return [jar for jar in wanted if jar.artifact not in found]


def _version(path: Path | None, pinned: Jar) -> str:
    """Return the version in a jar's name; the pinned one if there is no such jar, or no version in its name."""
    found = None if path is None else re.search(r"-(\d[^-]*(?:-(?:alpha|beta|rc)-\d+)?)", path.stem)
    return pinned.version if found is None else found[1]


def _numbers(path: Path) -> tuple[int, ...]:
    found = re.search(r"-(\d+(?:\.\d+)*)", path.name)
    return () if found is None else tuple(map(int, found[1].split(".")))
