"""What Python asks for behind Fiji's door: Groovy does to ImageJ exactly what the bridge does."""

import base64
import json
import os
import sys
import time
from pathlib import Path

import jpype
import numpy as np
import pytest
from door import bytes_of, escape, open_fiji, some_rois, text_of, tidy
from driver import pixels, until
from scyjava import jimport

from stormseg_ij.image import Calibration, Image, label_lut

pytestmark = pytest.mark.window

MANY = 5000


@pytest.fixture(scope="module")
def fiji(ij, tmp_path_factory):
    """A Fiji with the scripts' library, and the worker of the tests as its Python."""
    with open_fiji(ij, tmp_path_factory.mktemp("door")) as made:
        yield made


@pytest.fixture(autouse=True)
def _tidy(fiji):
    with tidy(fiji):
        yield


# ---- images


def test_what_imagej_says_of_an_image(fiji, tmp_path):
    imp = jimport("ij.IJ").createHyperStack("stack", 30, 20, 2, 3, 4, 8)
    imp.show()
    imp.setPosition(2, 3, 1)
    number = int(imp.getID())
    found = fiji.do("result = ask('facts', image=number)", number=number)
    desk = fiji.driver.bench.desk
    assert found == vars(desk.facts(imp))
    jimport("ij.IJ").saveAsTiff(imp, str(tmp_path / "an image.tif"))
    found = fiji.do("result = ask('facts', image=number)", number=number)
    assert found == vars(desk.facts(imp))
    assert found["file_name"] == "an image.tif"
    assert fiji.do("result = [ask('is_open', image=n) for n in (number, 7, -99999)]", number=number) == [
        True,
        False,
        False,
    ]
    assert fiji.do("result = [ask('titled', title=t) for t in ('an image.tif', 'none')]") == [number, None]
    assert fiji.do("result = ask('titles')") == ["an image.tif"]
    assert fiji.do("result = ask('facts', image=-99999)") is None


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_plane_comes_and_goes_with_its_values_and_scale(fiji, dtype):
    values = np.random.default_rng(1).integers(0, 250, (13, 7)).astype(dtype) / 2
    sent = values.astype(dtype)
    imp = fiji.driver.show(Image(sent, "plane", Calibration(0.02, 0.03, "µm")))
    imp.setDisplayRange(3, 40)
    code = """
found = ask("image", image=number, plane=None)
shown = ask("show_image", pixels=found["pixels"], name="copy", calibration=found["calibration"])
result = [found, shown]
"""
    found, number = fiji.do(code, number=int(imp.getID()))
    assert found["pixels"] == [dtype, sent.tolist()]
    assert (found["depth"], found["calibration"]) == (sent.itemsize * 8, [0.02, 0.03, "µm"])
    copy = jimport("ij.WindowManager").getImage(number)
    np.testing.assert_array_equal(pixels(copy), sent)
    assert fiji.driver.bench.desk.ij.from_imageplus(copy).calibration == Calibration(0.02, 0.03, "µm")
    assert str(copy.getTitle()) == "copy"


def test_colours_come_packed_and_planes_by_number(fiji):
    rgb = np.random.default_rng(2).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    imp = fiji.driver.bench.desk.ij.rgb_to_imageplus(rgb, name="rgb")
    imp.show()
    packed = (rgb.astype(np.int64) << [16, 8, 0]).sum(-1) | 0xFF000000
    found = fiji.do("result = ask('image', image=number, plane=None)", number=int(imp.getID()))
    assert found == {"pixels": ["uint32", packed.tolist()], "depth": 24, "calibration": None}
    jimport("ij.IJ").run(imp, "8-bit Color", "number=256")
    wanted = np.array(imp.getProcessor().convertToRGB().getPixels(), np.int64).reshape(6, 5) & 0xFFFFFFFF
    found = fiji.do("result = ask('image', image=number, plane=None)", number=int(imp.getID()))
    assert found == {"pixels": ["uint32", wanted.tolist()], "depth": 24, "calibration": None}
    stack = jimport("ij.IJ").createImage("s", "16-bit ramp", 8, 4, 3)
    stack.getStack().getProcessor(2).set(0, 0, 77)
    stack.show()
    code = "result = [ask('image', image=number, plane=2)['pixels'][0, 0], fault_of('image', image=number, plane=4)]"
    value, fault = fiji.do(code.replace("[0, 0]", "[:1, :1]"), number=int(stack.getID()))
    assert value == ["uint16", [[77]]]
    assert fault == "s has no plane 4; give 1 to 3"


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_labels_are_shown_as_the_bridge_shows_them(fiji, dtype):
    like = jimport("ij.IJ").createHyperStack("like", 9, 6, 1, 3, 2, 16)
    like.getCalibration().pixelWidth = 0.5
    like.show()
    planes = np.random.default_rng(3).integers(0, 300, (6, 6, 9)).astype(dtype)
    code = """
planes, colours = np.array(planes, dtype), np.array(colours, np.uint8)
result = ask("show_stack", planes=list(planes), title="labels", like=like, colours=colours, highest=300)
"""
    number = fiji.do(code, planes=planes.tolist(), dtype=dtype, like=int(like.getID()), colours=label_lut().tolist())
    made = jimport("ij.WindowManager").getImage(number)
    wanted = fiji.driver.bench.desk.show_stack(list(planes), "labels", like=like, colours=label_lut(), highest=300)
    for i in range(6):
        np.testing.assert_array_equal(pixels(made, i + 1), planes[i])
    assert made.getProcessor().getColorModel().equals(wanted.getProcessor().getColorModel())
    assert str(made.getCalibration()) == str(wanted.getCalibration())
    for ask in ("getDisplayRangeMax", "getNSlices", "getNFrames", "isHyperStack", "getTitle"):
        assert getattr(made, ask)() == getattr(wanted, ask)()


