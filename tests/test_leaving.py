"""Leaving Python never hangs and says nothing, whatever ImageJ has done and however Python ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

START = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # some runners of tests start us with Ctrl-C ignored
import sys, time
import numpy as np
from scyjava import jimport
from stormseg_ij import bridge
from stormseg_ij.image import Image

ij = bridge.start(headless={headless})
imp = ij.to_imageplus(Image(np.zeros((600, 600), np.uint16), "x"))
ij.gaussian_blur(imp, 3.0)  # starts ImageJ's pool of threads
if not ij.headless:
    imp.show()
    imp.changes = True
print("ready", flush=True)
"""

ENDS = {
    "by itself": ("import threading\nthreading.Thread(target=ij.gaussian_blur, args=(imp, 2.0)).start()", 0),
    "an exception": ("jimport('java.lang.Integer').parseInt('x')", 1),
    "after close": ("ij.close()", 0),
    "a Java thread that never ends": ("timer = jimport('java.util.Timer')()", 0),
}
SLEEP, BLUR = "time.sleep(60)", "while True: ij.gaussian_blur(imp, 2.0)"


def in_both(*cases, window):
    """Give the cases headless, and those numbered in `window` with ImageJ's window too."""
    headless = [pytest.param(True, *case, id=f"headless-{case[0]}") for case in cases]
    marks = pytest.mark.window
    return headless + [pytest.param(False, *cases[i], id=f"window-{cases[i][0]}", marks=marks) for i in window]


@pytest.mark.parametrize(("headless", "end"), in_both(*((end,) for end in ENDS), window=[0, 1]))
def test_python_ends(run_python, headless, end):
    code, status = ENDS[end]
    done = run_python(START.format(headless=headless) + code, timeout=30.0)
    assert (done.stdout, done.returncode) == ("ready\n", status)
    if status == 0:
        assert done.stderr == ""
    else:
        assert "java.lang.NumberFormatException" in done.stderr.strip().splitlines()[-1]


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.parametrize(
    ("headless", "name", "waiting"),
    in_both(("SIGINT", SLEEP), ("SIGINT", BLUR), ("SIGTERM", SLEEP), window=[0, 2]),
)
def test_a_signal_ends_python_soon(headless, name, waiting):
    number = getattr(signal, name)
    code = START.format(headless=headless) + waiting
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.send_signal(number)
        try:
            errors = process.communicate(timeout=20)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode in (-number, 128 + number)
    assert errors == "" if name == "SIGTERM" else errors.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.window
def test_an_open_dialog_does_not_keep_python(run_python):
    code = START.format(headless=False) + (
        "import threading\n"
        "dialog = jimport('ij.gui.GenericDialog')('Nuclei')\n"
        "threading.Thread(target=dialog.showDialog, daemon=True).start()\n"
        "while not dialog.isShowing(): time.sleep(0.05)\n"
    )
    done = run_python(code, timeout=30.0)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")
