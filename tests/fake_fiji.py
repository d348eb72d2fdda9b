"""What stands for Fiji in the tests of the worker: its side of the contract, on images of numpy."""

import json
import queue
import sys
import threading
import time
from base64 import b64decode, b64encode
from contextlib import suppress
from multiprocessing import resource_tracker
from pathlib import Path

import numpy as np
from appose import NDArray
from appose.service import ResponseType, Service
from appose.util import message
from scipy import ndimage
from skimage import transform

SHARED = Path("/dev/shm")
COMMAND = "import stormseg_ij.worker as w; w.command(task, call)"
LOOK = "import stormseg_ij.worker as w; w.look(task, call)"
ANSWER = "import stormseg_ij.worker as w; w.answer(key, value, fault)"
HELLO = "import stormseg_ij.worker as w; w.hello()"

SQUARES = np.zeros((40, 50), np.int32)
SQUARES[5:15, 5:15], SQUARES[20:30, 25:40] = 1, 2
CALL = {"name": "Labels to ROIs", "options": None, "values": {}, "image": 7, "from_macro": False, "batch": False,
        "headless": False, "imagej": "1.54p"}  # fmt: skip


def facts(title="cells", shape=(8, 10), **more):
    """What Fiji says of an image."""
    sizes = {"channels": 1, "slices": 1, "frames": 1, "channel": 1, "z": 1, "t": 1, "current": 1}
    place = {"title": title, "folder": None, "file_name": None, "height": shape[0], "width": shape[1]}
    return place | sizes | {"is_hyperstack": False} | more


class ImageJ:
    """The methods of the contract on plain dictionaries, and all that was asked and told.

    Parameters
    ----------
    same_process : bool
        True where both sides are one process, which has one tracker of shared memory.
    """

    def __init__(self, *, same_process=False):
        self.same_process = same_process
        self.images, self.pixels, self.selections, self.overlays = {}, {}, {}, {}
        self.rois, self.sent, self.chosen = {}, {}, []
        self.manager_open = False
        self.tables, self.done, self.told = {"Results": []}, [], []
        self.faults, self.values = {}, {}
        self.identities = iter(range(1000, 100_000))
        self.names = set()

    def add(self, number, pixels, **more):
        """Open an image."""
        self.pixels[number], self.images[number] = pixels, facts(shape=pixels.shape, **more)

    def asked(self, do):
        """How often this was asked."""
        return [name for name, _ in self.done].count(do)

    def texts(self, do):
        """What was told under this name."""
        return [values["text"] for name, values in self.told if name == do]

    def left(self):
        """Names of shared memory that was used here and is still there; other processes have theirs."""
        return [name for name in self.names if (SHARED / name).exists()]

    def serve(self, do, given):
        """Answer one question; what is raised is a fault."""
        given = {key: self._taken(value) for key, value in given.items()}
        self.done.append((do, given))
        if do in self.faults:
            raise ValueError(self.faults[do])
        if do in self.values:
            return self.values[do]
        return getattr(self, f"do_{do}")(**given)

    def _taken(self, value):
        if isinstance(value, list) and value and isinstance(value[0], NDArray):
            return [self._taken(array) for array in value]
        if not isinstance(value, NDArray):
            return value
        self.names.add(value.shm.name)
        copied = value.ndarray().copy()
        value.shm.close()
        if not self.same_process:  # attaching has told the tracker of this process, as if it had been made here
            resource_tracker.unregister(value.shm._name, "shared_memory")
        return copied

    # ---- images

    def do_facts(self, image):
        return self.images.get(image)

    def do_is_open(self, image):
        return image in self.images

    def do_titled(self, title):
        return next((number for number, known in self.images.items() if known["title"] == title), None)

    def do_titles(self):
        return [known["title"] for known in self.images.values()]

    def do_image(self, image, plane):
        assert plane in (None, 1)
        return {"pixels": self.pixels[image], "depth": 8 * self.pixels[image].itemsize, "calibration": None}

    def do_show_image(self, pixels, name, calibration):
        number = min([0, *self.images]) - 1
        self.add(number, pixels, title=name)
        return number

    def do_selection(self, image):
        return self.selections.get(image)

    def do_put_overlay(self, image, rois, tag, origin):
        self.overlays[image, tag] = rois

    def do_overlay(self, image, tag):
        return self.overlays.get((image, tag), [])

    # ---- ROI Manager

    def do_entries(self):
        if not self.manager_open:
            return None
        changed = {str(key): roi for key, (roi, _) in self.rois.items() if self.sent.get(key) != roi}
        self.sent = {key: roi for key, (roi, _) in self.rois.items()}
        places = {"identities": list(self.rois), "drawn_in": [drawn for _, drawn in self.rois.values()]}
        return places | {"changed": changed}

    def do_selected(self):
        return self.chosen

    def do_append(self, rois, image):
        self.manager_open = True
        new = [next(self.identities) for _ in rois]
        self.rois |= {identity: (roi, image or 0) for identity, roi in zip(new, rois, strict=True)}
        return new

    def do_replace(self, identity, roi):
        if identity not in self.rois:
            return None
        new = next(self.identities)
        self.rois = {new if key == identity else key: (roi, 0) if key == identity else old
                     for key, old in self.rois.items()}  # fmt: skip
        return new

    def do_delete(self, identities, image):
        self.rois = {key: roi for key, roi in self.rois.items() if key not in identities}

    def do_select(self, image, index):
        self.chosen = [index]

    def do_deselect(self):
        self.chosen = []

    def bytes_of_rois(self):
        """The bytes of all in the list."""
        return [b64decode(roi) for roi, _ in self.rois.values()]

    # ---- the rest

    def do_add_rows(self, title, rows):
        self.tables.setdefault(title, []).extend(rows)

    def do_measure(self, image, wanted):
        self.tables["Results"] += [one["extra"] for one in wanted]
        return len(self.tables["Results"])

    def do_show_table(self, title, columns, rows):
        self.tables[title] = rows

    def do_process(self, pixels, steps):
        for name, *values in steps:
            if name == "resize":
                resized = transform.resize(pixels.astype(np.float64), values[::-1], order=1, anti_aliasing=True)
                pixels = resized.round().astype(pixels.dtype)
            elif name == "blur":
                pixels = ndimage.gaussian_filter(pixels, values[0])
        return pixels


