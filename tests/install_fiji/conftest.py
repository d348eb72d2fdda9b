"""A Fiji, StormSeg's scripts, and a cache of jars, as tests of installing need them."""

import pytest
from trees import WHOLE

from stormseg_ij import install_fiji

SOURCES = {
    "fiji_scripts/menu/Segment_Nuclei.groovy": "segment",
    "fiji_scripts/menu/Measure_Nuclei.groovy": "measure",
    "fiji_scripts/examples/All_Open.groovy": "example",
    "fiji_scripts/lib/StormSeg.groovy": "class StormSeg",
    "fiji_scripts/lib/notes.txt": "not installed",
    "macros/batch.ijm": "macro",
}


@pytest.fixture
def source(tmp_path):
    for name, text in SOURCES.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "source"


@pytest.fixture
def fiji(make_fiji, tmp_path):
    """A Fiji that has no jar of those that are needed, in a place with blanks and other letters."""
    folder = make_fiji(tmp_path / "Ana Łukasz" / "Fiji.app", *WHOLE)
    for name in ("macros/StartupMacros.fiji.ijm", "plugins/My_Plugin.jar", "Contents/Info.plist"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def jars(tmp_path, monkeypatch):
    """A cache that has every jar; gives the names of those that were asked for."""
    asked = []
    (tmp_path / "cache").mkdir()

    def cached(jar):
        asked.append(jar.name)
        path = tmp_path / "cache" / jar.name
        path.write_text(f"{jar.group} {jar.name}")
        return path

    monkeypatch.setattr(install_fiji, "cached_jar", cached)
    return asked


@pytest.fixture
def small(source, monkeypatch):
    """StormSeg has few scripts, and whatever Python there is can be the worker."""
    monkeypatch.setattr(install_fiji, "_source", lambda: source)
    monkeypatch.setattr(install_fiji, "check_worker", lambda python: None)


@pytest.fixture
def install(jars, small):
    return install_fiji.install
