"""The Python that Fiji starts: whether it can be the worker, tried as Fiji starts it, and whether it stays."""

import re
import sys
import sysconfig
from pathlib import Path

import pytest
from trees import tree

from stormseg_ij import install_fiji
from stormseg_ij.errors import BridgeError

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="programs and links of Linux")


def test_fiji_starts_it_in_the_same_words(repository):
    groovy = (repository / "fiji_scripts" / "lib" / "Worker.groovy").read_text(encoding="utf-8")
    (words,) = re.findall(r"String\[\] words = \[python, (.*)\] as String\[\]", groovy)
    assert tuple(re.findall(r'"([^"]*)"', words)) == install_fiji._WORKER


def test_this_python_can_be_the_worker():
    install_fiji.check_worker(Path(sys.executable))


@linux_only
def test_variables_of_another_program_have_no_say(tmp_path, monkeypatch):
    for name in ("appose", "numpy", "stormseg_ij"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('of another program')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", str(tmp_path / "another"))
    install_fiji.check_worker(Path(sys.executable))


@pytest.fixture
def make_python(tmp_path):
    """Make an environment with the packages of this one, but for some; what stands in their place are these texts."""

    def make(**texts):
        own = tmp_path / "environment"
        packages = own / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        packages.mkdir(parents=True)
        for path in Path(sysconfig.get_path("purelib")).iterdir():
            if path.name not in texts:
                (packages / path.name).symlink_to(path)
        for name, text in texts.items():
            if text is not None:
                (packages / f"{name}.py").write_text(text)
        (own / "bin").mkdir()
        (own / "bin" / "python").symlink_to(sys._base_executable)
        (own / "pyvenv.cfg").write_text(f"home = {Path(sys._base_executable).parent}\n")
        return own / "bin" / "python"

    return make


@linux_only
def test_an_environment_elsewhere_can_be_the_worker(make_python):
    install_fiji.check_worker(make_python())


@linux_only
@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ({"scipy": None}, "it has no scipy"),
        ({"tensorflow": None}, "it has no tensorflow"),
        ({"stardist": None, "keras": None}, "it has no keras, stardist"),
        ({"_editable_impl_stormseg_ij.pth": None, "stormseg_ij": None}, "it has no stormseg_ij"),
        ({"scipy": "raise ImportError('DLL load failed')"}, "ImportError: DLL load failed"),
        ({"appose": "version = 'an old one'"}, "(Module|Import)\\w*Error: .*appose.*"),
    ],
    ids=["scipy", "tensorflow", "two", "stormseg_ij", "broken", "old appose"],
)
def test_what_a_python_lacks_is_one_line(make_python, texts, why):
    python = make_python(**texts)
    with pytest.raises(BridgeError) as caught:
        install_fiji.check_worker(python)
    advice = rf'install stormseg_ij into it \("{re.escape(str(python))}" -m pip install .+\)'
    assert re.fullmatch(rf"{re.escape(str(python))} cannot be Fiji's Python: {why}; {advice}", str(caught.value))


LOOKED = 'case "$*" in *-c*) echo lacks; exit 0;; esac\n'


@linux_only
@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo hidden >&2; echo 'ImportError: DLL load failed' >&2; exit 1",
            "Python: ImportError: DLL load failed; inst",
        ),
        ("exit 3", "it ended with status 3; install"),
        ("exit 0", "it ended with status 0; install"),
        ("echo 'unknown option -P' >&2; echo usage: >&2; exit 2", "is older than Python 3.11; give the Python"),
        ("sleep 60", r"did not start StormSeg's worker in 0\.5 s; close other programs"),
        (f"{LOOKED}echo 'OSError: no disk' >&2; exit 1", "OSError: no disk; install"),
        (f"{LOOKED}cat; test \"$*\" = '-E -P -X utf8 -u -m stormseg_ij.worker' && exit 4", "with status 4; install"),
    ],
)
def test_a_python_that_cannot_be_the_worker(fiji, jars, tmp_path, monkeypatch, script, message):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    if script.startswith("sleep"):
        monkeypatch.setattr(install_fiji, "_TRY_SECONDS", 0.5)
    before = tree(fiji)
    with pytest.raises(BridgeError, match=message) as caught:
        install_fiji.install(fiji, python=python)
    assert "\n" not in str(caught.value)
    assert tree(fiji) == before


def test_no_python_there_is_one_line(fiji, jars, tmp_path):
    with pytest.raises(BridgeError, match=r"no Python at .*gone; give the program"):
        install_fiji.install(fiji, python=tmp_path / "gone")
    (tmp_path / "text").write_text("no program")
    with pytest.raises(BridgeError, match=r"cannot start .*text: .*; give the Python of StormSeg"):
        install_fiji.install(fiji, python=tmp_path / "text")


# ---- caches: the places are those in which uv 0.13.9 and pipx 1.18.4 were seen to make environments


@pytest.mark.parametrize(
    ("place", "marked", "cache"),
    [
        ("cache/uv/archive-v0/q-hamMDW3jMUr09i", True, "uv"),
        ("cache/uv/builds-v0/.tmpOEgvgM", True, "uv"),
        ("elsewhere/environments-v2/s-714f6cce9a5cf62b", True, "uv"),
        ("cache/pipx/c539b568024c72c", False, "pipx"),
        ("home/.local/share/pipx/.cache/c539b568024c72c", False, "pipx"),
        ("of my own/.cache/c539b568024c72c", False, "pipx"),
        ("my/archive-v0/environment", False, ""),
        ("my/archive-v0x/environment", True, ""),
        ("home/.local/share/uv/tools/stormseg-ij", True, ""),
        ("home/.local/share/pipx/venvs/stormseg-ij", False, ""),
        ("my/pipx/environment", False, ""),
        ("my/.cache/environment", False, ""),
    ],
)
def test_a_python_in_a_cache_is_refused(install, fiji, tmp_path, monkeypatch, place, marked, cache):
    python = tmp_path / place / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    if marked:
        (python.parents[3] / "CACHEDIR.TAG").touch()
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "cache" / name)
    monkeypatch.setenv("PIPX_HOME", str(tmp_path / "of my own"))
    monkeypatch.setattr(sys, "executable", str(python))
    if not cache:
        assert install(fiji).python == python
        return
    before = tree(fiji)
    with pytest.raises(BridgeError, match=rf"lies in a cache that {cache} empties, .* give its Python with --python$"):
        install(fiji)
    assert tree(fiji) == before
    assert install(fiji, python=Path(__file__)).python == Path(__file__)
