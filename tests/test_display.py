"""A display of our own: it starts, is named, and ends with this process, however that ends."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stormseg_ij import display
from stormseg_ij.errors import BridgeError

needs_xvfb = pytest.mark.skipif(not display.can_start(), reason="needs Xvfb")

START = """
import os, sys, time
from stormseg_ij import display
shown = display.start()
print(shown.name, flush=True)
{then}
"""


def answers(name):
    """Is there a server behind this display?"""
    return Path("/tmp", ".X11-unix", f"X{name[1:]}").exists()


def ends(name):
    end = time.monotonic() + 10.0
    while answers(name) and time.monotonic() < end:
        time.sleep(0.05)
    return not answers(name)


@needs_xvfb
@pytest.mark.parametrize("before", [None, ":4321"])
def test_a_display_starts_and_ends(monkeypatch, before):
    monkeypatch.delenv("DISPLAY", raising=False)
    if before is not None:
        monkeypatch.setenv("DISPLAY", before)
    shown = display.start()
    assert os.environ["DISPLAY"] == shown.name != before
    assert answers(shown.name)
    shown.close()
    shown.close()
    assert ends(shown.name)
    assert os.environ.get("DISPLAY") == before


@needs_xvfb
def test_two_displays_are_two(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    first, second = display.start(), display.start()
    assert first.name != second.name
    second.close()
    assert answers(first.name)
    first.close()


@needs_xvfb
@pytest.mark.parametrize(
    "then", ["os._exit(3)", "os.abort()", "sys.exit()", "raise RuntimeError('x')", "time.sleep(60)"]
)
def test_a_display_ends_with_its_process(then, repository):
    process = subprocess.Popen(
        [sys.executable, "-c", START.format(then=then)], cwd=repository, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with process, process.stdout as lines:
        name = lines.readline().strip()
        assert name.startswith(":")
        if "sleep" in then:
            process.kill()
        process.wait(20)
    assert ends(name)


@needs_xvfb
def test_a_display_outlives_ctrl_c(run_python):
    code = "signal.signal(signal.SIGINT, signal.SIG_IGN)\nos.killpg(os.getpgrp(), signal.SIGINT)\ntime.sleep(0.5)\n"
    code += f"print(os.path.exists('/{'tmp'}/.X11-unix/X' + shown.name[1:]))"
    done = run_python("import os, signal\nos.setpgrp()\n" + START.format(then=code))
    assert done.stdout.splitlines()[-1] == "True", done.stderr


def test_no_xvfb_is_one_line(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not display.can_start()
    with pytest.raises(BridgeError, match=r"no Xvfb .*apt-get install xvfb") as caught:
        display.start()
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="X11 displays")
def test_an_xvfb_that_fails_is_one_line(monkeypatch, tmp_path):
    program = tmp_path / "Xvfb"
    program.write_text("#!/bin/sh\nexit 7\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DISPLAY", ":4321")
    with pytest.raises(BridgeError, match=r"Xvfb did not start \(exit status 7\)"):
        display.start()
    assert os.environ["DISPLAY"] == ":4321"


def test_there_is_none_elsewhere(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not display.can_start()
