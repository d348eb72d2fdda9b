"""Commands leave nothing behind: a short run of benchmarks/soak.py."""

import importlib.util

import pytest

pytestmark = pytest.mark.window

COMMANDS = 34
"""Two rounds: what a round opens is closed at its end."""


def test_threads_and_memory_stay_as_they_are(driver, repository, tmp_path):
    spec = importlib.util.spec_from_file_location("soak", repository / "benchmarks" / "soak.py")
    soak = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(soak)
    driver.tidy()
    (_, before), (done, after) = soak.soak(driver.bench, tmp_path, COMMANDS, warm_up=COMMANDS)
    assert done == COMMANDS
    assert after.java_threads <= before.java_threads
    assert after.python_threads <= before.python_threads
    assert after.heap_mib < before.heap_mib + 8


def test_a_dialog_with_its_preview_leaves_no_thread(driver, scene):
    scene(nuclei=False)
    threads = driver.java("java.lang.management.ManagementFactory").getThreadMXBean()

    def preview(dialog):
        box = dialog.getCheckboxes().lastElement()
        box.setState(True)
        dialog.itemStateChanged(driver.java("java.awt.event.ItemEvent")(box, 701, box.getLabel(), 1))

    driver.menu("Segment Nuclei", answer=preview)
    before = int(threads.getThreadCount())
    for _ in range(4):
        assert driver.menu("Segment Nuclei", answer=preview).said == []
    assert int(threads.getThreadCount()) <= before