# ---- selections and overlays


def test_selections_are_those_of_the_bridge(fiji):
    imp = jimport("ij.IJ").createImage("plain", "8-bit black", 100, 80, 1)
    imp.show()
    code = "result = [ask('selection', image=number), ask('line', image=number)]"
    number = int(imp.getID())
    assert fiji.do(code, number=number) == [None, None]
    desk = fiji.driver.bench.desk
    for kind, *arguments in (
        ("Roi", 3, 4, 20, 10), ("Line", 1.5, 2.0, 30.25, 40.0), ("PointRoi", 5, 6), ("OvalRoi", 2, 3, 10, 12),
    ):  # fmt: skip
        imp.setRoi(jimport(f"ij.gui.{kind}")(*arguments))
        found, line = fiji.do(code, number=number)
        assert (found["group"], base64.b64decode(found["roi"])) == desk.selection(imp)
        wanted = desk.line(imp)
        assert line == (None if wanted is None else wanted.T.tolist())
    fiji.do("ask('clear_selection', image=number)", number=number)
    assert imp.getRoi() is None


def test_overlays_replace_those_of_the_same_tag_only(fiji):
    imp = jimport("ij.IJ").createImage("plain", "8-bit black", 100, 80, 1)
    imp.setOverlay(jimport("ij.gui.Overlay")(jimport("ij.gui.Roi")(1, 2, 3, 4)))
    imp.show()
    desk, number, rois = fiji.driver.bench.desk, int(imp.getID()), some_rois()
    code = """
ask("put_overlay", image=number, rois=rois, tag=tag, origin=origin)
result = ask("overlay", image=number, tag=tag)
"""
    for tag, sent, origin in (("a", rois, (0, 0)), ("b", rois[:1], (3, 4)), ("a", rois[1:2], (0, 0))):
        found = bytes_of(fiji.do(code, number=number, rois=text_of(*sent), tag=tag, origin=origin))
        twin = jimport("ij.IJ").createImage("twin", "8-bit black", 100, 80, 1)
        desk.put_overlay(twin, sent, tag, origin=origin)
        assert found == desk.overlay(twin, tag) == desk.overlay(imp, tag)
    assert imp.getOverlay().size() == 3
    imp.setHideOverlay(True)
    fiji.do(code, number=number, rois=[], tag="b", origin=[0, 0])
    assert (imp.getOverlay().size(), imp.getHideOverlay()) == (2, True)


