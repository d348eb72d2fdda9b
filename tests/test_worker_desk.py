"""What the worker asks of Fiji, and how: its parts, in this process."""

import json
import math
import os
import threading
import time
from base64 import b64decode

import numpy as np
import pytest
from fake_fiji import CALL, SQUARES, ImageJ, InProcess, as_text, facts, wait_until
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from stormseg_ij.commands import COMMANDS
from stormseg_ij.desk import Entry, Measured
from stormseg_ij.errors import BridgeError, ImageError, SettingsError
from stormseg_ij.facts import ImageFacts, View
from stormseg_ij.image import Calibration, Image
from stormseg_ij.imagej_settings import SegmentNucleiSettings
from stormseg_ij.roi_files import encoded
from stormseg_ij.rois import iterate_rois
from stormseg_ij.worker import arrays
from stormseg_ij.worker.desk import FijiDesk, FijiImage
from stormseg_ij.worker.link import Link
from stormseg_ij.worker.pipes import Pipes
from stormseg_ij.worker.work import Work, settings_of

ROI = encoded(next(iter(iterate_rois(SQUARES))))


@pytest.fixture
def imagej():
    imagej = ImageJ(same_process=True)
    imagej.add(7, SQUARES.astype(np.uint8), title="squares.tif")
    return imagej


@pytest.fixture
def desk(imagej):
    """A desk at which a command runs; its arrays leave nothing behind."""
    link = Link()
    desk = FijiDesk(link)
    desk.begin(headless=False, batch=False, version="1.54p")
    with link.over(InProcess(link, imagej)):
        yield desk
    assert wait_until(lambda: not imagej.left())
    assert not arrays._made


IMP = FijiImage(7)


def test_facts_are_asked_once_for_a_command(desk, imagej):
    assert desk.facts(IMP) == ImageFacts("squares.tif", None, None, 40, 50)
    assert (desk.title(IMP), desk.name(IMP), desk.shape(IMP)) == ("squares.tif", "squares", (40, 50))
    assert desk.numbered(7) == IMP
    assert imagej.asked("facts") == 1
    imagej.images[7]["title"] = "other"
    assert desk.title(IMP) == "squares.tif"
    desk.begin(headless=False, batch=False, version="1.54p")
    assert desk.title(IMP) == "other"
    del imagej.images[7]
    desk.begin(headless=False, batch=False, version="1.54p")
    assert desk.numbered(7) is None
    with pytest.raises(BridgeError, match="was closed"):
        desk.facts(IMP)


def test_a_plane_that_it_shows_is_known(desk, imagej):
    imagej.images[7] = facts(slices=5)
    assert desk.shown_plane(IMP) == 1
    imagej.values["show_plane"], imagej.values["canvas"], imagej.values["look_at"] = None, [300, 200], None
    imagej.images[7] |= {"current": 4, "z": 4}
    desk.go_to(IMP, (1, 2, 5, 6), plane=4)
    assert desk.shown_plane(IMP) == 4
    assert imagej.done[-2][0] == "look_at"
    assert set(imagej.done[-2][1]) == {"image", "level", "x", "y", "columns", "rows"}


def test_is_open_is_asked_now_and_then(desk, imagej):
    assert all(desk.is_open(IMP) for _ in range(100))
    assert imagej.asked("is_open") == 1
    del imagej.images[7]
    assert wait_until(lambda: not desk.is_open(IMP))


def test_images_by_title(desk):
    assert desk.titled("squares.tif") == IMP
    assert desk.titled("squares") is None
    assert desk.titles() == ["squares.tif"]
    assert desk.number(IMP) == 7


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pixels_come_as_they_are(desk, imagej, dtype):
    imagej.pixels[7] = (SQUARES * 100).astype(dtype)
    image = desk.image(IMP)
    np.testing.assert_array_equal(image.pixels, imagej.pixels[7], strict=True)
    assert (image.name, image.calibration, image.notes) == ("squares", None, ())


def test_rgb_becomes_gray(desk, imagej):
    packed = np.array([[0xFFFF0000, 0xFF010100, 0xFF090909]], np.uint32)
    imagej.values["image"] = {"pixels": packed, "depth": 24, "calibration": [0.5, 0.25, "µm"]}
    image = desk.copied(IMP, plane=None)
    assert image.pixels.tolist() == [[85, 1, 9]]
    assert image.pixels.dtype == np.uint8
    assert image.calibration == Calibration(0.5, 0.25, "µm")
    assert image.notes == ("RGB converted to 8-bit gray, the mean of the channels",)


