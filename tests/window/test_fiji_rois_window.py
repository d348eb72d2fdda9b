"""The ROI Manager behind Fiji's door: with whom it shares threads, what it notices, and what it remembers."""

import threading
import time

import jpype
import pytest
from door import open_fiji, some_rois, text_of, tidy
from driver import until
from scyjava import jimport

pytestmark = pytest.mark.window


@pytest.fixture(scope="module")
def fiji(ij, tmp_path_factory):
    """A Fiji with the scripts' library, and the worker of the tests as its Python."""
    with open_fiji(ij, tmp_path_factory.mktemp("door")) as made:
        yield made


@pytest.fixture(autouse=True)
def _tidy(fiji):
    with tidy(fiji):
        yield


@pytest.fixture
def unwatched():
    """No look at the list is in between: there is none while a macro is in batch mode."""
    field = jimport("ij.macro.Interpreter").class_.getField("batchMode")
    field.setBoolean(None, True)
    yield
    field.setBoolean(None, False)


def _rois_of(fiji):
    """The library's own list of ROIs, behind the door."""
    if fiji.door is None:
        fiji.do("result = 1")
    field = fiji.door.getClass().getDeclaredField("desk")
    field.setAccessible(True)
    return field.get(fiji.door).getRois()


def _on_event_thread(work):
    """Have the thread that paints do something; return what waits for its end."""
    task = jimport("java.util.concurrent.FutureTask")(jpype.JProxy("java.lang.Runnable", dict={"run": work}), None)
    jimport("java.awt.EventQueue").invokeLater(task)
    return lambda seconds: task.get(seconds, jimport("java.util.concurrent.TimeUnit").SECONDS)


def _busy_then(work, busy=0.5):
    def run():
        time.sleep(busy)  # meanwhile others wait for this thread
        work()

    return run


@pytest.mark.parametrize("waiting", ["glance", "entries"])
def test_who_waits_for_the_painting_thread_keeps_nothing_from_it(fiji, waiting):
    fiji.do("ask('append', rois=rois, image=None)", rois=text_of(*some_rois()))
    rois, seen = _rois_of(fiji), []
    ended = _on_event_thread(_busy_then(lambda: seen.append(rois.entries()["identities"].size())))
    thread = threading.Thread(target=getattr(rois, waiting), daemon=True)
    thread.start()
    ended(10)  # or both wait for ever
    thread.join(10)
    assert (seen, thread.is_alive()) == ([4], False)


def test_an_interrupted_addition_is_done_once_and_told_as_done(fiji):
    fiji.do("ask('append', rois=rois, image=None)", rois=text_of(*some_rois()))
    rois, found, java = _rois_of(fiji), [], []
    sent = jimport("java.util.ArrayList")(text_of(*some_rois(2)))

    def append():
        java.append(jimport("java.lang.Thread").currentThread())
        found.append([int(one) for one in rois.append(sent, None)])
        found.append(bool(jimport("java.lang.Thread").interrupted()))

    ended = _on_event_thread(_busy_then(lambda: None))
    thread = threading.Thread(target=append)
    thread.start()
    until(lambda: java, "the thread runs")
    time.sleep(0.1)
    java[0].interrupt()
    thread.join(10)
    ended(10)
    assert [len(found[0]), found[1], len(fiji.driver.names())] == [2, True, 6]


def test_a_glance_sees_all_that_a_person_changes(fiji):
    fiji.do("ask('append', rois=rois, image=None)", rois=text_of(*some_rois()))
    rois, manager = _rois_of(fiji), fiji.driver.manager()
    roi, oval, floats = manager.getRoi(1), jimport("ij.gui.OvalRoi")(3, 4, 20, 10), jimport("ij.gui.PolygonRoi")
    color = jimport("java.awt.Color").RED
    corners = [[0.0, 9.0, 9.0, 4.0, 0.0], [0.0, 0.0, 9.0, 5.0, 9.0]]
    polygon = floats(*(jpype.JArray(jpype.JFloat)(one) for one in corners), 2)
    for one in (oval, polygon):
        manager.addRoi(one)
    assert manager.getRoi(5).getBounds().width == 9
    moved = floats(*(jpype.JArray(jpype.JFloat)(one) for one in (corners[0], [0.0, 0.0, 9.0, 5.5, 9.0])), 2)
    changes = [
        lambda: roi.setProperty("state", "good"), lambda: roi.setProperty("state", "odd"), lambda: roi.setGroup(3),
        lambda: roi.setStrokeWidth(2.5), lambda: roi.setFillColor(color), lambda: roi.setPosition(2),
        lambda: roi.setPosition(1, 2, 3), lambda: manager.rename(1, "another"), lambda: roi.setLocation(7.5, 8.0),
        lambda: manager.getRoi(4).setLocation(3, 5), lambda: manager.setRoi(moved, 5), lambda: manager.delete(0),
    ]  # fmt: skip
    before = [rois.glance()]
    assert rois.glance() == before[0]
    for i, change in enumerate(changes):
        change()
        before.append(rois.glance())
        assert len(set(before)) == i + 2, f"change {i} is not seen"
    polygon = manager.getRoi(4)  # the same object, with a corner elsewhere inside its box
    field = floats.class_.getDeclaredField("xpf")
    field.setAccessible(True)
    field.get(polygon)[3] += 0.25
    assert rois.glance() not in before


@pytest.mark.usefixtures("unwatched")
def test_what_python_did_not_take_is_sent_again(fiji):
    fiji.do("ask('append', rois=rois, image=None)", rois=text_of(*some_rois()))
    rois = _rois_of(fiji)
    rois.forget()
    assert [rois.entries()["changed"].size() for _ in range(2)] == [4, 4]
    rois.taken()
    assert rois.entries()["changed"].size() == 0
    fiji.driver.manager().rename(2, "renamed")
    rois.taken()  # of what entries() gave before
    assert rois.entries()["changed"].size() == 1
    rois.forget()
    rois.taken()  # of nothing
    assert rois.entries()["changed"].size() == 4


@pytest.mark.usefixtures("unwatched")
def test_another_list_meanwhile_costs_no_identity(fiji):
    added = fiji.do("result = ask('append', rois=rois, image=None)", rois=text_of(*some_rois()))
    rois, kind = _rois_of(fiji), jimport("ij.plugin.frame.RoiManager")
    field = kind.class_.getDeclaredField("instance")
    field.setAccessible(True)
    own, other = field.get(None), kind(False)
    other.addRoi(jimport("ij.gui.Roi")(1, 2, 3, 4))
    field.set(None, other)
    try:
        seen = list(rois.entries()["identities"])
        rois.taken()
    finally:
        field.set(None, own)
    found = rois.entries()
    assert len(seen) == 1
    assert seen[0] not in added
    assert [list(found["identities"]), found["changed"].size()] == [added, 4]  # Python forgot what was not listed
