"""Run the window tests, each file in a process and on a display of its own: ``python tests/window/run.py``.

One process holds one ImageJ, and a person's desk is tidy in the morning. Files whose tests move the mouse and press
keys run alone, the others side by side.

What fails, or takes too long, runs once more, in a fresh ImageJ on a fresh display, and only that. Tests that press
real keys in real time can be late on a computer that stands still for seconds, whatever the code does. Such a failure
does not come twice; one of the code does, and fails here. Each second run is said, and said again at the end, so that
a test that often needs one is seen and mended. So are the clicks and keys that the display lost for good, and that the
tests did without it (`hands.py`).
"""

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from hands import FALLBACKS

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
HANDS = re.compile(r"^def test.*\bperson\b|Person\(", re.MULTILINE)
LONGEST_SECONDS = 600
TOO_LONG = -1
MOST_AT_ONCE = 3
"""Each holds a Java and two TensorFlows, some 3 GB."""


def run(file, lost):
    """Run a file's tests, those that fail a second time; return its status, and whether there was a second time."""
    name = file.relative_to(ROOT)
    status, said = pytest(file, lost)
    lines, again = [f"{name}", said], status in (1, TOO_LONG)
    if again:
        only = ["--last-failed", "--last-failed-no-failures", "none"] if status == 1 else []
        status, said = pytest(file, lost, *only)
        lines += [f"{name}: what failed runs once more, in a fresh ImageJ", said]
    print("\n".join(lines), flush=True)
    return status, again


def pytest(file, lost, *options):
    """Run pytest on a file; return its status and what it said. The file `lost` gets what the display lost for good."""
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    environment[FALLBACKS] = str(lost)
    words = [sys.executable, "-m", "pytest", "--window", "-q", "-o", f"cache_dir=.pytest_cache/{file.stem}", *options]
    try:
        done = subprocess.run(
            [*words, file], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=LONGEST_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        said = late.stdout or b""
        text = said if isinstance(said, str) else said.decode(errors="replace")
        return TOO_LONG, f"{text}\nended after {LONGEST_SECONDS} s"
    return done.returncode, done.stdout.rstrip()


def main():
    """Run all files; return 0 if all pass at last."""
    files = sorted(FOLDER.glob("test_*.py"))
    alone = [file for file in files if HANDS.search(file.read_text(encoding="utf-8"))]
    others = [file for file in files if file not in alone]
    with tempfile.TemporaryDirectory() as folder:
        lost = Path(folder) / "lost"
        lost.touch()
        with ThreadPoolExecutor(min(MOST_AT_ONCE, os.cpu_count() or 1)) as lanes:
            outcomes = dict(zip(others, lanes.map(partial(run, lost=lost), others), strict=True))
        outcomes |= {file: run(file, lost) for file in alone}
        missed = lost.read_text(encoding="utf-8").splitlines()
    print("Clicks and keys that the display lost for good:", "; ".join(missed) or "none")
    names = {file: str(file.relative_to(ROOT)) for file in outcomes}
    if again := [names[file] for file, (_, twice) in outcomes.items() if twice]:
        print("Run a second time:", *again)
    if failed := [names[file] for file, (status, _) in outcomes.items() if status]:
        print("Failed:", *failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