def test_images_are_shown(desk, imagej):
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    new = desk.show_image(Image(pixels, "new", Calibration(2.0, 3.0, "nm")))
    np.testing.assert_array_equal(imagej.pixels[new.number], pixels, strict=True)
    assert imagej.done[-1][1]["calibration"] == [2.0, 3.0, "nm"]
    with pytest.raises(BridgeError, match="ImageJ cannot hold int64 pixels"):
        desk.show_image(Image(pixels.astype(np.int64), "new"))


def test_label_images_are_shown(desk, imagej):
    imagej.values["show_stack"] = -3
    assert desk.show_labels([SQUARES, SQUARES], "labels", IMP) == FijiImage(-3)
    given = imagej.done[-1][1]
    assert [plane.dtype for plane in given["planes"]] == [np.uint16] * 2
    np.testing.assert_array_equal(given["planes"][1], SQUARES)
    assert given["colours"].shape == (3, 256)
    assert (given["title"], given["like"], given["highest"]) == ("labels", 7, 2)


def test_selections_and_overlays(desk, imagej):
    assert desk.selection(IMP) is None
    imagej.selections[7] = {"group": "area", "roi": as_text(ROI)}
    assert desk.selection(IMP) == ("area", ROI)
    imagej.values |= {"look_at": None, "line": [[1, 2.5, 3], [4, 5, 6]], "clear_selection": None, "canvas": None}
    assert desk.line(IMP).tolist() == [[1.0, 4.0], [2.5, 5.0], [3.0, 6.0]]
    imagej.values["line"] = None
    assert desk.line(IMP) is None
    assert desk.canvas(IMP) is None
    desk.clear_selection(IMP)
    desk.put_overlay(IMP, iter([ROI, ROI]), "preview", origin=(np.int64(3), 4))
    assert imagej.done[-1][1]["origin"] == [3, 4]
    assert desk.overlay(IMP, "preview") == [ROI, ROI]
    assert desk.overlay(IMP, "nuclei") == []
    desk.look_at(IMP, View(2.0, np.int64(1), 2, 3, 4))


def test_the_list_sends_what_changed_only(desk, imagej):
    manager = desk.manager
    assert not manager.is_open()
    assert manager.entries() == []
    first, second = manager.append([ROI, ROI + b"1"], IMP)
    assert manager.is_open()
    assert manager.entries() == [Entry(ROI, first, 7), Entry(ROI + b"1", second, 7)]
    assert imagej.do_entries()["changed"] == {}
    third = manager.replace(first, ROI + b"2")
    assert manager.entries() == [Entry(ROI + b"2", third, 0), Entry(ROI + b"1", second, 7)]
    assert manager.replace(first, ROI) is None
    imagej.rois[second] = (as_text(ROI + b"3"), 7)
    assert manager.entries()[1] == Entry(ROI + b"3", second, 7)
    manager.select(IMP, np.int64(1))
    assert manager.selected() == [1]
    manager.deselect()
    assert manager.selected() == []
    manager.delete([second, 5], IMP)
    manager.delete([])
    assert [entry.identity for entry in manager.entries()] == [third]
    assert imagej.asked("delete") == 1
    assert manager.append([], IMP) == []
    assert imagej.asked("append") == 1


def test_without_a_display_there_is_no_list(desk, imagej):
    desk.begin(headless=True, batch=False, version="1.54p")
    manager = desk.manager
    assert (desk.batch, desk.headless, manager.headless) == (True, True, True)
    assert (manager.entries(), manager.selected(), manager.is_open()) == ([], [], False)
    manager.delete([1])
    manager.deselect()
    with pytest.raises(BridgeError, match="needs a display"):
        manager.append([ROI], IMP)
    desk.show_message("a", "b")
    desk.show_text("a", "c")
    desk.show_table("t", ["x", "y"], [["1", "2"]])
    assert imagej.texts("log") == ["a: b", "c", "t\nx\ty\n1\t2"]
    assert imagej.done == []


def test_rows_hold_no_nan(desk, imagej):
    desk.add_rows("Scores", [{"a": math.nan, "b": "text", "c": np.float32(0.5), "d": math.inf}])
    assert imagej.tables["Scores"] == [{"a": None, "b": "text", "c": 0.5, "d": "Infinity"}]
    told = []
    wanted = [Measured(12, 1, {"ROI": "n", "score": math.nan}), Measured(ROI, 2)]
    assert desk.measure(IMP, wanted, each=told.append) == 2
    assert imagej.done[-1][1]["wanted"] == [
        {"roi": 12, "plane": 1, "extra": {"ROI": "n", "score": None}},
        {"roi": as_text(ROI), "plane": 2, "extra": {}},
    ]
    assert told == [0]


