"""A Fiji whose Python is a worker of the tests: the line of its menu scripts, and what shows that nothing leaks."""

import base64
import json
import shlex
import shutil
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import jpype
import numpy as np
from driver import Driver, until
from fiji import home_of, make_fiji_folder, put_on_class_path
from scyjava import jimport

from stormseg_ij.bridge.desktop import Desktop
from stormseg_ij.rois import iterate_rois

MEMORY = Path("/dev/shm")
START = """
import os
from appose import python_worker
def say(text, flush=True, file=None):
    os.write(1 if file is None else 2, (text + "\\n").encode())  # a line at once: tasks of several threads print
python_worker.print = say
python_worker.main()
"""
"""Of the worker of the tests: a line goes out at once, for tasks of several threads print."""


def worker_in(folder, options=""):
    """Write a shell script that starts the package stormseg_ij of a folder as Fiji starts ours.

    Fiji tells Python to ignore PYTHONPATH: so its words ``-m stormseg_ij.worker`` become code that does the same, with
    this folder before all others; its other words stay.

    Parameters
    ----------
    folder : Path
    options : str
        More of Python's own.
    """
    code = (
        f"import runpy, sys; sys.path.insert(0, {str(folder)!r}); "
        "runpy.run_module('stormseg_ij.worker', run_name='__main__', alter_sys=True)"
    )
    words = 'while [ "$1" != -m ]; do set -- "$@" "$1"; shift; done; [ "$2" = stormseg_ij.worker ] || exit 64; shift 2'
    return f'{words}\nexec {shlex.quote(sys.executable)} {options} "$@" -c {shlex.quote(code)}'


class Fiji:
    """A Fiji's folder, the line of its menu scripts, and the worker behind it.

    Attributes
    ----------
    home : Path
    driver : Driver
    """

    def __init__(self, home, folder, ij):
        self.home, self.folder, self.java = home, folder, jimport
        self.driver = Driver(SimpleNamespace(desk=Desktop(ij), running=""))
        package = folder / "fake" / "stormseg_ij"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "worker").mkdir()
        shutil.copy(Path(__file__).with_name("standin_worker.py"), package / "worker" / "__init__.py")
        (package / "worker" / "__main__.py").write_text(START, encoding="utf-8")
        (home / "stormseg" / "stormseg.properties").write_text(f"python={self.python('python')}\n", encoding="utf-8")

    def python(self, name, text=None):
        """Make an executable: Python with the worker of the tests, or a shell script."""
        path = self.folder / name
        path.write_text("#!/bin/sh\n" + (text or worker_in(self.folder / "fake")), encoding="utf-8")
        path.chmod(0o755)
        return path

    @property
    def door(self):
        """The door that is kept."""
        kept = self.java("java.lang.System").getProperties().get("stormseg.door")
        return None if kept is None else kept[1]

    def own_door(self, folder, properties):
        """Make a door of its own over a folder with these properties, which nobody keeps."""
        if self.door is None:
            self.do("result = 1")
        (folder / "stormseg.properties").write_text(properties + "\n", encoding="utf-8")
        file = self.java("java.io.File")
        return self.door.getClass().getConstructor(file).newInstance(file(str(folder)))

    def call(self, values, name="Segment Nuclei", imp=None):
        """Call as a menu script does, in this thread."""
        loader = jpype.JClass("groovy.lang.GroovyClassLoader")
        own = loader(loader.class_.getClassLoader())
        line = (
            'new GroovyClassLoader(getClass().classLoader).parseClass(new File(ij.IJ.getDirectory("imagej"), '
            '"stormseg/StormSeg.groovy")).run(name, values' + (", imp)" if imp is not None else ")")
        )
        found = self.java("java.util.HashMap")(values)
        shell = jpype.JClass("groovy.lang.GroovyShell")(own)
        for key, value in {"name": name, "values": found, "imp": imp}.items():
            shell.setVariable(key, value)
        return bool(shell.evaluate(line))

    def values(self, code, **given):
        """The values of a call that has the worker run code."""
        self.out = self.folder / "out.json"
        self.out.unlink(missing_ok=True)
        return {"code": code, "given": json.dumps(given), "out": str(self.out)}

    def do(self, code, **given):
        """Run code in the worker, with these variables; return its variable `result`."""
        done = []
        outcome = self.driver.seen(lambda: done.append(self.call(self.values(code, **given))))
        assert (outcome.said, done) == ([], [True]), outcome
        return json.loads(self.out.read_text())

    def start(self, code, **given):
        """Run code in the worker; return the thread, and what will be its outcome."""
        values, outcomes = self.values(code, **given), []
        thread = threading.Thread(target=lambda: outcomes.append(self.driver.seen(lambda: self.call(values))))
        thread.start()
        return thread, outcomes

    def failing(self, code, **given):
        """Run code that ends badly; return the message."""
        outcome = self.driver.seen(lambda: self.call(self.values(code, **given)))
        return " ".join(outcome.said)


@contextmanager
def open_fiji(ij, folder):
    """Make a Fiji with the scripts' library in a folder; afterwards its Python has ended."""
    put_on_class_path()
    home = make_fiji_folder(folder)
    with home_of(jimport, home):
        made = Fiji(home, folder, ij)
        made.driver.tidy()
        yield made
        if made.door is not None:
            pid = made.door.getPid()
            made.door.close()
            until(lambda: not pid or not runs(pid), "Python ends with the door")
            jimport("java.lang.System").getProperties().remove("stormseg.door")


@contextmanager
def tidy(fiji):
    """Afterwards nothing is open, and no shared memory is left: neither its names nor what keeps it without one."""
    before = _blocks()
    yield
    fiji.driver.tidy()
    until(lambda: _blocks() <= before, "shared memory is given back", seconds=3.0)
    assert not _descriptors(), "blocks that Appose left open"


def _blocks():
    return {path.name for path in MEMORY.iterdir() if path.name.startswith(("psm", "wnsm"))}


def _descriptors():
    links = []
    for path in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(path.readlink()))
        except OSError:
            continue
    return [link for link in links if link.startswith(f"{MEMORY}/psm")]


def runs(pid):
    """Tell whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def escape():
    """Press Escape, as ImageJ notes it."""
    field = jimport("ij.IJ").class_.getDeclaredField("escapePressed")
    field.setAccessible(True)
    field.setBoolean(None, True)


def some_rois(count=4):
    """Make the bytes of ROI files."""
    labels = np.zeros((60, 80), np.int32)
    for i in range(count):
        labels[5 + 3 * i : 15 + 2 * i, 4 + 18 * i : 16 + 18 * i] = i + 1
    return [roi.tobytes() for roi in iterate_rois(labels, image_name="a")]


def text_of(*rois):
    """Write ROI files as they travel."""
    return [base64.b64encode(roi).decode() for roi in rois]


def bytes_of(texts):
    """Read ROI files that have travelled."""
    return [base64.b64decode(text) for text in texts]
