"""`stormseg macro` as a user calls it: with a display of its own, and without."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stormseg_ij import cli, display

needs_xvfb = pytest.mark.skipif(not display.can_start(), reason="needs Xvfb")

IN_WINDOW = """
print("got " + getArgument());
newImage("a", "8-bit ramp", 64, 64, 1);
makeRectangle(1, 1, 5, 5);
roiManager("add");
print(roiManager("count"));
print(getInfo("macro.filepath"));
return "done";
"""


WITH_CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run where it is ignored
from stormseg_ij.cli import run
run()
"""


@pytest.fixture
def macro(tmp_path):
    """Write a macro file; give `stormseg macro` for it as a process."""

    def started(source, *words, **environment):
        path = tmp_path / "my macro.ijm"
        path.write_text(source, encoding="utf-8")
        merged = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
        return subprocess.Popen(
            [sys.executable, "-c", WITH_CTRL_C, "macro", str(path), *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=merged, start_new_session=True,
        )  # fmt: skip

    return started


def test_the_call_is_checked_before_the_engines(capsys, tmp_path):
    (tmp_path / "a.py").touch()
    for name, code, message in (
        ("a.py", 2, "is no macro; give a file that ends in .ijm or .txt"),
        ("b.ijm", 1, "No such file or directory"),
    ):
        assert cli.main(["macro", str(tmp_path / name)]) == code
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


@needs_xvfb
def test_a_macro_has_a_display_of_its_own(macro, tmp_path):
    with macro(IN_WINDOW, "an argument", DISPLAY=":4321") as process:  # which nobody may use
        out, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, "")
    assert out.splitlines() == ["got an argument", "1", str(tmp_path / "my macro.ijm"), "done"]


def test_without_a_display_it_says_what_needs_one(macro):
    with macro(IN_WINDOW, "--headless", DISPLAY=None) as process:
        out, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert out == "got \n"
    message = 'my macro.ijm, line 5: roiManager("add"); needs a display; install Xvfb (apt-get install xvfb)'
    assert error.startswith(f"stormseg: {message}")
    assert error.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.parametrize("words", [(), ("--headless",)])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_macro_ends_when_it_is_told_to(macro, words, number, code):
    with macro('print(getInfo("os.name"));\nprint(getInfo("java.version"));\nwait(1000000);', *words) as process:
        assert process.stdout.readline()
        time.sleep(0.5)
        shown = displays_of(process.pid)
        assert len(shown) == (not words and display.can_start())
        process.send_signal(number)
        try:
            _, error = process.communicate(timeout=20)
        finally:
            process.kill()  # else leaving the block waits for ever
    assert process.returncode == code
    assert error == ("stormseg: stopped; finished outputs are complete, no half file is left\n" if code == 1 else "")
    end = time.monotonic() + 10.0
    while any(path.exists() for path in shown) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(path.exists() for path in shown)


def displays_of(pid):
    """Return the Xvfb servers, as folders of /proc, that a process has started through a shell."""
    found = []
    for folder in Path("/proc").glob("[0-9]*") if sys.platform.startswith("linux") else ():
        try:
            words, parent = (folder / "cmdline").read_bytes().split(b"\0"), parent_of(folder)
            if words[0].endswith(b"Xvfb") and parent_of(Path("/proc", str(parent))) == pid:
                found.append(folder)
        except OSError:
            continue  # it has ended
    return found


def parent_of(folder):
    return int((folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