def test_escape_while_fiji_measures(desk, imagej):
    imagej.faults["measure"] = "stopped by Escape"

    def each(_):
        if desk.escape_pressed():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        desk.measure(IMP, [Measured(1)], each=each)
    imagej.faults["measure"] = "no image of Redirect to"
    with pytest.raises(BridgeError, match="no image of Redirect to"):
        desk.measure(IMP, [Measured(1)])


def test_windows_and_the_log(desk, imagej):
    imagej.values |= {"show_message": None, "show_text": None, "show_table": None}
    desk.show_message("a", "b")
    desk.show_text("a", "c")
    desk.show_table("t", ("x",), iter([("1",), ("2",)]))
    desk.log("line")
    assert imagej.done[-1] == ("show_table", {"title": "t", "columns": ["x"], "rows": [["1"], ["2"]]})
    assert imagej.told == [("log", {"text": "line"})]
    desk.begin(headless=False, batch=True, version="1.54p")
    desk.show_message("a", "b")
    assert imagej.told[-1] == ("log", {"text": "a: b"})
    assert desk.running
    assert desk.fiji is None


def test_the_bar_moves_at_most_20_times_a_second_and_ends_where_it_should(desk, imagej):
    start = time.monotonic()
    for i in range(2000):
        desk.progress(i / 1000.0)
        desk.status(f"{i}")
    seconds = time.monotonic() - start
    assert wait_until(lambda: imagej.texts("status")[-1] == "1999")
    assert ("progress", {"fraction": 1.0}) in imagej.told[-4:]
    assert len(imagej.told) <= 4 + 2 * seconds / 0.04


def test_what_was_told_comes_before_what_is_asked(desk, imagej):
    order = []
    imagej.serve = lambda do, given: order.append((do, list(imagej.texts("status")))) or []
    desk.status("1")
    desk.status("2")
    desk.titles()
    assert order == [("titles", ["1", "2"])]


def test_the_steps_of_an_image_go_in_one_question(desk, imagej):
    ij = desk.ij
    image = Image(np.arange(64, dtype=np.float32).reshape(8, 8), "a", Calibration(1.0, 2.0, "nm"))
    imp = ij.to_imageplus(image)
    same = ij.from_imageplus(imp)
    np.testing.assert_array_equal(same.pixels, image.pixels, strict=True)
    assert imagej.done == []
    imagej.values["process"] = np.zeros((4, 2), np.uint16)
    ij.resize(imp, width=2, height=4)
    ij.gaussian_blur(imp, 2)
    ij.to_16bit(imp)
    ij.to_16bit(imp, (np.float32(1.0), 5))
    ij.equalize(imp)
    ij.free_memory()
    done = ij.from_imageplus(imp)
    assert imagej.done[0][1]["steps"] == [
        ["resize", 2, 4], ["blur", 2.0], ["to_16bit", None], ["to_16bit", [1.0, 5.0]], ["equalize"],
    ]  # fmt: skip
    np.testing.assert_array_equal(done.pixels, imagej.values["process"], strict=True)
    assert done.calibration == Calibration(4.0, 4.0, "nm")
    assert ij.version == "1.54p"


def test_bands_and_tables_of_large_images(desk, imagej):
    imagej.values["process"] = np.ones((3, 5), np.float32)
    assert desk.ij.resize_lines(np.ones((3, 9), np.float32), 5, along_x=True).shape == (3, 5)
    assert imagej.done[-1][1]["steps"] == [["resize", 5, 3]]
    desk.ij.resize_lines(np.ones((9, 5), np.float32), 3, along_x=False)
    assert imagej.done[-1][1]["steps"] == [["resize", 5, 3]]
    imagej.values["equalization"] = np.arange(256, dtype=np.uint8)[None]
    table = desk.ij.equalization(np.arange(256))
    np.testing.assert_array_equal(table, np.arange(256, dtype=np.uint8), strict=True)
    assert imagej.done[-1][1]["histogram"].dtype == np.int32
    with pytest.raises(BridgeError, match="int64 pixels of shape"):
        desk.ij.to_imageplus(Image(np.zeros((2, 2), np.int64), "x"))


def test_without_a_task_lines_are_kept_and_questions_refused(imagej, capsys):
    link = Link()
    desk = FijiDesk(link)
    desk.log("not saved")
    desk.progress(0.5)
    with pytest.raises(BridgeError, match="no command runs"):
        desk.titles()
    link.answer(99, None, None)  # nobody waits for it
    with link.over(InProcess(link, imagej)):
        assert imagej.told == [("log", {"text": "not saved"})]
    assert capsys.readouterr().err == "not saved\n"


