"""The worker that Fiji starts: in its own process for a fake Fiji, and its parts in this one."""

import ctypes.util
import os
import signal
import threading
import time
from pathlib import Path

import fake_fiji
import numpy as np
import pytest
from fake_fiji import CALL, HELLO, LOOK, SQUARES, Fiji, ImageJ, wait_until

import stormseg_ij
from stormseg_ij.image import read_image
from stormseg_ij.roi_files import decoded

SAMPLE = Path(stormseg_ij.__file__).parent / "samples" / "tissue.tif"


# ---- the real process


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """One worker for this module; nothing that it does leaves a trace."""
    folder = tmp_path_factory.mktemp("Fiji ü 1")
    fiji = Fiji(folder)
    yield fiji
    status, errors = fiji.close()
    assert status == 0
    assert not [line for line in errors if "resource_tracker" in line or "leaked" in line or "Traceback" in line]
    assert not list(folder.iterdir())


@pytest.fixture
def fiji(worker):
    """The worker, with an ImageJ in which nothing is open."""
    worker.imagej = ImageJ()
    worker.imagej.add(-7, read_image(str(SAMPLE)).pixels[:256, :256], title="tissue.tif")
    return worker


def test_hello(fiji):
    outputs = fiji.run(HELLO).outputs
    assert outputs["version"] == stormseg_ij.__version__
    assert outputs["pid"] == fiji.process.pid


def test_segment_nuclei_gives_the_rois_of_the_pipeline(fiji):
    options = "size=256 blur=0 equalize=false rois=append"
    task = fiji.call("Segment Nuclei", options=options, image=-7, from_macro=True)
    assert task.outputs == {"failure": "", "stopped": False}
    reference = fiji.run(REFERENCE, {"path": str(SAMPLE)}).outputs["rois"]
    found = [decoded(data) for data in fiji.imagej.bytes_of_rois()]
    assert len(found) > 5
    assert [roi.name for roi in found] == [f"nucleus_{i + 1:04d}" for i in range(len(found))]
    assert [roi.coordinates().tolist() for roi in found] == reference
    assert fiji.imagej.told[-1] == ("progress", {"fraction": 1.0})
    assert any("network" in text for text in fiji.imagej.texts("status"))
    assert fiji.imagej.asked("facts") == 1
    assert fiji.imagej.asked("process") == 0
    assert {drawn for _, drawn in fiji.imagej.rois.values()} == {-7}


REFERENCE = """
from stormseg_ij import pipeline
from stormseg_ij.image import read_image
from stormseg_ij.rois import iterate_rois
from stormseg_ij.settings import SegmentSettings
from stormseg_ij.worker.link import Link
from stormseg_ij.worker.processing import FijiProcessing
image = read_image(path)
image = image.with_pixels(image.pixels[:256, :256].copy())
result = pipeline.segment(image, SegmentSettings(size=256, blur=0, equalize=False), ij=FijiProcessing(Link()))
{"rois": [roi.coordinates().tolist() for roi in iterate_rois(result.labels)]}
"""


def test_the_preprocessing_is_fijis(fiji):
    task = fiji.call("Preprocess STORM Image", values={"size": "64", "blur": "1.5"}, image=-7)
    assert task.outputs == {"failure": "", "stopped": False}
    steps = [["resize", 64, 64], ["blur", 1.5]]
    assert [given["steps"] for do, given in fiji.imagej.done if do == "process"] == [steps]
    expected = fiji.imagej.do_process(fiji.imagej.pixels[-7], steps)
    np.testing.assert_array_equal(fiji.imagej.pixels[-8], expected)
    assert fiji.imagej.images[-8]["title"] == "tissue_preprocessed"


@pytest.mark.parametrize(
    ("name", "call", "failure"),
    [
        ("Segment Nuclei", {}, "there is no image; open one first"),
        ("Segment Nuclei", {"options": "sise=3", "image": -7}, "no setting 'sise'; did you mean 'size'?"),
        ("Segment Nuclei", {"values": {"sise": "3"}, "image": -7}, "no setting 'sise'; did you mean 'size'?"),
        ("Segment Nuclei", {"values": {"probability": "2"}, "image": -7}, "probability '2': give a number"),
        ("Segment Nuclei", {"image": -8}, "the image was closed"),
        ("Segment", {"image": -7}, "this stormseg_ij has no command 'Segment'; update it"),
    ],
)
def test_a_failure_is_one_line_in_keys(fiji, name, call, failure):
    outputs = fiji.call(name, **call).outputs
    assert outputs["failure"].startswith(failure)
    assert "--" not in outputs["failure"]
    assert "\n" not in outputs["failure"]
    assert not outputs["stopped"]


def test_a_fault_of_fiji_is_the_failure(fiji):
    fiji.imagej.faults["image"] = "Java's memory is too small"
    assert fiji.call("Preprocess STORM Image", image=-7).outputs["failure"] == "Java's memory is too small"


def test_cancel_in_the_middle_stops_the_command(fiji):
    def cancel(task, event):
        if event.info and event.info["do"] == "image":
            task.cancel()

    call = CALL | {"name": "Segment Nuclei", "options": "size=256 blur=0", "image": -7}
    task = fiji.run(fake_fiji.COMMAND, {"call": call}, cancel)
    assert task.outputs == {"failure": "", "stopped": True}
    assert not fiji.imagej.rois
    assert fiji.imagej.texts("status")[-1] == "Segment Nuclei: stopped by Escape; nothing was changed"


