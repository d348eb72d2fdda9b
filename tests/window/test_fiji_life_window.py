"""Commands through Fiji's door: whatever happens to Python, there is one message and nothing hangs."""

import json
import os
import shlex
import signal
import sys
import threading
import time

import jpype
import pytest
from door import START, escape, open_fiji, runs, some_rois, text_of, tidy, worker_in
from driver import one_line, until
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


# ---- faults


def test_a_fault_is_one_line_and_the_next_question_is_answered(fiji):
    code = """
nan = float("nan")
result = [
    fault_of("image", image=-99999, plane=None),
    fault_of("append", rois=["AAAA"], image=None),
    fault_of("process", pixels=np.zeros((3, 3), np.float64), steps=[]),
    fault_of("progress", fraction=nan),
    fault_of("unknown"),
    fault_of("titles"),
]
"""
    closed, roi, dtype, nan, unknown, titles = fiji.do(code)
    assert closed == "the image was closed; open it again"
    assert "ROI" in roi
    assert "float64" in dtype
    assert nan.startswith("ImageJ could not read what Python sent")
    assert "install-fiji" in unknown
    assert titles == []
    assert "\n" not in "".join((closed, roi, dtype, nan, unknown))


def test_what_python_fails_with_is_said(fiji):
    assert fiji.failing("failure = 'no nucleus was found'") == "Segment Nuclei: no nucleus was found"
    assert fiji.failing("1 / 0") == "Segment Nuclei: Python failed: ZeroDivisionError: division by zero"
    assert fiji.failing("import sys; sys.exit(3)") == "Segment Nuclei: Python failed: SystemExit: 3"
    values = fiji.values("task.outputs['more'] = float('nan')")
    outcome = fiji.driver.seen(lambda: fiji.call(values))
    assert "a result that Java cannot read" in " ".join(outcome.said)
    assert fiji.do("result = 1") == 1


def test_a_second_command_is_refused(fiji, tmp_path):
    over = tmp_path / "over"
    thread, outcomes = fiji.start(f"ask('titles')\nwhile not os.path.exists({str(over)!r}):\n    time.sleep(0.02)")
    try:
        until(lambda: fiji.door.getRunning() is not None, "the first one runs")
        refused = fiji.driver.seen(lambda: fiji.call(fiji.values("pass"), name="Merge Nuclei"))
    finally:
        over.touch()
    thread.join(20)
    text = "Segment Nuclei still runs; wait for it, or press Escape to stop it"
    assert f"Merge Nuclei: {text}" in [*refused.said, *outcomes[0].said]


def test_escape_stops_python(fiji):
    thread, outcomes = fiji.start("while not task.cancel_requested:\n    time.sleep(0.01)\nresult = 'stopped'")
    until(lambda: fiji.door.getRunning() is not None, "it runs")
    time.sleep(0.3)
    start = time.monotonic()
    escape()
    thread.join(20)
    assert time.monotonic() - start < 1.0
    assert (outcomes[0].said, json.loads(fiji.out.read_text())) == ([], "stopped")


def test_escape_once_more_ends_a_python_that_does_not_listen(fiji):
    thread, outcomes = fiji.start("time.sleep(60)")
    until(lambda: fiji.door.getRunning() is not None, "it runs")
    pid = fiji.door.getPid()
    escape()
    time.sleep(3.5)
    assert thread.is_alive()
    escape()
    thread.join(10)
    assert outcomes[0].said == []
    assert not runs(pid)
    assert fiji.do("result = 1") == 1


def test_a_macro_ends_where_its_command_fails_or_is_stopped(fiji):
    macro, thread = jimport("ij.Macro"), jimport("java.lang.Thread")
    aborted = macro.class_.getDeclaredField("abort")
    aborted.setAccessible(True)
    canceled = []

    def run(code):
        name = thread.currentThread().getName()
        thread.currentThread().setName("Run$_Macro$")
        macro.setOptions("size=512 blur=2")
        values = fiji.values(code)
        try:
            fiji.call(values)
        except jpype.JException as error:
            canceled.append("Macro canceled" in str(error))
        finally:
            macro.setOptions(None)
            aborted.setBoolean(None, False)
            thread.currentThread().setName(name)

    outcome = fiji.driver.seen(lambda: run("result = [call['options'], call['from_macro'], call['image']]"))
    assert json.loads(fiji.out.read_text()) == ["size=512 blur=2 ", True, None]
    assert (outcome.said, canceled) == ([], [])
    outcome = fiji.driver.seen(lambda: run("failure = 'bad'"))
    assert (outcome.said, canceled) == (["Segment Nuclei: bad"], [True])
    assert not fiji.door.getAsBoolean()
    assert fiji.do("result = call['options']") is None