@given(
    arrays_of.arrays(
        st.sampled_from(["uint8", "uint16", "int32", "uint32", "float32"]), arrays_of.array_shapes(max_dims=2)
    ),
    st.booleans(),
)
def test_arrays_go_over_and_back(array, turned):
    from appose.util import message

    given = array.T if turned else array
    with arrays.sent({"one": given, "several": [given, given], "n": 3}) as described:
        back = arrays.received(message.decode(json.dumps(described)))
    assert back["n"] == 3
    for copied in (back["one"], *back["several"]):
        assert copied.dtype == array.dtype
        assert copied.tobytes() == np.ascontiguousarray(given).tobytes()


def test_no_room_for_an_array_is_a_line(monkeypatch):
    monkeypatch.setattr(arrays, "_has_room", lambda *_: False)
    if not arrays._FILES.is_dir():
        pytest.skip("shared memory has no files here")
    with pytest.raises(BridgeError, match="no room for 3 MB"), arrays.sent({"a": np.zeros(3 * 2**20, np.uint8)}):
        pytest.fail("it was sent")
    assert not arrays._made


def test_reserving_more_than_there_is_says_no(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"")
    assert arrays._has_room(file, 1000)
    assert not arrays._has_room(file, 2**60)


def test_pipes_write_whole_lines_and_skip_empty_ones():
    to_us, there = os.pipe()
    back, from_us = os.pipe()
    ended = []
    pipes = Pipes(to_us, from_us, lambda: ended.append(True))
    os.write(there, b'{"a":1}\r\n\n  \nlast')
    os.close(there)
    assert [pipes.input(), pipes.input()] == ['{"a":1}', "last"]
    assert not ended
    with pytest.raises(EOFError):
        pipes.input()
    assert ended
    pipes.print("ä" * 10, flush=True)
    assert os.read(back, 100) == ("ä" * 10 + "\n").encode()
    pipes._lines.close()
    os.close(back)
    os.close(from_us)


def command_named(name):
    return next(command for command in COMMANDS if command is not None and command.name == name)


def test_settings_come_of_options_or_of_values():
    segment = command_named("Segment Nuclei")
    assert settings_of(segment, CALL) == SegmentNucleiSettings()
    values = {"size": " 300 ", "blur": None, "nms": "", "equalize": "true"}
    assert settings_of(segment, CALL | {"values": values}) == SegmentNucleiSettings(size=300, equalize=True)
    assert settings_of(segment, CALL | {"options": "size=300", "values": {"size": "5"}}).size == 300
    assert settings_of(segment, CALL | {"options": ""}) == SegmentNucleiSettings()
    with pytest.raises(SettingsError, match="no setting 'script'"):
        settings_of(segment, CALL | {"options": "script=1"})
    with pytest.raises(SettingsError, match="no setting 'sise'; did you mean 'size'"):
        settings_of(segment, CALL | {"values": {"sise": "3"}})
    with pytest.raises(SettingsError, match="--size '3': give a whole number"):
        settings_of(segment, CALL | {"values": {"size": 3}})


def test_a_command_that_waits_for_a_look_can_be_stopped(imagej):
    work = Work()
    assert work._busy.acquire()  # by a look whose answer never comes
    task = InProcess(work.link, imagej)
    task.cancel_requested = True
    assert work.command(task, CALL) == {"failure": "", "stopped": True}


def test_a_question_ends_with_its_task(imagej):
    link = Link()
    task = InProcess(link, imagej)
    task.update = lambda message=None, *, info=None: setattr(task, "_finished", True)  # as Appose where it cannot send
    with link.over(task), pytest.raises(BridgeError, match="did not reach Fiji"):
        link.ask("titles")


def test_a_look_tells_what_could_not_be_saved(imagej, monkeypatch):
    work = Work()
    assert work.command(InProcess(work.link, imagej), CALL)["failure"] == ""
    work.flush(5.0)

    def fail(*_):
        time.sleep(0.2)
        raise ImageError("the disk is full")

    monkeypatch.setattr("stormseg_ij.store.Store.save", fail)
    imagej.rois.popitem()  # by the person
    work.look(InProcess(work.link, imagej), CALL)
    assert imagej.texts("log") == ["StormSeg: the nuclei of squares.tif are not saved: the disk is full"]


def test_a_command_waits_for_a_look(imagej):
    work, calls = Work(), CALL | {"headless": True}
    first = InProcess(work.link, imagej)
    assert work._busy.acquire()
    done = []
    thread = threading.Thread(target=lambda: done.append(work.command(first, calls)))
    thread.start()
    thread.join(0.2)
    assert done == []
    work._busy.release()
    thread.join(10)
    assert done == [{"failure": "", "stopped": False}]
    assert len(b64decode(imagej.overlays[7, "nuclei"][0])) > 60
    work.flush(5.0)
    work.runner.close()
