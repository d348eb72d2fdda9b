"""Others change a Fiji too: its updater, a person who deletes, a second run of ours at the same time."""

import gzip
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from trees import MENU, NEEDED, put_jar, tree

from stormseg_ij import fiji_files, fiji_jars, install_fiji
from stormseg_ij.cli import main
from stormseg_ij.errors import BridgeError

LIST = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE pluginRecords [
<!ELEMENT pluginRecords ((update-site | disabled-update-site)*, plugin*)>
<!ELEMENT plugin (platform*, category*, version?, previous-version*)>
<!ATTLIST plugin filename CDATA #REQUIRED>]>
<pluginRecords>
    <update-site name="ImageJ" url="https://update.imagej.net/" timestamp="20240101000000"/>
    <plugin update-site="ImageJ" filename="jars/appose-0.9.0.jar">
        <version checksum="0123" timestamp="20250101000000" filesize="1">
            <description>Brings Python.</description>
            <dependency filename="jars/jna-5.14.0.jar" timestamp="20230101000000"/>
        </version>
    </plugin>
    <plugin update-site="ImageJ" filename="jars/groovy-json-5.0.0.jar">
        <version checksum="0123" timestamp="20250101000000" filesize="1"/>
        <previous-version filename="jars/groovy-json-4.0.28.jar" timestamp="2024" checksum="4567"/>
    </plugin>
    <plugin update-site="ImageJ" filename="jars/groovy-4.0.28.jar">
        <previous-version timestamp="2024" timestamp-obsolete="2025" checksum="89ab"/>
    </plugin>
</pluginRecords>
"""
"""As ``XMLFileWriter`` of imagej-updater writes it."""


def put_list(fiji, text=LIST):
    (fiji / "db.xml.gz").write_bytes(gzip.compress(text.encode()))


# ---- Fiji's updater


def test_the_updaters_list(fiji):
    assert fiji_jars.updaters_files(fiji) == frozenset()
    put_list(fiji)
    assert fiji_jars.updaters_files(fiji) == {"jars/appose-0.9.0.jar", "jars/groovy-json-5.0.0.jar"}


WRONG = {
    "no gzip": LIST.encode(),
    "cut off": gzip.compress(LIST.encode())[:-30],
    "no XML": gzip.compress(b"{}"),
    "half": gzip.compress(LIST.encode()[:-20]),
    "empty": b"",
    "entities": gzip.compress(b'<!DOCTYPE a [<!ENTITY b "bb">]><a><plugin filename="&b;"/></a>'),
    "too long": gzip.compress(LIST.encode() + b" " * 5000),
    "no such encoding": gzip.compress(b'<?xml version="1.0" encoding="nothing"?><a/>'),
    "damaged": bytes([*gzip.compress(LIST.encode())[:40], *b"\xff" * 40]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_list_that_cannot_be_read_leaves_all_jars(install, fiji, monkeypatch, case):
    monkeypatch.setattr(fiji_jars, "_LONGEST_LIST_BYTES", 5000)
    install(fiji)
    (fiji / "db.xml.gz").write_bytes(WRONG[case])
    assert fiji_jars.updaters_files(fiji) is None
    assert not install(fiji).done.changes
    left = install_fiji.uninstall(fiji).left
    assert {*left} == {f"jars/{name}" for name in NEEDED}
    assert all("db.xml.gz" in why and "cannot be read" in why for why in left.values())
    assert all((fiji / name).is_file() for name in left)
    assert not (fiji / "stormseg").exists()


def test_a_jar_that_the_updater_has_by_now_stays(install, fiji, capsys):
    install(fiji)
    put_list(fiji)
    before = tree(fiji)
    report = install_fiji.uninstall(fiji, dry_run=True)
    assert tree(fiji) == before
    assert report.left == {"jars/appose-0.9.0.jar": "Fiji's updater has it now"}
    assert main(["install-fiji", str(fiji), "--uninstall"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "stays: jars/appose-0.9.0.jar (Fiji's updater has it now)" in said
    assert "jars among them: " + ", ".join(f"jars/{name}" for name in NEEDED[1:]) in said
    assert [name for name in NEEDED if (fiji / "jars" / name).exists()] == ["appose-0.9.0.jar"]
    assert not (fiji / "stormseg").exists()
    assert not install_fiji.uninstall(fiji).left


def test_a_jar_that_somebody_replaced_is_not_told_twice(install, fiji):
    install(fiji)
    put_list(fiji)
    put_jar(fiji, "jars/appose-0.9.0.jar")
    assert install_fiji.uninstall(fiji).left == {}
    assert (fiji / "jars/appose-0.9.0.jar").exists()


def test_an_upgrade_gives_the_updaters_jar_up(install, fiji, monkeypatch):
    """Ours of a newer version would come beside it, and both would be on Java's path."""
    install(fiji)
    put_list(fiji)
    newer = fiji_jars.Jar("org.apposed", "appose", "0.10.0")
    monkeypatch.setattr(fiji_jars, "_APPOSE", newer)
    report = install(fiji)
    assert report.jars["jars/appose-0.9.0.jar"] == "there"
    assert not report.done.changes
    assert sorted(path.name for path in fiji.glob("jars/appose*")) == ["appose-0.9.0.jar"]
    (fiji / "db.xml.gz").unlink()
    assert "jars/appose-0.9.0.jar" not in fiji_files.read_record(fiji).names
    install_fiji.uninstall(fiji)
    assert sorted(path.name for path in fiji.glob("jars/appose*")) == ["appose-0.9.0.jar"]


# ---- a Fiji that is no longer whole


@pytest.mark.parametrize("lost", ["jars/imagej-2.17.0.jar", "jars/appose-0.9.0.jar", "jars"])
def test_taken_out_of_a_fiji_that_lost_something(install, fiji, lost):
    install(fiji)
    path = fiji / lost
    if path.is_dir():
        path.rename(fiji.with_name("lost"))
    else:
        path.unlink()
    report = install_fiji.uninstall(fiji.parent)
    assert report.fiji == fiji
    assert f"{MENU}/Segment_Nuclei.groovy" in report.done.removed
    assert not (fiji / "stormseg").exists()
    assert not (fiji / "scripts").exists()
    assert not [name for name in NEEDED if (fiji / "jars" / name).exists()]


# ---- two at a time


def test_a_second_run_meanwhile_is_refused(install, fiji, jars, monkeypatch):
    first, said = install_fiji.cached_jar, []

    def meanwhile(jar):
        for run in (install, install_fiji.uninstall):
            with pytest.raises(BridgeError, match=r"another stormseg install-fiji works on .*; wait until") as caught:
                run(fiji)
            said.append(str(caught.value))
        assert install_fiji.uninstall(fiji, dry_run=True).done.removed == ()
        return first(jar)

    before = tree(fiji)
    with monkeypatch.context() as patched:
        patched.setattr(install_fiji, "cached_jar", meanwhile)
        install(fiji)
    assert len(said) == 2 * len(NEEDED)
    assert not any("\n" in line for line in said)
    assert not install(fiji).done.changes
    install_fiji.uninstall(fiji)
    assert tree(fiji) == before


def test_another_process_is_seen_and_one_that_was_killed_is_not(install, fiji):
    code = (
        "import sys; from pathlib import Path; from stormseg_ij import fiji_files\n"
        "with fiji_files.alone(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(fiji)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(BridgeError, match="another stormseg install-fiji"):
            install(fiji)
        assert not (fiji / "stormseg").exists()
        other.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    assert install(fiji).done.changes


def test_where_nothing_can_be_locked_it_works_all_the_same(install, fiji, monkeypatch):
    def refuse(folder):
        raise OSError(9, "Bad file descriptor", str(folder))

    monkeypatch.setattr(fiji_files, "_locked", refuse)
    assert install(fiji).done.changes
    assert not install(fiji).done.changes


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells what is open")
def test_nothing_stays_open(install, fiji):
    install(fiji)
    with fiji_files.alone(fiji), pytest.raises(BridgeError, match="another stormseg install-fiji"):
        install(fiji)
    assert fiji not in [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