class InProcess:
    """A task of Appose whose questions a fake ImageJ answers in a thread, through the very JSON.

    Parameters
    ----------
    link : Link
    imagej : ImageJ
    """

    def __init__(self, link, imagej):
        self.link, self.imagej, self.cancel_requested, self._finished = link, imagej, False, False

    def update(self, message=None, *, info):
        line = encoded({"info": info})
        threading.Thread(target=self._serve, args=(line,)).start() if info["key"] else self._tell(line)

    def _tell(self, line):
        info = json.loads(line)["info"]
        self.imagej.told.append((info["do"], info["with"]))

    def _serve(self, line):
        info, made = message.decode(line)["info"], []
        value, fault = answered(self.imagej, info, made)
        self.link.answer(info["key"], message.decode(encoded(value)), fault)
        unlink(made)


class Fiji:
    """A real worker process, and the fake ImageJ that it works for.

    Parameters
    ----------
    folder : Path
        Where the worker runs.
    """

    def __init__(self, folder):
        self.folder, self.imagej = folder, ImageJ()
        arguments = [sys.executable, "-E", "-P", "-X", "utf8", "-u", "-m", "stormseg_ij.worker"]
        foreign = str(folder / "of another program")  # as installers set it for all that a person starts
        environment = {"PYTHONHOME": foreign, "PYTHONPATH": foreign, "CUDA_VISIBLE_DEVICES": "-1"}
        self.service = Service(folder, environment, *arguments)
        self.service.start()

    @property
    def process(self):
        return self.service._process

    def call(self, name, *, script=COMMAND, **more):
        """Run a command, or another script, to its end; return the task."""
        call = {"name": name, "options": None, "values": {}, "image": None, "from_macro": False,
                "batch": False, "headless": False, "imagej": "1.54p"}  # fmt: skip
        return self.run(script, {"call": call | more})

    def run(self, script, inputs=None, on_event=lambda task, event: None):
        """Run a script to its end, as Fiji's thread does; return the task."""
        events = queue.Queue()
        task = self.service.task(script, inputs or {}).listen(events.put)
        task.start()
        while True:
            event = events.get(timeout=90)
            if event.response_type.is_terminal():
                return task
            on_event(task, event)
            if event.response_type is ResponseType.UPDATE and event.info and "do" in event.info:
                self._serve(event.info)

    def _serve(self, info):
        if info["key"] is None:
            self.imagej.told.append((info["do"], info["with"]))
            return
        made = []
        value, fault = answered(self.imagej, info, made)
        try:
            self.run(ANSWER, {"key": info["key"], "value": value, "fault": fault})
        finally:
            unlink(made)

    def ended(self):
        """Wait until the worker has ended; return its status, and what it wrote to standard error."""
        status = self.service.wait_for()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(BrokenPipeError):
                pipe.close()
        return status, self.service.error_lines()

    def close(self):
        """End the worker as Fiji does; return as `ended`."""
        self.service.close()
        return self.ended()


def encoded(value):
    """What goes over the pipe; nothing that only Python knows, and no NaN."""
    line = message.encode(value)
    assert "worker_object" not in line
    json.loads(line, parse_constant=lambda word: (_ for _ in ()).throw(AssertionError(word)))
    return line


def answered(imagej, info, made):
    """Return value and fault of one answer; arrays in it become Appose's, and are noted in `made`."""
    try:
        value = imagej.serve(info["do"], info["with"])
    except Exception as error:  # noqa: BLE001 (as Fiji does: without an answer the worker would wait)
        return None, str(error)
    value = _shared(value, made)
    imagej.names |= {array.shm.name for array in made}
    return value, None


def _shared(value, made):
    if isinstance(value, dict):
        return {key: _shared(one, made) for key, one in value.items()}
    if not isinstance(value, np.ndarray):
        return value
    array = NDArray(value.dtype.name, list(value.shape))
    array.ndarray()[...] = value
    made.append(array)
    return array


def unlink(made):
    """Take shared memory away that was made here."""
    for array in made:
        array.shm.close()
        array.shm.unlink()


def as_text(data):
    """The bytes of a ROI as JSON holds them."""
    return b64encode(data).decode()


def wait_until(true, seconds=5.0):
    """Wait until this is true; return whether it is."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()
