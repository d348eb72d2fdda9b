"""Commands through Fiji's door, and the threads of a Fiji: none waits for another for ever, and Escape is not lost."""

import json
import os
import threading
import time
from contextlib import contextmanager

import jpype
import pytest
from door import escape, open_fiji, some_rois, text_of, tidy
from driver import until
from scyjava import jimport

pytestmark = pytest.mark.window

ENDLESS = "while True:\n    ask('titles')\n    time.sleep(0.005)"
SLOW = "def look(task, call):\n    while not task.cancel_requested:\n        time.sleep(0.01)\n"
KEYS = {"F6": "Next Nucleus to Review", "F5": "Redraw Nucleus", "F7": "Merge Nuclei", "F8": "Split Nucleus",
        "F9": "Delete Nuclei", "F10": "Undo Correction"}  # fmt: skip


@pytest.fixture(scope="module")
def fiji(ij, tmp_path_factory):
    """A Fiji with the scripts' library, and the worker of the tests as its Python."""
    with open_fiji(ij, tmp_path_factory.mktemp("door")) as made:
        yield made


@pytest.fixture(autouse=True)
def _tidy(fiji):
    with tidy(fiji):
        yield
    jimport("ij.IJ").resetEscape()


@contextmanager
def macro_thread():
    """Be a thread in which a macro runs; yields a function that tells whether the macro shall end."""
    macro, thread = jimport("ij.Macro"), jimport("java.lang.Thread").currentThread()
    aborted = macro.class_.getDeclaredField("abort")
    aborted.setAccessible(True)
    aborted.setBoolean(None, False)
    name = thread.getName()
    thread.setName("Run$_Macro")  # in one of this name, ImageJ throws nothing to end it
    try:
        yield lambda: bool(aborted.getBoolean(None))
    finally:
        aborted.setBoolean(None, False)
        thread.setName(name)


def in_event_thread(work):
    """Have work done in the thread that paints windows."""
    jimport("java.awt.EventQueue").invokeLater(jpype.JProxy("java.lang.Runnable", dict={"run": work}))


# ---- the thread that paints windows


def test_a_command_in_the_event_thread_starts_and_does_not_hold_it(fiji):
    """As a user's button does it, while a look waits for the event thread."""
    fiji.do("ask('append', rois=rois, image=None)", rois=text_of(*some_rois()))
    values, given = fiji.values("result = len(ask('entries')['identities'])"), []

    def press():
        time.sleep(2.5)  # the watch wants to look meanwhile
        start = time.monotonic()
        given.append((fiji.call(values), time.monotonic() - start))

    in_event_thread(press)
    until(lambda: given and fiji.out.exists() and fiji.out.read_text(), "the command is done", seconds=15.0)
    until(lambda: not fiji.door.getAsBoolean(), "it ends")
    ((started, seconds),) = given
    assert started
    assert seconds < 2.0
    assert json.loads(fiji.out.read_text()) == 4


def test_what_fails_in_the_event_thread_is_said(fiji):
    values = fiji.values("failure = 'bad'")

    def press():
        in_event_thread(lambda: fiji.call(values))
        until(lambda: fiji.door is not None and fiji.door.getRunning() is not None, "it runs")
        until(lambda: fiji.door.getRunning() is None, "it ends")
        time.sleep(0.5)

    assert fiji.driver.seen(press).said == ["Segment Nuclei: bad"]


# ---- interrupts, and faults in the middle


def test_who_interrupts_a_command_stops_it_and_the_next_one_runs(fiji):
    code = "while not task.cancel_requested:\n    ask('is_open', image=-1)\nresult = 'stopped'"
    values, caller, left = fiji.values(code), [], []

    def run():
        caller.append(jimport("java.lang.Thread").currentThread())
        left.append((fiji.call(values), bool(caller[0].interrupted())))

    for wait in (0.05, 0.15, 0.3):
        caller.clear()
        left.clear()
        thread = threading.Thread(target=run)
        thread.start()
        until(lambda: fiji.door is not None and fiji.door.getRunning() is not None, "it runs")
        time.sleep(wait)
        caller[0].interrupt()
        thread.join(15)
        assert left == [(False, True)]
        assert json.loads(fiji.out.read_text()) == "stopped"
        assert fiji.do("result = 1") == 1


def test_where_java_ends_before_the_task_does_python_is_ended(fiji):
    """A fault in what serves Python, as where memory is full: it would wait for its answer for ever."""
    pid = fiji.do("result = os.getpid()")
    worker = _field(fiji.door, "worker")
    inputs = jimport("java.util.HashMap")(_call(fiji, ENDLESS))
    source = '{ it -> throw new StackOverflowError("deep") }'
    serve = jpype.JClass("groovy.lang.GroovyShell")().evaluate(source)
    look = jpype.JClass("groovy.lang.GroovyShell")().evaluate("{ -> false }")
    command = "import stormseg_ij.worker as w; w.command(task, call)"
    with pytest.raises(jpype.JException, match="deep"):
        worker.run(command, inputs, serve, look)
    assert not worker.isAlive()
    assert fiji.do("result = os.getpid()") != pid


def _field(holder, name):
    field = holder.getClass().getDeclaredField(name)
    field.setAccessible(True)
    return field.get(holder)