def test_the_view_goes_where_python_wants_it(fiji):
    imp = jimport("ij.IJ").createImage("stack", "8-bit black", 400, 300, 3)
    imp.show()
    code = """
result = ask("canvas", image=number)
ask("show_plane", image=number, plane=3)
ask("look_at", image=number, level=4.0, x=20, y=30, columns=result[0] // 4, rows=result[1] // 4)
"""
    until(lambda: imp.getCanvas().getSize().height == 300, "the window is laid out")
    size = imp.getCanvas().getSize()
    wide, high = int(size.width), int(size.height)
    assert fiji.do(code, number=int(imp.getID())) == [wide, high]
    assert imp.getCurrentSlice() == 3
    canvas = imp.getCanvas()
    box = canvas.getSrcRect()
    assert (canvas.getMagnification(), box.x, box.y, box.width, box.height) == (4.0, 20, 30, wide // 4, high // 4)


# ---- the ROI Manager


def test_the_list_is_sent_once_and_then_what_changed(fiji):
    assert fiji.do("result = [ask('entries'), ask('selected')]") == [None, []]
    imp = jimport("ij.IJ").createImage("a", "8-bit black", 80, 60, 1)
    imp.show()
    rois = some_rois()
    code = "result = [ask('append', rois=rois, image=number), ask('entries'), ask('entries')]"
    added, first, second = fiji.do(code, rois=text_of(*rois), number=int(imp.getID()))
    assert first["identities"] == second["identities"] == added
    assert len(set(added)) == 4
    assert [base64.b64decode(first["changed"][str(one)]) for one in added] == fiji.driver.rois()
    assert first["drawn_in"] == [entry.drawn_in for entry in fiji.driver.bench.desk.manager.entries()]
    assert second["changed"] == {}
    assert imp.getCanvas().getShowAllList() is not None
    manager = fiji.driver.manager()
    fiji.do("kept.pop('looks', None)")
    manager.getRoi(1).setProperty("score", "0.5")
    manager.rename(2, "renamed")
    code = """
answers = [ask("entries"), *kept.get("looks", [])]  # a look may have been first
result = {identity: roi for one in answers for identity, roi in one["changed"].items()}
"""
    third = fiji.do(code)
    assert sorted(third) == sorted(str(one) for one in added[1:3])
    assert base64.b64decode(third[str(added[1])]) == fiji.driver.rois()[1]
    manager.setRoi(manager.getRoi(0).clone(), 0)
    fourth = fiji.do("result = ask('entries')")
    assert fourth["identities"][1:] == added[1:]
    assert fourth["identities"][0] not in added


def test_rois_are_replaced_deleted_and_selected(fiji):
    imp = jimport("ij.IJ").createImage("a", "8-bit black", 80, 60, 1)
    imp.show()
    number, rois = int(imp.getID()), some_rois()
    a, b, c, d = fiji.do("result = ask('append', rois=rois, image=number)", rois=text_of(*rois), number=number)
    code = """
new = ask("replace", identity=old, roi=roi)
result = [new, ask("replace", identity=old, roi=roi), ask("entries")["identities"]]
"""
    new, none, listed = fiji.do(code, old=b, roi=text_of(rois[3])[0])
    assert (none, listed) == (None, [a, new, c, d])
    assert fiji.driver.names()[1] == "nucleus_0004"
    recorder = fiji.driver.recorder()
    code = """
ask("select", image=number, index=2)
result = [ask("selected"), None]
ask("deselect")
result[1] = ask("selected")
ask("delete", identities=[a, c, 999999], image=number)
"""
    assert fiji.do(code, number=number, a=a, c=c) == [[2], []]
    assert len(fiji.driver.names()) == 2
    assert fiji.driver.recorded(recorder) == []
    fiji.driver.close_window("Recorder")


def test_many_deletions_repaint_once_and_show_all_again(fiji):
    imp = jimport("ij.IJ").createImage("a", "8-bit black", 80, 60, 1)
    imp.show()
    number = int(imp.getID())
    code = """
added = ask("append", rois=rois * 4, image=number)
ask("delete", identities=added[1:15], image=number)
result = [len(added), len(ask("entries")["identities"])]
"""
    assert fiji.do(code, rois=text_of(*some_rois()), number=number) == [16, 2]
    assert imp.getCanvas().getShowAllList() is not None


# ---- tables, and what preprocesses


def test_a_plane_too_large_for_fiji_is_named(fiji, library):
    code = "result = fault_of('process', pixels=np.zeros((4, 4), np.uint8), steps=[['resize', 50000, 60000]])"
    assert fiji.do(code).startswith("a plane of 50000 x 60000 pixels is too large: ")
    with pytest.raises(jpype.JException, match="a plane of 60000 x 50000 pixels is too large: "):
        library("Processing").taken(_plane(library, 50_000, 60_000))


def test_tables_are_filled_and_pixels_processed(fiji):
    imp = fiji.driver.show(Image(np.arange(4800, dtype=np.uint16).reshape(60, 80), "a", None))
    code = """
identity = ask("append", rois=rois, image=None)[0]
wanted = [{"roi": identity, "plane": 1, "extra": {"score": 0.5, "state": None}}, {"roi": rois[1], "plane": 1}]
rows = ask("measure", image=number, wanted=wanted)
ask("add_rows", title="Scores", rows=[{"image": "a", "F1": 0.5}, {"image": "b", "F1": None}])
pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
counts = np.full(256, 3, np.int32)
result = [rows, ask("process", pixels=pixels, steps=[["resize", 4, 4]]), ask("equalization", histogram=counts)]
"""
    rows, small, table = fiji.do(code, rois=text_of(*some_rois()), number=int(imp.getID()))
    assert rows == 2
    ij = fiji.driver.bench.desk.ij
    twin = ij.to_imageplus(Image(np.arange(64, dtype=np.uint8).reshape(8, 8), "b"))
    ij.resize(twin, 4, 4)
    assert small == ["uint8", pixels(twin).tolist()]
    assert table == ["uint8", ij.equalization(np.full(256, 3, np.int64)).tolist()]
    texts = fiji.driver.texts()
    assert texts["Scores"].splitlines()[2].split("\t") == ["2", "b", "NaN"]
    assert "0.5" in texts["Results"]


def test_escape_ends_a_measurement(fiji):
    imp = fiji.driver.show(Image(np.zeros((60, 80), np.uint8), "a", None))
    code = """
wanted = [{"roi": rois[0], "plane": 1, "extra": {}}] * 100000
result = fault_of("measure", image=number, wanted=wanted)
"""
    thread, outcomes = fiji.start(code, rois=text_of(*some_rois()), number=int(imp.getID()))
    until(lambda: fiji.door.getRunning() is not None, "it runs")
    time.sleep(0.1)
    escape()
    thread.join(20)
    assert outcomes[0].said == []
    assert json.loads(fiji.out.read_text()) == "stopped by Escape"


@pytest.fixture
def library(fiji):
    """Load a class of the library or of its Appose, which finds its shared memory by the thread's class loader."""
    if fiji.door is None:
        fiji.do("result = 1")
    loader, thread = fiji.door.getClass().getClassLoader(), jimport("java.lang.Thread").currentThread()
    before = thread.getContextClassLoader()
    thread.setContextClassLoader(loader)
    yield lambda name: jpype.JClass(loader.loadClass(name))
    thread.setContextClassLoader(before)


def _plane(library, height, width):
    """Make an array of shape (Y, X); no memory is used before it is written to."""
    array, shape = "org.apposed.appose.NDArray", library("org.apposed.appose.NDArray$Shape")
    sizes = shape(library(f"{array}$Shape$Order").C_ORDER, jpype.JArray(jpype.JInt)([height, width]))
    return library(array)(library(f"{array}$DType").UINT8, sizes)


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are seen in /proc")
def test_a_block_that_is_still_in_use_stays_open(library):
    """What Appose leaves open of a block goes by number: of its own other handle of that block it must not be."""
    shared, first = library("Shared"), _plane(library, 4, 4)
    name = str(first.shm().name())
    described = {"appose_type": "ndarray", "dtype": "uint8", "shape": [4, 4], "shm": {"name": name, "rsize": 16}}
    values = jimport("groovy.json.JsonSlurper")().parseText(json.dumps({"planes": [described]}))
    shared.attach(values)
    assert len(_descriptors(name)) == 3  # this one's, and two of what was attached
    shared.close(values)
    assert len(_descriptors(name)) == 1
    shared.close(first)
    assert _descriptors(name) == []


def _descriptors(name):
    """What this process has open of a block."""
    return [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink() and name in os.path.realpath(link)]


# ---- messages


def test_what_python_tells_is_seen(fiji):
    code = """
tell("status", text="at work")
tell("progress", fraction=0.5)
tell("log", text="a line")
ask("show_text", title="A text", text="words")
ask("show_table", title="A table", columns=["a", "b"], rows=[["1", "2"], ["3", "4"]])
ask("show_message", title="A message", text="read me")
tell("nonsense")
"""
    outcome = fiji.driver.seen(lambda: fiji.call(fiji.values(code)))
    assert outcome.said == ["A message: read me"]
    assert outcome.log[0] == "a line"
    assert outcome.log[1].endswith("Fiji's scripts are of another version; run stormseg install-fiji")
    texts = fiji.driver.texts()
    assert (texts["A text"].strip(), texts["A table"].split()) == ("words", ["a", "b", "1", "2", "3", "4"])
    assert outcome.status == "at work"


# ---- how fast


def test_asking_takes_no_time_worth_a_word(fiji, record_property):
    code = """
ask("is_open", image=-1)
start = time.perf_counter()
for _ in range(100):
    ask("is_open", image=-1)
one = (time.perf_counter() - start) / 100
ask("append", rois=rois, image=None)
start = time.perf_counter()
ask("entries")
first = time.perf_counter() - start
start = time.perf_counter()
ask("entries")
result = [one, first, time.perf_counter() - start]
"""
    rois = (text_of(*some_rois()) * (MANY // 4))[:MANY]
    one, first, second = fiji.do(code, rois=rois)
    record_property("one question, and entries() of 5,000 ROIs twice, in ms", [one * 1e3, first * 1e3, second * 1e3])
    print(f"one question {one * 1e3:.1f} ms, entries {first * 1e3:.0f} ms, again {second * 1e3:.0f} ms")  # noqa: T201
    assert one < 0.1
    assert second < first
