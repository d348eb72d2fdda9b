"""StormSeg put into a Fiji and taken out: what is added, replaced and kept, and what stays."""

import hashlib
import json
import re
import sys
from pathlib import Path

import pytest
from trees import MENU, NEEDED, WHOLE, stamps, tree

import stormseg_ij
from stormseg_ij import fiji_files, install_fiji
from stormseg_ij.cli import main
from stormseg_ij.errors import BridgeError

# ---- putting in


def test_everything_goes_to_its_place(install, fiji, source):
    before = tree(fiji)
    report = install(fiji.parent)
    after = tree(fiji)
    assert {name: after[name] for name in before} == before
    new = {name for name in after if name not in before and after[name] is not None}
    places = {f"{MENU}/Segment_Nuclei.groovy", f"{MENU}/Measure_Nuclei.groovy", f"{MENU}/Examples/All_Open.groovy"}
    places |= {"stormseg/StormSeg.groovy", "macros/StormSeg/batch.ijm"}
    assert new == {*places, *(f"jars/{jar}" for jar in NEEDED), install_fiji.PROPERTIES, "stormseg/installed.json"}
    assert after["stormseg/StormSeg.groovy"] == (source / "fiji_scripts/lib/StormSeg.groovy").read_bytes()
    assert {*report.done.added} == new - {"stormseg/installed.json"}
    assert (report.fiji, report.running) == (fiji, False)
    record = json.loads(after["stormseg/installed.json"])
    assert record["files"] == {name: hashlib.sha256(after[name]).hexdigest() for name in report.done.added}
    assert record["coming"] == {}


def test_a_second_run_changes_nothing_and_needs_no_cache(install, fiji, jars):
    install(fiji)
    before = stamps(fiji)
    jars.clear()
    report = install(fiji)
    assert stamps(fiji) == before
    assert not report.done.changes
    assert {*report.jars.values()} == {"there"}
    assert jars == []


def test_a_dry_run_changes_nothing(install, fiji):
    before = tree(fiji)
    dry = install(fiji, dry_run=True)
    assert tree(fiji) == before
    assert dry == install(fiji)
    before = tree(fiji)
    assert install_fiji.uninstall(fiji, dry_run=True).done.removed == dry.done.added
    assert tree(fiji) == before


def test_two_fijis_know_nothing_of_each_other(install, fiji, make_fiji, tmp_path):
    other = make_fiji(tmp_path / "Fiji", *WHOLE)
    install(fiji)
    first = tree(fiji)
    before = tree(other)
    install(other)
    install_fiji.uninstall(other)
    assert tree(other) == before
    assert tree(fiji) == first


def test_a_fiji_behind_a_link_and_a_bundle_beside_its_jars(install, make_fiji, tmp_path):
    fiji = make_fiji(tmp_path / "new" / "Fiji", *WHOLE)
    (fiji / "Fiji.app" / "Contents" / "MacOS").mkdir(parents=True)
    (tmp_path / "link").symlink_to(fiji)
    for given in (tmp_path / "link", fiji / "Fiji.app", fiji.parent):
        assert install(given).fiji == fiji
        assert (fiji / "stormseg" / "StormSeg.groovy").is_file()
        assert install_fiji.uninstall(given).fiji == fiji
        assert not (fiji / "stormseg").exists()


# ---- upgrades, and files that somebody changed


def test_an_upgrade_replaces_adds_and_removes(install, fiji, source, monkeypatch):
    before = tree(fiji)
    install(fiji)
    (source / "fiji_scripts/menu/Segment_Nuclei.groovy").write_text("segment better")
    (source / "fiji_scripts/menu/Measure_Nuclei.groovy").rename(source / "fiji_scripts/menu/Measure.groovy")
    monkeypatch.setattr(stormseg_ij, "__version__", "9.0")
    report = install(fiji)
    assert report.done.replaced == (f"{MENU}/Segment_Nuclei.groovy", install_fiji.PROPERTIES)
    assert report.done.added == (f"{MENU}/Measure.groovy",)
    assert report.done.removed == (f"{MENU}/Measure_Nuclei.groovy",)
    assert not report.done.kept
    assert (fiji / MENU / "Segment_Nuclei.groovy").read_text() == "segment better"
    assert not (fiji / MENU / "Measure_Nuclei.groovy").exists()
    assert b"version=9.0\n" in (fiji / install_fiji.PROPERTIES).read_bytes()
    stood = stamps(fiji)
    install(fiji)
    assert stamps(fiji) == stood
    install_fiji.uninstall(fiji)
    assert tree(fiji) == before


