"""Options, fixtures and the display of the tests.

``pytest`` runs what needs neither a window nor minutes; ``--window`` runs the tests that need a window, ImageJ's or a
browser's, and only those, because one process holds one ImageJ; ``--slow`` adds the slow ones; ``--fiji`` runs them all
on that Fiji.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from stormseg_ij import bridge, display, installation
from stormseg_ij.errors import BridgeError

REPOSITORY = Path(__file__).parents[1]

# Where CI is set, the examples are the same in every run; elsewhere each run tries new ones. Slow is no failure.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("elsewhere", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "elsewhere")
_LEFT_OUT = pytest.StashKey[int]()
_DATA = pytest.StashKey["tempfile.TemporaryDirectory[str]"]()
_XVFB = pytest.StashKey[display.Display]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("stormseg_ij")
    group.addoption("--window", action="store_true", help="run the tests that need a window or browser, and only those")
    group.addoption("--slow", action="store_true", help="run the slow tests too")
    group.addoption("--fiji", metavar="PATH", help="run on this Fiji (folder or endpoint) instead of ImageJ 1.54p")


def pytest_configure(config: pytest.Config) -> None:
    # What a run saves of unsaved images never goes into the home of who runs the tests.
    # With pytest-xdist each worker is a process of its own, and comes here too.
    config.stash[_DATA] = tempfile.TemporaryDirectory(prefix="stormseg-tests-")
    os.environ["XDG_DATA_HOME"] = config.stash[_DATA].name
    if config.getoption("--window") and config.getoption("numprocesses", None):
        raise pytest.UsageError("--window takes no -n: on one display the windows of two ImageJs cover each other")
    if config.getoption("--window") and sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        config.stash[_XVFB] = _start_xvfb()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    window, slow = config.getoption("--window"), config.getoption("--slow")
    needs_window = [item for item in items if item.get_closest_marker("window")]
    config.stash[_LEFT_OUT] = 0 if window else len(needs_window)
    kept = needs_window if window else [item for item in items if not item.get_closest_marker("window")]
    kept = [item for item in kept if slow or not item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(_LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over from a worker of pytest-xdist how many tests were left out: each collects all of them."""
    if hasattr(node, "workeroutput"):  # one that crashed has none
        node.config.stash[_LEFT_OUT] = node.workeroutput.get("left_out", 0)


def pytest_unconfigure(config: pytest.Config) -> None:
    if (xvfb := config.stash.get(_XVFB, None)) is not None:
        xvfb.close()
    config.stash[_DATA].cleanup()
    left_out = config.stash.get(_LEFT_OUT, 0)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if left_out and reporter is not None:
        reporter.write_line(
            f"{left_out} window tests were not run here: run pytest --window (needs Xvfb: apt-get install xvfb)"
        )


def _start_xvfb() -> display.Display:
    try:
        return display.start()
    except BridgeError as error:
        raise pytest.UsageError(f"pytest --window needs a display: {error}") from error


def screenshot(path: Path) -> None:
    """Write what the display shows to a PNG file; ImageJ must run with its window."""
    from scyjava import jimport

    robot = jimport("java.awt.Robot")()
    robot.waitForIdle()
    screen = jimport("java.awt.Rectangle")(jimport("java.awt.Toolkit").getDefaultToolkit().getScreenSize())
    jimport("javax.imageio.ImageIO").write(
        robot.createScreenCapture(screen), "png", jimport("java.io.File")(str(path.resolve()))
    )


def run_python(code: str, *, timeout: float = 60.0, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Run Python code in a new process; a value of None takes a variable out of its environment."""
    merged: dict[str, Any] = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={name: value for name, value in merged.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def ij(request: pytest.FixtureRequest) -> Iterator[bridge.ImageJ]:
    """The one ImageJ of this process: headless, or with its window under ``--window``."""
    imagej = bridge.start(request.config.getoption("--fiji"), headless=not request.config.getoption("--window"))
    yield imagej
    imagej.close()


@pytest.fixture(name="screenshot", scope="session")
def _screenshot(ij: bridge.ImageJ) -> Callable[[Path], None]:
    """The function `screenshot`, once ImageJ's window is there."""
    return screenshot


@pytest.fixture(name="run_python", scope="session")
def _run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The function `run_python`."""
    return run_python


@pytest.fixture(scope="session")
def imagej_jar() -> Path:
    """ImageJ's jar in the cache of this computer; downloaded where it is not there."""
    return installation.imagej_jar()


@pytest.fixture(scope="session")
def make_java() -> Callable[..., Path]:
    """Make a folder that looks like a Java."""

    def make(folder: Path, version: str = "17.0.1") -> Path:
        for name in ("lib/server/libjvm.so", "bin/java", "bin/java.exe"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        (folder / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n', encoding="utf-8")
        return folder

    return make


@pytest.fixture(scope="session")
def make_fiji() -> Callable[..., Path]:
    """Make a folder that looks like Fiji's, with empty jars of these names."""

    def make(folder: Path, *jars: str) -> Path:
        (folder / "jars").mkdir(parents=True)
        for jar in jars:
            zipfile.ZipFile(folder / "jars" / jar, "w").close()
        return folder

    return make