def test_a_look_saves_what_a_person_did(fiji):
    fiji.imagej.add(7, SQUARES.astype(np.uint8), title="squares")
    assert fiji.call("Labels to ROIs", image=7).outputs["failure"] == ""
    gone = next(iter(fiji.imagej.rois))
    del fiji.imagej.rois[gone]
    fiji.call("", script=LOOK)
    assert fiji.call("Show Corrections", image=7).outputs["failure"] == ""
    rows = fiji.imagej.tables["Corrections of squares"]
    assert [row for row in rows if "deleted" in row and "nucleus_0001" in row]


def test_what_goes_wrong_in_a_look_is_logged_once(fiji):
    fiji.imagej.values["entries"] = {"identities": [1], "drawn_in": [0], "changed": {}}
    for _ in range(3):
        assert fiji.call("", script=LOOK).error is None
    assert len(fiji.imagej.texts("log")) == 1
    assert "without their outlines" in fiji.imagej.texts("log")[0]


def test_what_others_print_disturbs_nothing(fiji):
    libc = ctypes.util.find_library("c")
    script = f"""
import ctypes, os, sys
print("no newline", end="")
sys.stdout.write("nor here"); sys.stdout.flush()
os.write(1, b"raw")
library = ctypes.CDLL({libc!r})
library.printf(b"by C"); library.fflush(None)
os.system("printf 'by a child'")
{{"read": sys.stdin.read()}}
"""
    assert fiji.run(script).outputs["read"] == ""
    assert fiji.run(HELLO).outputs["pid"] == fiji.process.pid
    assert fiji.service.invalid_lines() == []


def test_messages_of_many_threads_never_mix(fiji):
    script = """
import threading
def send(i):
    for j in range(200):
        task.update(info={"i": i, "j": j, "text": "x" * 5000})
threads = [threading.Thread(target=send, args=(i,)) for i in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
None
"""
    got = []
    fiji.run(script, on_event=lambda _, event: event.info and got.append((event.info["i"], event.info["j"])))
    assert sorted(got) == [(i, j) for i in range(4) for j in range(200)]
    assert all([j for k, j in got if k == i] == list(range(200)) for i in range(4))
    assert fiji.service.invalid_lines() == []


def test_a_second_command_is_refused_while_one_runs(fiji):
    second = []

    def call_another(_, event):
        if event.info and event.info["do"] == "image" and not second:
            second.append(fiji.call("Fill Holes in Nuclei", image=-7).outputs)
            second.append(fiji.call("", script=LOOK).outputs)

    fiji.run(fake_fiji.COMMAND, {"call": CALL | {"name": "Preprocess STORM Image", "image": -7}}, call_another)
    failure = "Preprocess STORM Image still runs; wait for it, or press Escape to stop it"
    assert second == [{"failure": failure, "stopped": False}, {"failure": "Preprocess STORM Image runs"}]
    assert fiji.imagej.asked("show_image") == 1


def test_ctrl_c_is_fijis(fiji):
    before = len(fiji.service.error_lines())
    fiji.process.send_signal(signal.SIGINT)
    assert fiji.run(HELLO).outputs["pid"] == fiji.process.pid
    assert fiji.service.error_lines()[before:] == []


# ---- how the process ends

SLOW_DISK = """
import time
from stormseg_ij.worker.work import WORK
WORK.runner.session._keeper._worker.submit(time.sleep, 0.7)
None
"""


@pytest.fixture
def own_worker(tmp_path):
    """A worker for one test, in which one image is open."""
    fiji = Fiji(tmp_path)
    fiji.imagej.add(7, SQUARES.astype(np.uint8), title=f"squares of {tmp_path.name}")
    yield fiji
    fiji.service.kill()
    fiji.ended()


def hold(fiji, do):
    """Start a command whose question `do` is never answered; return its task, and the name of the array in it."""
    task, asked = fiji.service.task(fake_fiji.COMMAND, {"call": CALL | {"name": "Preprocess STORM Image"}}), []

    def listen(event):
        if event.info and event.info["key"] and event.info["do"] == do:
            asked.append(event)
        elif event.info:
            threading.Thread(target=fiji._serve, args=(event.info,)).start()

    task.listen(listen).start()
    assert wait_until(lambda: asked, 30)
    memory = asked[0].info["with"]["pixels"].shm
    fake_fiji.resource_tracker.unregister(memory._name, "shared_memory")  # as in ImageJ._taken
    memory.close()
    return task, memory.name


def test_the_end_of_input_ends_it_in_the_middle_of_a_task(own_worker):
    _, name = hold(own_worker, "show_image")
    assert not fake_fiji.SHARED.is_dir() or (fake_fiji.SHARED / name).exists()
    start = time.monotonic()
    status, errors = own_worker.close()
    assert time.monotonic() - start < 2.0
    assert (status, errors) == (0, [])
    assert not (fake_fiji.SHARED / name).exists()


def test_it_saves_before_it_ends(own_worker):
    own_worker.run(SLOW_DISK)
    assert own_worker.call("Labels to ROIs", image=7).outputs["failure"] == ""
    assert own_worker.close() == (0, [])
    assert list((Path(os.environ["XDG_DATA_HOME"]) / "stormseg").rglob(f"*{own_worker.folder.name}*zip"))


def test_a_killed_worker_leaves_nothing_behind(own_worker):
    task, name = hold(own_worker, "show_image")
    own_worker.process.kill()
    assert own_worker.ended()[0] == -signal.SIGKILL
    assert task.status.name == "CRASHED"
    assert wait_until(lambda: not (fake_fiji.SHARED / name).exists())


def test_a_line_that_cannot_be_read_ends_it_with_a_reason(own_worker):
    own_worker.run(HELLO)
    own_worker.process.stdin.write("no JSON\n")
    own_worker.process.stdin.flush()
    status, errors = own_worker.ended()
    assert status == 1
    assert "JSONDecodeError" in errors[-1]