def test_what_somebody_changed_is_kept_beside(install, fiji, source):
    install(fiji)
    path = fiji / MENU / "Segment_Nuclei.groovy"
    for number, aside in enumerate(("Segment_Nuclei.groovy.kept", "Segment_Nuclei.groovy.kept2")):
        path.write_text(f"mine {number}")
        report = install(fiji)
        assert report.done.kept == {f"{MENU}/Segment_Nuclei.groovy": f"{MENU}/{aside}"}
        assert path.read_text() == "segment"
        assert path.with_name(aside).read_text() == f"mine {number}"
    assert path.with_name("Segment_Nuclei.groovy.kept").read_text() == "mine 0"


def test_what_was_there_before_us_is_kept_beside(install, fiji):
    (fiji / MENU).mkdir(parents=True)
    (fiji / MENU / "Segment_Nuclei.groovy").write_text("theirs")
    (fiji / MENU / "Measure_Nuclei.groovy").write_text("measure")  # the same as ours: put there by hand
    report = install(fiji)
    assert report.done.same == (f"{MENU}/Measure_Nuclei.groovy",)
    assert (fiji / MENU / "Segment_Nuclei.groovy.kept").read_text() == "theirs"
    install_fiji.uninstall(fiji)
    assert [path.name for path in (fiji / MENU).iterdir()] == ["Segment_Nuclei.groovy.kept"]


def test_a_changed_file_that_is_no_longer_part_is_kept_beside(install, fiji, source):
    install(fiji)
    (fiji / MENU / "Measure_Nuclei.groovy").write_text("mine")
    (source / "fiji_scripts/menu/Measure_Nuclei.groovy").unlink()
    assert install(fiji).done.kept == {f"{MENU}/Measure_Nuclei.groovy": f"{MENU}/Measure_Nuclei.groovy.kept"}
    assert not (fiji / MENU / "Measure_Nuclei.groovy").exists()
    assert not install(fiji).done.changes


# ---- taking out


@pytest.mark.parametrize("made", [[], ["scripts"], ["scripts/Plugins", "stormseg"]])
def test_taken_out_everything_is_as_before(install, fiji, made):
    for name in made:
        (fiji / name).mkdir(parents=True)
    before = tree(fiji)
    added = install(fiji).done.added
    report = install_fiji.uninstall(fiji)
    after = tree(fiji)
    if "stormseg" in made:  # a folder that is ours alone goes in any case
        del before["stormseg"]
    assert after == before
    assert (report.done.removed, report.strangers) == (added, ())
    assert not install_fiji.uninstall(fiji).done.changes
    assert tree(fiji) == before


def test_what_stays_is_told(install, fiji):
    install(fiji)
    (fiji / MENU / "Mine.groovy").write_text("mine")
    (fiji / MENU / "Segment_Nuclei.groovy").write_text("changed")
    (fiji / "stormseg" / "worker.log").write_text("log")
    report = install_fiji.uninstall(fiji)
    assert report.strangers == (f"{MENU}/Mine.groovy", "stormseg/worker.log")
    assert report.done.kept == {f"{MENU}/Segment_Nuclei.groovy": f"{MENU}/Segment_Nuclei.groovy.kept"}
    left = {path.relative_to(fiji).as_posix() for path in fiji.rglob("*") if path.is_file()}
    assert {*report.strangers, *report.done.kept.values()} <= left
    assert not (fiji / "stormseg" / "installed.json").exists()


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"files": 1, "folders": [], "coming": {}}', '{"files": {"../x": "0"}, "folders": [], "coming": {}}',
     '{"files": {}, "folders": ["C:/x"], "coming": {}}', '{"files": {"/etc/x": "0"}, "folders": [], "coming": {}}'],
)  # fmt: skip
def test_a_damaged_record_is_one_line(install, fiji, text):
    install(fiji)
    (fiji / "stormseg" / "installed.json").write_text(text)
    before = tree(fiji)
    for run in (install, install_fiji.uninstall):
        with pytest.raises(
            BridgeError, match=r"installed\.json is damaged .*; delete it and run stormseg install-fiji"
        ) as caught:
            run(fiji)
        assert "\n" not in str(caught.value)
    assert tree(fiji) == before
    (fiji / "stormseg" / "installed.json").unlink()
    assert not install(fiji).done.changes