def test_values_and_the_image_go_with_the_call(fiji):
    imp = jimport("ij.IJ").createImage("a", "8-bit black", 8, 6, 1)
    imp.show()
    other = jimport("ij.IJ").createImage("b", "8-bit black", 8, 6, 1)
    code = "result = [call['image'], {k: v for k, v in call['values'].items() if k not in ('code', 'given', 'out')}]"
    values = fiji.values(code) | {
        "size": jimport("java.lang.Integer")(512), "blur": jimport("java.lang.Double")(1.5),
        "truth": jimport("java.io.File")("/a b/ü.zip"), "refine": jimport("java.lang.Boolean")(True),
        "nothing": None, "context": jimport("java.lang.Object")(),
    }  # fmt: skip
    assert fiji.driver.seen(lambda: fiji.call(values)).said == []
    found, texts = json.loads(fiji.out.read_text())
    assert found == int(imp.getID())
    assert texts == {"size": "512", "blur": "1.5", "truth": "/a b/ü.zip", "refine": "true"}
    assert fiji.driver.seen(lambda: fiji.call(values, imp=other)).said == []
    assert json.loads(fiji.out.read_text())[0] == int(other.getID())


def test_an_image_in_no_window_is_worked_on_too(fiji):
    other = jimport("ij.IJ").createImage("b", "8-bit ramp", 8, 6, 1)
    code = """result = [ask("is_open", image=call["image"]), ask("facts", image=call["image"])["title"],
        int(ask("image", image=call["image"], plane=None)["pixels"].max())]"""
    assert fiji.driver.seen(lambda: fiji.call(fiji.values(code), imp=other)).said == []
    assert json.loads(fiji.out.read_text()) == [False, "b", int(other.getStatistics().max)]
    assert fiji.do(f"result = ask('facts', image={int(other.getID())})") is None


# ---- Python's life


def test_python_is_kept_and_started_again_after_its_death(fiji):
    first = fiji.do("result = os.getpid()")
    assert fiji.do("result = os.getpid()") == first == fiji.door.getPid()
    os.kill(first, signal.SIGKILL)
    until(lambda: fiji.door.getPid() == 0, "Java notices")
    second = fiji.do("result = os.getpid()")
    assert second != first


def test_a_death_in_the_middle_is_said_and_leaves_nothing(fiji):
    imp = jimport("ij.IJ").createImage("a", "8-bit black", 80, 60, 1)
    imp.show()
    code = "append = ask('append', rois=rois, image=None)\nask('entries')\n"
    fiji.do(code, rois=text_of(*some_rois()))
    die = "print('I fall', file=sys.stderr, flush=True)\nos.kill(os.getpid(), 9)"
    start = time.monotonic()
    said = fiji.failing(die)
    assert time.monotonic() - start < 5.0
    assert "Python has ended in the middle of the work" in said
    assert "I fall" in said
    assert str(fiji.folder) in said
    dying = "threading.Timer(0.2, os.kill, (os.getpid(), 9)).start()\nask('show_message', title='t', text='x')\n"
    assert "Python has ended in the middle" in fiji.failing(dying + "time.sleep(9)")
    flood = "threading.Timer(0.3, os.kill, (os.getpid(), 9)).start()\npixels = np.zeros((300, 300), np.uint16)\n"
    flood += "while True:\n    ask('process', pixels=pixels, steps=[['blur', 1.0]])"
    assert "Python has ended in the middle" in fiji.failing(flood)
    found = fiji.do("result = ask('entries')")
    assert len(found["changed"]) == 4, "the new worker knows nothing"


def test_what_else_python_prints_does_no_harm(fiji):
    assert fiji.do("print('words')\nprint('{\"a\": 1}')\nresult = len(ask('titles'))") == 0


STARTS = {
    "no file": (None, ["could not be started", "No such file"]),
    "no Python": ("echo 'I am a teapot' >&2; exit 3", ["ended before it answered", "I am a teapot"]),
    "silent end": ("exit 0", ["ended before it answered"]),
    "no stormseg_ij": ('exec "PYTHON" -S "$@"', ["it has no stormseg_ij"]),
    "no appose": (lambda folder: worker_in(folder / "bare", "-S"), ["it has no appose"]),
    "no answer": ("exec sleep 60", ["did not answer within 1 s"]),
    "broken": (
        lambda folder: worker_in(folder / "broken"),
        ["could not start StormSeg", "it has no no_such_package"],
    ),
}