def _call(fiji, code):
    values = jimport("java.util.HashMap")(fiji.values(code))
    return {"call": jimport("java.util.HashMap")({"values": values})}


# ---- Escape


def test_an_escape_from_before_ends_a_macro_and_its_command_does_not_start(fiji):
    fiji.do("result = 1")
    with macro_thread() as ends:
        escape()
        assert not fiji.call(fiji.values("result = 1"))
        assert ends()
        assert not fiji.out.exists()
        assert jimport("ij.IJ").escapePressed(), "for a loop of the script"


def test_an_escape_from_before_does_not_stop_what_a_person_starts(fiji):
    escape()
    assert fiji.do("result = task.cancel_requested") is False


def test_an_escape_that_python_heard_too_late_ends_the_macro_all_the_same(fiji):
    imp = jimport("ij.IJ").createImage("a", "8-bit black", 20, 20, 1)
    values, ended = fiji.values("time.sleep(0.8)\nstopped = False"), []

    def run():
        with macro_thread() as ends:
            ended.extend((fiji.call(values, imp=imp), ends(), bool(jimport("ij.IJ").escapePressed())))

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: fiji.door is not None and fiji.door.getRunning() is not None, "it runs")
    time.sleep(0.3)
    escape()
    thread.join(15)
    assert ended == [True, True, True]


def test_an_escape_that_closes_a_message_stops_nothing(fiji):
    thread, outcomes = _started(fiji, "ask('show_message', title='t', text='x')\nresult = task.cancel_requested")
    dialog = []
    until(lambda: dialog.extend(_dialogs("t")) or dialog, "the message is there")
    time.sleep(0.3)  # it waits only a little after it is shown
    event = jimport("java.awt.event.KeyEvent")
    pressed = event(dialog[0], event.KEY_PRESSED, 0, 0, event.VK_ESCAPE, event.CHAR_UNDEFINED)
    in_event_thread(lambda: dialog[0].keyPressed(pressed))
    thread.join(15)
    assert outcomes == [True]
    assert json.loads(fiji.out.read_text()) is False


def _started(fiji, code):
    values, outcomes = fiji.values(code), []
    thread = threading.Thread(target=lambda: outcomes.append(fiji.call(values)))
    thread.start()
    return thread, outcomes


def _dialogs(title):
    windows = jimport("java.awt.Window").getWindows()
    kind = jimport("ij.gui.MessageDialog")
    return [one for one in windows if isinstance(one, kind) and one.isVisible() and str(one.getTitle()) == title]


# ---- looks


def _looks(fiji, code):
    """Have the worker's looks run this code, the next one soon."""
    text = "ask('append', rois=rois, image=None)\nimport stormseg_ij.worker as w\nexec(source, vars(w))"
    fiji.do(text, source=code, rois=text_of(*some_rois()))


def test_a_command_that_waits_for_a_look_says_so_and_escape_stops_both(fiji):
    _looks(fiji, SLOW + "    kept['ended'] = True\n")
    until(lambda: _field(fiji.door, "free").availablePermits() == 0, "a look goes on")
    thread, outcomes = _started(fiji, "result = 1")
    status = jimport("ij.ImageJ").getStatusBarText
    until(lambda: "looks at the ROI Manager" in str(status()), "it says what it waits for")
    escape()
    thread.join(5)
    assert outcomes == [False]
    assert not fiji.out.exists()
    until(lambda: _field(fiji.door, "free").availablePermits() == 1, "the look has ended")
    assert fiji.do("result = kept.pop('ended')") is True
    os.kill(fiji.door.getPid(), 9)
    until(lambda: fiji.door.getPid() == 0, "Java notices")


def test_a_look_that_failed_is_tried_again(fiji):
    code = "def look(task, call):\n    n = kept['tries'] = kept.get('tries', 0) + 1\n"
    code += "    return {'failure': 'the disk is full' if n < 2 else ''}\n"
    said = fiji.driver.seen(lambda: (_looks(fiji, code), time.sleep(9.0)))
    assert said.log == ["StormSeg could not look for changes: the disk is full; it tries again"]
    assert fiji.do("result = kept['tries']") == 2
    os.kill(fiji.door.getPid(), 9)
    until(lambda: fiji.door.getPid() == 0, "Java notices")


# ---- the door itself


def test_a_door_that_was_closed_is_replaced(fiji):
    pid, first = fiji.do("result = os.getpid()"), fiji.door
    first.close()
    assert fiji.do("result = os.getpid()") != pid
    assert not fiji.door.equals(first)


def test_function_keys_are_those_of_the_other_door_while_it_is_open(fiji):
    fiji.do("result = 1")
    menus, code = jimport("ij.Menus"), jimport("java.lang.Integer").valueOf

    def found():
        keys = {key: menus.getShortcuts().get(code(int(menus.convertShortcutToCode(key)))) for key in KEYS}
        return {key: str(name) for key, name in keys.items() if name is not None}

    assert found() == KEYS
    menus.getShortcuts().put(code(int(menus.convertShortcutToCode("F8"))), "Own Plugin")
    fiji.door.close()
    assert found() == {"F8": "Own Plugin"}
    fiji.do("result = 1")
    assert found() == KEYS | {"F8": "Own Plugin"}
    menus.getShortcuts().remove(code(int(menus.convertShortcutToCode("F8"))))
