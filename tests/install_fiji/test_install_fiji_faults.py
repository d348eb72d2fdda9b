"""Whatever breaks while StormSeg is put into a Fiji, nothing is left half done."""

import os
import re
import shutil
from pathlib import Path

import pytest
from trees import MENU, put_jar, stamps, tree

from stormseg_ij import install_fiji
from stormseg_ij.errors import BridgeError

# ---- faults


class Killed(BaseException):
    """The end of this process."""


def break_at(monkeypatch, number, *, kill):
    """Let the `number`th change of the disk fail; or end there, so that nothing after it is done either."""
    count = {"steps": 0}

    def wrap(function):
        def call(*arguments, **keywords):
            count["steps"] += 1
            if count["steps"] == number:
                raise Killed if kill else PermissionError(13, "Permission denied", str(arguments[0]))
            if kill and count["steps"] > number:
                raise OSError(5, "this process is gone")
            return function(*arguments, **keywords)

        return call

    for name in ("replace", "mkdir", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, wrap(getattr(os, name)))
    monkeypatch.setattr(Path, "write_bytes", wrap(Path.write_bytes))
    return count


def prepare(case, install, fiji, source):
    """Bring a Fiji into the state before `case`; give what is to be done then."""
    if case == "fresh":
        return install
    install(fiji)
    if case == "uninstall":
        (fiji / MENU / "Measure_Nuclei.groovy").write_text("mine")
        return install_fiji.uninstall
    (source / "fiji_scripts/menu/Segment_Nuclei.groovy").write_text("segment better")
    (source / "fiji_scripts/examples/All_Open.groovy").rename(source / "fiji_scripts/examples/All.groovy")
    (fiji / MENU / "Measure_Nuclei.groovy").write_text("mine")
    put_jar(fiji, "jars/appose-0.10.0.jar")
    return install


RECORD = "stormseg/installed.json"


@pytest.mark.parametrize("kill", [False, True], ids=["fault", "killed"])
@pytest.mark.parametrize("case", ["fresh", "upgrade", "uninstall"])
def test_whatever_breaks_the_next_run_mends(install, fiji, source, tmp_path, monkeypatch, case, kill):
    untouched = tree(fiji)
    run = prepare(case, install, fiji, source)
    start, good = tmp_path / "start", tmp_path / "good"
    shutil.copytree(fiji, start)
    run(fiji)
    shutil.copytree(fiji, good)
    number, broke, said = 0, True, []
    while broke:
        number += 1
        shutil.rmtree(fiji)
        shutil.copytree(start, fiji)
        with monkeypatch.context() as patched:
            count = break_at(patched, number, kill=kill)
            try:
                run(fiji)
            except BridgeError as error:
                said.append(str(error))
                assert tree(fiji) == tree(start)
            except Killed:
                assert kill
            broke = count["steps"] >= number
        run(fiji)
        assert tree(fiji, but=[RECORD]) == tree(good, but=[RECORD])
        stood = stamps(fiji)
        run(fiji)
        assert stamps(fiji) == stood
        if case == "fresh":
            install_fiji.uninstall(fiji)
            assert tree(fiji) == untouched
    assert number > 20
    assert bool(said) is not kill
    line = r"cannot change .*: Permission denied; nothing was changed; close Fiji if .*"
    assert all(re.fullmatch(line, text) and ".unfinished" not in text for text in said)


def test_a_fiji_that_may_not_be_written_to(install, fiji, monkeypatch):
    before = tree(fiji)

    def forbidden(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "mkdir", forbidden)
    with pytest.raises(BridgeError) as caught:
        install(fiji)
    assert str(caught.value) == (
        f"cannot change {fiji / 'stormseg'}: Permission denied; nothing was changed; "
        "close Fiji if it runs, or let somebody run this who may write there"
    )
    assert tree(fiji) == before


def test_a_jar_that_a_running_fiji_holds(install, fiji, monkeypatch):
    install(fiji)
    put_jar(fiji, "jars/appose-0.10.0.jar")
    before, real = tree(fiji), os.replace
    jar = fiji / "jars" / "appose-0.9.0.jar"

    def locked(source, target):
        if Path(source) == jar:  # as on Windows
            raise PermissionError(13, "used by another process", str(source), None, str(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", locked)
    with pytest.raises(BridgeError, match=r"cannot change .*appose-0\.9\.0\.jar: used by another process; nothing was"):
        install(fiji)
    assert tree(fiji) == before
    with pytest.raises(
        BridgeError, match=r"appose-0\.9\.0\.jar: used by another process; nothing was changed; close Fiji"
    ):
        install_fiji.uninstall(fiji)
    assert tree(fiji) == before


def test_a_full_disk(install, fiji, monkeypatch):
    before = tree(fiji)

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        BridgeError, match=r"Fiji\.app: No space left on device; nothing was changed; free space on its disk"
    ):
        install(fiji)
    assert tree(fiji) == before


def test_a_file_in_the_place_of_a_folder(install, fiji):
    (fiji / "scripts").write_text("a file")
    before = tree(fiji)
    with pytest.raises(BridgeError) as caught:
        install(fiji)
    assert "\n" not in str(caught.value)
    assert tree(fiji) == before


def test_a_folder_in_the_place_of_a_script(install, fiji):
    (fiji / MENU / "Segment_Nuclei.groovy").mkdir(parents=True)
    before = tree(fiji)
    with pytest.raises(BridgeError, match=r"cannot read .*Segment_Nuclei\.groovy: .*; move it away"):
        install(fiji)
    assert tree(fiji) == before