# ---- the command line


@pytest.fixture
def cli(install, monkeypatch, capsys):
    monkeypatch.setattr(install_fiji, "runs", lambda fiji: False)

    def call(*words):
        code = main(["install-fiji", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err

    return call


def test_the_command_says_what_it_did(cli, fiji, source, monkeypatch):
    code, lines, error = cli(fiji, "--dry-run")
    assert (code, error, lines[0]) == (0, "", f"Fiji: {fiji} (dry run: nothing is changed)")
    assert not (fiji / "stormseg").exists()
    code, lines, error = cli(fiji)
    assert (code, error) == (0, "")
    assert lines == [
        f"Fiji: {fiji}",
        f"menu: 2 files -> {MENU} (2 added)",
        f"examples: 1 file -> {MENU}/Examples (1 added)",
        "library: 1 file -> stormseg (1 added)",
        "macros: 1 file -> macros/StormSeg (1 added)",
        "jars: " + ", ".join(f"jars/{name} added" for name in NEEDED),
        f"Python: {Path(sys.executable).absolute()}",
        "Start Fiji: Plugins > StormSeg > Segment Nuclei",
    ]
    assert cli(fiji)[1][-1] == "Nothing to change: all is there. In Fiji: Plugins > StormSeg > Segment Nuclei"
    (fiji / MENU / "Segment_Nuclei.groovy").write_text("mine")
    (source / "fiji_scripts/menu/Measure_Nuclei.groovy").rename(source / "fiji_scripts/menu/Measure.groovy")
    monkeypatch.setattr(install_fiji, "runs", lambda fiji: True)
    lines = cli(fiji)[1]
    assert f"removed, no longer part of StormSeg: {MENU}/Measure_Nuclei.groovy" in lines
    kept = f"{MENU}/Segment_Nuclei.groovy -> {MENU}/Segment_Nuclei.groovy.kept"
    assert f"not StormSeg's, or changed; kept: {kept}" in lines
    assert lines[-1] == "Restart Fiji: Plugins > StormSeg > Segment Nuclei"
    code, lines, error = cli(fiji, "--uninstall")
    assert (code, error, lines[1]) == (0, "", f"removed: {6 + len(NEEDED)} files")
    assert lines[2] == "jars among them: " + ", ".join(f"jars/{name}" for name in NEEDED)
    assert f"stay, not put there by StormSeg: {MENU}/Segment_Nuclei.groovy.kept" in lines
    assert lines[-1] == "Restart Fiji: until then its menu has the commands."
    assert cli(fiji, "--uninstall")[1][1] == "Nothing of StormSeg is installed there."


def test_the_command_takes_another_python(cli, fiji, tmp_path):
    (tmp_path / "python").touch()
    code, lines, error = cli(fiji, "--python", tmp_path / "python")
    assert (code, error) == (0, "")
    assert f"Python: {tmp_path / 'python'}" in lines
    with pytest.raises(SystemExit, match="2"):
        cli(fiji, "--python", tmp_path / "python", "--uninstall")


def test_the_command_fails_in_one_line(cli, tmp_path):
    code, lines, error = cli(tmp_path)
    assert (code, lines) == (1, [])
    assert re.fullmatch(r"stormseg: no Fiji at .*: it has no folder jars; give .*\n", error)


def test_the_scripts_of_this_repository(jars, fiji, repository):
    from stormseg_ij.commands import COMMANDS

    before = tree(fiji)
    report = install_fiji.install(fiji)
    menu = {path.stem.replace("_", " ") for path in (fiji / MENU).glob("*.groovy")}
    assert menu == {command.name for command in COMMANDS if command is not None}
    counts = {part.name: len(part.files) for part in report.parts}
    assert counts["macros"] == len(list((repository / "macros").glob("*.ijm")))
    assert counts["examples"] >= 3
    install_fiji.uninstall(fiji)
    assert tree(fiji) == before


def test_the_built_package_holds_the_scripts(repository):
    import tomllib

    build = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert build["wheel"]["force-include"] == {name: f"stormseg_ij/{name}" for name in ("macros", "fiji_scripts")}
    assert {"/macros", "/fiji_scripts"} <= {*build["sdist"]["include"]}
    assert fiji_files.HOME == "stormseg"