@pytest.mark.parametrize("case", STARTS)
def test_a_python_that_does_not_start_is_one_dialog(fiji, tmp_path, case):
    text, expected = STARTS[case]
    broken = tmp_path / "broken" / "stormseg_ij"
    (broken / "worker").mkdir(parents=True)
    (broken / "__init__.py").touch()
    (broken / "worker" / "__init__.py").write_text("def hello():\n    import no_such_package\n")
    (broken / "worker" / "__main__.py").write_text(START)
    bare = tmp_path / "bare" / "stormseg_ij"
    (bare / "worker").mkdir(parents=True)
    (bare / "__init__.py").touch()
    (bare / "worker" / "__init__.py").touch()
    (bare / "worker" / "__main__.py").write_text(START)
    python = tmp_path / "a python"
    if text is not None:
        made = text(tmp_path) if callable(text) else text.replace('"PYTHON"', shlex.quote(sys.executable))
        python = fiji.python("a python", made)
    said = _said_at_start(fiji, tmp_path, f"python={python}", patience_seconds=1 if case == "no answer" else 40)
    assert len(said) == 1
    for words in [*expected, "install-fiji", str(python)]:
        assert words in said[0]


def test_a_fiji_that_does_not_know_its_python(fiji, tmp_path):
    (said,) = _said_at_start(fiji, tmp_path, "version=1")
    assert "stormseg.properties names none; run stormseg install-fiji FOLDER" in said


def _said_at_start(fiji, folder, properties, *, patience_seconds=40):
    """Call through a door of its own, whose Python does not start: it is told before the patience ends."""
    door = fiji.own_door(folder, properties)
    door.setPatienceSeconds(patience_seconds)
    call = jimport("java.util.HashMap")({"name": "Segment Nuclei", "from_macro": False})
    start = time.monotonic()
    outcome = fiji.driver.seen(lambda: door.apply(call))
    assert time.monotonic() - start < max(8.0, 0.75 * patience_seconds)
    door.close()
    return outcome.said


def test_a_slow_start_can_be_stopped(fiji, tmp_path):
    door = fiji.own_door(tmp_path, f"python={fiji.python('slow', 'exec sleep 60')}")
    threading.Timer(0.7, escape).start()
    call = jimport("java.util.HashMap")({"name": "Segment Nuclei", "from_macro": False})
    assert fiji.driver.seen(lambda: door.apply(call)).said == []
    assert door.getPid() == 0
    door.close()


def test_new_library_files_get_a_new_door(fiji):
    first, pid = fiji.door, fiji.do("result = os.getpid()")
    os.utime(fiji.home / "stormseg" / "Rois.groovy", (1e9, 1e9))
    assert fiji.do("result = os.getpid()") != pid
    assert fiji.door is not first
    until(lambda: not runs(pid), "the old Python ends")


def test_a_fiji_without_appose_says_so(fiji):
    """The script's class loader sees ImageJ and Groovy, and no Appose."""
    filtering = """
        class Without extends ClassLoader {
            Without(ClassLoader parent) { super(parent) }
            protected Class loadClass(String name, boolean resolve) {
                if (name.startsWith("org.apposed")) { throw new ClassNotFoundException(name) }
                return super.loadClass(name, resolve)
            }
        }
        """
    loader = jpype.JClass("groovy.lang.GroovyClassLoader")
    without = loader(loader.class_.getClassLoader()).parseClass(filtering)
    parent = without.getConstructor(jimport("java.lang.ClassLoader")).newInstance(loader.class_.getClassLoader())
    properties = jimport("java.lang.System").getProperties()
    kept = properties.remove("stormseg.door")
    try:
        script = loader(parent).parseClass(jimport("java.io.File")(str(fiji.home / "stormseg" / "StormSeg.groovy")))
        empty = jimport("java.util.HashMap")()
        outcome = fiji.driver.seen(lambda: jpype.JClass(script).run("Segment Nuclei", empty))
    finally:
        if kept is not None:
            properties.put("stormseg.door", kept)
    assert "Appose is missing in this Fiji" in one_line(outcome)
    assert "install-fiji" in one_line(outcome)


# ---- between commands


def test_changes_by_hand_are_looked_at_between_commands(fiji):
    fiji.do("ask('append', rois=rois, image=None)\nkept['looks'] = []", rois=text_of(*some_rois()))
    count = "result = [len(look['identities']) for look in kept['looks'] if look]"
    time.sleep(2.6)
    assert fiji.do(count + "\nkept['looks'] = []") == [4], "after each command once"
    time.sleep(2.6)
    fiji.driver.select(0)
    fiji.driver.manager().runCommand("Delete")
    time.sleep(2.6)
    assert fiji.do(count) == [4, 3]
