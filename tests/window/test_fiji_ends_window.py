"""Fiji ends in the middle of a command, and its Python with it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from door import MEMORY, runs
from driver import until

pytestmark = pytest.mark.window

FIJI = """
import sys, threading
from pathlib import Path
sys.path.insert(0, {tests!r})
import numpy as np
import fiji
from driver import until
from scyjava import jimport
from stormseg_ij import bridge
from stormseg_ij.image import Image, read_image

ij = bridge.start(headless=False)
with fiji.running(ij, Path({folder!r})) as made:
    imp = ij.to_imageplus(Image(np.tile(read_image({sample!r}).pixels, (6, 6)), "big"))
    imp.show()
    options = "size=3072 route=tile tile=256 overlap=64"
    threading.Thread(target=made.macro, args=("Segment Nuclei", options), daemon=True).start()
    status = jimport("ij.ImageJ").getStatusBarText
    until(lambda: "network" in str(status()), "the network is at work", seconds=120.0)
    print(jimport("java.lang.System").getProperties().get("stormseg.door")[1].getPid(), flush=True)
    if {way!r} == "exit":
        jimport("java.lang.System").exit(0)
    threading.Event().wait()
"""


@pytest.mark.parametrize("way", ["exit", "kill"])
def test_python_ends_with_fiji_in_the_middle_of_work(repository, tmp_path, way):
    before = set(MEMORY.iterdir())
    sample = repository / "stormseg_ij" / "samples" / "tissue.tif"
    code = FIJI.format(tests=str(Path(__file__).parent), folder=str(tmp_path), sample=str(sample), way=way)
    environment = {**os.environ, "PYTHONPATH": f"{repository}{os.pathsep}{repository / 'tests'}"}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as fiji:
        pid = int(fiji.stdout.readline())
        assert runs(pid)
        if way == "kill":
            fiji.send_signal(signal.SIGKILL)
        fiji.wait(30.0)
    until(lambda: not runs(pid), "Python ends with Fiji", seconds=10.0)
    until(lambda: {path for path in MEMORY.iterdir() if path.name.startswith("psm")} <= before, "no memory is left",
          seconds=3.0)  # fmt: skip
